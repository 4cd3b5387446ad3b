"""One request on its way: an async iterator for the reader, a set of flags for the lane's thread.

The lane's thread puts events in, the reader's loop takes them out; `deliver` wakes many readers at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from engine.callers import Caller, Priority
from engine.errors import AtelierError
from engine.events import WAITING, Done, Event, Text, Units, Usage
from engine.registry import ModelSpec
from engine.requests import Request, SpeakRequest

# What `Usage` calls the units that are tokens.
TOKENS = {name: f"{name}_tokens" for name in ("input", "output", "cached", "reasoning")}


@dataclass(eq=False)
class Job:
    """A request, its reader and its accounts. `request` is None for a plain load of the model, which then
    stays for `hold` seconds (None: as the settings have it).

    Times are seconds of the lane's clock. `tag` is its place in the fair order, set by the queue.
    """

    spec: ModelSpec
    request: Request | None
    caller: Caller
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    submitted: float = 0.0
    hold: float | None = None
    load_s: float = 0.0
    own_load_s: float = 0.0
    tag: float = 0.0
    started: float | None = None
    first: float | None = None
    deadline: float | None = None
    ahead: int | None = None
    retried: bool = False
    cancelled: bool = False
    stopped: bool = False
    over: bool = False
    _times: Usage = field(default_factory=Usage)
    _counts: Units = field(default_factory=Units)
    _inbox: deque[Event | AtelierError] = field(default_factory=deque)
    _waiter: asyncio.Future[None] | None = None
    _taken: asyncio.Future[None] | None = None
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
        self._waiter = None
        item = self._next()
        if not self._inbox and self._taken is not None and not self._taken.done():
            self._taken.set_result(None)
        return item

    def _next(self) -> Event:
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
        texts = [text]
        while self._inbox and isinstance(newer := self._inbox[0], Text):
            texts.append(newer)
            self._inbox.popleft()
        if len(texts) == 1:
            return text
        told = tuple(one for text in texts for one in text.logprobs)
        return Text("".join(text.delta for text in texts), told)

    @property
    def behind(self) -> bool:
        """True while events lie here and the reader is busy with earlier ones; on its loop only."""
        return self._waiter is None and bool(self._inbox)

    async def taken(self) -> None:
        """Wait until the reader has taken everything; on its loop only, for one waiter."""
        if self.behind and not self.cancelled:
            self._taken = self.loop.create_future()
            await self._taken

    def cancel(self) -> None:
        """Nobody reads any more: the work ends at its next `emit`. What it used by now is in its usage."""
        if self.started is not None and not self.over and not self._times.run_s:
            self._times = self._timed()
        self.cancelled = True

    def stop(self) -> bool:
        """End now with what is there; the reader sees Done. False when it was over already."""
        if self.over:
            return False
        self.stopped = True
        self.finish(Done())
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
    def urgency(self) -> float:
        """Its caller's class; a voice's own speech goes before what writes it, that both may go on together."""
        voice = self.caller.priority == Priority.VOICE and isinstance(self.request, SpeakRequest)
        return -0.5 if voice else float(self.caller.priority)

    @property
    def keep_alive(self) -> float | None:
        """Seconds its model is to stay afterwards; None: as the settings have it."""
        return self.request.keep_alive if self.request else self.hold

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

    def count(self, units: Units) -> None:
        counts: dict[str, Any] = self._counts  # type: ignore[assignment]
        for name, number in units.items():
            counts[name] = counts.get(name, 0) + number

    @property
    def usage(self) -> Usage:
        """What it consumed so far; the seconds of its inference are in it once it is over."""
        counts = {TOKENS.get(name, name): number for name, number in self._counts.items()}
        return replace(self._times, **counts)  # type: ignore[arg-type]

    def begin(self, limit: float) -> None:
        """Inference starts now and may take `limit` seconds; what came before was waiting and loading."""
        now = self.clock()
        self.started = now
        self.deadline = now + limit
        queued = max(0.0, now - self.submitted - self.load_s)
        self._times = Usage(queued_s=queued, load_s=self.load_s, own_load_s=self.own_load_s)
        self._counts = Units()

    def finish(self, done: Done) -> None:
        """The end that went well; fills the usage's seconds in."""
        if self.over:
            return
        if self.started is not None:
            self._times = self._timed()
        self.over = True
        self._inbox.append(Done(done.finish, self.usage, self.stopped))

    def _timed(self) -> Usage:
        """Its seconds, were it to end now."""
        assert self.started is not None
        now = self.clock()
        first = (self.first if self.first is not None else now) - self.started
        return replace(self._times, first_s=first, run_s=now - self.started)

    def fail(self, error: AtelierError) -> None:
        """The end that did not."""
        if self.over:
            return
        if self.started is not None:
            self._times = replace(self._times, run_s=self.clock() - self.started)
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
