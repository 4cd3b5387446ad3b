"""Tiny random pipelines that draw, of diffusers' real classes and in hub layout: 64 pixels, two layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.registry import ModelSpec

MARKS = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # diffusers takes long to import on a busy machine
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
VAE: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "sample_size": 64,
}
UNET: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
    "attention_head_dim": 8,
}
CLIP: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "projection_dim": 32,
}


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's tokenizer over letters and a few words; 77 tokens."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(n) for n in range(33, 127)]
    vocab = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(vocab)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def _clip(kind: str = "CLIPTextModel") -> Any:
    import transformers

    return getattr(transformers, kind)(transformers.CLIPTextConfig(**CLIP)).eval()


def _t5() -> tuple[Any, Any]:
    """A T5 encoder and a tokenizer for it."""
    from transformers import T5Config, T5EncoderModel

    from tests.tiny import make_tokenizer

    tokenizer = make_tokenizer(vocab=400, template=None)
    tokenizer.model_max_length = 64
    config = T5Config(vocab_size=600, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return T5EncoderModel(config).eval(), tokenizer


def save_sd(folder: Path, **unet: Any) -> Path:
    """Stable Diffusion 1.5's class."""
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )

    torch.manual_seed(0)
    pipe = StableDiffusionPipeline(
        unet=UNet2DConditionModel(**{**UNET, **unet}),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
            clip_sample=False, set_alpha_to_one=False,
        ),
        vae=AutoencoderKL(**VAE),
        text_encoder=_clip(),
        tokenizer=clip_tokenizer(folder / "made"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder / "sd")
    return folder / "sd"


def save_sdxl(folder: Path, **unet: Any) -> Path:
    """Stable Diffusion XL's class."""
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

    torch.manual_seed(0)
    sizes = {
        **UNET,
        "cross_attention_dim": 64,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "transformer_layers_per_block": (1, 2),
        "projection_class_embeddings_input_dim": 80,
        "use_linear_projection": True,
        **unet,
    }
    tokenizer = clip_tokenizer(folder / "made")
    pipe = StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(**sizes),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
            timestep_spacing="trailing",
        ),
        vae=AutoencoderKL(**VAE),
        text_encoder=_clip(),
        text_encoder_2=_clip("CLIPTextModelWithProjection"),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
    )  # fmt: skip
    pipe.save_pretrained(folder / "sdxl")
    return folder / "sdxl"


def save_flux(folder: Path) -> Path:
    """FLUX's class: packed latents, a transformer, flow matching."""
    import torch
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )

    torch.manual_seed(0)
    encoder, tokenizer = _t5()
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            **{**VAE, "latent_channels": 4}, shift_factor=0.1, scaling_factor=1.5,
            use_quant_conv=False, use_post_quant_conv=False,
        ),
        text_encoder=_clip(),
        tokenizer=clip_tokenizer(folder / "made"),
        text_encoder_2=encoder,
        tokenizer_2=tokenizer,
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8), guidance_embeds=False,
        ),
    )  # fmt: skip
    pipe.save_pretrained(folder / "flux")
    return folder / "flux"


def save_sd3(folder: Path) -> Path:
    """Stable Diffusion 3's class."""
    import torch
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    torch.manual_seed(0)
    encoder, tokenizer = _t5()
    words = clip_tokenizer(folder / "made")
    pipe = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=32, patch_size=1, in_channels=16, num_layers=1, attention_head_dim=8,
            num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32,
            pooled_projection_dim=64, out_channels=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            **{**VAE, "latent_channels": 16}, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=_clip("CLIPTextModelWithProjection"),
        tokenizer=words,
        text_encoder_2=_clip("CLIPTextModelWithProjection"),
        tokenizer_2=words,
        text_encoder_3=encoder,
        tokenizer_3=tokenizer,
    )  # fmt: skip
    pipe.save_pretrained(folder / "sd3")
    return folder / "sd3"


KINDS = {"sd": save_sd, "sdxl": save_sdxl, "flux": save_flux, "sd3": save_sd3}


def spec_of(folder: Path, **options: Any) -> ModelSpec:
    """A row for a saved pipeline, named after its folder."""
    return ModelSpec(
        folder.name, frozenset({"image"}), "diffusion", path=str(folder), title=folder.name,
        options={"steps": 2, **options},
    )  # fmt: skip
