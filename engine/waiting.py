"""The queue of a lane: bounded, by urgency, fair between callers, and nobody waits for ever.

Order: the class of the caller, which improves by one for every `AGE` seconds of waiting; within a class
start-time fair queueing, so that one caller's hundred requests do not go before another's first.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.errors import Busy
from engine.job import Job

AGE = 30.0


class Waiting:
    """Jobs that wait. Not thread-safe: its lane holds a lock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: list[Job] = []
        self._now = 0.0  # virtual time: the tag of the last job that was taken
        self._last: dict[str, float] = {}  # each caller's last tag

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def add(self, job: Job, retry_after: float) -> None:
        """Take a job in. Raises Busy when the queue is full."""
        if len(self._jobs) >= self._limit:
            raise Busy(
                f"{len(self._jobs)} requests wait already. Ask again in {retry_after:.0f} s.",
                retry_after=retry_after,
            )
        name = job.caller.name
        job.tag = max(self._now, self._last.get(name, 0.0)) + 1.0
        self._last[name] = job.tag
        self._jobs.append(job)

    def put_back(self, job: Job) -> None:
        """Let a job that was taken wait again; it keeps its place."""
        self._jobs.append(job)

    def take(self, job: Job) -> None:
        """Remove a job that starts now, or that nobody wants any more."""
        self._jobs.remove(job)
        self._now = max(self._now, job.tag)
        if not self._jobs:  # nobody is owed anything
            self._last.clear()
            self._now = 0.0

    def ordered(self, now: float, above: float | None = None) -> list[Job]:
        """The jobs in the order of their turns; with `above`, those more urgent than that."""

        def turn(job: Job) -> tuple[int, float, float]:
            aged = max(0, job.caller.priority - int((now - job.submitted) / AGE))
            return aged, job.tag, job.submitted

        jobs = [j for j in self._jobs if above is None or j.urgency < above]
        return sorted(jobs, key=turn)
