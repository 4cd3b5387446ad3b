"""What a model will need of a device, told from its files before anything is loaded.

Knows headers, configs and arithmetic; no loaded model and no library that loads one.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.checkpoints import INDEX, PIPELINE, find_checkpoint, weight_files
from engine.devices import fast_bfloat16
from engine.errors import BadValue, LoadFailed, NotDownloaded
from engine.registry import ModelSpec
from engine.settings import Settings

SMALL = 50_000_000  # parameters below which float32 beats bfloat16 on a processor
PLANNED = 8192  # tokens of a conversation that are planned for, unless more are asked for
PIECE = 2048  # prompt tokens that go through the model in one pass, at most
PIXELS = 1_000_000  # of a picture that is planned for, where a model sees
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Bytes a quantised parameter takes, its scales included: one for each row, or one for each 64 values.
QUANTISED = {"int8": 1.01, "int4": 0.57}
NEEDS = {"int8": "torchao", "int4": "bitsandbytes"}  # the package that does it
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # stored types that follow the device's
CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True, slots=True)
class Form:
    """How a model is held: the type of its weights, how they are quantised, whether a part waits in RAM."""

    dtype: str = "float32"
    quantisation: str = ""
    offload: bool = False

    @property
    def label(self) -> str:
        """A word for logs, answers and the key of what was measured: "bfloat16", "int4", "bfloat16+offload"."""
        return (self.quantisation or self.dtype) + ("+offload" if self.offload else "")


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is asked of a model at once: tokens of context, and requests side by side."""

    context: int = 0
    rows: int = 1

    @property
    def bucket(self) -> str:
        """The key of what was measured: the context rounded up to a power of two, and the rows."""
        return f"{1 << max(0, self.context - 1).bit_length()}x{self.rows}"


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a model is made of.

    Args:
        kept: parameters that are never quantised (embeddings, norms, the head, experts).
        linear: parameters that may be.
        other: bytes of what keeps its stored type.
        token: numbers that the cache keeps for each token.
        work: numbers that a pass needs for each token while it runs.
        sight: numbers that a pass over a picture needs.
        context: tokens the model was made for; 0 unknown.
        quantised: how the files are quantised already; empty: they are not.
    """

    kept: int = 0
    linear: int = 0
    other: int = 0
    token: int = 0
    work: int = 0
    context: int = 0
    quantised: str = ""
    sight: int = 0

    @property
    def parameters(self) -> int:
        return self.kept + self.linear

    def need(self, form: Form, shape: Shape) -> int:
        """Bytes in this form for this shape."""
        width = BYTES[form.dtype]
        linear = QUANTISED.get(form.quantisation, float(width)) * self.linear
        tokens = min(shape.context, self.context) if self.context else shape.context
        cache = self.token * tokens * shape.rows * width
        work = (self.work * min(tokens, PIECE) + self.sight) * width
        return int(self.kept * width + linear + self.other + cache + work)


def anatomy_of(spec: ModelSpec) -> Anatomy | None:
    """What the model is made of, by its files, else by what its row declares; None: nothing is known."""
    if spec.memory and not spec.size:  # its owner measured it
        return Anatomy(other=spec.memory)
    found = _from_files(spec)
    if found is not None or not spec.size:
        return found
    extra = max(spec.memory - spec.size, 0) or spec.size // 5
    count = spec.size // (4 if spec.size > 3 * _told(spec.params) > 0 else 2)
    return Anatomy(kept=count // 8, linear=count - count // 8, other=extra, context=spec.context)


def _told(params: str) -> float:
    """How many parameters people mean by "580M" or "1.7B"; 0 where it says nothing."""
    found = re.fullmatch(r"([\d.]+)\s*([KMBT])", params.strip(), re.IGNORECASE)
    return float(found[1]) * 1000 ** ("KMBT".index(found[2].upper()) + 1) if found else 0.0


def _from_files(spec: ModelSpec) -> Anatomy | None:
    try:
        folder = find_checkpoint(spec)
    except NotDownloaded:
        return None
    weights = sorted(folder.glob("*.safetensors"))
    if (folder / PIPELINE).is_file():
        try:
            weights = weight_files(folder, spec)
        except (LoadFailed, NotDownloaded):
            return None
    marks = [folder / "config.json", folder / PIPELINE, folder / INDEX, *weights]
    stamp = tuple(_stamp(file, folder) for file in marks)
    return _read(folder, stamp)


def _stamp(file: Path, folder: Path) -> tuple[str, int, int]:
    name = str(file.relative_to(folder))
    try:
        found = file.stat()
        return name, found.st_mtime_ns, found.st_size
    except OSError:
        return name, 0, 0


@lru_cache(maxsize=256)
def _read(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> Anatomy | None:
    """The anatomy of a folder; `stamp` makes a changed folder a new question."""
    config = _json(folder / "config.json")
    whole = Anatomy()
    for name, _, size in stamp:
        if name.endswith(".safetensors") and size:
            whole = _with_header(whole, _header(folder / name))
    if not whole.parameters and not whole.other:
        return None
    if (folder / PIPELINE).is_file():
        return replace(whole, sight=_per_drawing(_json(folder / "vae" / "config.json")))
    text = config.get("text_config")
    sizes = text if isinstance(text, Mapping) else config
    how = config.get("quantization_config")
    kind = str(how.get("quant_method") or "quantised") if isinstance(how, Mapping) else ""
    return replace(
        whole,
        token=_per_token(sizes),
        work=2 * _first(sizes, "intermediate_size", "n_inner") + 6 * _width(sizes),
        context=_first(sizes, *CONTEXTS),
        quantised=kind,
        sight=_per_picture(config.get("vision_config")),
    )


def _with_header(whole: Anatomy, header: Mapping[str, Any]) -> Anatomy:
    kept, linear, other = whole.kept, whole.linear, whole.other
    for name, entry in header.items():
        if name == "__metadata__" or not isinstance(entry, Mapping):
            continue
        begin, end = entry.get("data_offsets", (0, 0))
        width = WIDTHS.get(str(entry.get("dtype")))
        if width is None:
            other += end - begin
        elif _is_linear(name, entry.get("shape", ())):
            linear += (end - begin) // width
        else:
            kept += (end - begin) // width
    return replace(whole, kept=kept, linear=linear, other=other)


def _is_linear(name: str, shape: Any) -> bool:
    """Whether a tensor is the weight of a linear layer that quantising would reach."""
    apart = (
        "embed", "lm_head", "wte", "wpe", ".experts.", "shared.weight",
        "visual.", "vision", "multi_modal_projector", "connector",
    )  # fmt: skip
    return len(shape) == 2 and name.endswith("weight") and not any(word in name for word in apart)


def _header(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 100_000_000)))
    except (OSError, ValueError, struct.error):
        return {}
    return header if isinstance(header, dict) else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _first(config: Mapping[str, Any], *names: str) -> int:
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), 0)


def _width(config: Mapping[str, Any]) -> int:
    return _first(config, "hidden_size", "n_embd", "d_model")


def _per_picture(tower: Any) -> int:
    """Numbers that a pass over a picture of PIXELS needs, by the config of what looks at it."""
    if not isinstance(tower, Mapping):
        return 0
    wide = _first(tower, "embed_dim", "hidden_size")
    inner = _first(tower, "intermediate_size") or 4 * wide
    patch = _first(tower, "patch_size") or 14
    return PIXELS // (patch * patch) * (2 * inner + 6 * wide)


def _per_drawing(vae: Mapping[str, Any]) -> int:
    """Numbers that making a picture of PIXELS takes at its widest place: the last layers of what decodes it."""
    widths = vae.get("block_out_channels")
    first = widths[0] if isinstance(widths, list) and widths and isinstance(widths[0], int) else 128
    return PIXELS * first * 5


def _per_token(config: Mapping[str, Any]) -> int:
    """Numbers that all layers together keep of one token."""
    heads = _first(config, "num_attention_heads", "n_head")
    layers = _first(config, "num_hidden_layers", "n_layer")
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        layers = sum("attention" in str(kind) and "linear" not in str(kind) for kind in kinds)
    kept = _first(config, "num_key_value_heads") or heads
    wide = _first(config, "head_dim") or (_width(config) // heads if heads else 0)
    return 2 * layers * kept * wide


def shape_of(
    spec: ModelSpec, settings: Settings, anatomy: Anatomy | None, context: int = 0, rows: int = 0
) -> Shape:
    """The shape that is planned for: what was asked, within what model, row and settings allow."""
    own = anatomy.context if anatomy else 0
    limits = [limit for limit in (own, spec.context, settings.context_limit) if limit > 0]
    most = min(limits, default=PLANNED)
    return Shape(min(context, most) if context else min(most, PLANNED), max(1, rows))


def weights_type(name: str, device: str, parameters: int) -> str:
    """The type of weights for a setting on a device ("cpu", "cuda:0", "mps").

    auto: bfloat16 on a GPU, and on a processor with bfloat16 instructions unless the model is small: there
    its time goes into the calls, not into reading weights, and float32 calls are the cheaper ones.
    """
    if name in BYTES:
        return name
    if name != "auto":
        raise BadValue(
            f"'{name[:40]}' is not a type of weights. Use auto, float32, bfloat16 or float16.",
            param="dtype",
        )
    if not device.startswith("cpu"):
        return "bfloat16"
    return "bfloat16" if fast_bfloat16() and parameters >= SMALL else "float32"


def forms(
    spec: ModelSpec, settings: Settings, device: str, anatomy: Anatomy | None, able: bool
) -> list[Form]:
    """The forms to try, best first: the one that was asked for alone, else whatever the settings allow.

    Args:
        able: its family quantises and offloads.

    Raises:
        BadValue: what was asked for cannot run here.
    """
    parameters = anatomy.parameters if anatomy else 0
    plain = Form(weights_type(str(spec.options.get("dtype") or settings.dtype), device, parameters))
    asked = str(spec.options.get("quantisation") or settings.quantisation)
    offload = spec.options.get("offload", settings.offload)
    if asked in QUANTISED:
        refuse_quantisation(asked, spec, device, anatomy, able)
        return [replace(plain, quantisation=asked, offload=_offload(offload, spec, device))]
    if asked not in {"auto", "none"}:
        raise BadValue(
            f"'{asked[:40]}' is not a quantisation. Use auto, none, int8 or int4.",
            param="quantisation",
        )
    if _offload(offload, spec, device):
        return [replace(plain, offload=True)]
    if asked == "none" or anatomy is None or not able:
        return [plain]
    smaller = [
        replace(plain, quantisation=how)
        for how in QUANTISED
        if not _why_not(how, spec, device, anatomy, able) and anatomy.linear
    ]
    last = [replace(plain, offload=True)] if device.startswith("cuda") else []
    return [plain, *smaller, *last]


def refuse_quantisation(
    how: str, spec: ModelSpec, device: str, anatomy: Anatomy | None, able: bool
) -> None:
    """Raise BadValue where this model cannot be quantised so on this device."""
    if why := _why_not(how, spec, device, anatomy, able):
        raise BadValue(
            f"{spec.id} cannot be loaded as {how} here: {why}. Load it without quantisation.",
            param="quantisation",
        )


def _why_not(how: str, spec: ModelSpec, device: str, anatomy: Anatomy | None, able: bool) -> str:
    if not able:
        return "its family does not quantise"
    if not device.startswith(("cpu", "cuda")):
        return f"quantised weights run on processors and NVIDIA GPUs, not on {device}"
    if how == "int4" and "image" in spec.does and not device.startswith("cuda"):
        return "pipelines take four bits on NVIDIA GPUs alone; int8 runs here"
    if find_spec(NEEDS[how]) is None:
        return f"the package {NEEDS[how]} is not installed"
    if anatomy is not None and anatomy.quantised:
        return f"its files are quantised already ({anatomy.quantised[:40]})"
    return ""


def _offload(asked: Any, spec: ModelSpec, device: str) -> bool:
    if asked and not device.startswith("cuda"):
        raise BadValue(
            f"{spec.id} cannot be offloaded here: that keeps layers in RAM beside an NVIDIA GPU, and models "
            f"run on {device}. Load it without offload.",
            param="offload",
        )
    return bool(asked)


def with_form(spec: ModelSpec, quantisation: str, offload: bool | None) -> ModelSpec:
    """The row with a form that was asked for; "" and None leave its own."""
    asked = {"quantisation": quantisation} if quantisation else {}
    more = {} if offload is None else {"offload": offload}
    return replace(spec, options={**spec.options, **asked, **more})


def gigabytes(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
