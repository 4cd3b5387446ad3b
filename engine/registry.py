"""The plugin contract, all a newcomer must read to add a model family, and the catalog of models.

A family is a module in `engine/families/` with `SPECS` (its own catalog rows, may be empty) and
`load(spec, settings) -> Backend`. The backend has one method per capability it serves. Heavy libraries
are imported inside `load`. This module names no family: `discover` walks the folder.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Unpack, runtime_checkable

from engine.errors import BadValue, Unknown
from engine.events import Event, Units
from engine.requests import Capability, ChatRequest, Request
from engine.settings import ROOT, Settings

NAMED = 8  # models that a refusal names
SENT = {"image": "pictures", "audio": "sound"}  # kinds of parts, as people call them


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One row of the catalog.

    Args:
        id: the name users give; unique.
        does: the capabilities it serves.
        family: the module in `engine/families/` that loads it.
        repo: a hub id, pinned by `revision` where that matters.
        path: a local folder in hub layout; goes before `repo`.
        title: a name for people.
        params: how many parameters, as people write it ("580M").
        size: bytes to download or on disk; 0 unknown.
        memory: bytes it needs on the device; 0: estimated from its size until it was measured.
        context: tokens of context; 0: the model says so itself when it is loaded.
        accepts: kinds of parts beside text ("image", "audio"), and "tools", "reasoning".
        lane: "device" for models on this machine's accelerator or processor, "remote" for other servers.
        starter: ships with the repository and works before anything was downloaded.
        tiers: machines it is recommended for: "cpu-8", "gpu-6", "gpu-12", "gpu-24", "gpu-80" (GB of memory).
        options: read by the family alone; `dtype`, `quantisation`, `offload` by the lane too.
    """

    id: str
    does: frozenset[Capability]
    family: str
    repo: str = ""
    revision: str = ""
    path: str = ""
    title: str = ""
    params: str = ""
    licence: str = ""
    size: int = 0
    memory: int = 0
    context: int = 0
    languages: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    accepts: frozenset[str] = frozenset()
    lane: str = "device"
    starter: bool = False
    tiers: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


class Emit(Protocol):
    """Publishing, progress, cancellation and turn-taking in one call."""

    def __call__(self, event: Event | None) -> None:
        """Publish an event; None publishes nothing and only asks whether to go on.

        Raises:
            Cancelled: nobody listens any more, or its time is up. Give memory back and let it pass.
        """

    def count(self, **units: Unpack[Units]) -> None:
        """Add to the request's usage as it is read or made, so a stopped request is billed right.

        `reasoning`: how many of the output tokens were thoughts. For the other units see `engine.events.Usage`.
        """


@runtime_checkable
class Backend(Protocol):
    """A loaded model. All its methods are called on its lane's one thread.

    It has one method per capability, named after it: `chat(request, emit)`, `embed(request, emit)`, …
    Such a method runs to the end and emits `Done` last. A backend that serves several requests of one
    capability at once is a `Batcher` instead for that capability.
    """

    def close(self) -> None:
        """Give everything back. Called once, after the last request ended."""


@runtime_checkable
class Spares(Protocol):
    """A backend that keeps something only to be quicker the next time. It must not count on having it."""

    def spare(self) -> int:
        """Bytes of it; they are part of what `memory()` tells."""

    def shed(self) -> int:
        """Give it back; the bytes that came free."""


@runtime_checkable
class Batcher(Protocol):
    """What a backend offers to serve several chat requests at once; the lane calls `step` in a loop.

    A request is over when its `emit` received `Done`, when `fail` of its `emit` was called, or when
    `emit` raised: then the backend must have dropped it and reuse its slot.
    """

    parallel: int

    def join(self, request: Request, emit: BatchEmit) -> None:
        """Take a request in; at most `parallel` at a time. Cheap checks only: the work is done in `step`.

        Raises:
            BadValue: it can never run (over the context, not a text request, …).
        """

    def step(self) -> None:
        """Advance everything that was taken in by one token (or one piece of a prompt).

        Errors of one request go to its `emit.fail`; raising is for faults that touch them all.
        """

    def drop(self, emit: BatchEmit) -> None:
        """Forget the request of `emit`, if it is still there, and free its slot."""


