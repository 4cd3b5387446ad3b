"""From token ids to text that may be shown: whole characters only, and nothing of a stop string.

Knows one tokenizer and one answer; nothing of models or requests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

UNFINISHED = "\ufffd"  # what decoders put where a character's bytes are incomplete
BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
TAIL = 8  # prompt tokens that decide how the first token of a continuation is spelled


class Spelling(Protocol):
    """Ids in, one at a time; the text they complete out, "" while a character is unfinished."""

    def spell(self, token: int) -> str: ...

    def rest(self) -> str:
        """What is whole of the text still held, once no more ids come."""


class SlowSpelling:
    """For any tokenizer: decodes the last few ids again with every new one."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._known = list(
            before[-TAIL:]
        )  # ids whose text is out; the last of them show how it goes on
        self._new: list[int] = []  # ids whose text is not

    def spell(self, token: int) -> str:
        self._new.append(token)
        text = self._text()
        if not text or text.endswith(UNFINISHED):
            return ""
        self._known, self._new = self._new, []
        return text

    def rest(self) -> str:
        return self._text().rstrip(UNFINISHED) if self._new else ""

    def _text(self) -> str:
        return self._decode(self._known + self._new)[len(self._decode(self._known)) :]

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class FastSpelling(SlowSpelling):
    """With the stream decoder of the `tokenizers` library."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        from tokenizers.decoders import DecodeStream

        super().__init__(tokenizer, before)
        self._core = tokenizer.backend_tokenizer
        self._stream = DecodeStream(ids=self._known or None, skip_special_tokens=True)

    def spell(self, token: int) -> str:
        text = self._stream.step(self._core, token)
        self._new.append(token)
        if not text:
            return ""
        self._known, self._new = self._new, []
        return text


class MarkedSpelling:
    """Spells some special tokens too, which the others leave out: the marks of thoughts and calls."""

    def __init__(self, tokenizer: Any, before: Sequence[int], marks: Mapping[int, str]) -> None:
        self._tokenizer, self._marks = tokenizer, marks
        self._plain = spelling(tokenizer, before)

    def spell(self, token: int) -> str:
        mark = self._marks.get(token)
        if mark is None:
            return self._plain.spell(token)
        text = self._plain.rest() + mark
        self._plain = spelling(self._tokenizer)
        return text

    def rest(self) -> str:
        return self._plain.rest()


def spelling(
    tokenizer: Any, before: Sequence[int] = (), marks: Mapping[int, str] | None = None
) -> Spelling:
    """The way to spell this tokenizer's ids.

    Args:
        before: ids whose continuation is spelled.
        marks: special tokens that are spelled, and how.
    """
    if marks:
        return MarkedSpelling(tokenizer, before, marks)
    if getattr(tokenizer, "is_fast", False):
        return FastSpelling(tokenizer, before)
    return SlowSpelling(tokenizer, before)


def _byte_letters() -> dict[int, int]:
    """From the letters by which byte-level vocabularies write bytes to the bytes; others become none."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    odd = dict.fromkeys(others, 256)  # letters that stand for no byte
    return odd | {byte: byte for byte in plain} | {256 + n: byte for n, byte in enumerate(others)}


class Bytes:
    """The bytes of single tokens: of byte-level vocabularies (`Ġ`) and of SentencePiece's (`▁`, `<0x0A>`)."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._letters = _byte_letters() if "Ġ" in tokenizer.get_vocab() else {}
        self._added = {n: str(t.content) for n, t in tokenizer.added_tokens_decoder.items()}

    def all(self, count: int) -> list[bytes]:
        """The bytes of the first `count` tokens."""
        pieces = {token: piece for piece, token in self._tokenizer.get_vocab().items()}
        return [self._read(token, pieces.get(token)) for token in range(count)]

    def of(self, token: int) -> bytes:
        """The bytes that a token stands for; empty where the vocabulary has none."""
        return self._read(token, self._tokenizer.convert_ids_to_tokens(token))

    def _read(self, token: int, piece: Any) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        if isinstance(piece, bytes):
            return piece
        if not isinstance(piece, str):
            return b""
        if self._letters:
            try:
                return piece.translate(self._letters).encode("latin-1")
            except UnicodeEncodeError:
                return piece.encode()
        if BYTE.fullmatch(piece):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode("utf-8", "replace")


class Stops:
    """Lets text through up to the first stop string; holds back what may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.met = False

    def pass_on(self, text: str) -> str:
        """The part of the text so far that may be shown now. Nothing comes after `met`."""
        if self.met or not self._stops:
            return "" if self.met else text
        text = self._held + text
        found = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if found:
            self.met, self._held = True, ""
            return text[: min(found)]
        keep = max(self._overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back, once it is sure that no more text comes."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _overlap(text: str, stop: str) -> int:
        """Length of the longest end of `text` that `stop` begins with, but is not all of."""
        for size in range(min(len(stop) - 1, len(text)), 0, -1):
            if text.endswith(stop[:size]):
                return size
        return 0
