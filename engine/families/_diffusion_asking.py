"""From a request to what a pipeline is given: sizes it can draw, steps, guidance, and what was changed on the way.

Knows requests and what a pipeline's class says of itself; runs nothing.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import BadValue
from engine.families._diffusion_loading import core_of
from engine.pictures import open_picture
from engine.registry import BatchEmit, ModelSpec
from engine.requests import ImageRequest, Lora

if TYPE_CHECKING:
    from PIL import Image

Mode = Literal["text", "image", "mask"]
# How diffusers names the pipelines of a kind that begin from a picture.
SUFFIXES = {"image": ("Img2Img",), "mask": ("Inpaint",)}
LEAST = 16  # pixels of a side


@dataclass(frozen=True, slots=True)
class Manner:
    """What pictures must have in common to be drawn in one pass."""

    mode: Mode
    width: int
    height: int
    steps: int
    guidance: float
    scheduler: str
    negative: bool
    strength: float = 1.0
    loras: tuple[Lora, ...] = ()
    alone: int = 0  # the number of a request that is drawn by itself


@dataclass(eq=False, slots=True)
class Task:
    """One request on its way.

    Attributes:
        seeds: of its pictures; those that are drawn are counted in `told`.
        begun: steps that its earlier passes took, for its progress.
    """

    request: ImageRequest
    emit: BatchEmit
    manner: Manner
    seeds: tuple[int, ...]
    note: str = ""
    image: Image.Image | None = None
    mask: Image.Image | None = None
    told: int = 0
    begun: int = 0

    @property
    def over(self) -> bool:
        return self.told == len(self.seeds)


@dataclass(slots=True)
class Abilities:
    """What the pipelines of a model can be given.

    Args:
        factor: sides are multiples of it.
        side: pixels of a square picture as the model was made for.
        steps, guidance: the model's own.
        kinds: the pipeline's class for each mode it has.
        guides: the argument by which it follows a prompt more closely.
        avoids: whether it heeds negative prompts.
        limits: its tokenizers by name, and how many tokens of a prompt each passes on.
        width, height: of a picture whose size nobody asked for.
        largest: pixels of the longer side that it can draw; 0: it is not known to end anywhere.
        names: the arguments of its call.
    """

    factor: int
    side: int
    steps: int
    guidance: float
    kinds: Mapping[Mode, Any]
    guides: str
    avoids: bool = True
    limits: tuple[tuple[str, int], ...] = ()
    width: int = 0
    height: int = 0
    largest: int = 0
    names: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, pipe: Any, spec: ModelSpec) -> Abilities:
        kind, options = type(pipe), spec.options
        names = inspect.signature(kind.__call__).parameters
        scale = int(getattr(pipe, "vae_scale_factor", 8))
        patched = (
            getattr(pipe, "unet", None) is None
        )  # transformers take two latents a side together
        side = int(options.get("side") or _side(pipe, scale))
        guides = "true_cfg_scale" if kind.__name__.startswith("QwenImage") else "guidance_scale"
        return cls(
            factor=int(options.get("factor") or max(8, scale * (2 if patched else 1))),
            side=side,
            steps=int(options.get("steps") or _default(names, "num_inference_steps", 30)),
            guidance=float(options.get("guidance", _default(names, guides, 5.0))),
            kinds=kinds_of(kind),
            guides=guides,
            # Where guidance is an input of the network, negative prompts need a second scale, which is not offered.
            avoids="negative_prompt" in names
            and ("true_cfg_scale" in names) == (guides != "guidance_scale"),
            limits=_limits(pipe, names),
            width=int(options.get("width") or side),
            height=int(options.get("height") or side),
            largest=int(options.get("largest") or 0),
            names=names,
        )


def _default(names: Mapping[str, Any], name: str, other: Any) -> Any:
    found = names.get(name)
    value = found.default if found is not None else None
    return value if isinstance(value, int | float) else other


def _side(pipe: Any, scale: int) -> int:
    size = getattr(pipe, "default_sample_size", None)
    size = size or getattr(core_of(pipe).config, "sample_size", None) or 1024 // scale
    return int(size[0] if isinstance(size, list | tuple) else size) * scale


def kinds_of(kind: Any) -> dict[Mode, Any]:
    """The classes that draw from words, from a picture and under a mask, as diffusers names them."""
    import diffusers

    found: dict[Mode, Any] = {"text": kind}
    stem = kind.__name__.removesuffix("Pipeline")
    for mode, suffixes in SUFFIXES.items():
        for suffix in suffixes:
            named = getattr(diffusers, f"{stem}{suffix}Pipeline", None)
            if named is not None and hasattr(named, "from_pretrained"):
                found[mode] = named  # type: ignore[index]
    return found


def _limits(pipe: Any, names: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """The tokenizers of a pipeline by name, and how many tokens of a prompt each passes on."""
    longest = int(_default(names, "max_sequence_length", 0) or 0)
    limits = []
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = getattr(pipe, name, None)
        if tokenizer is None:
            continue
        own = int(min(getattr(tokenizer, "model_max_length", 10**9), 10**9))
        clip = "CLIP" in type(tokenizer).__name__
        limits.append((name, own if clip or not longest else min(own, longest)))
    return tuple(limits)


def make_task(
    request: ImageRequest, emit: BatchEmit, pipe: Any, able: Abilities, spec: ModelSpec
) -> Task:
    """The request as it will be drawn.

    Raises:
        BadValue: this model cannot draw from a picture, or not under a mask.
    """
    mode: Mode = "text" if request.image is None else "mask" if request.mask else "image"
    if mode not in able.kinds:
        what = "begin from a picture" if mode == "image" else "paint under a mask"
        raise BadValue(f"Model '{spec.id}' cannot {what}. Choose another model.", param="model")
    notes: list[str] = []
    image = None if request.image is None else open_picture(request.image)
    width, height = _size(request, able, image, notes)
    steps = request.steps or able.steps
    strength = request.strength if mode != "text" else 1.0
    if mode != "text" and int(steps * strength) < 1:
        steps = ceil(1 / strength)
        notes.append(
            f"Steps were raised to {steps}: with this strength fewer would change nothing."
        )
    guidance = able.guidance if request.guidance is None else request.guidance
    negative = request.negative.strip()
    if negative and (not able.avoids or guidance <= 1):
        notes.append("The negative prompt has no effect on this model at this guidance.")
        negative = ""
    cut = _cut(request.prompt, pipe, able)
    if cut:
        notes.append(f"The prompt was cut after {cut} tokens: this model reads no more.")
    first = secrets.randbelow(2**32) if request.seed is None else request.seed
    mask = None if request.mask is None else open_picture(request.mask, "mask").convert("L")
    manner = Manner(
        mode, width, height, steps, guidance, request.scheduler.strip(), bool(negative), strength,
        tuple(request.loras),
    )  # fmt: skip
    return Task(
        request,
        emit,
        manner,
        tuple((first + n) % 2**63 for n in range(request.count)),
        " ".join(notes),
        _fitted(image, width, height),
        _fitted(mask, width, height),
    )


def _size(
    request: ImageRequest, able: Abilities, image: Image.Image | None, notes: list[str]
) -> tuple[int, int]:
    """The size that is drawn: what was asked for, else a picture's own shape, in the model's steps."""
    width, height = request.width, request.height
    if image is not None and not (width and height):
        area = able.side * able.side
        scale = min(1.0, sqrt(area / (image.width * image.height)))
        width, height = width or round(image.width * scale), height or round(image.height * scale)
    asked = (width or able.width, height or able.height)
    factor = able.factor
    least = -(-LEAST // factor) * factor
    shrink = min(1.0, able.largest / max(asked)) if able.largest else 1.0
    drawn = tuple(max(least, round(side * shrink / factor) * factor) for side in asked)
    if drawn != asked and (request.width or request.height):
        done, why = (
            ("reduced", f"no more than {able.largest} pixels a side")
            if shrink < 1
            else ("rounded", f"in steps of {factor} pixels")
        )
        notes.append(f"The size was {done} to {drawn[0]}x{drawn[1]}: this model draws {why}.")
    return drawn[0], drawn[1]


def _fitted(picture: Image.Image | None, width: int, height: int) -> Image.Image | None:
    """The picture in this size, filling it; what stands over is cut evenly."""
    from PIL import Image, ImageOps

    if picture is None or picture.size == (width, height):
        return picture
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)


def _cut(prompt: str, pipe: Any, able: Abilities) -> int:
    """After how many tokens every reader of a prompt cuts it; 0 where one reads it whole."""
    most = 0
    for name, limit in able.limits:
        count = len(getattr(pipe, name)(prompt, truncation=False, verbose=False).input_ids)
        if count <= limit:
            return 0
        most = max(most, limit)
    return most


def source_of(data: bytes | None) -> str:
    """A picture's mark in a recipe, by which it can be known again."""
    return "" if data is None else blake2s(data, digest_size=8).hexdigest()
