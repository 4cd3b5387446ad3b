"""The order in which lines of a page are read, and its paragraphs. Knows boxes and nothing else of lines.

Boxes lie level and upright: x0, y0, x1, y1. A page is cut into bands, bands that share a white gutter into columns,
columns again into bands, and so on.
"""

from __future__ import annotations

import statistics
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Box = tuple[float, float, float, float]

GUTTER = 0.8  # of a line's height: the least width of a gutter between columns
COLUMN = (
    5.0  # of a line's height: the least typical width of lines in a column; table cells are shorter
)
APART = 2.2  # of a line's height: what stands so far under columns belongs to none of them
PARAGRAPH = 1.22  # times the usual step from line to line: a wider one begins a paragraph
AHEAD = 40  # bands that are looked at for columns to begin
LARGER = 1.35  # times as high as the line before: another kind of text


@dataclass(frozen=True, slots=True)
class Place:
    """A line's index, the column it was read in, and the row within it."""

    index: int
    column: int
    row: int


def arrange(boxes: Sequence[Box], right_to_left: bool = False) -> list[Place]:
    """The lines in reading order; boxes may overlap a little, as boxes around letters do."""
    if not boxes:
        return []
    high = statistics.median(box[3] - box[1] for box in boxes)
    arranger = _Arranger([_shrunk(box) for box in boxes], max(high, 1.0), right_to_left)
    arranger.read(list(range(len(boxes))))
    return arranger.places


def _shrunk(box: Box) -> Box:
    """The core of a line: what is left without the margin that boxes leave around letters."""
    x0, y0, x1, y1 = box
    margin = 0.28 * (y1 - y0)
    side = min(0.2 * (y1 - y0), 0.3 * (x1 - x0))
    return x0 + side, y0 + margin, x1 - side, y1 - margin


class _Arranger:
    def __init__(self, cores: Sequence[Box], high: float, right_to_left: bool) -> None:
        self.places: list[Place] = []
        self._cores, self._high, self._right_to_left = cores, high, right_to_left
        self._column = self._row = 0

    def read(self, lines: list[int]) -> None:
        """Read lines that lie in one part of the page."""
        bands = self._bands(lines)
        first = 0
        while first < len(bands):
            last = self._columns_until(bands, first)
            if last > first:
                part = [line for band in bands[first:last] for line in band]
                for column in self._columns(part):
                    self._column += 1
                    self.read(column)
                self._column += 1
                first = last
            else:
                self._read_rows(bands[first])
                first += 1

    def _bands(self, lines: list[int]) -> list[list[int]]:
        """Lines by the white strips that cross the whole part."""
        bands: list[list[int]] = []
        bottom = float("-inf")
        for line in sorted(lines, key=lambda n: self._cores[n][1]):
            if self._cores[line][1] >= bottom:
                bands.append([])
            bands[-1].append(line)
            bottom = max(bottom, self._cores[line][3])
        return bands

    def _columns_until(self, bands: list[list[int]], first: int) -> int:
        """The end of the bands from `first` on that together stand in columns; `first` where there are none."""
        part: list[int] = []
        last = first
        for number in range(first, len(bands)):
            if number - last > AHEAD:
                break
            part += bands[number]
            if number > first and len(part) > 1 and not self._gutters(part):
                wide = [n for n in bands[number] if self._crosses(n, part)]
                if last > first or wide:
                    break
            if self._columns(part):
                last = number + 1
        while last - first > 1 and self._stands_apart(bands, last - 1):
            last -= 1
        part = [line for band in bands[first:last] for line in band]
        return last if self._columns(part) else first

    def _crosses(self, line: int, part: list[int]) -> bool:
        """Whether a line takes most of the width of a part: then no gutter can appear further down."""
        x0 = min(self._cores[n][0] for n in part)
        x1 = max(self._cores[n][2] for n in part)
        return self._cores[line][2] - self._cores[line][0] > 0.7 * (x1 - x0)

    def _stands_apart(self, bands: list[list[int]], number: int) -> bool:
        above = max(self._cores[n][3] for n in bands[number - 1])
        below = min(self._cores[n][1] for n in bands[number])
        return len(bands[number]) == 1 and below - above > APART * self._high

    def _gutters(self, lines: list[int]) -> list[float]:
        """The x of the middle of each white strip that runs from top to bottom."""
        found = []
        edge = float("inf")
        for line in sorted(lines, key=lambda n: self._cores[n][0]):
            x0, _, x1, _ = self._cores[line]
            if x0 - edge > GUTTER * self._high:
                found.append((x0 + edge) / 2)
            edge = x1 if edge == float("inf") else max(edge, x1)
        return found

    def _columns(self, lines: list[int]) -> list[list[int]]:
        """The columns in reading order; none where there are no real ones, as in a table."""
        gutters = self._gutters(lines)
        columns: list[list[int]] = [[] for _ in range(len(gutters) + 1)]
        for line in lines:
            columns[sum(self._cores[line][0] > gutter for gutter in gutters)].append(line)
        if len(columns) < 2 or not all(map(self._is_column, columns)):
            return []
        return columns[::-1] if self._right_to_left else columns

    def _is_column(self, lines: list[int]) -> bool:
        widths = [self._cores[n][2] - self._cores[n][0] for n in lines]
        return len(self._bands(lines)) >= 2 and statistics.median(widths) >= COLUMN * self._high

    def _read_rows(self, band: list[int]) -> None:
        """Lines beside each other from side to side, row by row."""
        rows: list[list[int]] = []
        for line in sorted(band, key=lambda n: self._cores[n][1] + self._cores[n][3]):
            middle = (self._cores[line][1] + self._cores[line][3]) / 2
            if rows and middle < self._cores[rows[-1][0]][3]:
                rows[-1].append(line)
            else:
                rows.append([line])
        for row in rows:
            row.sort(key=lambda n: self._cores[n][0], reverse=self._right_to_left)
            self.places += [Place(line, self._column, self._row) for line in row]
            self._row += 1


