"""Reading documents with whatever model can: readers by themselves, chat models a page's picture at a time.

Knows which model reads how, and makes one stream of pages of all of them; reads nothing itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.callers import Caller
from engine.errors import (
    AtelierError,
    BadFormat,
    BadValue,
    InferenceFailed,
    TimedOut,
    TooLarge,
)
from engine.escalation import escalated
from engine.events import Box, Done, Event, Page, Progress, Usage
from engine.ocr_prompts import Answer, ask_for, read_answer
from engine.picture_chat import added, ask, question
from engine.registry import ModelSpec
from engine.requests import OcrRequest

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.jobs import Track

AUTO = "auto"
READER = "ocr"  # the id of the reader that comes with Atelier and chooses between its engines
MOST_PAGES = 200
SIDE = 4096  # pixels: larger pictures only cost time, for models make them smaller
AT_ONCE = 4  # pages asked at once of models that answer several requests together
# What is wrong with one page alone; everything else ends the reading.
OF_A_PAGE = (InferenceFailed, TimedOut, BadFormat, TooLarge, BadValue)


def find_reader(engine: Engine, request: OcrRequest, session: str) -> tuple[ModelSpec, bool]:
    """Who reads a request, and whether uncertain lines may go to a larger model.

    Raises:
        Unknown: no such model. BadValue: it can neither read nor look at pictures.
    """
    if request.model in (None, "", AUTO):
        return engine.resolve(request.model_copy(update={"model": None}), session), True
    spec = engine.registry.find(request.model)
    if "ocr" in spec.does:
        return spec, spec.id == READER
    if "chat" in spec.does and "image" in spec.accepts:
        return spec, False
    able = [s.id for s in engine.models() if can_read(s)]
    raise BadValue(
        f"Model '{request.model}' cannot read documents. These can: {', '.join(able) or 'none yet'}.",
        param="model",
    )


def can_read(spec: ModelSpec) -> bool:
    """Whether a model reads documents: by itself, or because it chats about pictures."""
    return "ocr" in spec.does or ("chat" in spec.does and "image" in spec.accepts)


def choose_reader(engine: Engine, model: str, session: str) -> tuple[str, bool]:
    """Who is to read a session's document, an id or "auto", and whether that is a reader by itself.

    Raises:
        Unknown, BadValue: as `find_reader`.
    """
    request = OcrRequest(model=model or None, documents=(b"",))
    spec, _ = find_reader(engine, request, session)
    chosen = engine.sessions.get(session).model if session else None
    named = model not in ("", AUTO) or (chosen and engine.registry.find(chosen) is spec)
    return spec.id if named else AUTO, "ocr" in spec.does


async def read_documents(
    engine: Engine, request: OcrRequest, caller: Caller, halted: Track
) -> AsyncGenerator[Event]:
    """Events of a reading: states, one Page for each page in order, Progress in pages, Done.

    Args:
        halted: says whether somebody stopped the reading between two runs of its own.

    Raises:
        AtelierError: it cannot start, or can go no further; what is wrong with a page is in that Page.
    """
    spec, may_escalate = find_reader(engine, request, caller.session)
    request = request.model_copy(update={"model": spec.id})
    if "ocr" not in spec.does:
        events = _Asking(engine, request, spec, caller, halted).read()
    elif may_escalate and engine.settings.ocr_escalation:
        events = escalated(engine, request, spec, caller, halted)
    else:
        events = engine.run(request, caller)
    async with aclosing(events) as found:
        async for event in found:
            yield event


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A page to be read, or a document that cannot be opened."""

    document: int
    number: int
    count: int
    error: AtelierError | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A page opened: its size in pixels, its own text or its picture as a file."""

    width: int
    height: int
    page: Page | None = None
    picture: bytes = b""


@dataclass(frozen=True, slots=True)
class _Read:
    """A page that was read; `place` is its place in the order."""

    place: int
    page: Page | None
    usage: Usage = field(default_factory=Usage)
    stopped: bool = False


@dataclass(eq=False)
class _Asking:
    """A reading by a chat model: some pages are asked at once and told in their order."""

    engine: Engine
    request: OcrRequest
    spec: ModelSpec
    caller: Caller
    halted: Track
    _news: asyncio.Queue[Event | _Read | BaseException] = field(default_factory=asyncio.Queue)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def read(self) -> AsyncGenerator[Event]:
        sheets = await asyncio.to_thread(_plan, self.request)
        todo = deque(enumerate(sheets))
        ready: dict[int, _Read] = {}
        under_way, told, usage, stopped = 0, 0, Usage(), False
        try:
            while told < len(sheets) and not stopped:
                while todo and under_way < self._at_once and not self.halted.stopped:
                    under_way += 1
                    task = asyncio.create_task(self._work(*todo.popleft()))
                    self._tasks.add(task)
                    task.add_done_callback(self._settle)
                if self.halted.stopped and not under_way:
                    break
                news = await self._news.get()
                if isinstance(news, BaseException):
                    raise news
                if not isinstance(news, _Read):
                    if not told:
                        yield news
                    continue
                under_way -= 1
                ready[news.place] = news
                while (one := ready.pop(told, None)) is not None and not stopped:
                    told, usage, stopped = told + 1, added(usage, one.usage), one.stopped
                    if one.page is not None:
                        yield one.page
                        yield Progress(told, len(sheets))
        finally:
            tasks = [*self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        yield Done(usage=usage, stopped=stopped or told < len(sheets))

    @property
    def _at_once(self) -> int:
        """A processor reads one page after another as fast, and each of them in less time."""
        alone = self.spec.lane != "remote" and self.engine.lane.device.name == "cpu"
        return 1 if alone else AT_ONCE

    async def _work(self, place: int, sheet: _Sheet) -> None:
        """Read one page and say so."""
        try:
            self._news.put_nowait(await self._read(place, sheet))
        except OF_A_PAGE as error:
            self._news.put_nowait(_Read(place, _failed(sheet, error, self.spec)))

    def _settle(self, task: asyncio.Task[None]) -> None:
        """What went wrong with more than a page ends the reading."""
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._news.put_nowait(fault)

    async def _read(self, place: int, sheet: _Sheet) -> _Read:
        if sheet.error is not None:
            return _Read(place, _failed(sheet, sheet.error, self.spec))
        seen = await asyncio.to_thread(_look, self.request, sheet)
        if seen.page is not None:
            return _Read(place, seen.page)
        if self.halted.stopped:
            return _Read(place, None, stopped=True)
        asked = ask_for(self.spec, self.request.formatted, self.request.language)
        chat = question(self.spec, seen.picture, asked.prompt, self.request)
        reply = await ask(self.engine, chat, self.caller, self._news.put_nowait)
        if reply.stopped and not reply.text.strip():
            return _Read(place, None, reply.usage, stopped=True)
        answer = read_answer(asked, reply.text, reply.whole and not reply.stopped)
        page = _page(sheet, seen, answer, self.spec)
        return _Read(place, page, reply.usage, reply.stopped)


def _plan(request: OcrRequest) -> list[_Sheet]:
    """The pages to be read. A document that cannot be opened is one of them, unless it is the only one."""
    from engine.pages import choose_pages, open_document

    sheets: list[_Sheet] = []
    for place, data in enumerate(request.documents):
        try:
            with open_document(data, request.password) as document:
                count = document.count
                numbers = choose_pages(request.pages, count, MOST_PAGES)
        except AtelierError as error:
            if len(request.documents) == 1:
                raise
            sheets.append(_Sheet(place, 0, 0, error))
            continue
        sheets += [_Sheet(place, number, count) for number in numbers]
    return sheets


def _look(request: OcrRequest, sheet: _Sheet) -> _Seen:
    """Open a page: its own text where that is wanted and there, else its picture."""
    from engine.pages import open_document, page_text
    from engine.pictures import encode

    data = request.documents[sheet.document]
    with open_document(data, request.password) as document:
        if request.text_layer and (lines := document.layer(sheet.number, request.dpi)):
            width, height = document.size(sheet.number, request.dpi)
            page = Page(
                sheet.document, sheet.number, sheet.count, width, height, lines, page_text(lines)
            )
            return _Seen(width, height, page)
        picture = document.render(sheet.number, request.dpi)
    width, height = picture.size
    picture.thumbnail((SIDE, SIDE))
    return _Seen(width, height, picture=encode(picture, "jpeg", 92))


def _page(sheet: _Sheet, seen: _Seen, answer: Answer, spec: ModelSpec) -> Page:
    """The answer as a page; boxes are the model's own, in the picture it was sent."""
    scale = max(seen.width, seen.height) / min(SIDE, max(seen.width, seen.height))
    lines = tuple(replace(line, box=_scaled(line.box, scale)) for line in answer.lines)
    return Page(
        sheet.document, sheet.number, sheet.count, seen.width, seen.height, lines, answer.text,
        answer.markdown, spec.id,
    )  # fmt: skip


def _scaled(box: Box | None, scale: float) -> Box | None:
    if box is None:
        return None
    x0, y0, x1, y1 = (round(value * scale, 1) for value in box)
    return x0, y0, x1, y1


def _failed(sheet: _Sheet, error: AtelierError, spec: ModelSpec) -> Page:
    return Page(
        sheet.document,
        sheet.number,
        sheet.count,
        model=spec.id,
        error=error.message,
        code=error.code,
    )
