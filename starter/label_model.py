"""The tokenizer and the empty model of starter-label, and their folder in Hugging Face layout."""

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

SIDE, PATCH = 48, 8  # pixels
LENGTH = 8  # tokens of a label
WIDTH = 112
SPECIAL = ("<pad>", "<unk>", "</s>")


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer without case and accents that falls back to letters; texts end with `</s>`."""
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=list(SPECIAL), show_progress=False, min_frequency=1
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", core.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=LENGTH,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",
        model_input_names=["input_ids"],  # as SigLIP reads: paddings are seen like words
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> SiglipModel:
    """An untrained SigLIP of about half a million weights; draw torch's seed before."""
    own = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": LENGTH,
        "projection_size": WIDTH,
        **own,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-3.0)
    return model


def read(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """`[texts, LENGTH]` token ids."""
    how = {"padding": "max_length", "truncation": True, "max_length": LENGTH}
    ids: torch.Tensor = tokenizer(texts, return_tensors="pt", **how)["input_ids"]
    return ids


def save_model(model: SiglipModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes weights rounded to bfloat16, the tokenizer and what prepares pictures."""
    rounded = SiglipModel(model.config).to(torch.bfloat16)
    rounded.load_state_dict(model.state_dict())
    rounded.save_pretrained(out)
    pictures = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    SiglipProcessor(image_processor=pictures, tokenizer=tokenizer).save_pretrained(out)
