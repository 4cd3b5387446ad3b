"""A loaded model as its residency keeps it: the backend, who uses it, and what it holds."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from engine.fit import Form
from engine.plan import Holding
from engine.registry import Backend, ModelSpec


@dataclass(eq=False, slots=True)
class Resident:
    """A loaded model. `leases` counts the requests that use it; it is never evicted while one does.

    All in bytes: `memory` is what it holds now, `loaded` what it held when nobody had used it yet, `peak` the most
    it was seen to hold beside `spare` (kept only to be quicker), `known` the peak that is remembered, `grown` what
    the process grew by when it was loaded (0: nobody can tell).
    """

    spec: ModelSpec
    backend: Backend
    form: Form
    memory: int
    load_s: float
    keep_alive: float
    idle_since: float
    loaded: int
    peak: int = 0
    known: int = 0
    grown: int = 0
    watched: float = 0.0
    spare: int = 0
    leases: int = 0
    pinned: bool = False
    leaving: list[Future[bool]] = field(default_factory=list)

    def expires(self) -> float | None:
        """The time at which it is unloaded; None: not by the clock."""
        if self.leases or self.pinned or self.keep_alive < 0:
            return None
        return self.idle_since + self.keep_alive

    def holding(self, now: float) -> Holding:
        """What a plan sees of it. Costly to load and used lately is worth most."""
        idle = 0.0 if self.leases else now - self.idle_since
        value = (self.load_s + 0.01) / (now - self.idle_since + 1.0)
        memory = self.memory - self.spare  # the rest is given back before anything is unloaded
        reserve = max(memory, self.peak)
        busy = self.leases > 0
        return Holding(self.spec.id, memory, reserve, idle, value, busy, self.pinned)


class Closed:
    """Stands where a closed backend stood, so that nothing holds its memory by accident."""

    def close(self) -> None: ...


CLOSED = Closed()


def bytes_of(backend: Backend) -> int:
    """What a model says it holds; 0 where it does not say."""
    own = getattr(backend, "memory", None)
    return int(own()) if callable(own) else 0
