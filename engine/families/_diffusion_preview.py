"""What a picture looks like so far, from latents: by a tiny autoencoder where one is here, else by a linear map.

No tables: colours are encoded by the model's own autoencoder and the map from latents back to them is fitted, so it is
right for any. A tiny one (TAESD and its kin) shows edges too; a row names it in `options.preview`, as a folder or by
its id on the hub, and it is used once it is in the hub's cache. Knows latents and no request.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoints import cached_snapshot
from engine.registry import ModelSpec

if TYPE_CHECKING:
    import torch

CELLS = 12  # colours along a side of the chart that is encoded
SIDE = 320  # pixels of a preview's longer side
log = logging.getLogger("atelier.diffusion")


@dataclass(slots=True)
class Preview:
    """Latents to a small picture.

    Args:
        weights: [channels + 1, 3], from a latent's numbers and 1 to red, green and blue in 0..1.
        tiny: a tiny autoencoder in their place.
    """

    weights: torch.Tensor | None = None
    tiny: Any = None

    @property
    def channels(self) -> int:
        if self.weights is not None:
            return int(self.weights.shape[0]) - 1
        return int(self.tiny.config.latent_channels)

    def draw(self, pipe: Any, latents: torch.Tensor, width: int, height: int) -> bytes | None:
        """The first of the latents as a JPEG; None where they have a shape that is not known here."""
        import torch
        from PIL import Image

        one = _unpacked(pipe, latents[:1].detach(), width, height)
        if one is None or one.shape[1] != self.channels:
            return None
        if self.weights is None:
            with torch.no_grad():
                rgb = self.tiny.decode(one.to(self.tiny.dtype), return_dict=False)[0][0]
            rgb = rgb.float().permute(1, 2, 0) / 2 + 0.5
        else:
            flat = one[0].float().permute(1, 2, 0).cpu()
            ones = torch.ones(*flat.shape[:2], 1)
            rgb = torch.cat([flat, ones], -1) @ self.weights
        pixels = (rgb.clamp(0, 1).nan_to_num() * 255).round().to(torch.uint8).cpu().numpy()
        picture = Image.fromarray(pixels)
        scale = min(SIDE / max(width, height), 1.0)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        out = io.BytesIO()
        picture.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=80)
        return out.getvalue()


def find_preview(pipe: Any, spec: ModelSpec) -> Preview | None:
    """The preview of a loaded pipeline; None where there is none of either kind."""
    tiny = _tiny(pipe, str(spec.options.get("preview") or ""))
    return fit_preview(pipe) if tiny is None else Preview(tiny=tiny)


def _tiny(pipe: Any, name: str) -> Any:
    """The tiny autoencoder of a folder or hub id, beside the pipeline's own; None where it is not here or not whole."""
    vae = getattr(pipe, "vae", None)
    if not name or vae is None:
        return None
    folder = Path(name) if Path(name).is_dir() else cached_snapshot(name)
    if folder is None:
        return None
    from diffusers import AutoencoderTiny

    beside = next(vae.parameters())
    try:
        made = AutoencoderTiny.from_pretrained(
            folder, dtype=beside.dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        log.warning("The previews' autoencoder '%s' cannot be used: %s", name, error)
        return None
    return made.to(beside.device).requires_grad_(False).eval()


def fit_preview(pipe: Any) -> Preview | None:
    """The preview of a pipeline; None where its autoencoder is of a kind that cannot be asked so."""
    import torch

    vae = getattr(pipe, "vae", None)
    if vae is None or not hasattr(vae, "encode"):
        return None
    factor = int(getattr(pipe, "vae_scale_factor", 8))
    cell = max(2 * factor, 16)
    chance = torch.Generator("cpu").manual_seed(7)
    colours = torch.rand((1, 3, CELLS, CELLS), generator=chance)
    chart = colours.repeat_interleave(cell, 2).repeat_interleave(cell, 3) * 2 - 1
    first = next(vae.parameters())
    try:
        with torch.no_grad():
            told = vae.encode(chart.to(first.device, first.dtype), return_dict=True)
            found = told.latent_dist.mode() if hasattr(told, "latent_dist") else told.latents
    except (RuntimeError, ValueError, AttributeError, TypeError):  # films, several scales, …
        return None
    if found.ndim != 4:
        return None
    latents = _scaled(vae.config, found.float().cpu())
    side = latents.shape[-1] // CELLS
    wanted = colours.repeat_interleave(side, 2).repeat_interleave(side, 3)
    if side < 1 or wanted.shape[-2:] != latents.shape[-2:]:
        return None
    given = latents[0].flatten(1).T
    given = torch.cat([given, torch.ones(len(given), 1)], 1)
    weights = torch.linalg.lstsq(given, wanted[0].flatten(1).T).solution
    return Preview(weights) if bool(torch.isfinite(weights).all()) else None


def _scaled(config: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the denoising network sees them."""
    shift = getattr(config, "shift_factor", None) or 0.0
    scale = getattr(config, "scaling_factor", None) or 1.0
    return (latents - shift) * scale


def _unpacked(pipe: Any, latents: torch.Tensor, width: int, height: int) -> torch.Tensor | None:
    """[1, channels, height, width], also of latents that were put into rows."""
    if latents.ndim == 3 and hasattr(pipe, "_unpack_latents"):
        try:
            latents = pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
        except (RuntimeError, ValueError, TypeError):
            return None
    if latents.ndim == 5 and latents.shape[2] == 1:
        latents = latents[:, :, 0]
    return latents if latents.ndim == 4 else None


class Denoised:
    """Watches a scheduler's steps for the picture without its noise, as the network sees it at that step."""

    def __init__(self, scheduler: Any) -> None:
        self.latents: torch.Tensor | None = None
        inner = scheduler.step

        @wraps(inner)  # pipelines look at its parameters to know whether it takes generators
        def step(output: Any, timestep: Any, sample: Any, *args: Any, **more: Any) -> Any:
            whole = more.pop("return_dict", True)
            told = inner(output, timestep, sample, *args, return_dict=True, **more)
            seen = getattr(told, "denoised", None)
            seen = getattr(told, "pred_original_sample", None) if seen is None else seen
            if seen is None and type(scheduler).__name__.startswith("FlowMatch"):
                sigma = scheduler.sigmas[max(0, (scheduler.step_index or 1) - 1)].to(sample.device)
                seen = sample.float() - sigma.float() * output.float()
            self.latents = seen
            return told if whole else told.to_tuple()

        scheduler.step = step
