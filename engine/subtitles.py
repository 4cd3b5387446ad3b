"""Subtitles: spans of speech as cues of a readable size, written and read as SRT and WebVTT. A leaf."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from engine.errors import BadFormat
from engine.events import Segment, Word

LINE, LINES = 42, 2  # letters of a line, lines of a cue: what can be read at a glance
LONGEST = 7.0  # seconds of a cue
LEAST = 0.04  # seconds: players pass over cues without length
TIME = re.compile(
    r"((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})[ \t]*-->[ \t]*((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})[ \t]*(.*)"
)
STYLED = re.compile(r"&lt;(/?[ibu])&gt;")  # the marks that both formats have
MARK = re.compile(r"</?(?:[cv](?:[.\s][^>]*)?|ruby|rt|lang[^>]*|[\d:.]+|font[^>]*)>")


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from one second to another.

    Args:
        text: its lines, with no marks but `<i>`, `<b>` and `<u>`.
        name: what a file calls it.
        settings: where WebVTT places it.
    """

    start: float
    end: float
    text: str
    name: str = ""
    settings: str = ""


def cues_of(segments: Iterable[Segment]) -> list[Cue]:
    """Spans of speech as cues, long ones parted between words; the times of words are used where they are known."""
    return [cue for segment in segments for cue in _parted(segment)]


def write_srt(cues: Sequence[Cue]) -> str:
    """The cues as SubRip text."""
    blocks = (
        f"{n}\n{_clock(cue.start, ',')} --> {_clock(_end(cue), ',')}\n{_lines(cue.text)}\n"
        for n, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def write_vtt(cues: Sequence[Cue]) -> str:
    """The cues as WebVTT text."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        name = f"{cue.name}\n" if cue.name and not cue.name.isdigit() else ""
        times = f"{_clock(cue.start, '.')} --> {_clock(_end(cue), '.')} {cue.settings}".rstrip()
        blocks.append(f"{name}{times}\n{_escaped(_lines(cue.text))}\n")
    return "\n".join(blocks)


def parse_subtitles(text: str) -> list[Cue]:
    """The cues of SubRip or WebVTT text, in its order; notes and styles are left out.

    Raises:
        BadFormat: there is no cue in it.
    """
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    escaped = plain.lstrip().startswith("WEBVTT")
    cues = []
    for block in re.split(r"\n[ \t]*\n", plain):
        lines = block.strip("\n").split("\n")
        place = next((n for n, line in enumerate(lines[:3]) if TIME.search(line)), None)
        if place is None:
            continue
        found = TIME.search(lines[place])
        assert found is not None
        said = MARK.sub("", "\n".join(lines[place + 1 :]).strip())
        said = _unescaped(said) if escaped else said
        name = lines[place - 1].strip() if place else ""
        cues.append(Cue(_seconds(found[1]), _seconds(found[2]), said, name, found[3].strip()))
    if not cues:
        raise BadFormat("There is no cue in this file. Send subtitles as SRT or WebVTT.")
    return cues


def _parted(segment: Segment) -> Iterator[Cue]:
    """A span in cues of a size that can be read."""
    start, end = segment.start or 0.0, segment.end or 0.0
    text = segment.text.strip()
    if not text:
        return
    if len(text) <= LINE * LINES and end - start <= LONGEST:
        yield Cue(start, end, text)
        return
    group: list[Word] = []
    for word in _words(segment, text, start, end):
        said = " ".join(each.text for each in (*group, word))
        late = bool(group) and word.end - group[0].start > LONGEST
        if group and (late or len(said) > LINE * LINES):
            yield _joined(group)
            group = []
        group.append(word)
    if group:
        yield _joined(group)


def _words(segment: Segment, text: str, start: float, end: float) -> Sequence[Word]:
    """A span's words; where their times are not known, each lasts as long as its letters."""
    if segment.words:
        return segment.words
    parts = text.split()
    total = sum(len(part) + 1 for part in parts)
    words, at = [], start
    for part in parts:
        until = at + (end - start) * (len(part) + 1) / total
        words.append(Word(part, at, until))
        at = until
    return words


def _joined(words: Sequence[Word]) -> Cue:
    return Cue(words[0].start, words[-1].end, " ".join(word.text for word in words))


def _lines(text: str) -> str:
    """A text in lines of a readable length, as even as they can be; lines that were given stay."""
    if "\n" in text or len(text) <= LINE:
        return text
    spaces = [n for n, letter in enumerate(text) if letter == " "]
    if not spaces:
        return text
    middle = min(spaces, key=lambda n: abs(n - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def _end(cue: Cue) -> float:
    return max(cue.end, cue.start + LEAST)


def _clock(seconds: float, point: str) -> str:
    total = max(0, round(seconds * 1000))
    hours, rest = divmod(total, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _seconds(clock: str) -> float:
    whole, _, part = clock.replace(",", ".").partition(".")
    total = 0
    for number in whole.split(":"):
        total = total * 60 + int(number)
    return total + int(part.ljust(3, "0")) / 1000


def _escaped(text: str) -> str:
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return STYLED.sub(r"<\1>", plain)


def _unescaped(text: str) -> str:
    for written, sign in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", "\u00a0"), ("&amp;", "&")):
        text = text.replace(written, sign)
    return text
