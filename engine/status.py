"""What the engine says of itself: plain values for the page's header, `/health` and `/api/ps`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """A model in memory.

    Args:
        memory: bytes it holds on the device, measured where that was possible.
        leases: requests that use it now.
        idle_s: seconds since the last lease ended; 0 while in use.
        expires_s: seconds until it is unloaded; None: never, or it is in use.
        load_s: seconds its loading took.
        form: how its weights are held: "bfloat16", "int8", "int4", with "+offload".
        keep_alive: seconds it stays unused; negative for good.
    """

    id: str
    memory: int
    leases: int
    idle_s: float
    expires_s: float | None
    pinned: bool
    load_s: float
    form: str = ""
    keep_alive: float = 0.0


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One device and its queue; bytes throughout.

    Args:
        name: "cpu", "cuda:0", …
        title: for people: "CPU · 2 cores", "NVIDIA H200".
        total, used: of the whole device, other programs included.
        budget, held: what models may hold together, and what they hold.
        left_behind: what closed models or failed loads did not give back.
    """

    name: str
    title: str
    total: int
    used: int
    budget: int
    held: int
    waiting: int
    running: int
    resident: tuple[ResidentModel, ...]
    left_behind: int = 0


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The whole engine: its lanes, and their models and queues together."""

    version: str
    uptime_s: float
    lanes: tuple[LaneStatus, ...]

    @property
    def resident(self) -> tuple[ResidentModel, ...]:
        """The models in memory, of all lanes."""
        return tuple(model for lane in self.lanes for model in lane.resident)

    @property
    def waiting(self) -> int:
        return sum(lane.waiting for lane in self.lanes)

    @property
    def running(self) -> int:
        return sum(lane.running for lane in self.lanes)
