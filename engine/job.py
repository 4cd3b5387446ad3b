"""One request on its way: an async iterator for the reader, a set of flags for the lane's thread.

The lane's thread puts events in, the reader's loop takes them out; `deliver` wakes many readers at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from engine.callers import Caller
from engine.errors import AtelierError
from engine.events import WAITING, Done, Event, Text, Usage
from engine.registry import ModelSpec
from engine.requests import Request


@dataclass(eq=False)
class Job:
    """A request, its reader and its accounts. `request` is None for a plain load of the model.

    Times are seconds of the lane's clock. `tag` is its place in the fair order, set by the queue.
    """

    spec: ModelSpec
    request: Request | None
    caller: Caller
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    submitted: float = 0.0
    load_s: float = 0.0
    tag: float = 0.0
    usage: Usage = field(default_factory=Usage)
    started: float | None = None
    first: float | None = None
    deadline: float | None = None
    ahead: int | None = None
    retried: bool = False
    cancelled: bool = False
    stopped: bool = False
    over: bool = False
    _inbox: deque[Event | AtelierError] = field(default_factory=deque)
    _waiter: asyncio.Future[None] | None = None
    _read: bool = False

    # The reader's side, on its loop

    def __aiter__(self) -> Job:
        return self

    async def __anext__(self) -> Event:
        """The next event; neighbouring texts and states come merged when the reader is slower than the model."""
        if self._read:
            raise StopAsyncIteration
        while not self._inbox:
            self._waiter = self.loop.create_future()
            await self._waiter
        item = self._inbox.popleft()
        if isinstance(item, AtelierError):
            self._read = True
            raise item
        if isinstance(item, Text):
            return self._merged(item)
        while isinstance(item, WAITING) and self._inbox:
            newer = self._inbox[0]
            if isinstance(newer, AtelierError) or type(newer) is not type(item):
                break
            item = newer
            self._inbox.popleft()
        self._read = isinstance(item, Done)
        return item

    def _merged(self, text: Text) -> Text:
        more = []
        while self._inbox and isinstance(self._inbox[0], Text):
            more.append(self._inbox.popleft().delta)  # type: ignore[union-attr]
        return Text(text.delta + "".join(more)) if more else text

    def cancel(self) -> None:
        """Nobody reads any more: the work ends at its next `emit`."""
        self.cancelled = True

    def stop(self) -> bool:
        """End now with what is there; the reader sees Done. False when it was over already."""
        if self.over:
            return False
        self.stopped = True
        self.finish(Done("stop"))
        self.wake()
        return True

    def wake(self) -> None:
        """Wake the reader; on its loop only."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The lane's side, on its thread

    @property
    def gone(self) -> bool:
        """True when the work should end: nobody reads, or the reader stopped it."""
        return self.cancelled or self.over

    @property
    def untouched(self) -> bool:
        """True while no content was published, so that the request can be run again."""
        return self.first is None

    def put(self, event: Event) -> None:
        """Publish; the reader sees it at the next `deliver`."""
        if self.over:
            return
        if self.first is None and not isinstance(event, WAITING):
            self.first = self.clock()
        self._inbox.append(event)

    def count(self, input: int, output: int, cached: int) -> None:
        self.usage = replace(
            self.usage,
            input_tokens=self.usage.input_tokens + input,
            output_tokens=self.usage.output_tokens + output,
            cached_tokens=self.usage.cached_tokens + cached,
        )

    def begin(self, limit: float) -> None:
        """Inference starts now and may take `limit` seconds; what came before was waiting and loading."""
        now = self.clock()
        self.started = now
        self.deadline = now + limit
        queued = max(0.0, now - self.submitted - self.load_s)
        self.usage = Usage(queued_s=queued, load_s=self.load_s)

    def finish(self, done: Done) -> None:
        """The end that went well; fills the usage's seconds in."""
        if self.over:
            return
        now = self.clock()
        if self.started is not None:
            first = (self.first if self.first is not None else now) - self.started
            self.usage = replace(self.usage, first_s=first, run_s=now - self.started)
        self.over = True
        self._inbox.append(Done(done.finish, self.usage))

    def fail(self, error: AtelierError) -> None:
        """The end that did not."""
        if self.over:
            return
        if self.started is not None:
            self.usage = replace(self.usage, run_s=self.clock() - self.started)
        self.over = True
        self._inbox.append(error)


def deliver(jobs: Iterable[Job]) -> None:
    """Wake the readers of these jobs, with one call for each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, readers in loops.items():
        try:
            loop.call_soon_threadsafe(_wake, readers)
        except RuntimeError:  # the loop is closed: its readers are gone
            for job in readers:
                job.cancel()


def _wake(jobs: list[Job]) -> None:
    for job in jobs:
        job.wake()
