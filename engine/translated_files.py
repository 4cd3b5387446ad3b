"""Files whose words are translated and whose layout is not: text, Markdown, HTML, subtitles and Word documents.

A file becomes one text with a mark between its parts; the translated text goes back into the same places. Knows
formats, no model. What a format says of its words' look (bold, links) goes with them as far as they can be found again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from engine.errors import BadFormat, TooLarge
from engine.marked_text import MARKUP, open_html, open_markdown

Kind = Literal["text", "markdown", "html", "srt", "vtt", "docx"]
PART = "\x1e"  # between two parts of a file; ends a line, and no file holds it
MOST_CHARACTERS = 1_000_000
MOST_BYTES = 30_000_000
SUFFIXES: Mapping[str, Kind] = {
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html",
    ".srt": "srt", ".vtt": "vtt", ".docx": "docx",
}  # fmt: skip
MEDIA: Mapping[Kind, str] = {
    "text": "text/plain; charset=utf-8",
    "markdown": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}
KNOWN = ", ".join(SUFFIXES)


@dataclass(frozen=True)
class Translatable:
    """A file that was opened.

    Args:
        parts: its words, in parts that are translated each by itself.
        write: the file's bytes with other words in the place of each part.
        kept: words that must stay as they are (code, addresses).
    """

    name: str
    kind: Kind
    parts: Sequence[str]
    write: Callable[[Sequence[str]], bytes]
    kept: Sequence[str] = field(default=())

    @property
    def text(self) -> str:
        """All parts as one text, which a translation keeps apart as they are."""
        return PART.join(self.parts)

    def put(self, text: str) -> bytes:
        """The file with a translated text's parts in their places; parts that are lacking stay as they were."""
        found = text.split(PART) if self.parts else []
        return self.write([*found[: len(self.parts)], *self.parts[len(found) :]])

    @property
    def media(self) -> str:
        """Its content type."""
        return MEDIA[self.kind]

    def named(self, language: str) -> str:
        """The name of its translation: "letter.fr.docx"."""
        path = PurePath(self.name)
        return f"{path.stem or 'text'}.{language}{path.suffix or '.txt'}"


def open_file(data: bytes, name: str) -> Translatable:
    """A file's words, by its name's ending and what it holds.

    Raises:
        BadFormat: it is of no kind that is translated here, or broken. TooLarge: it holds too much.
    """
    if len(data) > MOST_BYTES:
        raise TooLarge(
            f"The file has {len(data):,} bytes; {MOST_BYTES:,} are the most.", param="file"
        )
    base = PurePath(name.replace("\\", "/")).name[:200] or "text.txt"
    kind = SUFFIXES.get(PurePath(base).suffix.lower())
    if data[:4] == b"PK\x03\x04":
        if kind not in (None, "docx"):
            raise BadFormat(f"'{base}' holds something else than its name says.", param="file")
        kind = "docx"
    if kind is None:
        raise BadFormat(
            f"'{base}' is of no kind that is translated here. These are: {KNOWN}.", param="file"
        )
    found = _open(data, base, kind)
    size = sum(map(len, found.parts)) + len(found.parts)
    if size > MOST_CHARACTERS:
        raise TooLarge(
            f"The file holds {size:,} characters; {MOST_CHARACTERS:,} are the most.", param="file"
        )
    return found


def _open(data: bytes, name: str, kind: Kind) -> Translatable:
    if kind == "docx":
        from engine.word_files import open_word

        parts, write = open_word(data)
        return Translatable(name, kind, parts, write)
    text, codec = decoded(data)
    text = text.replace(PART, " ")
    if kind in ("srt", "vtt"):
        parts, put = open_subtitles(text)
        kept: Sequence[str] = ()
    elif kind == "text":
        parts, put, kept = [text], lambda words: words[0], ()
    else:
        parts, put, kept = (open_markdown if kind == "markdown" else open_html)(text)
    return Translatable(name, kind, parts, lambda words: encoded(put(words), codec), kept)


def decoded(data: bytes) -> tuple[str, str]:
    """A text file's text and codec. Raises BadFormat: it is no text."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace"), "utf-16"
    if b"\0" in data[:4096]:
        raise BadFormat(
            "The file is no text. Send text, or a file of another kind by its own name.",
            param="file",
        )
    for codec in (
        "utf-8-sig" if data[:3] == b"\xef\xbb\xbf" else "utf-8",
        "cp1251" if _cyrillic(data) else "cp1252",
    ):
        try:
            return data.decode(codec), codec
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "utf-8"


def _cyrillic(data: bytes) -> bool:
    """Whether bytes that are no UTF-8 look like Windows' Cyrillic: mostly letters of its upper half."""
    high = [byte for byte in data[:4096] if byte >= 0x80]
    return bool(high) and sum(byte >= 0xC0 for byte in high) > 0.9 * len(high) > 0.2 * min(
        len(data), 4096
    )


def encoded(text: str, codec: str) -> bytes:
    """A text in the codec its file had; in UTF-8 where that has no letters for it."""
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return text.encode("utf-8")


def open_subtitles(text: str) -> tuple[list[str], Callable[[Sequence[str]], str]]:
    """The cues' words, a part each; numbers, times, settings and notes stay. SRT and WebVTT alike.

    A cue's lines are one sentence to a translator and are broken again afterwards.
    """
    lines = re.split(r"(\r\n|\n|\r)", text)
    frame: list[str | None] = []
    parts: list[tuple[str, int, str]] = []
    n = 0
    while n < len(lines):
        frame.append(lines[n])
        timed = "-->" in lines[n]
        n += 1
        if not timed:
            continue
        frame += lines[n : n + 1]
        gap = lines[n] if n < len(lines) else "\n"
        n += 1
        cue: list[str] = []
        while n < len(lines) and lines[n].strip():
            cue.append(lines[n].strip())
            n += 2
        for number, spoken in enumerate(said := _speakers(cue), 1):
            frame.append(None)
            parts.append((" ".join(spoken), len(spoken), gap))
            frame.append(gap if n <= len(lines) or number < len(said) else "")
    tagged = [MARKUP.part(words) for words, _, _ in parts]

    def put(words: Sequence[str]) -> str:
        made = iter(
            gap.join(_balanced(tag(word), count))
            for tag, word, (_, count, gap) in zip((t[1] for t in tagged), words, parts, strict=True)
        )
        return "".join(next(made) if part is None else part for part in frame)

    return [words for words, _ in tagged], put


def _speakers(cue: Sequence[str]) -> list[list[str]]:
    """A cue's lines, those of each speaker by themselves where dashes tell them apart."""
    found: list[list[str]] = []
    for line in cue:
        if not found or line.startswith(("-", "–", "—")):
            found.append([])
        found[-1].append(line)
    return found


def _balanced(text: str, count: int) -> list[str]:
    """A cue's words on as many lines as before, of about one length; never more lines than words."""
    lines: list[str] = []
    while count > 1 and " " in text:
        wanted = round(len(text) / count)
        before, after = text.rfind(" ", 0, wanted + 1), text.find(" ", wanted)
        known = [at for at in (before, after) if at > 0]
        if not known:
            break
        at = min(known, key=lambda place: abs(place - wanted))
        lines.append(text[:at])
        text, count = text[at + 1 :], count - 1
    return [*lines, text]
