"""Tiny random translation models of the real classes, in hub layout, with the real tokenizer files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXTS = (
    "Where is the station? I would like a coffee, please. The museum is closed on Monday.",
    "Où est la gare ? Je voudrais un café, s'il vous plaît. Le musée est fermé le lundi.",
    "Onde fica a estação? Queria um café, por favor. O museu está fechado na segunda-feira.",
    "Где вокзал? Я хотел бы кофе, пожалуйста. Музей закрыт в понедельник.",
) * 20
SIZES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "init_std": 0.3,
}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def _spm(folder: Path, name: str, size: int = 300) -> list[str]:
    """A SentencePiece model, written; its pieces without the special ones."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_prefix=str(folder / name), vocab_size=size, model_type="bpe",
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    (folder / f"{name}.vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(str(folder / f"{name}.model"))
    return [pieces.id_to_piece(n) for n in range(3, pieces.get_piece_size())]


def make_m2m100(folder: Path) -> Path:
    """M2M100ForConditionalGeneration with M2M100Tokenizer."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    words = {p: n for n, p in enumerate([*SPECIAL, *_spm(folder, "sentencepiece.bpe")])}
    (folder / "vocab.json").write_text(json.dumps(words, ensure_ascii=False))
    tokenizer = M2M100Tokenizer(folder / "vocab.json", folder / "sentencepiece.bpe.model")
    size = max(tokenizer.lang_token_to_id.values()) + 9
    M2M100ForConditionalGeneration(M2M100Config(vocab_size=size, **SIZES)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_nllb(folder: Path) -> Path:
    """M2M100ForConditionalGeneration with NllbTokenizer, as NLLB-200 is published."""
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    folder.mkdir(parents=True)
    torch.manual_seed(1)
    vocabulary = {p: n for n, p in enumerate([*SPECIAL, *_letters()])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    model = M2M100ForConditionalGeneration(M2M100Config(vocab_size=len(tokenizer) + 8, **SIZES))
    with torch.no_grad():
        model.get_input_embeddings().weight[2] *= 0.02  # or it ends before it began
    model.save_pretrained(folder)
    return folder


def make_marian(folder: Path, source: str = "eng", target: str = "fra") -> Path:
    """MarianMTModel with MarianTokenizer, as OPUS-MT is published."""
    import torch
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder.mkdir(parents=True)
    torch.manual_seed(2)
    pieces = dict.fromkeys([*_spm(folder, "source"), *_spm(folder, "target")])
    words = {p: n for n, p in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}
    (folder / "vocab.json").write_text(json.dumps(words, ensure_ascii=False))
    tokenizer = MarianTokenizer(
        source_spm=str(folder / "source.spm")
        if (folder / "source.spm").exists()
        else _moved(folder, "source"),
        target_spm=_moved(folder, "target"),
        vocab=str(folder / "vocab.json"),
        source_lang=source,
        target_lang=target,
    )
    pad = words["<pad>"]
    config = MarianConfig(
        vocab_size=len(words),
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        forced_eos_token_id=0,
        scale_embedding=True,
        **SIZES,
    )
    MarianMTModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _moved(folder: Path, name: str) -> str:
    (folder / f"{name}.model").rename(folder / f"{name}.spm")
    return str(folder / f"{name}.spm")


def _letters() -> list[str]:
    return ["▁", *sorted({letter for text in TEXTS for letter in text if letter != " "})]
