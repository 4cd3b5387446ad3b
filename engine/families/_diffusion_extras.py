"""Schedulers and LoRAs by name. Knows diffusers' classes and a folder, no request's way through a pipeline."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import BadFormat, BadValue, Unknown
from engine.requests import Lora

# (name, class, what its config is given besides). "flow" ones are for models that were trained on straight paths.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": False}),
    "dpm++-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpm++-sde": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    ),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "tcd": ("TCDScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "flow-lcm": ("FlowMatchLCMScheduler", {}),
}
KEPT = 8  # LoRAs that stay attached


def make_scheduler(own: Any, name: str) -> Any:
    """A fresh scheduler of this name, set up as the model's own one; "" is a fresh one of the same kind.

    Raises:
        BadValue: there is none of this name, or this model cannot use it; names those it can.
    """
    import diffusers

    if not name:
        return type(own).from_config(own.config)
    key = name.strip().lower().replace("_", "-").replace("dpmpp", "dpm++")
    usable = schedulers_of(own)
    if key not in usable:
        near = difflib.get_close_matches(key, usable, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise BadValue(
            f"'{name[:50]}' is no scheduler of this model.{hint} It can use: {', '.join(usable)}.",
            param="scheduler",
        )
    kind, more = SCHEDULERS[key]
    return getattr(diffusers, kind).from_config(own.config, **more)


def schedulers_of(own: Any) -> tuple[str, ...]:
    """The names that fit a model, by its own scheduler: straight paths and others do not mix."""
    flow = type(own).__name__.startswith("FlowMatch")
    return tuple(name for name in SCHEDULERS if name.startswith("flow") == flow)


def find_loras(folder: Path) -> dict[str, Path]:
    """The LoRAs of a folder by name: its safetensors files."""
    if not folder.is_dir():
        return {}
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


def check_loras(folder: Path, wanted: Sequence[Lora]) -> None:
    """Raises Unknown where a LoRA is not there; names those that are."""
    there = find_loras(folder)
    for lora in wanted:
        if lora.name not in there:
            near = difflib.get_close_matches(lora.name, list(there), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            named = (
                ", ".join(list(there)[:8])
                or "none yet; put .safetensors files into the folder 'loras'"
            )
            raise Unknown(
                f"There is no LoRA '{lora.name[:80]}'.{hint} There are: {named}.", param="loras"
            )


class Adapters:
    """The LoRAs that a pipeline holds, and which of them count now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, str] = {}  # name -> what diffusers calls it
        self._active: tuple[Lora, ...] = ()

    def use(self, pipe: Any, wanted: tuple[Lora, ...]) -> None:
        """Have exactly these count.

        Raises:
            Unknown: one is not there. BadFormat: one does not fit the model.
        """
        if wanted == self._active:
            return
        check_loras(self._folder, wanted)
        if len({*self._held, *(lora.name for lora in wanted)}) > KEPT:
            self._detach(pipe)
        for lora in wanted:
            if lora.name not in self._held:
                self._attach(pipe, lora.name)
        if wanted:
            names = [self._held[lora.name] for lora in wanted]
            pipe.enable_lora()
            pipe.set_adapters(names, [lora.scale for lora in wanted])
        elif self._held:
            pipe.disable_lora()
        self._active = wanted

    def _attach(self, pipe: Any, name: str) -> None:
        if not hasattr(pipe, "load_lora_weights"):
            raise BadValue("This model takes no LoRA. Choose another model.", param="loras")
        called = f"lora{len(self._held)}"
        file = find_loras(self._folder)[name]
        try:
            pipe.load_lora_weights(
                file.parent, weight_name=file.name, adapter_name=called, local_files_only=True
            )
        except (ValueError, RuntimeError, KeyError, OSError, TypeError, AttributeError) as error:
            self._detach(pipe)
            raise BadFormat(
                f"The LoRA '{name[:80]}' does not fit this model. Choose one that was made for it.",
                param="loras",
            ) from error
        self._held[name] = called

    def _detach(self, pipe: Any) -> None:
        pipe.unload_lora_weights()
        self._held.clear()
        self._active = ()
