"""Who leaves the device for whom: one decision, made the same way for a dry run and for the lane itself.

Values in, values out; knows no model, no thread and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from engine.fit import Form, gigabytes

Fits = Literal["fits", "after_unload", "too_big", "unknown"]


class Leaving(NamedTuple):
    """A model that would be unloaded: its id, seconds since it was used (0: in use), bytes it gives back."""

    id: str
    idle_s: float
    memory: int


@dataclass(frozen=True, slots=True)
class Holding:
    """A model in memory, as far as a plan cares.

    Args:
        memory: bytes it holds now.
        reserve: bytes it will hold again when it works; never less than `memory`.
        value: how much is lost by evicting it; the least valuable leaves first.
    """

    id: str
    memory: int
    reserve: int
    idle_s: float
    value: float
    busy: bool
    pinned: bool


@dataclass(frozen=True, slots=True)
class Room:
    """A device as it is now; bytes. `free` counts other programs too."""

    device: str
    title: str
    budget: int
    total: int
    free: int
    holdings: tuple[Holding, ...]

    @property
    def left(self) -> int:
        """Bytes that may still be taken with nobody leaving."""
        reserved = sum(holding.reserve for holding in self.holdings)
        return max(0, min(self.budget - reserved, self.free))


@dataclass(frozen=True, slots=True)
class Choice:
    """Who leaves, and whether that makes room.

    Args:
        leave: at once or, for the busy, once their answers end; least valuable first.
        waits: one of them is busy, so nothing happens before its answers end.
        enough: with all of them gone there is room.
    """

    leave: tuple[Holding, ...]
    waits: bool
    enough: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What loading a model would do now.

    Args:
        needed: bytes it will take on the device; measured before, or estimated.
        free: bytes it could take with nobody leaving.
        total: bytes that models may hold together.
        measured: `needed` was seen on this device and is no estimate.
        unloads: who leaves for it, in this order.
        stays: ids that remain.
        fits: "too_big" also when pinned models or other programs hold what it needs.
        waits: one that has to leave is answering now; it is waited for.
        dtype, quantisation, offload: the form in which it would be held.
        present: its files are on this machine.
        resident: it is in memory already.
        sentence: the whole plan for people.
    """

    model: str
    device: str
    needed: int
    free: int
    total: int
    measured: bool
    unloads: tuple[Leaving, ...]
    stays: tuple[str, ...]
    fits: Fits
    dtype: str
    quantisation: str
    offload: bool
    present: bool
    sentence: str
    waits: bool = False
    resident: bool = False
    note: str = ""

    @property
    def form(self) -> str:
        """The form as one word, as a resident model's status has it."""
        return Form(self.dtype, self.quantisation, self.offload).label


def choose(need: int, room: Room) -> Choice:
    """The fewest models that must leave so that `need` bytes are free, idle ones before busy ones."""
    within = room.budget - sum(holding.reserve for holding in room.holdings)
    free = room.free
    leave: list[Holding] = []
    movable = [holding for holding in room.holdings if not holding.pinned]
    for holding in sorted(movable, key=lambda h: (h.busy, h.value)):
        if min(within, free) >= need:
            break
        leave.append(holding)
        within += holding.reserve
        free += holding.memory
    enough = min(within, free) >= need
    return Choice(tuple(leave), any(holding.busy for holding in leave), enough)


def make_plan(
    model: str, need: int, form: Form, measured: bool, room: Room, *, present: bool, note: str = ""
) -> Plan:
    """The plan for a model that is not in memory and needs `need` bytes; 0: nobody knows."""
    choice = choose(need, room)
    fits: Fits = "too_big"
    if not need:
        fits = "unknown"
    elif choice.enough:
        fits = "after_unload" if choice.leave else "fits"
    leave = choice.leave if choice.enough else ()
    going = {holding.id for holding in leave}
    return Plan(
        model=model,
        device=room.device,
        needed=need,
        free=room.left,
        total=room.budget,
        measured=measured,
        unloads=tuple(Leaving(h.id, h.idle_s, h.memory) for h in leave),
        stays=tuple(holding.id for holding in room.holdings if holding.id not in going),
        fits=fits,
        dtype=form.dtype,
        quantisation=form.quantisation,
        offload=form.offload,
        present=present,
        sentence=_sentence(model, need, form, measured, room, choice),
        waits=choice.waits and choice.enough,
        note=note,
    )


def resident_plan(holding: Holding, form: Form, room: Room, measured: bool) -> Plan:
    """The plan for a model that is in memory already: nothing changes."""
    return Plan(
        model=holding.id,
        device=room.device,
        needed=holding.memory,
        free=room.left,
        total=room.budget,
        measured=measured,
        unloads=(),
        stays=tuple(h.id for h in room.holdings),
        fits="fits",
        dtype=form.dtype,
        quantisation=form.quantisation,
        offload=form.offload,
        present=True,
        sentence=f"{holding.id} is loaded and holds {gigabytes(holding.memory)}.",
        resident=True,
    )


def elsewhere(model: str) -> Plan:
    """The plan for a model of another server: it takes nothing here."""
    return Plan(
        model=model,
        device="remote",
        needed=0,
        free=0,
        total=0,
        measured=False,
        unloads=(),
        stays=(),
        fits="fits",
        dtype="",
        quantisation="",
        offload=False,
        present=True,
        sentence=f"{model} runs on another server and takes no memory here.",
    )


def _hindrance(model: str, need: int, form: Form, room: Room) -> str:
    """Why a model cannot be loaded now, and what to do; for a plan that is "too_big"."""
    needs = gigabytes(need) + (f" even as {form.label}" if form.quantisation else "")
    if need > room.budget:
        return (
            f"{model} needs {needs}, but models may hold {gigabytes(room.budget)} on "
            f"{room.title}. Choose a smaller model or raise ATELIER_MEMORY_BUDGET."
        )
    pinned = [holding for holding in room.holdings if holding.pinned]
    if pinned and room.budget - sum(holding.reserve for holding in pinned) < need:
        names = ", ".join(holding.id for holding in pinned)
        return (
            f"{model} needs {needs}, but pinned models hold the memory: {names}. "
            "Unpin or unload one."
        )
    return (
        f"{model} needs {needs}, but other programs use {room.title} and leave "
        f"{gigabytes(max(room.free, 0))}. End one of them, or choose a smaller model."
    )


def _sentence(model: str, need: int, form: Form, measured: bool, room: Room, choice: Choice) -> str:
    if not need:
        return f"Nobody knows yet what {model} needs; it is measured when it is loaded."
    if not choice.enough:
        return _hindrance(model, need, form, room)
    how = f" as {form.label}" if form.quantisation or form.offload else ""
    about = "" if measured else "about "
    parts = [f"{model} needs {about}{gigabytes(need)}{how}"]
    parts += [f"will unload {holding.id}, {_since(holding)}" for holding in choice.leave]
    stays = [h.id for h in room.holdings if h not in choice.leave]
    if choice.leave and stays:
        parts.append(f"{_listed(stays)} {'stays' if len(stays) == 1 else 'stay'}")
    if not choice.leave:
        parts.append(f"{gigabytes(room.left)} are free on {room.title}")
    return "; ".join(parts) + "."


def _since(holding: Holding) -> str:
    if holding.busy:
        return "which is answering now, once it is done"
    minutes = holding.idle_s / 60
    return f"idle {holding.idle_s:.0f} s" if minutes < 2 else f"idle {minutes:.0f} min"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
