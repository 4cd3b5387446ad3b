"""Weights in fewer bits: how transformers is told, and what such weights really take.

int8 is one scale for each row (torchao), int4 is NF4 in blocks of 64 (bitsandbytes); both run on processors
and on NVIDIA GPUs. Knows no files and no requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.fit import Form

if TYPE_CHECKING:
    import torch


# What looks at pictures: small beside the text model, and what it loses nothing makes up for.
TOWERS = ("visual", "vision_tower", "vision_model", "multi_modal_projector", "connector")


def loading_options(
    form: Form, device: torch.device, device_memory: int, sees: bool = False
) -> dict[str, Any]:
    """What `from_pretrained` is given for a form on a device.

    Args:
        device_memory: bytes that an offloaded model may take there; 0: as transformers finds it.
        sees: it has a part that looks at pictures, which keeps its precision.
    """
    import torch

    more: dict[str, Any] = {}
    if form.quantisation:
        kept = ["lm_head", *(f".*{name}" for name in TOWERS)] if sees else None
        more["quantization_config"] = _config(form, getattr(torch, form.dtype), kept)
    if form.offload:
        room = {device.index or 0: device_memory} if device_memory else {}
        return {
            **more,
            "device_map": "auto",
            "max_memory": {**room, "cpu": _ram()} if room else None,
        }
    if device.type == "cuda" or form.quantisation == "int4":
        more["device_map"] = {"": device}
    return more


def _config(form: Form, dtype: torch.dtype, kept: list[str] | None) -> Any:
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if form.quantisation == "int4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=kept,
        )
    from torchao.quantization import Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=kept)


def _ram() -> int:
    from engine.devices import free_ram

    return free_ram()


def bytes_held(model: Any) -> int:
    """Bytes that a model's weights take on its own device, however they are packed; shared ones count once."""
    device = model.device.type
    held: dict[int, int] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        for part in _parts(tensor):
            if part.device.type == device:
                held[part.data_ptr()] = part.numel() * part.element_size()
    packed = sum(getattr(module, "packed_bytes", 0) for module in model.modules())
    return sum(held.values()) + packed


def _parts(tensor: Any) -> Iterator[Any]:
    """The plain tensors that a weight is made of: itself, or its numbers and their scales."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is not None:
        for name in flatten()[0]:
            yield from _parts(getattr(tensor, name))
        return
    yield tensor
    state = getattr(
        tensor, "quant_state", None
    )  # how bitsandbytes keeps the scales of 4-bit weights
    for name in ("absmax", "code", "offset"):
        scale = getattr(state, name, None)
        if scale is not None and hasattr(scale, "data_ptr"):
            yield scale
