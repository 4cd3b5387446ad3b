"""A prompt's pictures on their way through the model: the tower's pass, places in space, pieces of what was seen.

Knows models of transformers and tensors; nothing of processors, requests or rows.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from engine.families._seeing import Sight

if TYPE_CHECKING:
    import torch


class View:
    """One prompt being read: `look` until it says False, then `inputs` for each piece of its tokens.

    Attributes:
        positions: `[axes, tokens]` where the model counts in space, else None.
        delta: what is added to a later token's place to find its position.
    """

    def __init__(self, model: Any, sight: Sight, start: int = 0) -> None:
        self._model, self._sight = model, sight
        self._portions = sight.portions(start)
        self._first = self._portions[0].first if self._portions else 0
        self._seen: list[list[torch.Tensor]] = []  # of each portion: what was seen, level by level
        self.positions, self.delta = positions_of(model, sight)

    def look(self) -> bool:
        """Send the next pictures through the tower; False when all were."""
        import torch

        if not self._portions:
            return False
        base, portion = self._model.base_model, self._portions[0]
        takes = inspect.signature(base.get_image_features).parameters
        given = {k: v.to(self._model.device) for k, v in portion.inputs.items() if k in takes}
        with torch.inference_mode():
            out = base.get_image_features(**given, return_dict=True)
        levels = [out.pooler_output, *(getattr(out, "deepstack_features", None) or ())]
        flat = [torch.cat([part.reshape(-1, part.shape[-1]) for part in level]) for level in levels]
        if len(flat[0]) != portion.last - portion.first:
            raise ValueError("the tower saw more or less than the prompt has places for")
        self._seen.append(flat)
        self._portions.pop(0)
        return True

    def inputs(self, start: int, stop: int) -> dict[str, Any]:
        """What the model's pass takes besides the tokens `start` to `stop`."""
        import torch

        more: dict[str, Any] = {}
        if self.positions is not None:
            more["position_ids"] = self.positions[:, None, start:stop]
        spots = self._sight.spots
        low, high = (bisect_left(spots, place) - self._first for place in (start, stop))
        if low < high:
            levels = [torch.cat(level)[low:high] for level in zip(*self._seen, strict=True)]
            seen = SimpleNamespace(pooler_output=[levels[0]], deepstack_features=[])
            seen.deepstack_features = [[level] for level in levels[1:]]
            more["mm_encoder_outputs"] = {"image": seen}
        return more


def positions_of(model: Any, sight: Sight) -> tuple[torch.Tensor | None, int]:
    """Positions `[axes, tokens]` and what later ones are off by; None and 0 where tokens are simply counted."""
    import torch

    find = getattr(model.base_model, "get_rope_index", None)
    if find is None:
        return None, 0
    given = {name: torch.as_tensor(value) for name, value in sight.inputs.items()}
    ids = torch.tensor([sight.ids])
    given |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    takes = inspect.signature(find).parameters
    positions, deltas = find(**{k: v for k, v in given.items() if k in takes})
    return positions[:, 0].to(model.device), int(deltas.reshape(-1)[0])
