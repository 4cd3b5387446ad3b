"""What is done with models beside asking them: plan, load, unload, pin, choose, add, remove.

The other half of the engine's face; knows lanes and the catalog, no request and no ledger.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.callers import Caller
from engine.checkpoints import may_run_code
from engine.errors import DoesNotFit, Unavailable
from engine.fit import with_form
from engine.plan import Plan
from engine.registry import ModelSpec, Registry
from engine.requests import Capability
from engine.settings import Settings
from engine.speaking import list_voices
from engine.voices import Voice

TIERS = (80, 24, 12, 6)  # GB of a GPU's memory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any

    from engine.adopt import Adoption
    from engine.downloads import Downloads
    from engine.footprints import Choices
    from engine.lane import Lane
    from engine.remote_lane import RemoteLane


class Models:
    """The engine's care for its models; `Engine` brings the attributes."""

    __slots__ = ()

    settings: Settings
    registry: Registry
    lane: Lane
    remote: RemoteLane
    choices: Choices
    adoption: Adoption
    downloads: Downloads
    families: Mapping[str, ModuleType | Any]

    def _lane(self, spec: ModelSpec) -> Lane | RemoteLane:
        return self.remote if spec.lane == "remote" else self.lane

    def models(self, capability: Capability | None = None, accepting: str = "") -> list[ModelSpec]:
        """The catalog's rows, or those of one capability; `accepting="image"`: those of them that see."""
        return self.registry.models(capability, accepting)

    def voices(self) -> list[Voice]:
        """The voices of all models that are here, the better models first. May run a program."""
        return list_voices(self)

    def served(self, spec: ModelSpec) -> ModelSpec:
        """The row that runs `spec`: itself, or for a model with program code of its own (`options.code`) that is
        not allowed here, the row of another server that has it.

        Raises:
            Unavailable: there is none; says how to get one.
        """
        if not spec.options.get("code") or may_run_code(spec, self.settings):
            return spec
        if self.registry.knows(spec.repo):
            return self.registry.find(spec.repo)
        raise Unavailable(
            f"Model '{spec.id}' brings program code of its own, so another server runs it: start "
            f"'vllm serve {spec.repo}' and add its address on the Models tab. If you trust the code, name "
            f"{spec.repo}@{spec.revision} in ATELIER_ALLOW_REMOTE_CODE and download the model.",
            param="model",
        )

    async def load(
        self,
        model: str,
        keep_alive: float | None = None,
        quantisation: str = "",
        offload: bool | None = None,
    ) -> float:
        """Load a model; the seconds it took, 0 when it was loaded already. `keep_alive` as in a request.

        Args:
            quantisation: "auto", "none", "int8" or "int4"; offload: whether a part waits in RAM. Both hold until
                the server ends; one that is loaded in another form is loaded anew.

        Raises:
            Unknown, BadValue, DoesNotFit, LoadFailed, NotDownloaded.
        """
        spec = with_form(self.registry.find(model), quantisation, offload)
        before = {resident.id: resident.form for resident in self.lane.status().resident}
        if quantisation or offload is not None:
            plan = self._lane(spec).plan(spec, fresh=True)
            if plan.fits == "too_big":  # said before anything is unloaded
                raise DoesNotFit(plan.sentence)
            self.registry.add(spec)
            if before.get(spec.id) not in (None, plan.form):
                await self.evict(spec.id)
                del before[spec.id]
        job = self._lane(spec).submit(spec, None, Caller(dialect="engine"), keep_alive)
        try:
            async for _ in job:
                pass
        finally:
            job.cancel()
        if spec.id in before:
            return 0.0
        if spec.lane == "remote":
            return job.usage.run_s
        return next((r.load_s for r in self.lane.status().resident if r.id == spec.id), 0.0)

    async def evict(self, model: str) -> bool:
        """Unload a model once its running requests ended. False: it was not loaded. Unknown: no such model."""
        spec = self.registry.find(model)
        return await asyncio.wrap_future(self._lane(spec).evict(spec.id))

    def plan(
        self,
        model: str,
        *,
        quantisation: str = "",
        offload: bool | None = None,
        context: int = 0,
        rows: int = 0,
    ) -> Plan:
        """What loading a model would do now, decided as the lane decides it; loads and unloads nothing.

        Args:
            quantisation, offload: as for `load`.
            context, rows: tokens and requests at once to plan for; 0: as the settings have it.

        Raises:
            Unknown: no such model. BadValue: in this form it cannot run here.
        """
        spec = with_form(self.registry.find(model), quantisation, offload)
        fresh = bool(quantisation) or offload is not None
        return self._lane(spec).plan(spec, context, rows, fresh)

    async def add_model(self, source: str, key: str = "") -> list[ModelSpec]:
        """Take in a folder, a hub id or the address of a server; the rows it made. See `Adoption.add`."""
        return await self.adoption.add(source, key)

    def own_models(self) -> frozenset[str]:
        """The ids of the rows that the user added, which alone can be forgotten again."""
        return self.adoption.owned()

    @property
    def tier(self) -> str:
        """The kind of machine this is among those that rows are recommended for: "cpu-8", "gpu-24", …"""
        if not self.lane.device.name.startswith("cuda"):
            return "cpu-8"
        room = self.lane.device.total * 1.05 / 1e9  # a card sold with 24 GB shows a little less
        return next((f"gpu-{size}" for size in TIERS if room >= size), "gpu-6")

    async def remove_model(self, model: str, files: bool = True) -> bool:
        """Unload a model, forget the user's own row of it and free its disk. See `Adoption.remove`."""
        self.adoption.check_removal(model)
        await self.evict(model)
        return await self.adoption.remove(model, files)

    def pin(self, model: str, pinned: bool) -> None:
        """Keep a model in memory, or let it go again."""
        spec = self.registry.find(model)
        self._lane(spec).pin(spec.id, pinned)

    def choose(self, capability: Capability, model: str, accepting: str = "") -> ModelSpec:
        """Make a model the default of a capability, also after a restart.

        Args:
            accepting: "image": for requests with pictures alone.

        Raises:
            Unknown: no such model. BadValue: it cannot do this.
        """
        spec = self.registry.set_default(capability, model, accepting)
        key = f"default.{capability}" + (f".{accepting}" if accepting else "")
        self.choices.set(key, spec.id)
        return spec