class BatchEmit(Emit, Protocol):
    """The emit of a request in a batch.

    `owner` names who asks: what is known of one asker's texts must not be told to another.
    """

    @property
    def owner(self) -> str: ...

    def fail(self, error: Exception) -> None:
        """End this request alone with an error."""


class RemoteEmit(Emit, Protocol):
    """The emit of a request to another server, on the reader's own loop."""

    @property
    def behind(self) -> bool:
        """True while the reader is busy with earlier events: reading on would only fill memory."""

    async def taken(self) -> None:
        """Wait until the reader has taken everything."""


class Chats(Backend, Protocol):
    """A backend that answers chat requests one at a time."""

    def chat(self, request: ChatRequest, emit: Emit) -> None: ...


def discover() -> dict[str, ModuleType]:
    """The families by name: every module in `engine/families/`. Imports them; they import nothing heavy."""
    package = importlib.import_module("engine.families")
    return {
        info.name: importlib.import_module(f"engine.families.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
        if not info.name.startswith("_")
    }


def read_catalog(file: Path) -> list[ModelSpec]:
    """The rows `[[model]]` of a TOML file. Relative paths are relative to the file.

    Raises:
        BadValue: a row is not a valid model; names the row and the field.
    """
    rows = tomllib.loads(file.read_text(encoding="utf-8")).get("model", [])
    return [_spec(row, file) for row in rows]


def _spec(row: dict[str, Any], file: Path) -> ModelSpec:
    known = {f.name for f in fields(ModelSpec)}
    unknown = sorted(set(row) - known)
    name = row.get("id", "a row without id")
    if unknown or not {"id", "does", "family"} <= set(row):
        wrong = f"unknown fields {unknown}" if unknown else "id, does and family are needed"
        raise BadValue(f"{file.name}: {name}: {wrong}. Known fields: {', '.join(sorted(known))}.")
    values: dict[str, Any] = dict(row)
    for key in ("does", "accepts"):
        values[key] = frozenset(values.get(key, ()))
    for key in ("languages", "aliases", "tiers"):
        values[key] = tuple(values.get(key, ()))
    if values.get("path"):
        values["path"] = str((file.parent / values["path"]).resolve())
    return ModelSpec(**values)


def _listed(specs: Sequence[ModelSpec]) -> str:
    """The first of them by their ids, those that need no download before others."""
    ids = [spec.id for spec in sorted(specs, key=lambda spec: bool(spec.repo))]
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return ", ".join(ids[:NAMED]) + more or "none yet"


class Registry:
    """The catalog: which models there are, by id and alias, and which is the default for a task."""

    def __init__(self, specs: Iterable[ModelSpec]) -> None:
        self._specs: dict[str, ModelSpec] = {}
        self._aliases: dict[str, str] = {}
        self._defaults: dict[tuple[Capability, str], str] = {}
        for spec in specs:
            self.add(spec)

    @classmethod
    def build(cls, settings: Settings, families: Mapping[str, ModuleType]) -> Registry:
        """The families' own rows, then the repository's `models.toml`, then the user's; later ids win."""
        specs = [
            replace(spec, family=name)
            for name, family in families.items()
            for spec in getattr(family, "SPECS", ())
        ]
        for file in (ROOT / "models.toml", settings.data_dir / "models.toml", settings.models_file):
            if file is not None and file.is_file():
                specs += read_catalog(file)
        return cls(specs)

    def add(self, spec: ModelSpec) -> None:
        """Take a row in; one with the same id is replaced."""
        self._specs[spec.id] = spec
        for alias in spec.aliases:
            self._aliases[alias] = spec.id

    def swap(self, gone: Callable[[ModelSpec], bool], specs: Iterable[ModelSpec]) -> None:
        """Put these rows in place of all that are `gone`, at once for whoever reads in another thread."""
        fresh = Registry([*(s for s in self._specs.values() if not gone(s)), *specs])
        self._specs, self._aliases = fresh._specs, fresh._aliases

    def names(self, besides: Callable[[ModelSpec], bool]) -> frozenset[str]:
        """The ids and aliases in use, except those of the rows that `besides` picks."""
        kept = [spec for spec in self._specs.values() if not besides(spec)]
        return frozenset(name for spec in kept for name in (spec.id, *spec.aliases))

    def remove(self, model: str) -> None:
        """Take the row of this id out, with its aliases; nothing happens where there is none."""
        if self._specs.pop(model, None) is not None:
            self._aliases = {name: own for name, own in self._aliases.items() if own != model}

    def models(self, capability: Capability | None = None, accepting: str = "") -> list[ModelSpec]:
        """The rows, or those of one capability, or those of them that accept a kind of parts; in catalog order."""
        return [
            spec
            for spec in self._specs.values()
            if (capability is None or capability in spec.does)
            and (not accepting or accepting in spec.accepts)
        ]

    def set_default(self, capability: Capability, model: str, accepting: str = "") -> ModelSpec:
        """Make `model` the default of a capability, or of those of its requests that hold such parts ("image").

        Raises:
            Unknown, BadValue: it cannot be; see `resolve`.
        """
        spec = self.resolve(model, capability, accepting)
        self._defaults[capability, accepting] = spec.id
        return spec

    def expect_default(self, capability: Capability, model: str, accepting: str = "") -> None:
        """Make a model the default as soon as the catalog has it: its server may be starting yet."""
        self._defaults[capability, accepting] = model

    def is_chosen(self, capability: Capability, accepting: str = "") -> bool:
        """Whether somebody made a model the default of this."""
        return any((capability, kind) in self._defaults for kind in (accepting, ""))

    def default(self, capability: Capability, accepting: str = "") -> ModelSpec:
        """The chosen default, else the first starter, else the first row.

        For requests with parts beside text: what was chosen for them, else the capability's if it accepts them.

        Raises:
            Unknown: no model can do this.
        """
        rows = self.models(capability, accepting)
        if not rows:
            what = SENT.get(accepting, accepting)
            told = f"{capability} about {what}" if accepting else capability
            raise Unknown(f"No model can {told} yet. Add one on the Models tab.")
        for kind in dict.fromkeys((accepting, "")):
            name = self._defaults.get((capability, kind), "")
            chosen = self._specs.get(name) or self._specs.get(self._aliases.get(name, ""))
            if chosen is not None and chosen in rows:
                return chosen
        return next((s for s in rows if s.starter), rows[0])

    def resolve(self, model: str | None, capability: Capability, accepting: str = "") -> ModelSpec:
        """The row for a name; None means the default. `accepting` is a kind of parts that it must accept.

        Raises:
            Unknown: no such model; the message names the nearest ids.
            BadValue: there is such a model, but it cannot do this; names those that can.
        """
        if not model:
            return self.default(capability, accepting)
        spec = self.find(model)
        if capability not in spec.does:
            able = _listed(self.models(capability))
            raise BadValue(
                f"Model '{model}' cannot {capability}. These can: {able}.", param="model"
            )
        if accepting and accepting not in spec.accepts:
            able = _listed(self.models(capability, accepting))
            what = SENT.get(accepting, accepting)
            raise BadValue(
                f"Model '{model}' does not accept {what}. These do: {able}.", param="model"
            )
        return spec

    def knows(self, model: str) -> bool:
        """True for an id or alias of the catalog."""
        return model in self._specs or model in self._aliases

    def find(self, model: str) -> ModelSpec:
        """The row of an id or alias, whatever it does. Raises Unknown naming the nearest ids."""
        spec = self._specs.get(model) or self._specs.get(self._aliases.get(model, ""))
        if spec is None:
            names = [*self._specs, *self._aliases]
            near = difflib.get_close_matches(model, names, n=3, cutoff=0.3) or list(self._specs)[:3]
            hint = f" Nearest: {', '.join(near)}." if near else ""
            raise Unknown(f"Model '{model[:200]}' is not in the catalog.{hint}", param="model")
        return spec
