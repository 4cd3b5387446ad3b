"""What a model needs of one device, in which form: measured before, else estimated from its files.

Owned by a residency; knows footprints and files, not what is in memory now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Protocol

from engine.checkpoints import is_present
from engine.devices import Device, free_ram
from engine.fit import Anatomy, Form, Shape, anatomy_of, forms, shape_of
from engine.footprints import Footprint, Key
from engine.registry import ModelSpec
from engine.settings import Settings

ON_DEVICE = 0.9  # of the budget, the most an offloaded model's part on the device may take


class Remembered(Protocol):
    """Footprints of earlier runs."""

    def get(self, key: Key) -> Footprint | None: ...
    def remember(self, key: Key, footprint: Footprint) -> None: ...


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on the device that a model takes in one form; `measured` when they were seen, not estimated."""

    form: Form
    memory: int
    measured: bool


class Demand:
    """The needs of models on a device whose models may hold `budget` bytes together."""

    def __init__(
        self,
        device: Device,
        families: Mapping[str, ModuleType | Any],
        settings: Settings,
        footprints: Remembered,
        budget: int,
    ) -> None:
        self._device = device
        self._families = families
        self._settings = settings
        self._footprints = footprints
        self._budget = budget

    def needs(self, spec: ModelSpec, context: int = 0, rows: int = 0) -> list[Need]:
        """The forms in which it could be loaded, best first, and what each takes.

        Args:
            context, rows: the tokens and requests at once to plan for; 0: as the model is used by default.

        Raises:
            BadValue: a form was asked for that cannot run here.
        """
        anatomy = anatomy_of(spec)
        family = self._families.get(spec.family)
        able = bool(getattr(family, "QUANTISES", False))
        if exact := getattr(family, "DTYPE", ""):  # it runs in one type alone, whatever the setting
            spec = replace(spec, options={"dtype": exact, **spec.options})
        tried = forms(spec, self._settings, self._device.name, anatomy, able)
        shape = shape_of(spec, self._settings, anatomy, context, rows)
        asked = bool(context or rows)
        return [self._need(spec, form, shape, anatomy, asked) for form in tried]

    def _need(
        self, spec: ModelSpec, form: Form, shape: Shape, anatomy: Anatomy | None, asked: bool
    ) -> Need:
        known = self._footprints.get(self.key(spec, form, shape if asked else None))
        if known is not None:
            # One large request must not bar a model whose weights fit: it then gets what there is.
            most = max(known.memory, known.peak)
            return Need(form, min(most, max(known.memory, self._budget)), True)
        need = anatomy.need(form, shape) if anatomy else 0
        if form.offload:
            part = min(need, int(self._budget * ON_DEVICE))
            need = part if need - part <= free_ram() else need
        return Need(form, need, False)

    def key(self, spec: ModelSpec, form: Form, shape: Shape | None = None) -> Key:
        """Under which a model's footprint is kept; by default for the shape that the settings allow."""
        if shape is None:
            shape = shape_of(spec, self._settings, anatomy_of(spec), rows=self._settings.parallel)
        return Key(spec.id, spec.revision, self._device.name, form.label, shape.bucket)

    def remember(self, key: Key, footprint: Footprint) -> None:
        """Keep what was measured."""
        self._footprints.remember(key, footprint)

    def present(self, spec: ModelSpec) -> bool:
        """Whether its files are on this machine; a model without files always is."""
        return is_present(spec)
