"""The models in a device's memory: loading, leasing, evicting, and what was learned of their size.

Owned by one lane and called on its thread alone, except `check` and `status`, which only read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from types import ModuleType
from typing import Any, Protocol, cast

from engine.cooling import Cooling
from engine.demand import Demand, Remembered
from engine.devices import Device
from engine.errors import AtelierError, DoesNotFit, NotDownloaded, Unavailable
from engine.faults import is_out_of_memory
from engine.fit import Form, gigabytes
from engine.footprints import Footprint
from engine.plan import Plan, Room, make_plan, resident_plan
from engine.registry import Backend, ModelSpec, Spares
from engine.resident import CLOSED, Resident, bytes_of
from engine.settings import Settings
from engine.status import ResidentModel

log = logging.getLogger("atelier.residency")
SLACK = 200_000_000  # bytes of a closed model that may linger before it is worth a warning
WATCH = 0.25  # seconds between two looks at what a working model holds


class Ear(Protocol):
    """Who is told what comes into the memory and what leaves it; on the lane's thread."""

    def loaded(self, model: str, seconds: float) -> None: ...
    def failed(self, model: str) -> None: ...
    def unloaded(self, model: str, why: str) -> None: ...


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
        self._demand = Demand(device, families, settings, footprints, self.budget)
        self._clock = clock
        self._residents: dict[str, Resident] = {}
        self._cooling = Cooling(clock)
        self._pins: set[str] = set()
        self._known: set[str] = set()  # families whose libraries are in memory
        self._changes = 0  # counts what may have made room
        self._blocked = ("", 0)
        self.left_behind = 0
        self.ear: Ear | None = None

    def get(self, spec: ModelSpec) -> Resident | None:
        return self._residents.get(spec.id)

    def all(self) -> list[Resident]:
        return list(self._residents.values())

    @property
    def held(self) -> int:
        """Bytes of all residents together."""
        return sum(resident.memory for resident in self.all())

    # Planning

    def plan(self, spec: ModelSpec, context: int = 0, rows: int = 0, fresh: bool = False) -> Plan:
        """What `load` would do now; changes nothing and may be asked from any thread.

        Args:
            context, rows: tokens and requests at once to plan for; 0: as the settings have it.
            fresh: as if it were not in memory already.

        Raises:
            BadValue: the row or the settings ask for a form that cannot run here.
        """
        room = self._room(without=spec.id if fresh else "")
        resident = self._residents.get(spec.id)
        if resident is not None and not fresh:
            return resident_plan(resident.holding(self._clock()), resident.form, room, True)
        needs = self._demand.needs(spec, context, rows)
        present, first = self._demand.present(spec), needs[0]
        plans = [
            make_plan(
                spec.id, need.memory, need.form, need.measured, room, present=present,
                note=_reason(need.form, None if need is first else first.form),
            )
            for need in needs
        ]  # fmt: skip
        return next((plan for plan in plans if plan.fits != "too_big"), plans[-1])

    def has_room(self, spec: ModelSpec) -> bool:
        """True when `load` may be called, were it to refuse; False when an answer must end first."""
        now = (spec.id, self._changes)
        if self._blocked == now:  # nobody left since it was asked last, which may be at every token
            return False
        try:
            waits = self.plan(spec).waits
        except AtelierError:
            return True
        self._blocked = now if waits else ("", 0)
        return not waits

    def note(self, spec: ModelSpec) -> str:
        """In which form other than its own it would be loaded, and why; empty where it would not."""
        try:
            return self.plan(spec).note
        except AtelierError:
            return ""

    def _room(self, without: str = "") -> Room:
        now = self._clock()
        device = self._device
        found = [resident.holding(now) for resident in self.all()]
        holdings = tuple(holding for holding in found if holding.id != without)
        away = sum(holding.memory for holding in found if holding.id == without)
        free = device.total - device.used() + away + sum(r.spare for r in self.all())
        return Room(device.name, device.title, self.budget, device.total, free, holdings)

    def check(self, spec: ModelSpec) -> None:
        """Refuse at once what cannot work.

        Raises:
            BadValue: it was asked for in a form that cannot run here.
            DoesNotFit: larger than the whole budget in every form.
            LoadFailed: it failed a moment ago and cools down.
        """
        if spec.id in self._residents:
            return
        plan = self.plan(spec)
        if plan.fits == "too_big" and plan.needed > self.budget:
            raise DoesNotFit(plan.sentence)
        self._cooling.check(spec.id)

    # Changing

    def load(self, spec: ModelSpec) -> Resident:
        """Carry out the plan: make room and load. A failure leaves nothing behind and starts the cooling.

        Raises:
            DoesNotFit: pinned models or other programs hold the memory it needs.
            LoadFailed, NotDownloaded or another AtelierError of the family.
        """
        plan = self.plan(spec)
        if plan.fits == "too_big":
            raise DoesNotFit(plan.sentence)
        if plan.needed > min(self.budget - self.held, self._device.total - self._device.used()):
            self.shed()
        for leaving in plan.unloads:
            self.unload(self._residents[leaving.id], f"room for {spec.id}")
        form = Form(plan.dtype, plan.quantisation, plan.offload)
        began, before = self._clock(), self._device.held()
        judged = self._judged(spec)
        backend = self._loaded(spec, form, plan.needed, judged)
        load_s = self._clock() - began
        self._device.release()
        grown = max(0, self._device.held() - before)
        memory = bytes_of(backend) or max(grown, 1)
        self._cooling.forget(spec.id)
        resident = Resident(
            spec, backend, form, memory, load_s, self._settings.keep_alive, self._clock(), memory,
            peak=max(memory, plan.needed if plan.measured else 0),
            grown=grown if judged else 0, pinned=spec.id in self._pins,
        )  # fmt: skip
        self._remember(resident)
        self._residents[spec.id] = resident
        if self.ear is not None:
            self.ear.loaded(spec.id, load_s)
        log.info("loaded %s as %s: %s in %.1f s", spec.id, form.label, gigabytes(memory), load_s)
        return resident

    def _judged(self, spec: ModelSpec) -> bool:
        """Whether what the process grows by is the model: in RAM, a family's first load brings libraries too."""
        known = spec.family in self._known
        self._known.add(spec.family)
        return known or self._device.name != "cpu"

    def _remember(self, resident: Resident) -> None:
        key = self._demand.key(resident.spec, resident.form)
        self._demand.remember(key, Footprint(resident.loaded, resident.load_s, resident.peak))
        resident.known = resident.peak

    def _loaded(self, spec: ModelSpec, form: Form, memory: int, judged: bool) -> Backend:
        family = self._families.get(spec.family)
        if family is None:
            names = ", ".join(sorted(self._families))
            raise Unavailable(f"{spec.id} wants the family '{spec.family}'; there are: {names}.")
        if getattr(family, "QUANTISES", False):
            how = {"dtype": form.dtype, "quantisation": form.quantisation or "none"}
            told = {**how, "offload": form.offload, "device_memory": memory}
            spec = replace(spec, options={**spec.options, **told})
        before = self._device.held()
        try:
            return self._tried(family, spec)
        except NotDownloaded:
            raise
        except Exception as error:
            self._device.release()
            if judged:
                self._judge(spec.id, self._device.held() - before)
            if self.ear is not None:
                self.ear.failed(spec.id)
            raise self._cooling.fail(spec.id, error, self._device.title) from error

    def _tried(self, family: ModuleType | Any, spec: ModelSpec) -> Backend:
        """One try, and a second after everything idle was evicted when memory ran out."""
        try:
            return cast(Backend, family.load(spec, self._settings))
        except Exception as error:
            if not is_out_of_memory(error) or not self.evict_idle():
                raise
        self._device.release()
        return cast(Backend, family.load(spec, self._settings))

    def unload(self, resident: Resident, why: str) -> None:
        """Close a model, give its memory back and look whether it came back."""
        self._residents.pop(resident.spec.id, None)
        self._changes += 1
        before = self._device.held()
        try:
            resident.backend.close()
        except Exception:
            log.exception("closing %s failed", resident.spec.id)
        resident.backend = CLOSED
        self._device.release()
        if resident.grown:
            freed = before - self._device.held()
            self._judge(resident.spec.id, min(resident.memory, resident.grown) - freed)
        if self.ear is not None:
            self.ear.unloaded(resident.spec.id, why)
        log.info("unloaded %s: %s", resident.spec.id, why)
        for answer in resident.leaving:
            _tell(answer, True)

    def _judge(self, model: str, kept: int) -> None:
        """Take note of bytes that should have come back; what comes back later is taken off again."""
        if kept > SLACK:
            log.warning("%s left %s behind", model, gigabytes(kept))
        if abs(kept) > SLACK:
            self.left_behind = max(0, self.left_behind + kept)

    def evict_idle(self) -> bool:
        """Unload everything that nobody uses, and what the others can spare; True when there was something."""
        idle = [r for r in self.all() if not r.leases and not r.pinned]
        for resident in idle:
            self.unload(resident, "memory ran out")
        return self.shed() > 0 or bool(idle)

    def shed(self) -> int:
        """Have every model give back what it keeps only to be quicker; the bytes that came free."""
        freed = 0
        for resident in self.all():
            if isinstance(resident.backend, Spares):
                freed += resident.backend.shed()
                self._measure(resident)
        self._device.release()
        return freed

    def evict(self, model: str, answer: Future[bool]) -> None:
        """Unload as soon as nobody uses it; `answer` says then whether it was there."""
        resident = self._residents.get(model)
        if resident is None:
            _tell(answer, False)
            return
        self._pins.discard(model)
        resident.leaving.append(answer)
        self.sweep()

    def pin(self, model: str, pinned: bool) -> None:
        """Keep a model whatever its keep-alive says, now and after its next loading."""
        (self._pins.add if pinned else self._pins.discard)(model)
        self._changes += 1
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
        """A request ended: the idle clock starts when the last one did; the most it held is remembered."""
        resident.leases -= 1
        if resident.leases:
            return
        self._changes += 1
        resident.idle_since = self._clock()
        self._measure(resident)
        if resident.peak > resident.known:
            self._remember(resident)

    def watch(self, resident: Resident) -> None:
        """Look at what a working model holds, now and then: its cache is largest in the middle of its work."""
        now = self._clock()
        if now - resident.watched >= WATCH:
            resident.watched = now
            self._measure(resident)

    def _measure(self, resident: Resident) -> None:
        if own := bytes_of(resident.backend):
            resident.spare = b.spare() if isinstance(b := resident.backend, Spares) else 0
            resident.memory = own
            resident.peak = max(resident.peak, own - resident.spare)

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
                    form=r.form.label,
                    keep_alive=r.keep_alive,
                )
            )
        return tuple(rows)


def _reason(form: Form, better: Form | None) -> str:
    """Why a model is held in another form than its own, for the answer; empty where it is not."""
    if form.offload:
        form_note = "partly in RAM"
    elif form.quantisation:
        form_note = f"as {form.quantisation}"
    else:
        return ""
    return (
        f"{form_note}, because {better.label} does not fit" if better else f"{form_note}, as asked"
    )


def _tell(answer: Future[bool], was_there: bool) -> None:
    """Answer who asked for an eviction, unless nobody waits for it any more."""
    if answer.set_running_or_notify_cancel():
        answer.set_result(was_there)
