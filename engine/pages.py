"""Documents as pages: PDFs, TIFFs of several frames, single pictures. Knows no model and no words' meaning."""

from __future__ import annotations

import io
import math
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from engine._layer import read_layer
from engine._pdf import WANTED, PdfProcess
from engine.errors import BadValue, TooLarge
from engine.events import Box, Segment
from engine.pictures import (
    DECODERS,
    PIXELS,
    broken,
    check_pixels,
    check_type,
    count_frames,
    measure,
    media_type,
    open_picture,
    upright,
)

if TYPE_CHECKING:
    from PIL import Image

LEAST_DPI = 36.0  # a page that must be drawn coarser to be held is not readable
PARAGRAPH = 0.6  # of a line's height: a wider space between lines parts paragraphs
SIDE = 30_000  # pixels, the longest side a drawn page may have
POINTS = 72.0  # of a PDF make an inch


class Document(ABC):
    """An open document; pages count from 1. A context manager: what it holds is freed by `close`.

    Its methods may be called from any thread; they block while pages are drawn.
    """

    kind: Literal["pdf", "tiff", "picture"]
    count: int

    @abstractmethod
    def render(self, number: int, dpi: float = 200) -> Image.Image:
        """The page as an RGB picture, upright: a PDF's page drawn at `dpi`, another one as it is.

        A page that would have more than 64 million pixels is drawn coarser, down to 36 dpi.

        Raises:
            BadValue: no such page. BadFormat: the page is broken. TooLarge: too many pixels.
        """

    @abstractmethod
    def size(self, number: int, dpi: float = 200) -> tuple[int, int]:
        """Width and height in pixels of what `render` gives. Raises what `render` does."""

    def layer(self, number: int, dpi: float = 200) -> tuple[Segment, ...] | None:
        """A page's own text: lines in reading order with boxes in pixels of `render`'s picture.

        None where it has no text, or none that stands for what one sees.
        """
        self._check(number)
        return None

    @abstractmethod
    def close(self) -> None:
        """Free what is held. A second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, number: int) -> None:
        if not 1 <= number <= self.count:
            raise BadValue(
                f"There is no page {number}: the document has {pages_of(self.count)}.",
                param="pages",
            )


def open_document(data: bytes, password: str = "", param: str = "file") -> Document:
    """Open a PDF, a TIFF or a picture; the content decides which it is.

    Raises:
        BadValue: no bytes, or a password is needed or wrong (param "password").
        BadFormat: another format, or broken. TooLarge: a picture of too many pixels.
    """
    if not data:
        raise BadValue(f"The document is empty. {WANTED}", param=param)
    if media_type(data) == "application/pdf":
        return _Pdf(data, password, param)
    return _Frames(data, param)


def choose_pages(text: str, count: int, most: int = 200) -> list[int]:
    """Page numbers in ascending order, each once: "1-3,7", "5-", "-2"; "" or "all" for all.

    A range ends at the last page; a page or a range that lies wholly beyond it is refused.

    Raises:
        BadValue: not such a text, or no such page. TooLarge: more than `most` pages.
    """
    chosen: set[int] = set()
    parts = [] if text.strip().lower() in {"", "all"} else text.split(",")
    for part in parts:
        chosen.update(_range(part.strip(), count))
    if not parts:
        chosen.update(range(1, count + 1))
    if len(chosen) > most:
        raise TooLarge(
            f"These are {len(chosen)} pages, and {most} at a time are read. "
            f"Choose some, for example 1-{most}.",
            param="pages",
        )
    return sorted(chosen)


def pages_of(count: int) -> str:
    """ "1 page", "3 pages"."""
    return f"{count} page{'s' * (count != 1)}"


def page_text(lines: Sequence[Segment]) -> str:
    """The lines of a page as text: an empty line between paragraphs, a tab between columns of a row.

    Lines without a box follow each other as they are.
    """
    text = ""
    before: Box | None = None
    for line in lines:
        if before and line.box:
            text += _between(before, line.box)
        elif text:
            text += "\n"
        text += line.text
        before = line.box
    return text


def _between(above: Box, box: Box) -> str:
    """What parts two lines that follow each other in reading order."""
    tall = min(above[3] - above[1], box[3] - box[1])
    if min(above[3], box[3]) - max(above[1], box[1]) > tall / 2:  # side by side
        return "\t" if box[0] >= above[2] - tall else "\n"
    gap = box[1] - above[3]
    return "\n\n" if gap > PARAGRAPH * tall or gap < -tall else "\n"


def _range(part: str, count: int) -> range:
    found = re.fullmatch(r"(\d{1,9})?\s*(-)?\s*(\d{1,9})?", part, re.ASCII)
    if not found or not (found[1] or found[3]):
        raise BadValue(
            f'"{part[:40]}" is no page or range of pages. Write pages as in 1-3,7.', param="pages"
        )
    first = int(found[1] or 1)
    last = int(found[3] or (count if found[2] else first))
    if not 1 <= first <= last and not (found[2] and not found[3] and first > count):
        raise BadValue(f'"{part[:40]}" is no range of pages. Pages count from 1.', param="pages")
    if first > count:
        raise BadValue(
            f"There is no page {first}: the document has {pages_of(count)}.", param="pages"
        )
    return range(first, min(last, count) + 1)


class _Frames(Document):
    """A picture, or a TIFF frame by frame."""

    def __init__(self, data: bytes, param: str) -> None:
        from PIL import Image

        kind = check_type(data, param, "The document")
        self._data, self._param, self._format = data, param, DECODERS[kind]
        self.kind = "picture"
        self.count = 1
        if kind == "image/tiff":
            with (
                broken(param, "The document"),
                Image.open(io.BytesIO(data), formats=[self._format]) as picture,
            ):
                self.count = count_frames(picture, param)
            self.kind = "tiff" if self.count > 1 else "picture"

    def render(self, number: int, dpi: float = 200) -> Image.Image:
        self._check(number)
        if self.kind == "picture":
            return open_picture(self._data, self._param)
        with self._frame(number) as picture:
            return upright(picture)

    def size(self, number: int, dpi: float = 200) -> tuple[int, int]:
        self._check(number)
        if self.kind == "picture":
            measured = measure(self._data, self._param)
            return measured.width, measured.height
        with self._frame(number) as picture:
            return picture.size

    def close(self) -> None:
        self._data = b""

    @contextmanager
    def _frame(self, number: int) -> Iterator[Image.Image]:
        """One frame of a TIFF, not decoded yet; opened anew, so any thread may ask."""
        from PIL import Image

        what = f"Page {number}"
        with (
            broken(self._param, what),
            Image.open(io.BytesIO(self._data), formats=[self._format]) as picture,
        ):
            picture.seek(number - 1)
            check_pixels(*picture.size, PIXELS, what, self._param)
            yield picture


class _Pdf(Document):
    """A PDF, read by a process of its own."""

    kind = "pdf"

    def __init__(self, data: bytes, password: str, param: str) -> None:
        self._param = param
        self._pdf = PdfProcess(data, password, param)
        self.count = self._pdf.count

    def render(self, number: int, dpi: float = 200) -> Image.Image:
        return self._pdf.draw(number, self._scale(number, dpi))

    def size(self, number: int, dpi: float = 200) -> tuple[int, int]:
        scale = self._scale(number, dpi)
        width, height = self._points(number)
        return math.ceil(width * scale), math.ceil(height * scale)

    def layer(self, number: int, dpi: float = 200) -> tuple[Segment, ...] | None:
        scale = self._scale(number, dpi)
        found, glyphs = self._pdf.ask("glyphs", number)
        return read_layer(array("d", bytes(glyphs)), found["place"], found["covered"], scale)

    def close(self) -> None:
        self._pdf.close()

    def _points(self, number: int) -> tuple[float, float]:
        """Width and height of a page in points, as it is shown."""
        self._check(number)
        size, _ = self._pdf.ask("size", number)
        return size["width"], size["height"]

    def _scale(self, number: int, dpi: float) -> float:
        """Pixels a point: as `dpi` wants it, or as many as a picture may have."""
        width, height = self._points(number)
        wanted = dpi / POINTS
        # Widths and heights are rounded up, so a little less than all pixels are planned.
        held = min(math.sqrt(0.99 * PIXELS / (width * height)), SIDE / max(width, height))
        if held < min(wanted, LEAST_DPI / POINTS):
            raise TooLarge(
                f"Page {number} measures {width / POINTS:,.1f} by {height / POINTS:,.1f} inches, "
                "too large to be drawn. Leave it out, or send a smaller one.",
                param=self._param,
            )
        return min(wanted, held)
