"""A second look at what a reader was not sure of, by a larger model that is in memory anyway.

Loads nothing and leaves sure lines alone. Knows lines, their scores and who else could read them.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engine.callers import Caller, Priority
from engine.errors import AtelierError
from engine.events import Box, Done, Event, Page, Segment, Usage
from engine.ocr_prompts import ask_for, ask_for_line, read_answer
from engine.papers import with_lines
from engine.picture_chat import added, ask, question
from engine.registry import ModelSpec
from engine.requests import OcrRequest

if TYPE_CHECKING:
    from PIL import Image

    from engine.engine import Engine
    from engine.jobs import Track

LOW = 0.6  # a score below which a line is read again
MOST = 0.5  # share of such lines from which the whole page is read again
LARGE = 1_000_000_000  # bytes that a model holds at least which may know better
LINES = 40  # of a page that are read again one by one, at most
MARGIN = 0.25  # of a line's height, around it
LEAST_HEIGHT = 48  # pixels a line's picture should have
ALIKE = 0.5  # two readings of one line agree at least so far
LIKELY = 0.3  # … where the second reader says how sure it is
AGREED = 0.8  # the score of a line that two readers read alike
Changes = dict[int, tuple[str, float | None]]
log = logging.getLogger("atelier.reading")


async def escalated(
    engine: Engine, request: OcrRequest, spec: ModelSpec, caller: Caller, halted: Track
) -> AsyncGenerator[Event]:
    """The reading of `spec`, its uncertain lines read again where somebody can; see `engine.run`."""
    extra = Usage()
    async with aclosing(engine.run(request, caller)) as events:
        async for event in events:
            if isinstance(event, Page) and not halted.stopped and (low := uncertain(event)):
                helper = find_helper(engine, spec)
                if helper is not None:
                    look = _Look(engine, request, event, low, helper, caller)
                    event = await look.page()
                    extra = added(extra, look.usage)
            elif isinstance(event, Done):
                event = replace(event, usage=added(event.usage, extra))
            yield event


def uncertain(page: Page) -> list[int]:
    """The places of lines that were hard to read."""
    return [
        place
        for place, line in enumerate(page.lines)
        if line.score is not None and line.score < LOW and line.box
    ]


def find_helper(engine: Engine, reader: ModelSpec) -> ModelSpec | None:
    """The largest idle model of this machine that reads too, if one is much larger than the reader.

    Starters are too small to know better, and other servers are sent nothing unasked.
    """
    resident = {model.id: model for model in engine.lane.status().resident}
    own = resident[reader.id].memory if reader.id in resident else 0
    found = [
        spec
        for spec in engine.models()
        if (held := resident.get(spec.id)) is not None
        and ("ocr" in spec.does or ("chat" in spec.does and "image" in spec.accepts))
        and spec.family != reader.family
        and not spec.starter
        and not held.leases
        and held.memory > max(own, LARGE)
    ]
    return max(found, key=lambda spec: resident[spec.id].memory, default=None)


@dataclass(eq=False)
class _Look:
    """One page's second look."""

    engine: Engine
    request: OcrRequest
    seen: Page
    low: list[int]
    helper: ModelSpec
    caller: Caller
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        # The reader itself may be at its next page: only more urgent work may come in between.
        sooner = Priority(max(0, self.caller.priority - 1))
        self.caller = replace(self.caller, priority=sooner)

    async def page(self) -> Page:
        """The page, better where the helper knew better; as it was when that fails."""
        seen = self.seen
        try:
            changes = await self._changes()
        except AtelierError as error:
            log.info("%s could not look at page %d: %s", self.helper.id, seen.number, error)
            return seen
        better = with_lines(seen, changes)
        return replace(better, model=f"{seen.model} + {self.helper.id}") if changes else seen

    async def _changes(self) -> Changes:
        picture = await asyncio.to_thread(_draw, self.request, self.seen)
        if "ocr" in self.helper.does:
            return await self._by_reader(picture)
        if len(self.low) > MOST * len(self.seen.lines):
            return await self._by_page(picture)
        return await self._by_lines(picture)

    async def _by_reader(self, picture: Image.Image) -> Changes:
        """The whole page, read by a model that does nothing else."""
        data = await asyncio.to_thread(_encoded, picture)
        request = self.request.model_copy(
            update={"model": self.helper.id, "documents": (data,), "pages": "", "formatted": False}
        )
        lines: Sequence[Segment] = ()
        async with aclosing(self.engine.run(request, self.caller)) as events:
            async for event in events:
                if isinstance(event, Page):
                    lines = event.lines or _lines_of(event.text)
                elif isinstance(event, Done):
                    self.usage = added(self.usage, event.usage)
        return self._judged(pair(self.seen.lines, lines, self.low))

    async def _by_page(self, picture: Image.Image) -> Changes:
        """The whole page, shown to a chat model."""
        asked = ask_for(self.helper, False, self.request.language)
        data = await asyncio.to_thread(_encoded, picture)
        chat = question(self.helper, data, asked.prompt, self.request)
        reply = await ask(self.engine, chat, self.caller, _nothing)
        self.usage = added(self.usage, reply.usage)
        lines = read_answer(asked, reply.text, reply.whole).lines
        return self._judged(pair(self.seen.lines, lines, self.low))

    async def _by_lines(self, picture: Image.Image) -> Changes:
        """Line by line, each cut out of the page."""
        asked = ask_for_line(self.helper, self.request.language)
        found: dict[int, Segment] = {}
        for place in self.low[:LINES]:
            line = self.seen.lines[place]
            data = await asyncio.to_thread(_cut, picture, line.box)
            tokens = 64 + 4 * len(line.text)
            chat = question(self.helper, data, asked.prompt, self.request, tokens, chances=True)
            reply = await ask(self.engine, chat, self.caller, _nothing)
            self.usage = added(self.usage, reply.usage)
            if reply.stopped:
                break
            answer = read_answer(asked, reply.text, reply.whole)
            if not answer.cut:
                found[place] = Segment(" ".join(answer.text.split()), score=reply.chance)
        return self._judged(found)

    def _judged(self, found: Mapping[int, Segment]) -> Changes:
        lines = self.seen.lines
        judged = {place: judge(lines[place], new) for place, new in found.items()}
        return {place: one for place, one in judged.items() if one is not None}


