"""The text that a PDF's page carries itself: its lines, where they stand, and whether it can be relied on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.drawing import FIELDS
from engine.events import Segment

MADE_UP, HYPHEN, UNKNOWN = 1, 2, 3  # kinds of characters

LEAST_SHARE = 0.9  # so many of the characters must be ones that can be read
STAMP = 60  # letters and digits: fewer on a page that is a picture are a stamp or a page number
COVER = 0.5  # share of the page that pictures cover on a scanned page
TILT = 0.5  # degrees: less is level
ASCENT, DESCENT = 0.8, 0.2  # of a font's size, where a line is tilted
TURN = 2.0  # degrees between characters of one line
JUMPS = 0.1  # share of lines that jump back up on a page written out of order
OVERLAP = 0.2  # of a line's height: boxes of neighbouring lines touch
GAP = 3.0  # heights of a line: a wider space parts columns


_Span = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class _Glyph:
    """A character, its place in points as `drawing.py` tells it."""

    code: float
    kind: float
    left: float
    bottom: float
    right: float
    top: float
    x: float
    y: float
    way_x: float
    way_y: float
    tall: float

    @property
    def text(self) -> str:
        """ "-" for a hyphen at a line's end, "\\n" where a line ends, " " for what is not drawn."""
        char = chr(int(self.code)) if 0 < self.code < 0x110000 else "\ufffd"
        if self.kind == HYPHEN or char == "\x02":
            return "-"
        if char in "\r\n":
            return "\n"
        return " " if self.kind == MADE_UP or char.isspace() else char


