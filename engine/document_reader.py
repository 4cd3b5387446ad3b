"""Reads stored documents in the background, a few pages at a time, whatever else the devices have to do.

Knows rows, files and tickets; how a page is read is `Engine.read`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from engine.callers import Caller, Priority
from engine.document_rows import DocumentRows
from engine.errors import (
    AtelierError,
    BackendDied,
    BadFormat,
    BadValue,
    Busy,
    Conflict,
    InferenceFailed,
    Limited,
    LoadFailed,
    TimedOut,
    TooLarge,
    Unavailable,
)
from engine.events import Done, Event, Loading, Page, Progress, Queued
from engine.jobs import OVER, Jobs, Phase, Track
from engine.papers import DocumentRow, PaperPhase, Task
from engine.requests import OcrRequest
from engine.shelf import Shelf

Read = Callable[[OcrRequest, Caller], AsyncGenerator[Event]]
AT_ONCE = 16  # pages asked for at once, at most
AIM = 20.0  # seconds such a run should take, so that documents take turns and none runs into a time limit
FIRST = 4  # pages of the first run, before the pace is known
RESTS = (
    2.0,
    4.0,
    8.0,
    16.0,
    30.0,
    60.0,
    60.0,
    60.0,
)  # seconds before each try that follows one in vain
OPTIONS = ("language", "dpi", "text_layer", "formatted")  # of a request, as they were asked for
# One page's own fault, or that of what was asked about it: the next page may do better.
OF_A_PAGE = (InferenceFailed, TimedOut, BadFormat, TooLarge, BadValue)
# May pass by itself.
PASSING = (Busy, Limited, BackendDied, LoadFailed)
log = logging.getLogger("atelier.documents")


@dataclass(eq=False)
class Work:
    """A document on its way.

    Args:
        single: a run of several pages failed: the next one asks for one page, to find which it was.
        tries: in vain, one after another; `resting_until` then says when the next one is.
        pace: seconds a page, smoothed.
    """

    id: str
    session: str
    track: Track
    single: bool = False
    tries: int = 0
    resting_until: float = 0.0
    pace: float = 0.0

    def size(self) -> int:
        """How many pages the next run asks for."""
        if self.single:
            return 1
        return min(AT_ONCE, max(1, int(AIM / self.pace))) if self.pace else FIRST


class DocumentReader:
    """One task that reads all documents of this process; sessions take turns, a run of pages each."""

    def __init__(
        self,
        rows: DocumentRows,
        shelf: Shelf,
        jobs: Jobs,
        read: Read,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._shelf = shelf
        self._jobs = jobs
        self._read = read
        self._clock = clock
        self._works: dict[str, Work] = {}
        self._paused: dict[str, Track] = {}  # tickets of what may go on
        self._served: dict[str, float] = {}  # when each session had its last turn
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._run: tuple[str, asyncio.Task[None]] | None = None
        self._closing = False

    def take(self, row: DocumentRow, halt: Callable[[], bool]) -> None:
        """Read a document that this process holds; `halt` is what cancelling its ticket does."""
        if self._closing:
            raise Conflict("The server is stopping. Ask again when it is back.")
        work = self._works.get(row.id)
        if work is None:
            work = self._works[row.id] = Work(row.id, row.session, self._track(row))
        work.resting_until, work.tries = 0.0, 0
        work.track.halt = halt
        self._news.set()
        if self._task is None:
            self._task = asyncio.create_task(self._serve())

    def drop(self, id: str, phase: Phase) -> None:
        """Read it no further: the run that is under way ends now."""
        work = self._works.pop(id, None)
        if self._run is not None and self._run[0] == id:
            self._run[1].cancel()
        if work is not None:
            self._tell(work, phase)
        elif phase in OVER and (track := self._paused.pop(id, None)) is not None:
            self._jobs.end(track, phase)

    async def close(self) -> None:
        """End the work at once; what was under way goes on at the next start."""
        self._closing = True
        tasks = [task for task in (self._task, self._run and self._run[1]) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._works:
            try:
                await self._rows.release([*self._works])
            except AtelierError as error:
                log.warning("Documents could not be handed over: %s", error)

    def _track(self, row: DocumentRow) -> Track:
        """The document's ticket: a new one unless it was only paused."""
        track = self._paused.pop(row.id, None) or self._jobs.begin(
            row.id, "document", row.name, row.models[-1], row.session
        )
        track.born = row.created.timestamp()
        track.phase, track.total, track.speed = "queued", len(row.numbers), 0.0
        return track

    def _tell(self, work: Work, phase: Phase, error: AtelierError | None = None) -> None:
        """The ticket says so; followers of one that is over leave."""
        track = work.track
        track.speed = 0.0
        if phase in OVER:
            if phase == "done":
                track.put(Done())
            self._jobs.end(track, phase, error)
        else:
            self._paused[work.id] = track
            track.phase = phase
            track.put(Progress(track.done, track.total))

    # The task

    async def _serve(self) -> None:
        while True:
            self._news.clear()
            work = self._next()
            if work is None:
                await self._rest()
                continue
            run = asyncio.create_task(self._turn(work))
            self._run = (work.id, run)
            try:
                await asyncio.wait([run])
            finally:
                self._run = None
            self._served[work.session] = self._clock()
            if not run.cancelled() and (fault := run.exception()):
                log.error("A document's reading broke off.", exc_info=fault)
                await self._broken(work, fault)

    def _next(self) -> Work | None:
        """The oldest document of the session that waited longest for a turn."""
        now = self._clock()
        ready = [work for work in self._works.values() if work.resting_until <= now]
        waiting = {work.session for work in self._works.values()}
        self._served = {name: at for name, at in self._served.items() if name in waiting}
        return min(ready, key=lambda work: self._served.get(work.session, 0.0), default=None)

    async def _rest(self) -> None:
        """Until something comes or the first of those that rest may be tried again."""
        times = [work.resting_until for work in self._works.values()]
        left = max(0.01, min(times) - self._clock()) if times else None
        try:
            async with asyncio.timeout(left):
                await self._news.wait()
        except TimeoutError:
            return

    async def _turn(self, work: Work) -> None:
        """Read some pages of a document, or note that all are read."""
        task = await self._rows.task(work.id)
        if self._works.get(work.id) is not work:
            return
        if task is None:  # another process, or another session's removal, took it away
            self._works.pop(work.id)
            self._tell(work, "cancelled")
            return
        track, count = work.track, len(task.row.numbers)
        track.phase, track.model, track.total = "running", task.model, count
        track.done = count - len(task.missing)
        if not task.missing:
            await self._finish(work, task)
            return
        asked = task.missing[: work.size()]
        before = track.done
        try:
            data = await asyncio.to_thread(self._shelf.read, work.id)
            going = await self._pages(work, task, data, asked)
        except AtelierError as error:
            await self._failed(work, task, asked, track.done - before, error)
            return
        work.tries = 0
        if not going or track.done == before:
            await self._cut_short(work, going, asked)
        elif work.single:
            work.single = False

    async def _pages(self, work: Work, task: Task, data: bytes, asked: tuple[int, ...]) -> bool:
        """One run over these pages, each kept as it comes. False: it was ended from elsewhere."""
        row, track = task.row, work.track
        request = OcrRequest(
            model=None if task.model == "auto" else task.model,
            documents=(data,),
            pages=",".join(map(str, asked)),
            password=row.password,
            **{name: row.options[name] for name in OPTIONS},
        )
        caller = Caller(
            name=f"documents of {row.session}", dialect="documents", priority=Priority.BATCH,
            request_id=f"{row.id}-{len(row.models)}-{asked[0]}",
        )  # fmt: skip
        began, wanted = self._clock(), set(asked)
        async with aclosing(self._read(request, caller)) as events:
            async for event in events:
                if isinstance(event, Done) and event.stopped:
                    return False
                if isinstance(event, Queued | Loading):
                    began = self._clock()  # waiting is not the pages' pace
                if not isinstance(event, Page) or event.number not in wanted:
                    continue
                wanted.discard(event.number)
                if not await self._kept(work, task, event):
                    return False
                now = self._clock()
                spent, began = now - began, now
                work.pace = spent if not work.pace else 0.7 * work.pace + 0.3 * spent
                track.speed = 1 / max(0.001, work.pace)
                track.put(Progress(track.done, track.total))
        return True

    async def _kept(self, work: Work, task: Task, page: Page) -> bool:
        """Store a page and tell those who follow. False: the document is to be read no further."""
        page = replace(page, document=0, code=page.code or ("FAILED" if page.error else ""))
        going = await self._rows.keep(work.id, task.model, page)
        work.track.done += 1
        work.track.put(page)
        return going and self._works.get(work.id) is work

    async def _finish(self, work: Work, task: Task) -> None:
        """Everything was read, or tried: done, unless not one page could be read."""
        phase: PaperPhase = "done"
        error: AtelierError | None = None
        code = ""
        if task.failed == len(task.row.numbers):
            first = (await self._rows.pages(work.id, task.model))[0].page
            phase, error, code = "failed", InferenceFailed(first.error), first.code
        text = error.message if error else ""
        if await self._rows.set(work.id, phase, ("running",), text, code):
            self._works.pop(work.id, None)
            self._tell(work, phase, error)

    async def _cut_short(self, work: Work, going: bool, asked: tuple[int, ...]) -> None:
        """A run ended early and well: somebody stopped it by its own ticket, or it left its pages out."""
        if going:
            await self._give_up(
                work, InferenceFailed("The model read none of the pages asked for.")
            )
        elif self._works.get(work.id) is work and await self._rows.set(
            work.id, "paused", ("running",)
        ):
            self._works.pop(work.id, None)
            self._tell(work, "paused")

    async def _failed(
        self, work: Work, task: Task, asked: tuple[int, ...], read: int, error: AtelierError
    ) -> None:
        """A run failed: its pages one by one, a page given up, a rest, or the end of the document."""
        log.warning("document %s, pages from %d: %s", work.id, asked[0], error)
        if isinstance(error, OF_A_PAGE):
            if len(asked) == 1 and not read:
                text = error.message
                page = Page(
                    0, asked[0], task.row.total, model=task.model, error=text, code=error.code
                )
                await self._kept(work, task, page)
                work.track.put(Progress(work.track.done, work.track.total))
            work.single = not work.single or len(asked) > 1
        elif _may_pass(error) and work.tries < len(RESTS):
            rest = max(error.retry_after or 0.0, RESTS[work.tries])
            work.tries += 1
            work.resting_until = self._clock() + rest
        else:
            await self._give_up(work, error)

    async def _broken(self, work: Work, fault: BaseException) -> None:
        """What nobody expected: a database that does not answer is asked again later, the rest ends it."""
        if isinstance(fault, AtelierError):
            work.resting_until = self._clock() + (fault.retry_after or 30.0)
            return
        error = InferenceFailed(
            "The reading broke off because of a fault in the server. Resume it; the log says why."
        )
        await self._give_up(work, error)

    async def _give_up(self, work: Work, error: AtelierError) -> None:
        """The document failed as a whole; resuming it goes on where it was."""
        if self._works.get(work.id) is not work:
            return
        try:
            await self._rows.set(
                work.id, "failed", ("queued", "running"), error.message, error.code
            )
        except AtelierError as fault:  # the database is not there either
            log.error("A document's failure could not be noted: %s", fault)
        self._works.pop(work.id, None)
        self._tell(work, "failed", error)


def _may_pass(error: AtelierError) -> bool:
    """Whether asking again later makes sense without anybody doing anything."""
    told_when = type(error) is Unavailable and error.retry_after is not None
    return isinstance(error, PASSING) or told_when
