"""A text as its sentences and all that stands between them, so that it can be said anew and look as before.

Nothing is lost: the pieces of a text, joined, are the text. A leaf: knows writing, no language and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.sentences import take

WRAPPED = 45  # characters from which a line that does not end a sentence was broken by hand
_BREAK = re.compile(r"(\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029])")
# What stands before a line's words: space, quotes, bullets, numbers, headings, boxes.
_LEAD = re.compile(
    r"\s*(?:(?:[>|]\s*)+)?(?:(?:[-*+•‣◦▪–—]|#{1,6}|\(?\d{1,3}[.)]|[a-zA-Z][.)])\s+)?(?:\[[ xX]\]\s+)?"
)
_UNSAID = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,15}://\S+|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+|\bwww\.\S+",
    re.IGNORECASE,
)
_OPEN_END = re.compile(r"[^.!?…:;。！？।؟\])}»”\"]\s*$")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text.

    Args:
        text: as it stands; of a sentence that was broken over lines, with spaces in their place.
        said: whether it is a sentence; everything else stays as it is.
        breaks: what stood in the place of such spaces, and after which share of the sentence.
    """

    text: str
    said: bool = False
    breaks: tuple[tuple[float, str], ...] = ()

    def put(self, text: str) -> str:
        """What stands in its place once its words are these: lines are broken where they were, nearly."""
        for share, gap in reversed(self.breaks):
            at = _nearest(text, round(share * len(text)))
            text = text[:at].rstrip(" ") + gap + text[at:].lstrip(" ") if at else text
        return text

    @property
    def source(self) -> str:
        """The piece as it stood in the text."""
        parts, start = [], 0
        for share, gap in self.breaks:
            at = round(share * len(self.text))
            parts += [self.text[start:at], gap]
            start = at + 1
        return "".join([*parts, self.text[start:]])


def _nearest(text: str, place: int) -> int:
    """The space nearest to a place; 0 where there is none."""
    before, after = text.rfind(" ", 0, place + 1), text.find(" ", place)
    known = [at for at in (before, after) if at > 0]
    return min(known, key=lambda at: abs(at - place), default=0)


def has_words(text: str) -> bool:
    """Whether there is anything to translate: a letter, not in an address alone."""
    if not any(letter.isalpha() for letter in text):
        return False
    if not any(sign in text for sign in ("://", "@", "www.")):
        return True
    return any(letter.isalpha() for letter in _UNSAID.sub("", text))


def split(text: str) -> list[Piece]:
    """The pieces of a text in order. Lists, quotes, headings, empty lines and spaces stay outside sentences."""
    pieces: list[Piece] = []
    for block in _blocks(_BREAK.split(text)):
        if isinstance(block, str):
            pieces.append(Piece(block))
        else:
            pieces += _sentences(*block)
    return _merged(pieces)


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Neighbours that stay as they are, as one; empty ones left out."""
    found: list[Piece] = []
    for piece in pieces:
        if not piece.said and found and not found[-1].said:
            found[-1] = Piece(found[-1].text + piece.text)
        elif piece.text:
            found.append(piece)
    return found


Gaps = dict[int, str]  # what stood where there is a space now
Block = tuple[str, Gaps]


def _blocks(parts: list[str]) -> Iterator[str | Block]:
    """What stays, and runs of lines that belong together. `parts`: lines, and between them their breaks."""
    body, gaps = "", Gaps()
    for number in range(0, len(parts), 2):
        line = parts[number]
        gap = parts[number + 1] if number + 1 < len(parts) else ""
        lead = "" if body else (_LEAD.match(line) or [""])[0]
        inner = line[len(lead) :] if not body else line.lstrip()
        if not body:
            yield lead
        body += inner
        following = parts[number + 2] if number + 2 < len(parts) else ""
        if gap and _goes_on(line, following):
            indent = following[: len(following) - len(following.lstrip())]
            kept = body.rstrip()
            gaps[len(kept)] = body[len(kept) :] + gap + indent
            body = kept + " "
            continue
        yield body, gaps
        yield gap
        body, gaps = "", Gaps()


def _goes_on(line: str, following: str) -> bool:
    """Whether a sentence was broken over two lines, because a line was full."""
    after = following.lstrip()
    if len(line.strip()) < WRAPPED or not after or not after[0].islower():
        return False
    return bool(_OPEN_END.search(line)) and not (_LEAD.match(following) or [""])[0].strip()


def _sentences(body: str, gaps: Gaps) -> Iterator[Piece]:
    done, rest = take(body)
    start = 0
    for sentence in (*done, rest):
        core = sentence.strip()
        at = start + sentence.find(core) if core else start + len(sentence)
        yield Piece(_restored(body, start, at, gaps))
        if core:
            inside = tuple(
                ((n - at) / len(core), gap) for n, gap in gaps.items() if at <= n < at + len(core)
            )
            piece = Piece(core, has_words(core), inside)
            yield piece if piece.said else Piece(piece.source)
        yield Piece(_restored(body, at + len(core), start + len(sentence), gaps))
        start += len(sentence)


def _restored(body: str, start: int, end: int, gaps: Gaps) -> str:
    return "".join(gaps.get(n, body[n]) for n in range(start, end))