@dataclass(frozen=True, slots=True)
class _Place:
    """From a page's points to pixels of its picture: x' = a x + c y + e, y' = b x + d y + f, scaled."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float
    scale: float  # pixels a point

    def point(self, x: float, y: float) -> tuple[float, float]:
        return (
            self.scale * (self.a * x + self.c * y + self.e),
            self.scale * (self.b * x + self.d * y + self.f),
        )

    def angle(self, x: float, y: float) -> float:
        """The direction of a vector, in degrees clockwise from the right."""
        return math.degrees(math.atan2(self.b * x + self.d * y, self.a * x + self.c * y))


def read_layer(
    glyphs: Sequence[float], place: Sequence[float], covered: float, scale: float
) -> tuple[Segment, ...] | None:
    """Lines in reading order, boxes in pixels at `scale` pixels a point; None where they say little.

    Args:
        glyphs: FIELDS numbers for each character, as `drawing.py` sends them.
        place: how the page lies in its picture. covered: the share of it under its largest picture.
    """
    found = [_Glyph(*glyphs[at : at + FIELDS]) for at in range(0, len(glyphs), FIELDS)]
    if not _usable(found, covered):
        return None
    a, b, c, d, e, f = place
    return tuple(in_order(_lines(found, _Place(a, b, c, d, e, f, scale)))) or None


def in_order(lines: Sequence[Segment]) -> list[Segment]:
    """Lines as they are read. A page is mostly written in that order; where it is not, it is cut into
    blocks at its empty strips, first those across, then those between columns."""
    boxed = [line for line in lines if line.box]
    jumps = sum(
        later.box[3] <= earlier.box[1] and later.box[0] < earlier.box[2]
        for earlier, later in pairwise(boxed)
        if earlier.box and later.box
    )
    return _cut(boxed, 1, 0) if jumps > max(1, JUMPS * len(boxed)) else list(lines)


def _cut(lines: list[Segment], axis: int, failed: int) -> list[Segment]:
    """Sorted along an axis (0 across, 1 down) where empty strips part them, each part along the other."""
    if len(lines) < 2 or failed == 2:
        return sorted(lines, key=lambda line: (line.box or (0, 0, 0, 0))[1::-1])
    parts: list[list[Segment]] = []
    end = -math.inf
    for line in sorted(lines, key=lambda line: (line.box or (0, 0, 0, 0))[axis]):
        box = line.box or (0, 0, 0, 0)
        if box[axis] >= end:
            parts.append([])
        parts[-1].append(line)
        end = max(end, box[axis + 2] - OVERLAP * (box[3] - box[1]))
    failed = failed + 1 if len(parts) == 1 else 0
    return [line for part in parts for line in _cut(part, 1 - axis, failed)]


def _usable(glyphs: Sequence[_Glyph], covered: float) -> bool:
    """Whether the text stands for what one sees: readable, and more than a stamp on a scan."""
    drawn = [glyph for glyph in glyphs if not glyph.text.isspace()]
    readable = sum(glyph.kind != UNKNOWN and glyph.text.isprintable() for glyph in drawn)
    letters = sum(glyph.text.isalnum() for glyph in drawn)
    if not letters or readable < LEAST_SHARE * len(drawn):
        return False
    return letters >= STAMP or covered < COVER


def _lines(glyphs: Sequence[_Glyph], place: _Place) -> list[Segment]:
    """Lines as PDFium parts them, and parted again by `_parts`."""
    lines: list[Segment] = []
    line: list[_Glyph] = []
    for glyph in glyphs:
        if glyph.text == "\n":
            lines += _parts(line, place)
            line = []
        elif glyph.text.isprintable():
            line.append(glyph)
    return [*lines, *_parts(line, place)]


def _parts(line: Sequence[_Glyph], place: _Place) -> Iterator[Segment]:
    """A line as segments: parted where columns lie beside each other, it jumps, or its tilt changes."""
    frame = _Frame(0.0)
    part = ""
    spans: list[_Span] = []
    for glyph in line:
        if glyph.text != " ":
            angle = place.angle(glyph.way_x, glyph.way_y)
            span = frame.span(glyph, place)
            turned = abs((angle - frame.angle + 180) % 360 - 180) > TURN
            if not spans or turned or _apart(spans[-1], span):
                if spans:
                    yield frame.segment(part, spans)
                frame = _Frame(angle if abs(angle) > TILT else 0.0)
                part, spans = "", []
                span = frame.span(glyph, place)
            spans.append(span)
        part += glyph.text
    if spans:
        yield frame.segment(part, spans)


def _apart(before: _Span, span: _Span) -> bool:
    """Whether two neighbours belong to different columns or lines."""
    tall = max(span[3] - span[1], before[3] - before[1])
    fall = abs((span[1] + span[3]) - (before[1] + before[3])) / 2
    return span[0] - before[2] > GAP * tall or fall > tall


@dataclass(frozen=True, slots=True)
class _Frame:
    """The picture turned so that a line lies level in it; `angle` in degrees, clockwise."""

    angle: float

    def turned(self, x: float, y: float) -> tuple[float, float]:
        cos, sin = self._turn()
        return cos * x + sin * y, cos * y - sin * x

    def back(self, x: float, y: float) -> tuple[float, float]:
        cos, sin = self._turn()
        return cos * x - sin * y, cos * y + sin * x

    def _turn(self) -> tuple[float, float]:
        return math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))

    def span(self, glyph: _Glyph, place: _Place) -> _Span:
        """Where a character stands in the turned picture."""
        points = [
            self.turned(*place.point(x, y))
            for x in (glyph.left, glyph.right)
            for y in (glyph.bottom, glyph.top)
        ]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if not self.angle % 90:
            return min(xs), min(ys), max(xs), max(ys)
        # The box stands level around a tilted character: its height comes from the font instead.
        size = glyph.tall * place.scale
        left, base = self.turned(*place.point(glyph.x, glyph.y))
        return left, base - ASCENT * size, left + min(max(xs) - left, size), base + DESCENT * size

    def segment(self, text: str, spans: Sequence[_Span]) -> Segment:
        """Characters as a segment; its box is level, its corners follow the tilt."""
        left, top = min(s[0] for s in spans), min(s[1] for s in spans)
        right, bottom = max(s[2] for s in spans), max(s[3] for s in spans)
        a, b = self.back(left, top), self.back(right, top)
        c, d = self.back(right, bottom), self.back(left, bottom)
        xs, ys = [x for x, _ in (a, b, c, d)], [y for _, y in (a, b, c, d)]
        return Segment(
            " ".join(text.split()),
            box=(min(xs), min(ys), max(xs), max(ys)),
            score=1.0,
            corners=(*a, *b, *c, *d) if self.angle else None,
        )
