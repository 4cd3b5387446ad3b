"""The tokenizer and the empty networks of starter-image, and its folder as a StableDiffusionPipeline reads it."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.bestiary import CHOICES
from starter.image_data import SIDE

VOCABULARY = 1000  # at most
LENGTH = 48  # tokens of a prompt; the longest of the recipe's own has 45
WORDS = 128  # width of the text encoder
CHANNELS, FACTOR = 8, 8  # of the latents, and pixels a latent's side
WIDTHS = (96, 192)  # of the UNet at 12 x 12 and at 6 x 6
START, END = "<|startoftext|>", "<|endoftext|>"
# CLIP's own way of cutting a text into words.
_PIECES = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def train_tokenizer(texts: Iterable[str], folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer that knows the words of the texts; its files are left in the folder."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    made = json.loads(bpe.to_str())["model"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in made["merges"]]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = [START, END, *letters, *(f"{letter}</w>" for letter in letters)]
    learned = sorted(set(made["vocab"]) - set(known), key=made["vocab"].__getitem__)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(known + learned)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return read_tokenizer(folder)


def read_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer whose files `train_tokenizer` left."""
    return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)


def build_text(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder of 0.8 million weights: tokens [n, LENGTH] to states [n, LENGTH, WORDS]."""
    ends = tokenizer.convert_tokens_to_ids([START, END])
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WORDS,
        intermediate_size=4 * WORDS,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=WORDS,
        bos_token_id=ends[0],
        eos_token_id=ends[1],
        pad_token_id=ends[1],
    )
    model = CLIPTextModel(config)
    model.set_attn_implementation("eager")
    return model


def build_vae() -> AutoencoderKL:
    """An untrained autoencoder of 1.7 million weights: pictures [n, 3, 96, 96] to latents [n, 8, 12, 12]."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        sample_size=SIDE,
        scaling_factor=1.0,  # `whiten` puts the scale into the weights
        force_upcast=False,
        mid_block_add_attention=False,
    )


def build_unet() -> UNet2DConditionModel:
    """An untrained UNet of 8.9 million weights. Words are heeded at 6 x 6, which the whole creature hangs on."""
    return UNet2DConditionModel(
        sample_size=SIDE // FACTOR,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=WIDTHS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WORDS,
        attention_head_dim=4,  # diffusers' name for how many heads there are
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """DDIM for few steps: from pure noise on, the last step of the path included, and the network tells velocities."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


class Heads(nn.Module):
    """What a prompt says of each trait, read from the mean of its states; thrown away after training.

    They make the text encoder tell colours from bodies within a minute, long before the UNet heeds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.Linear(WORDS, 1 + len(words)) for words in CHOICES.values())

    def forward(self, states: torch.Tensor) -> list[torch.Tensor]:
        """States [n, LENGTH, WORDS] to scores [n, 1 + words] a trait; the first place is "unsaid"."""
        mean = states.float().mean(1)
        return [head(mean) for head in self.each]


def whiten(vae: AutoencoderKL, mean: torch.Tensor, spread: torch.Tensor) -> None:
    """Moves each latent channel to mean 0 and spread 1, within the weights on both sides.

    Args:
        mean, spread: [CHANNELS], as they are now.
    """
    with torch.no_grad():
        given, back = vae.quant_conv, vae.post_quant_conv
        back.bias += back.weight[:, :, 0, 0] @ mean
        back.weight *= spread[None, :, None, None]
        given.bias[:CHANNELS] -= mean
        given.bias[:CHANNELS] /= spread
        given.weight[:CHANNELS] /= spread[:, None, None, None]
        given.bias[CHANNELS:] -= 2 * spread.log()


def save_model(
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    out: Path,
) -> None:
    """Writes the folder, its weights in float16."""
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for part in (vae, unet, text):
        part.half()
    pipe.save_pretrained(out)
    for file in out.rglob("*"):
        if file.is_file():
            file.chmod(0o644)