def judge(old: Segment, new: Segment) -> tuple[str, float | None] | None:
    """The better text of a line and its score; None where the second reading does not convince."""
    text, before = new.text.strip(), old.score or 0.0
    if not text:
        return None
    if text == old.text:
        return text, max(before, AGREED)
    if not 0.4 * len(old.text) - 3 <= len(text) <= 2 * len(old.text) + 10:
        return None
    alike = difflib.SequenceMatcher(None, old.text, text, autojunk=False).ratio()
    if new.score is not None:
        return (text, new.score) if new.score > before and alike >= LIKELY else None
    return (text, max(before, LOW)) if alike >= ALIKE else None


def pair(
    old: Sequence[Segment], new: Sequence[Segment], wanted: Sequence[int]
) -> dict[int, Segment]:
    """Which of the new lines is each wanted old one: by place where both have boxes, else by order and words."""
    if all(line.box for line in new) and new:
        return _paired_by_place(old, new, wanted)
    if len(old) == len(new):
        return {place: new[place] for place in wanted}
    found: dict[int, Segment] = {}
    at = 0
    for place, line in enumerate(old):
        ahead = new[at : at + 1 + len(new) // 4 + 3]
        ratios = [
            difflib.SequenceMatcher(None, line.text, one.text, autojunk=False).ratio()
            for one in ahead
        ]
        best = max(range(len(ratios)), key=ratios.__getitem__, default=None)
        if best is None or ratios[best] < ALIKE:
            continue
        if place in wanted:
            found[place] = ahead[best]
        at += best + 1
    return found


def _paired_by_place(
    old: Sequence[Segment], new: Sequence[Segment], wanted: Sequence[int]
) -> dict[int, Segment]:
    found = {}
    for place in wanted:
        shares = [(_shared(old[place].box, line.box), line) for line in new]
        share, line = max(shares, key=lambda one: one[0])
        if share >= ALIKE:
            found[place] = line
    return found


def _shared(one: Box | None, other: Box | None) -> float:
    """How much two boxes share: 1 where they are the same, 0 where they do not touch."""
    if one is None or other is None:
        return 0.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _lines_of(text: str) -> list[Segment]:
    return [Segment(line.strip()) for line in text.splitlines() if line.strip()]


def _draw(request: OcrRequest, page: Page) -> Image.Image:
    """The page's picture, in the size that its boxes are measured in."""
    from engine.pages import open_document

    with open_document(request.documents[page.document], request.password) as document:
        picture = document.render(page.number, request.dpi)
    size = (page.width or picture.width, page.height or picture.height)
    return picture if picture.size == size else picture.resize(size)


def _cut(picture: Image.Image, box: Any) -> bytes:
    """A line's own picture with some room around it, large enough to be read."""
    x0, y0, x1, y1 = box
    room = MARGIN * (y1 - y0)
    piece = picture.crop(
        (
            int(max(0, x0 - room)),
            int(max(0, y0 - room)),
            int(min(picture.width, x1 + room + 1)),
            int(min(picture.height, y1 + room + 1)),
        )
    )
    if 0 < piece.height < LEAST_HEIGHT:
        scale = LEAST_HEIGHT / piece.height
        piece = piece.resize((max(1, round(piece.width * scale)), LEAST_HEIGHT))
    return _encoded(piece)


def _encoded(picture: Image.Image) -> bytes:
    from engine.pictures import encode

    return encode(picture, "png")


def _nothing(event: Event) -> None:
    """States of a second look are nobody's to see: the page is being read."""
