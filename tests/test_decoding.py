"""Spelling ids as they come, and holding back what may begin a stop string."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.families._decoding import FastSpelling, SlowSpelling, Stops, spelling
from tests import tiny

WORDS = "Привет, как дела? 😀👩‍👩‍👧 naïve 日本語 — Olá, d'accord."


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer()


@pytest.fixture(scope="module")
def metaspace() -> Any:
    """A tokenizer of the SentencePiece kind: `▁` for spaces, bytes where a character is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0} | {f"<0x{byte:02X}>": byte + 1 for byte in range(256)}
    for piece in ("▁", "H", "i", "▁H", "▁Hi", "t", "▁t"):
        vocab[piece] = len(vocab)
    merges = [("▁", "H"), ("▁H", "i"), ("▁", "t")]
    core = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=core)


@pytest.mark.parametrize("kind", [FastSpelling, SlowSpelling])
@pytest.mark.parametrize("text", [WORDS, "plain words only", "🏳️‍🌈" * 5])
def test_pieces_make_the_whole_and_no_piece_is_half_a_character(tokenizer, kind, text):
    speller = kind(tokenizer)
    pieces = [speller.spell(token) for token in tokenizer(text)["input_ids"]]
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert "" in pieces or text.isascii()


@pytest.mark.parametrize("kind", [FastSpelling, SlowSpelling])
def test_byte_fallback_and_spaces_of_sentencepiece(metaspace, kind):
    speller = kind(metaspace)
    pieces = [speller.spell(token) for token in metaspace("Hi Hi 😀 Hi")["input_ids"]]
    assert "".join(pieces) == "Hi Hi 😀 Hi"


@pytest.mark.parametrize("kind", [FastSpelling, SlowSpelling])
def test_a_continuation_keeps_its_leading_space(metaspace, kind):
    before = metaspace("Hi")["input_ids"]
    assert kind(metaspace, before).spell(metaspace.convert_tokens_to_ids("▁Hi")) == " Hi"
    assert kind(metaspace).spell(metaspace.convert_tokens_to_ids("▁Hi")) == "Hi"


@pytest.mark.parametrize("kind", [FastSpelling, SlowSpelling])
@pytest.mark.parametrize("text", ["да 😀", "x日"])
def test_what_is_whole_comes_at_the_end_and_half_a_character_does_not(tokenizer, kind, text):
    ids = tokenizer(text)["input_ids"]
    for cut in range(1, len(ids) + 1):
        speller = kind(tokenizer)
        shown = "".join(speller.spell(token) for token in ids[:cut]) + speller.rest()
        assert shown == tokenizer.decode(ids[:cut]).rstrip("\ufffd")


def test_special_tokens_are_not_spelled(tokenizer):
    speller = spelling(tokenizer)
    ids = tokenizer("a<|im_end|>b")["input_ids"]
    assert "".join(speller.spell(token) for token in ids) == "ab"


def test_a_stop_string_in_pieces_never_shows():
    stops = Stops(["END"])
    assert [stops.pass_on(piece) for piece in ("so E", "N", "o E", "ND tail", "x")] == [
        "so ",
        "",
        "ENo ",
        "",
        "",
    ]
    assert stops.met and stops.rest() == ""


def test_what_was_held_back_comes_when_no_stop_follows():
    stops = Stops(["END"])
    assert stops.pass_on("the EN") == "the "
    assert stops.rest() == "EN" and not stops.met


@given(
    st.text("ab", max_size=40),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(1, 5), max_size=40),
)
def test_stops_cut_where_the_first_one_begins(text, strings, sizes):
    stops, shown, at = Stops(strings), "", 0
    for size in [*sizes, len(text)]:
        shown += stops.pass_on(text[at : at + size])
        at += size
        if stops.met:
            break
    shown += stops.rest()
    ends = [text.find(s) + len(s) for s in strings if s in text]
    if not ends:
        assert shown == text and not stops.met
    else:
        assert stops.met and text.startswith(shown)
        assert not any(s in shown for s in strings)
