"""Small pictures of text for the tests of reading, and an emit that keeps what it hears."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from engine.errors import Cancelled
from engine.events import Event, Page, Progress

FONTS = Path("/usr/share/fonts/truetype/dejavu")
ENGLISH = (
    "The ferry crosses the estuary at noon,",
    "with seventeen people and 43 clocks on board.",
    "Nobody looked at the dial; the bell struck six.",
)
RUSSIAN = (
    "Маяк на мысе Тихом погасили в 1987 году,",
    "но смотритель Фёдор Ильич не уехал.",
    "Каждое утро он поднимался наверх",
)


def draw(
    lines: Sequence[str],
    size: int = 30,
    width: int = 1000,
    step: int = 48,
    ink: str = "black",
    paper: str = "white",
    left: int = 40,
) -> Image.Image:
    """These lines below each other."""
    font = ImageFont.truetype(FONTS / "DejaVuSans.ttf", size)
    picture = Image.new("RGB", (width, 60 + step * len(lines)), paper)
    pen = ImageDraw.Draw(picture)
    for n, line in enumerate(lines):
        pen.text((left, 30 + n * step), line, fill=ink, font=font)
    return picture


def beside(first: Image.Image, second: Image.Image) -> Image.Image:
    """Two pictures side by side."""
    both = Image.new("RGB", (first.width + second.width, max(first.height, second.height)), "white")
    both.paste(first, (0, 0))
    both.paste(second, (first.width, 0))
    return both


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def tiff(*pictures: Image.Image) -> bytes:
    out = io.BytesIO()
    pictures[0].save(out, "TIFF", save_all=True, append_images=pictures[1:], compression="tiff_lzw")
    return out.getvalue()


class Listener:
    """An emit that keeps events; `after` is called with each and may raise Cancelled."""

    def __init__(self, after: Callable[[Event | None], None] | None = None) -> None:
        self.events: list[Event] = []
        self.counted: dict[str, float] = {}
        self._after = after

    def __call__(self, event: Event | None) -> None:
        if event is not None:
            self.events.append(event)
        if self._after is not None:
            self._after(event)

    def count(self, **units: float) -> None:
        for name, number in units.items():
            self.counted[name] = self.counted.get(name, 0) + number

    @property
    def pages(self) -> list[Page]:
        return [event for event in self.events if isinstance(event, Page)]

    @property
    def progress(self) -> list[tuple[int, int]]:
        return [(e.done, e.total) for e in self.events if isinstance(e, Progress)]


def cancel_at_page(number: int) -> Callable[[Event | None], None]:
    """Nobody listens any more once this page was told."""

    def after(event: Event | None) -> None:
        if isinstance(event, Page) and event.number == number:
            raise Cancelled

    return after
