"""The tokenizer and the empty encoder of starter-embed, and their folder in sentence-transformers layout."""

import json
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
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

LENGTH = 256
VOCABULARY = 4096
WIDTH = 192
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer without case and accents; every digit stands alone."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    )
    core.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), show_progress=False, limit_alphabet=400
    )
    core.train_from_iterator(texts, trainer)
    ends = [(name, core.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    named = dict(
        zip(
            ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True
        )
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=LENGTH, **named)


def build_model(tokenizer: PreTrainedTokenizerFast) -> BertModel:
    """An untrained BERT of about two million weights; draw torch's seed before."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=LENGTH,
        type_vocab_size=2,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.05,
        attention_probs_dropout_prob=0.0,
    )
    return BertModel(config, add_pooling_layer=False)


def embed(
    model: BertModel, tokenizer: PreTrainedTokenizerFast, texts: list[str], most: int = LENGTH
) -> torch.Tensor:
    """`[texts, WIDTH]` vectors of length 1: the mean of the vectors of a text's first `most` tokens."""
    batch = tokenizer(texts, padding=True, truncation=True, max_length=most, return_tensors="pt")
    hidden = model(**batch).last_hidden_state
    seen = batch["attention_mask"][..., None].to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * seen).sum(1) / seen.sum(1), dim=1)


def save_model(model: BertModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes weights rounded to bfloat16, tokenizer and the files that sentence-transformers reads."""
    rounded = BertModel(model.config, add_pooling_layer=False).to(torch.bfloat16)
    rounded.load_state_dict(model.state_dict())
    rounded.save_pretrained(out)
    tokenizer.save_pretrained(out)
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]
    pooling = {
        "word_embedding_dimension": WIDTH,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
    told: dict[str, object] = {
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling,
        "sentence_bert_config.json": {"max_seq_length": LENGTH, "do_lower_case": False},
        "config_sentence_transformers.json": told,
    }
    for name, value in files.items():
        file = out / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
