"""The models in a device's memory: loading, leasing, evicting, and what was learned of their size.

Owned by one lane and called on its thread alone, except `check` and `status`, which only read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from engine.devices import Device
from engine.errors import AtelierError, DoesNotFit, LoadFailed, NotDownloaded, Unavailable
from engine.faults import is_out_of_memory
from engine.footprints import Footprint
from engine.registry import Backend, ModelSpec
from engine.settings import Settings
from engine.status import ResidentModel

log = logging.getLogger("atelier.residency")
COOL_FIRST, COOL_MOST = 10.0, 300.0  # seconds a model that failed to load is left alone
SLACK = 200_000_000  # bytes of a closed model that may linger before it is worth a warning


class Remembered(Protocol):
    """Footprints of earlier runs, by model and device."""

    def get(self, model: str, device: str) -> Footprint | None: ...
    def remember(self, model: str, device: str, footprint: Footprint) -> None: ...


@dataclass(eq=False, slots=True)
class Resident:
    """A loaded model. `leases` counts the requests that use it; it is never evicted while one does."""

    spec: ModelSpec
    backend: Backend
    memory: int
    load_s: float
    keep_alive: float
    idle_since: float
    leases: int = 0
    pinned: bool = False
    leaving: list[Future[bool]] = field(default_factory=list)

    def expires(self) -> float | None:
        """The time at which it is unloaded; None: not by the clock."""
        if self.leases or self.pinned or self.keep_alive < 0:
            return None
        return self.idle_since + self.keep_alive

    def value(self, now: float) -> float:
        """How much is lost by evicting it: costly to load and used lately is worth most."""
        return (self.load_s + 0.01) / (now - self.idle_since + 1.0)


@dataclass(slots=True)
class _Cooling:
    until: float
    delay: float
    error: type[AtelierError]
    reason: str


class Residency:
    """The residents of one device within a budget of bytes."""

    def __init__(
        self,
        device: Device,
        families: Mapping[str, ModuleType | Any],
        settings: Settings,
        footprints: Remembered,
        clock: Callable[[], float],
    ) -> None:
        share = 0.7 if device.name == "cpu" else 0.9
        self.budget = settings.memory_budget or int(device.total * share)
        self._device = device
        self._families = families
        self._settings = settings
        self._footprints = footprints
        self._clock = clock
        self._residents: dict[str, Resident] = {}
        self._cooling: dict[str, _Cooling] = {}
        self._pins: set[str] = set()

    def get(self, spec: ModelSpec) -> Resident | None:
        return self._residents.get(spec.id)

    def all(self) -> list[Resident]:
        return list(self._residents.values())

    @property
    def held(self) -> int:
        """Bytes of all residents together."""
        return sum(resident.memory for resident in self.all())

    # Planning

    def need(self, spec: ModelSpec) -> int:
        """Bytes the model will take: measured before, else declared, else its files and a fifth."""
        known = self._footprints.get(spec.id, self._device.name)
        if known is not None:
            return known.memory
        return spec.memory or int((spec.size or _size_of(spec)) * 1.2)

    def check(self, spec: ModelSpec) -> None:
        """Refuse at once what cannot work.

        Raises:
            DoesNotFit: larger than the whole budget.
            LoadFailed: it failed a moment ago and cools down.
        """
        if spec.id in self._residents:
            return
        need = self.need(spec)
        if need > self.budget:
            raise DoesNotFit(
                f"{spec.id} needs {_gigabytes(need)}, but models may hold {_gigabytes(self.budget)} on "
                f"{self._device.title}. Choose a smaller model or raise ATELIER_MEMORY_BUDGET."
            )
        cooling = self._cooling.get(spec.id)
        if cooling is not None and self._clock() < cooling.until:
            wait = cooling.until - self._clock()
            raise cooling.error(
                f"{cooling.reason} The next try is in {wait:.0f} s.", retry_after=wait
            )

    def has_room(self, spec: ModelSpec) -> bool:
        """True when `load` may be called; False when a lease must end first."""
        return self._plan(spec)[1] or not any(r.leases for r in self.all())

    def _plan(self, spec: ModelSpec) -> tuple[list[Resident], bool]:
        """Whom to evict for `spec`, least valuable first, and whether that is enough."""
        need = self.need(spec)
        free = min(self.budget - self.held, self._device.total - self._device.used())
        now = self._clock()
        idle = [r for r in self.all() if not r.leases and not r.pinned]
        chosen: list[Resident] = []
        for resident in sorted(idle, key=lambda r: r.value(now)):
            if free >= need:
                break
            chosen.append(resident)
            free += resident.memory
        return chosen, free >= need

    # Changing

    def load(self, spec: ModelSpec) -> Resident:
        """Make room and load. A failure leaves nothing behind and starts the cooling.

        Raises:
            DoesNotFit: pinned models hold the memory it needs.
            LoadFailed, NotDownloaded or another AtelierError of the family.
        """
        victims, enough = self._plan(spec)
        pinned = ", ".join(r.spec.id for r in self.all() if r.pinned)
        if not enough and pinned:
            raise DoesNotFit(
                f"{spec.id} needs {_gigabytes(self.need(spec))}, but pinned models hold the memory: "
                f"{pinned}. Unpin or unload one."
            )
        for victim in victims:
            self.unload(victim, f"room for {spec.id}")
        began = self._clock()
        before = self._device.held()
        backend = self._loaded(spec)
        grown = max(0, self._device.held() - before)
        own = getattr(backend, "memory", None)
        memory = max(int(own()) if callable(own) else grown, 1)
        load_s = self._clock() - began
        self._cooling.pop(spec.id, None)
        self._footprints.remember(spec.id, self._device.name, Footprint(memory, load_s))
        resident = Resident(
            spec, backend, memory, load_s, self._settings.keep_alive, self._clock(),
            pinned=spec.id in self._pins,
        )  # fmt: skip
        self._residents[spec.id] = resident
        log.info("loaded %s: %s in %.1f s", spec.id, _gigabytes(memory), load_s)
        return resident

    def _loaded(self, spec: ModelSpec) -> Backend:
        family = self._families.get(spec.family)
        if family is None:
            names = ", ".join(sorted(self._families))
            raise Unavailable(f"{spec.id} wants the family '{spec.family}'; there are: {names}.")
        try:
            return self._tried(family, spec)
        except NotDownloaded:
            raise
        except Exception as error:
            self._device.release()
            raise self._cool(spec, error) from error

    def _tried(self, family: ModuleType | Any, spec: ModelSpec) -> Backend:
        """One try, and a second after everything idle was evicted when memory ran out."""
        try:
            return cast(Backend, family.load(spec, self._settings))
        except Exception as error:
            if not is_out_of_memory(error) or not self.evict_idle():
                raise
        self._device.release()
        return cast(Backend, family.load(spec, self._settings))

    def _cool(self, spec: ModelSpec, error: Exception) -> AtelierError:
        before = self._cooling.get(spec.id)
        delay = min(COOL_MOST, before.delay * 2 if before else COOL_FIRST)
        kind: type[AtelierError] = LoadFailed
        if isinstance(error, AtelierError):
            kind, reason = type(error), error.message
        elif is_out_of_memory(error):
            reason = f"{self._device.title} has no memory left for {spec.id}."
        else:
            reason = f"{spec.id} could not be loaded ({type(error).__name__}); the log says more."
        log.warning("loading %s failed", spec.id, exc_info=error)
        self._cooling[spec.id] = _Cooling(self._clock() + delay, delay, kind, reason)
        return kind(reason, retry_after=delay)

    def unload(self, resident: Resident, why: str) -> None:
        """Close a model, give its memory back and look whether it came back."""
        self._residents.pop(resident.spec.id, None)
        before = self._device.held()
        try:
            resident.backend.close()
        except Exception:
            log.exception("closing %s failed", resident.spec.id)
        resident.backend = _CLOSED
        self._device.release()
        kept = resident.memory - (before - self._device.held())
        if self._device.name != "cpu" and kept > SLACK:
            log.warning("%s left %s behind", resident.spec.id, _gigabytes(kept))
        log.info("unloaded %s: %s", resident.spec.id, why)
        for future in resident.leaving:
            future.set_result(True)

    def evict_idle(self) -> bool:
        """Unload everything that nobody uses; True when there was something."""
        idle = [r for r in self.all() if not r.leases and not r.pinned]
        for resident in idle:
            self.unload(resident, "memory ran out")
        return bool(idle)

    def evict(self, model: str, answer: Future[bool]) -> None:
        """Unload as soon as nobody uses it; `answer` says then whether it was there."""
        resident = self._residents.get(model)
        if resident is None:
            answer.set_result(False)
            return
        self._pins.discard(model)
        resident.leaving.append(answer)
        self.sweep()

    def pin(self, model: str, pinned: bool) -> None:
        """Keep a model whatever its keep-alive says, now and after its next loading."""
        (self._pins.add if pinned else self._pins.discard)(model)
        resident = self._residents.get(model)
        if resident is not None:
            resident.pinned = pinned
            resident.idle_since = self._clock()

    def lease(self, resident: Resident, keep_alive: float | None) -> None:
        """A request begins to use the model. Its keep-alive, if it brings one, holds from now on."""
        resident.leases += 1
        if keep_alive is not None:
            resident.keep_alive = keep_alive

    def release(self, resident: Resident) -> None:
        """A request ended: the idle clock starts when the last one did; what it held now is remembered."""
        resident.leases -= 1
        if resident.leases:
            return
        resident.idle_since = self._clock()
        own = getattr(resident.backend, "memory", None)
        if not callable(own):
            return
        grown = max(1, int(own()))
        if grown > resident.memory:
            self._footprints.remember(
                resident.spec.id, self._device.name, Footprint(grown, resident.load_s)
            )
        resident.memory = grown

    def sweep(self) -> None:
        """Unload what was asked to leave or whose time has come."""
        now = self._clock()
        for resident in self.all():
            expires = resident.expires()
            if resident.leaving and not resident.leases:
                self.unload(resident, "evicted")
            elif expires is not None and expires <= now:
                self.unload(resident, f"unused for {resident.keep_alive:.0f} s")

    def next_expiry(self) -> float | None:
        """The earliest time at which `sweep` has something to do; None: never."""
        times = [t for r in self.all() if (t := r.expires()) is not None]
        return min(times, default=None)

    def status(self) -> tuple[ResidentModel, ...]:
        now = self._clock()
        rows = []
        for r in self.all():
            expires = r.expires()
            rows.append(
                ResidentModel(
                    id=r.spec.id,
                    memory=r.memory,
                    leases=r.leases,
                    idle_s=0.0 if r.leases else now - r.idle_since,
                    expires_s=None if expires is None else max(0.0, expires - now),
                    pinned=r.pinned,
                    load_s=r.load_s,
                )
            )
        return tuple(rows)


class _Closed:
    """Stands where a closed backend stood, so that nothing holds its memory by accident."""

    def close(self) -> None: ...


_CLOSED = _Closed()


def _size_of(spec: ModelSpec) -> int:
    folder = Path(spec.path) if spec.path else None
    if folder is None or not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
