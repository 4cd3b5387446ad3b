"""One device, one thread: its queue, its models, and whose turn it is.

Everything that touches a model happens on the lane's thread: load, infer, evict. Readers and callers
live on event loops and never wait for it. A lane takes `(spec, request)`, never closures.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import ModuleType
from typing import Any

from engine.callers import Caller, Priority
from engine.demand import Remembered
from engine.devices import Device
from engine.errors import AtelierError, BackendDied, Cancelled
from engine.events import Done, Event, Loading, Queued
from engine.faults import is_out_of_memory, shutting_down, wrapped
from engine.job import Job, deliver
from engine.line import Line
from engine.logs import working_for
from engine.plan import Plan
from engine.registry import Batcher, ModelSpec
from engine.requests import Request
from engine.residency import Ear, Residency
from engine.resident import Resident
from engine.settings import Settings
from engine.status import LaneStatus
from engine.waiting import Waiting

log = logging.getLogger("atelier.lane")
SHARE = 9.0  # while a long job runs, more urgent work gets up to nine times as long as it does
MOMENT = 0.05  # seconds: the least a turn is taken for
GRAIN = 0.02  # seconds that a long job works before its equals have a step: a short one is not held up by each


class Lane:
    """A queue and a thread in front of one device.

    With `threaded=False` nothing happens until `turn` is called: that is how it is tested.
    """

    def __init__(
        self,
        device: Device,
        families: Mapping[str, ModuleType | Any],
        settings: Settings,
        footprints: Remembered,
        clock: Callable[[], float] = time.monotonic,
        threaded: bool = True,
    ) -> None:
        self.device = device
        self._settings = settings
        self.clock = clock
        self._models = Residency(device, families, settings, footprints, clock)
        self._bell = threading.Condition()
        self._waiting = Waiting(settings.max_waiting)
        self._errands: list[Callable[[], None]] = []
        self._running: dict[Job, Resident] = {}
        self._batches: dict[Job, Line] = {}  # the running jobs that a Batcher holds
        self._dirty: set[Job] = set()
        self._closing = False
        self._loading = ""  # the model that is being loaded now
        self._busy = False  # a long job or a loading holds the thread
        self._pace = 1.0  # seconds a job takes, smoothed; for Retry-After
        self._thread = threading.Thread(target=self._serve, name=f"lane-{device.name}", daemon=True)
        if threaded:
            self._thread.start()

    # Called from event loops

    def submit(
        self, spec: ModelSpec, request: Request | None, caller: Caller, hold: float | None = None
    ) -> Job:
        """Queue a request (None: only load the model). Read the job to the end, or `cancel` it.

        Raises:
            Busy: the queue is full. DoesNotFit, LoadFailed: it cannot work now.
        """
        self._models.check(spec)
        loop = asyncio.get_running_loop()
        job = Job(spec, request, caller, self.clock, loop, self.clock(), hold)
        with self._bell:
            if self._closing:
                raise shutting_down()
            self._waiting.add(job, retry_after=max(1.0, self._pace * len(self._waiting)))
            if self._busy:  # the thread will not come round soon to say so
                ahead = len(self._waiting) - 1
                job.put(Loading(spec.id) if self._loading == spec.id else Queued(ahead))
            self._bell.notify()
        return job

    def evict(self, model: str) -> Future[bool]:
        """Unload a model once nobody uses it. False: it was not loaded."""
        answer: Future[bool] = Future()
        self._send(lambda: self._models.evict(model, answer))
        return answer

    def plan(self, spec: ModelSpec, context: int = 0, rows: int = 0, fresh: bool = False) -> Plan:
        """What loading a model would do now. BadValue: in this form it cannot run here."""
        return self._models.plan(spec, context, rows, fresh)

    def pin(self, model: str, pinned: bool) -> None:
        """Keep a model in memory whatever its keep-alive says."""
        self._send(lambda: self._models.pin(model, pinned))

    def hear(self, ear: Ear) -> None:
        """Tell of loadings and unloadings from now on."""
        self._models.ear = ear

    def nudge(self) -> None:
        """Look at the queue again; after a job was cancelled."""
        self._send(lambda: None)

    def status(self) -> LaneStatus:
        """A snapshot; takes no lock and never waits for the device."""
        return LaneStatus(
            name=self.device.name,
            title=self.device.title,
            total=self.device.total,
            used=self.device.used(),
            budget=self._models.budget,
            held=self._models.held,
            waiting=len(self._waiting),
            running=len(self._running),
            resident=self._models.status(),
            left_behind=self._models.left_behind,
        )

    def close(self, seconds: float = 5.0) -> None:
        """End everything that runs or waits and unload the models. Blocks up to `seconds`."""
        with self._bell:
            self._closing = True
            jobs = [*self._waiting, *self._running]
            self._bell.notify()
        for job in jobs:
            job.fail(shutting_down())
        deliver(jobs)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _send(self, errand: Callable[[], None]) -> None:
        with self._bell:
            self._errands.append(errand)
            self._bell.notify()

    # The lane's thread

    def _serve(self) -> None:
        while not self._closing:
            with self._bell:
                if not (self._batches or len(self._waiting) or self._errands or self._closing):
                    expiry = self._models.next_expiry()
                    self._bell.wait(None if expiry is None else max(0.0, expiry - self.clock()))
            try:
                if not self._closing:
                    self.turn()
            except Exception:  # a fault of the lane's own must not end it
                log.exception("the lane stumbled")
        for resident in self._models.all():
            self._models.unload(resident, "the server stops")

    def turn(self) -> None:
        """One round on the lane's thread: errands, expired models, new jobs, a step of every batch."""
        with self._bell:
            errands, self._errands = self._errands, []
        for errand in errands:
            errand()
        self._models.sweep()
        self._start_waiting(above=None)
        self._step_batches(most=None)
        self._tell_positions()
        self.flush()

    def _start_waiting(self, above: float | None) -> None:
        """Start what can start, in order; what waits for memory holds back everything behind it."""
        while (job := self._next(above)) is not None:
            with self._bell:
                self._waiting.take(job)
            with working_for(job.caller.request_id):
                resident = self._models.get(job.spec) or self._load(job)
                if resident is not None:
                    self._run(job, resident)

    def _next(self, above: float | None) -> Job | None:
        """The first job that can start now."""
        with self._bell:
            jobs = self._waiting.ordered(self.clock(), above)
            for job in [job for job in jobs if job.gone]:
                self._waiting.take(job)
        long_job = None
        for job in jobs:
            if job.gone:
                continue
            resident = self._models.get(job.spec)
            if resident is None:
                if long_job is not None or not self._models.has_room(job.spec):
                    return long_job  # nobody behind may take the memory it waits for
                return job
            if resident.leaving:
                continue
            if job.request is None or not isinstance(resident.backend, Batcher):
                long_job = long_job or job
            elif resident.leases < resident.backend.parallel:
                return job  # joining a batch takes no time, so it goes before a long job
        return long_job

    def _load(self, job: Job) -> Resident | None:
        """The job's model, loaded; None when that failed, which ends the job."""
        model = job.spec.id
        with self._bell:
            sharers = [job, *(j for j in self._waiting if j.spec.id == model)]
            self._loading, busy, self._busy = model, self._busy, True
        self._tell_positions()
        note = self._models.note(job.spec)
        for sharer in sharers:
            self.put(sharer, Loading(model, None, note))
        self.flush()
        began = self.clock()
        try:  # it may have failed for the job before
            self._models.check(job.spec)
            return self._models.load(job.spec)
        except AtelierError as error:
            self.fail(job, error)
            return None
        finally:
            with self._bell:
                self._loading, self._busy = "", busy
            job.own_load_s += self.clock() - began
            for sharer in sharers:
                sharer.load_s += self.clock() - began
                if not sharer.over:
                    self.put(sharer, Loading(model, 1.0, note))

    def _run(self, job: Job, resident: Resident) -> None:
        """Begin a job on a loaded model: join its batch, or run it to the end."""
        request = job.request
        batched = request is not None and isinstance(resident.backend, Batcher)
        self._models.lease(resident, job.keep_alive)
        self._running[job] = resident
        job.begin((request.seconds if request else None) or self._settings.time_limit)
        line = Line(self, job, batched)
        busy, self._busy = self._busy, self._busy or not batched
        try:
            if request is None:
                line(Done())
            elif isinstance(resident.backend, Batcher):
                self._batches[job] = line
                resident.backend.join(request, line)
            else:
                getattr(resident.backend, request.capability)(request, line)
                line.close()
        except Cancelled:
            self.release(job)
        except Exception as error:
            self.fault(job, error)
        finally:
            self._busy = busy

    def _step_batches(self, most: Priority | None) -> None:
        """One step of every batch that has work, or has work as urgent as `most`."""
        wanted = (job for job in self._batches if most is None or job.caller.priority <= most)
        for resident in dict.fromkeys(self._running[job] for job in wanted):
            try:
                self._step(resident)
                self._models.watch(resident)
            except Cancelled:  # the backend let it through; that row is gone, the others go on
                continue
            except Exception as error:
                self._bury(resident, error)

    def _step(self, resident: Resident) -> None:
        """A step; after running out of memory once more with everything idle gone, then without the newest."""
        assert isinstance(resident.backend, Batcher)
        try:
            resident.backend.step()
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("%s ran out of memory in a step", resident.spec.id)
        self._models.evict_idle()
        self.device.release()
        try:
            resident.backend.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            newest = [job for job in self._batches if self._running[job] is resident][-1]
            self._drop(newest, resident)
            self.fail(newest, wrapped(error, resident.spec.id, newest.caller.request_id))

    def give_way(self, job: Job, worked: float) -> bool:
        """Amid a long job: a step for its equals after each `GRAIN`, a good share for the urgent. True: one ran."""
        if shared := worked >= GRAIN:
            self._step_batches(most=job.caller.priority)
        self._start_waiting(above=job.urgency)
        until = self.clock() + SHARE * max(MOMENT, worked)
        while self.clock() < until and (
            urgent := [j for j in self._batches if j.caller.priority < job.caller.priority]
        ):
            shared = True
            self._step_batches(most=min(j.caller.priority for j in urgent))
            self.flush()
            self._start_waiting(above=job.urgency)
        self._tell_positions()
        return shared

    # Endings

    def fault(self, job: Job, error: Exception) -> None:
        """One request failed: run it again where that can help, else fail it alone."""
        resident = self._running.get(job)
        if resident is None:
            return
        if isinstance(error, BackendDied):
            self._bury(resident, error)
            return
        if full := is_out_of_memory(error):  # before the lease ends, so that its own model stays
            self._models.evict_idle()
        self._drop(job, resident)
        if full:
            self.device.release()
            if self._again(job):
                return
        self.fail(job, wrapped(error, resident.spec.id, job.caller.request_id))

    def _bury(self, resident: Resident, error: Exception) -> None:
        """The backend itself failed: it is closed, and loaded anew for those that can still start over."""
        jobs = [job for job, held in self._running.items() if held is resident]
        for job in jobs:
            self._drop(job, resident)
        self._models.unload(resident, f"it failed ({type(error).__name__})")
        for job in jobs:
            if not (isinstance(error, BackendDied) and self._again(job)):
                self.fail(job, wrapped(error, resident.spec.id, job.caller.request_id))

    def _again(self, job: Job) -> bool:
        """Let a job that has published nothing wait for one more try. False: it had its tries."""
        if job.gone or job.retried or not job.untouched:
            return False
        job.retried = True
        log.warning("%s: trying once more", job.spec.id)
        with self._bell:
            self._waiting.put_back(job)
        return True

    def _drop(self, job: Job, resident: Resident) -> None:
        """Take a job out of its batch and end its lease."""
        line = self._batches.get(job)
        if line is not None and isinstance(resident.backend, Batcher):
            resident.backend.drop(line)
        self.release(job)

    def release(self, job: Job) -> None:
        """The job uses its model no more. Harmless when said twice."""
        self._batches.pop(job, None)
        resident = self._running.pop(job, None)
        if resident is None:
            return
        self._models.release(resident)
        if job.started is not None:
            self._pace += 0.2 * (self.clock() - job.started - self._pace)

    def fail(self, job: Job, error: AtelierError) -> None:
        """End a job with an error, told at once."""
        job.fail(error)
        self._dirty.add(job)
        self.flush()

    # Publishing

    def put(self, job: Job, event: Event) -> None:
        """Publish an event; it is seen at the next `flush`."""
        job.put(event)
        self._dirty.add(job)

    def publish(self, job: Job) -> None:
        """What the job holds is seen at the next `flush`."""
        self._dirty.add(job)

    def flush(self) -> None:
        """Wake all readers of what was put since the last time, with one call for each loop."""
        if self._dirty:
            jobs, self._dirty = self._dirty, set()
            deliver(jobs)

    def _tell_positions(self) -> None:
        with self._bell:
            jobs = self._waiting.ordered(self.clock())
        for ahead, job in enumerate(jobs):
            if job.ahead != ahead and job.spec.id != self._loading:
                job.ahead = ahead
                self.put(job, Queued(ahead))
