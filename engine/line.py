"""The `emit` of one job: publishing, cancellation, the time limit and giving way in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from engine.errors import Cancelled, TimedOut
from engine.events import Done, Event, Units
from engine.faults import wrapped
from engine.job import Job

if TYPE_CHECKING:
    from engine.lane import Lane


class Line:
    """See `registry.Emit` and `registry.BatchEmit`; lives on its lane's thread."""

    __slots__ = ("_batched", "_job", "_lane", "_since")

    def __init__(self, lane: Lane, job: Job, batched: bool) -> None:
        self._lane = lane
        self._job = job
        self._batched = batched
        self._since = lane.clock()

    def __call__(self, event: Event | None) -> None:
        """Publish an event; None only asks whether to go on."""
        self._check()
        job, lane = self._job, self._lane
        if isinstance(event, Done):
            job.finish(event)
            lane.publish(job)
            lane.release(job)
        elif event is not None:
            lane.put(job, event)
        if self._batched:
            return
        lane.flush()
        if not job.over and lane.give_way(job, lane.clock() - self._since):
            self._since = lane.clock()

    def _check(self) -> None:
        job, lane = self._job, self._lane
        late = job.deadline is not None and lane.clock() > job.deadline
        if not job.gone and not late:
            return
        lane.release(job)
        if late:
            lane.fail(
                job,
                TimedOut("The request ran over its time limit. Ask for less, or raise the limit."),
            )
        raise Cancelled

    @property
    def owner(self) -> str:
        """Who asks."""
        return self._job.caller.name

    def count(self, **units: Unpack[Units]) -> None:
        """Add to the request's usage."""
        self._job.count(units)

    def fail(self, error: Exception) -> None:
        """End this request alone with an error; where that can help, it is run once more."""
        self._lane.fault(self._job, error)

    def close(self) -> None:
        """After a backend returned: it must have said Done."""
        if not self._job.over:
            model = self._job.spec.id
            self._lane.release(self._job)
            self._lane.fail(self._job, wrapped(RuntimeError("no Done at the end"), model))
