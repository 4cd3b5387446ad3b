"""The tokenizer and the empty model of starter-translate, an M2M-100 in small, and its folder in hub layout."""

import json
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
import torch
from transformers import (
    GenerationConfig,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
)

VOCABULARY = 3000
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
PAD, END, UNKNOWN = 1, 2, 3
LONGEST = 64  # tokens of a sentence
LETTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZàâçéèêëîïôùûœáãíóõúÀÂÇÉÈÊÁÃÍÓÕÚ"
    "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ0123456789.,!?:;'’-–—()\"«»€%"
)


def train_tokenizer(texts: Iterable[str], folder: Path) -> M2M100Tokenizer:
    """A SentencePiece model of the texts, with every letter of the four languages, in M2M-100's files."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(folder / "sentencepiece.bpe"), vocab_size=VOCABULARY,
        model_type="bpe", character_coverage=1.0, required_chars=LETTERS, split_digits=True, hard_vocab_limit=False,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2, normalization_rule_name="nmt_nfkc",
    )  # fmt: skip
    (folder / "sentencepiece.bpe.vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "sentencepiece.bpe.model"))
    known = [pieces.id_to_piece(n) for n in range(3, pieces.get_piece_size())]
    vocabulary = {piece: n for n, piece in enumerate([*SPECIAL, *known])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    return M2M100Tokenizer(folder / "vocab.json", folder / "sentencepiece.bpe.model")


def build_model(tokenizer: M2M100Tokenizer) -> M2M100ForConditionalGeneration:
    """An untrained model of two and a half million weights; draw torch's seed before."""
    config = M2M100Config(
        vocab_size=max(tokenizer.lang_token_to_id.values()) + 9,  # M2M-100 keeps eight more
        d_model=192,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        max_position_embeddings=128,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        activation_function="relu",
        init_std=0.05,
        decoder_start_token_id=END,
    )
    return M2M100ForConditionalGeneration(config)


def save_model(
    model: M2M100ForConditionalGeneration, tokenizer: M2M100Tokenizer, out: Path
) -> None:
    """Writes weights, configuration and tokenizer; the model stays as it is."""
    model.generation_config = GenerationConfig(
        max_length=LONGEST,
        num_beams=1,
        decoder_start_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def language_ids(tokenizer: M2M100Tokenizer, languages: Iterable[str]) -> dict[str, int]:
    """The token of each language."""
    return {language: tokenizer.get_lang_id(language) for language in languages}


def padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    """`[rows, longest]`, filled up on the right."""
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])