def join(texts: Sequence[str], boxes: Sequence[Box], places: Sequence[Place]) -> str:
    """The text of a page: a line each, an empty line between paragraphs, a tab between cells of a row."""
    steps = _usual_steps(boxes, places)
    text = ""
    for before, place in zip([None, *places], places, strict=False):
        if before is not None:
            text += _between(boxes[before.index], boxes[place.index], before, place, steps)
        text += texts[place.index]
    return text


def _usual_steps(boxes: Sequence[Box], places: Sequence[Place]) -> dict[int, float]:
    """From line to line, for each column."""
    steps: dict[int, list[float]] = {}
    for before, place in pairwise(places):
        if before.column == place.column and before.row != place.row:
            first, second = boxes[before.index], boxes[place.index]
            high = (second[3] - second[1] + first[3] - first[1]) / 2
            step = (second[3] + second[1] - first[3] - first[1]) / 2
            if 0 < step < 2.2 * high:
                steps.setdefault(place.column, []).append(step)
    whole = [step for column in steps.values() for step in column]
    usual = _low_median(whole) if whole else 0.0
    return {place.column: _low_median(steps.get(place.column, [])) or usual for place in places}


def _low_median(values: list[float]) -> float:
    """A value below the median: steps within paragraphs are shorter than those between them."""
    return sorted(values)[int(0.4 * len(values))] if len(values) > 2 else min(values, default=0.0)


def _between(above: Box, box: Box, before: Place, place: Place, steps: dict[int, float]) -> str:
    high = max(1.0, min(above[3] - above[1], box[3] - box[1]))
    if before.row == place.row:
        gap = max(box[0] - above[2], above[0] - box[2])
        return "\t" if gap > high else " "
    # Boxes around ink begin and end where letters do: only a wide step of both sides is one.
    step = min(box[1] - above[1], box[3] - above[3])
    usual = steps.get(place.column) or 1.6 * high
    larger = max(above[3] - above[1], box[3] - box[1]) > LARGER * high
    beside = min(above[2], box[2]) <= max(above[0], box[0])
    if before.column != place.column:
        # A paragraph may go on in the next column; what is above or below columns does not.
        return "\n\n" if step > 0 else "\n"
    return "\n\n" if step > PARAGRAPH * usual or larger or (beside and step < 0) else "\n"


def is_right_to_left(texts: Iterable[str]) -> bool:
    """Whether most letters are written from right to left."""
    balance = 0
    for text in texts:
        for letter in text:
            kind = unicodedata.bidirectional(letter)
            balance += (kind in {"R", "AL"}) - (kind == "L")
    return balance > 0
