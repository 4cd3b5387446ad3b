"""The lane in front of other servers: no device and no thread, one task for each request.

Same face as `engine.lane.Lane`. A backend here is a client; its capability methods are coroutines.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import ModuleType
from typing import Any, Unpack

from engine.callers import Caller
from engine.errors import AtelierError, Busy, Cancelled, TimedOut
from engine.events import Done, Event, Queued, Units
from engine.faults import shutting_down, wrapped
from engine.job import Job
from engine.plan import Plan, elsewhere
from engine.registry import ModelSpec
from engine.requests import Request
from engine.settings import Settings
from engine.status import LaneStatus

log = logging.getLogger("atelier.remote")


class RemoteLane:
    """Requests to other servers, `settings.remote_parallel` at once; the rest wait in order."""

    def __init__(
        self,
        families: Mapping[str, ModuleType | Any],
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        find: Callable[[str], ModelSpec] | None = None,
    ) -> None:
        """`find` gives the catalog's row of an id, so that a model that we never used can be unloaded."""
        self.clock = clock
        self._find = find
        self._families = families
        self._settings = settings
        self._backends: dict[str, tuple[ModelSpec, Any]] = {}
        self._retired: list[Any] = []  # clients of rows that changed; requests may still use them
        self._unloading: set[asyncio.Task[None]] = set()
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self._waiting: dict[Job, asyncio.Future[None]] = {}
        self._running = 0
        self._closing = False

    def submit(
        self, spec: ModelSpec, request: Request | None, caller: Caller, hold: float | None = None
    ) -> Job:
        """Start or queue a request (None: have the other server load the model). Raises Busy when the queue is full."""
        if self._closing:
            raise shutting_down()
        if len(self._waiting) >= self._settings.max_waiting:
            raise Busy(
                f"{len(self._waiting)} requests wait already. Ask again soon.", retry_after=5
            )
        loop = asyncio.get_running_loop()
        job = Job(spec, request, caller, self.clock, loop, submitted=self.clock(), hold=hold)
        self._tasks[job] = loop.create_task(self._serve(job))
        return job

    async def _serve(self, job: Job) -> None:
        try:
            await self._turn(job)
            await self._answer(job)
        except (Cancelled, asyncio.CancelledError):
            job.cancel()
        except AtelierError as error:
            job.fail(error)
        except Exception as error:
            job.fail(wrapped(error, job.spec.id, job.caller.request_id))
        finally:
            job.wake()
            self._tasks.pop(job, None)

    async def _turn(self, job: Job) -> None:
        """Wait until fewer than the allowed number run."""
        if self._running < self._settings.remote_parallel and not self._waiting:
            self._running += 1
            return
        ticket: asyncio.Future[None] = job.loop.create_future()
        self._waiting[job] = ticket
        job.put(Queued(len(self._waiting) - 1))
        job.wake()
        try:
            await ticket  # whoever wakes it hands its place over, so `_running` stays as it is
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._leave()
            raise
        finally:
            self._waiting.pop(job, None)

    def _leave(self) -> None:
        """Hand the place over to the first who waits, or free it."""
        waiting = [job for job, ticket in self._waiting.items() if not ticket.done()]
        if not waiting:
            self._running -= 1
            return
        self._waiting.pop(waiting[0]).set_result(None)
        for ahead, job in enumerate(waiting[1:]):
            job.put(Queued(ahead))
            job.wake()

    async def _answer(self, job: Job) -> None:
        try:
            backend = self._backend(job.spec)
            limit = (job.request.seconds if job.request else None) or self._settings.time_limit
            job.begin(limit)
            line = _Line(job)
            async with asyncio.timeout(limit):
                if job.request is None:
                    await backend.warm(job.hold)
                    line(Done())
                else:
                    await getattr(backend, job.request.capability)(job.request, line)
        except TimeoutError:
            raise TimedOut(
                f"{job.spec.id} ran over its time limit. Ask for less, or raise the limit."
            ) from None
        finally:
            self._leave()
        if not job.over:
            raise RuntimeError("no Done at the end")

    def _backend(self, spec: ModelSpec) -> Any:
        """The client of a row; a new one where the row has changed."""
        known, backend = self._backends.get(spec.id, (None, None))
        if known != spec:
            if backend is not None:
                self._retired.append(backend)
            backend = self._families[spec.family].load(spec, self._settings)
            self._backends[spec.id] = (spec, backend)
        return backend

    def nudge(self) -> None:
        """End the tasks of jobs that nobody reads any more."""
        for job, task in list(self._tasks.items()):
            if job.gone:
                task.cancel()

    def evict(self, model: str) -> Future[bool]:
        """Have the other server unload a model. False: it was not loaded there, or cannot be told."""
        answer: Future[bool] = Future()
        answer.set_running_or_notify_cancel()  # from here on it is answered, whether or not anybody waits
        task = asyncio.get_running_loop().create_task(self._unload(model, answer))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)
        return answer

    async def _unload(self, model: str, answer: Future[bool]) -> None:
        try:
            spec = self._find(model) if self._find else self._backends.get(model, (None,))[0]
            answer.set_result(spec is not None and await self._backend(spec).unload())
        except AtelierError as error:
            answer.set_exception(error)
        finally:
            if not answer.done():
                answer.set_result(False)

    def plan(self, spec: ModelSpec, context: int = 0, rows: int = 0, fresh: bool = False) -> Plan:
        """Nothing happens here: the model lives elsewhere."""
        return elsewhere(spec.id)

    def pin(self, model: str, pinned: bool) -> None:
        """Nothing to keep: the model lives elsewhere."""

    def status(self) -> LaneStatus:
        """A snapshot; other servers' memory is theirs."""
        return LaneStatus(
            name="remote",
            title="Other servers",
            total=0,
            used=0,
            budget=0,
            held=0,
            waiting=len(self._waiting),
            running=len(self._tasks) - len(self._waiting),
            resident=(),
        )

    async def close(self) -> None:
        """End what runs and close the clients."""
        self._closing = True
        tasks = list(self._tasks.items())
        for job, task in tasks:
            job.fail(shutting_down())
            task.cancel()
        await asyncio.gather(*(task for _, task in tasks), return_exceptions=True)
        for task in self._unloading:
            task.cancel()
        for backend in (*self._retired, *(backend for _, backend in self._backends.values())):
            await backend.close()


class _Line:
    """The `emit` of a job on the reader's own loop."""

    __slots__ = ("_job",)

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, event: Event | None) -> None:
        """Publish an event; None only asks whether to go on."""
        job = self._job
        if job.gone:
            raise Cancelled
        if isinstance(event, Done):
            job.finish(event)
        elif event is not None:
            job.put(event)
        job.wake()

    def count(self, **units: Unpack[Units]) -> None:
        """Add to the request's usage."""
        self._job.count(units)

    @property
    def behind(self) -> bool:
        """True while the reader is busy with earlier events."""
        return self._job.behind

    async def taken(self) -> None:
        """Wait until the reader has taken everything."""
        await self._job.taken()
