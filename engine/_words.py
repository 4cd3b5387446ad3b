"""Where the words of a read line stand along it: estimated from their letters, moved to the gaps one sees."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.events import Corners, Segment

if TYPE_CHECKING:
    from PIL import Image

STRIP = 32  # pixels of height that a line is looked at with
SPACE = 0.12  # of a line's height: a narrower gap lies between letters
DRIFT = 0.9  # of a line's height that a gap may lie from where it is expected
INK = 0.25  # of the range between paper and darkest ink: more is ink
NARROW, WIDE = 0.55, 1.45  # of a usual small letter's width
SLIM = frozenset("iljtfrI1.,:;!|'`\"()[]{}-·°")
BROAD = frozenset("mwMWQ@%—ЖМШЩЫЮФжмшщыюф…")


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its part of the line: shares of its length, 0 where its text begins."""

    text: str
    start: float
    end: float


def find_words(line: Segment, picture: Image.Image | None = None) -> list[Word]:
    """The words of a line that has a place, in the order of its text.

    Args:
        picture: the page; without one the places are estimates.
    """
    words = line.text.split()
    if not words:
        return []
    spans = _estimate(words)
    if picture is not None and len(words) > 1:
        spans = _snapped(spans, _gaps(line, picture), DRIFT / max(_shape(line), 0.01))
    if leftward(line.text):
        spans = [(1 - end, 1 - start) for start, end in spans]
    return [Word(word, start, end) for word, (start, end) in zip(words, spans, strict=True)]


def corners_of(line: Segment) -> Corners:
    """The corners of a line that has a box, from where its text begins; a tall one runs downwards."""
    if line.corners:
        return line.corners
    x0, y0, x1, y1 = line.box or (0.0, 0.0, 0.0, 0.0)
    if y1 - y0 > 2 * (x1 - x0) and len(line.text) > 2:
        return x1, y0, x1, y1, x0, y1, x0, y0
    return x0, y0, x1, y0, x1, y1, x0, y1


def slope_of(line: Segment) -> float:
    """Degrees, clockwise as seen, by which the line runs down."""
    x0, y0, x1, y1 = corners_of(line)[:4]
    return math.degrees(math.atan2(y1 - y0, x1 - x0))


def _shape(line: Segment) -> float:
    """How often a line's height fits into its length."""
    x0, y0, x1, y1, _, _, x3, y3 = corners_of(line)
    return math.hypot(x1 - x0, y1 - y0) / max(math.hypot(x3 - x0, y3 - y0), 0.01)


def _estimate(words: Sequence[str]) -> list[tuple[float, float]]:
    """Shares of the line by how wide letters usually are."""
    spans, at = [], 0.0
    for word in words:
        width = sum(_width(char) for char in word)
        spans.append((at, at + width))
        at += width + NARROW
    whole = max(at - NARROW, 1e-6)
    return [(start / whole, end / whole) for start, end in spans]


def _width(char: str) -> float:
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.8
    if char in SLIM:
        return NARROW
    return WIDE if char in BROAD else 1.2 if char.isupper() else 1.0


def leftward(text: str) -> bool:
    """Whether a text is written from right to left."""
    kinds = [unicodedata.bidirectional(char) for char in text]
    return sum(kind in {"R", "AL"} for kind in kinds) > kinds.count("L")


def _gaps(line: Segment, picture: Image.Image) -> list[tuple[float, float]]:
    """Empty strips across the line, as shares of its length."""
    import numpy
    from PIL import Image

    x0, y0, x1, y1, x2, y2, x3, y3 = corners_of(line)
    width = min(max(round(STRIP * _shape(line)), 1), 20_000)
    quad = (x0, y0, x3, y3, x2, y2, x1, y1)
    strip = picture.transform((width, STRIP), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
    values = numpy.asarray(strip.convert("L"), dtype=numpy.int16)
    paper = int(numpy.median(values))
    away = numpy.abs(values - paper).max(axis=0)
    empty = away < max(INK * int(away.max(initial=0)), 12)
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate(([0], empty.astype(numpy.int8), [0]))))
    return [
        (float(left) / width, float(right) / width)
        for left, right in edges.reshape(-1, 2)
        if right - left >= SPACE * STRIP and left > 0 and right < width
    ]


def _snapped(
    spans: list[tuple[float, float]], gaps: list[tuple[float, float]], drift: float
) -> list[tuple[float, float]]:
    """The estimates moved to the widest gaps, where there are enough and they lie about there."""
    wanted = len(spans) - 1
    if len(gaps) < wanted:
        return spans
    found = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:wanted])
    for (left, right), span, following in zip(found, spans, spans[1:], strict=False):
        if abs((left + right) - (span[1] + following[0])) / 2 > drift * 3:
            return spans
    starts = [0.0, *(right for _, right in found)]
    ends = [*(left for left, _ in found), 1.0]
    return list(zip(starts, ends, strict=True))
