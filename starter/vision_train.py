"""Trains starter-vision: first its eyes alone, then eyes and language together, with Muon and AdamW.

The forward pass here is that of Qwen3VLForConditionalGeneration, written for batches whose pictures all
have one of a few sizes: `tests/test_starter_vision.py` checks that both give the same numbers.
"""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextModel,
    Qwen3VLVisionModel,
    apply_rotary_pos_emb_vision,
)
from transformers.vision_utils import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from starter.vision_batch import (
    IGNORED,
    MOST_PATCHES,
    NO_CELL,
    NO_COLOUR,
    NO_KIND,
    NO_SIZE,
    Batch,
)
from starter.vision_model import MERGE
from starter.vision_scene import GRIDS

PEAK_RATE = 3e-3
WARM_UP = 50
MARKED = ("kind", "colour", "size", "cell")
FAST_NORMS = (
    4.0  # how much faster the norms before attention learn: they decide how sharply it looks
)
EYES_WEIGHT = 0.2  # how much naming what lies under each picture token counts beside the answers
Report = Callable[[int, float, float], None]


def middle(tokens: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The mean of each picture's tokens, `[pictures, width]`."""
    there = (batch.marks[..., 0] != IGNORED)[..., None]
    return (tokens * there).sum(1) / there.sum(1)


class Eyes(nn.Module):
    """Names what lies under each picture token; helps the vision tower to begin with, then is dropped."""

    def __init__(self, width: int, towers: int) -> None:
        super().__init__()
        self.parts = (NO_KIND + 1, NO_COLOUR + 1, NO_SIZE + 1, NO_CELL + 1, 1)
        self.heads = nn.ModuleList(nn.Linear(width, sum(self.parts)) for _ in range(towers))
        self.ground = nn.Linear(width, NO_COLOUR + 1)

    def forward(self, seen: list[torch.Tensor], batch: Batch) -> torch.Tensor:
        """The loss over every output of the tower; each `[pictures, tokens, width]`."""
        loss = functional.cross_entropy(self.ground(middle(seen[0], batch)).float(), batch.grounds)
        for head, tokens in zip(self.heads, seen, strict=True):
            *named, centre = head(tokens).float().flatten(0, 1).split(self.parts, dim=1)
            marks = batch.marks.flatten(0, 1)
            for i, scores in enumerate(named):
                loss = loss + functional.cross_entropy(scores, marks[:, i])
            wanted = marks[:, -1].clamp(min=0).to(centre.dtype)
            there = (marks[:, -1] != IGNORED).to(centre.dtype)
            loss = loss + 2 * functional.binary_cross_entropy_with_logits(
                centre[:, 0], wanted, there
            )
        return loss

    @torch.no_grad()
    def judge(self, seen: list[torch.Tensor], batch: Batch) -> dict[str, float]:
        """Share of right kinds, colours and sizes where a shape's centre lies, and of right grounds."""
        *named, _ = self.heads[0](seen[0]).split(self.parts, dim=2)
        there = batch.marks[..., -1] == 1
        right = {
            name: (scores.argmax(-1) == batch.marks[..., i])[there].float().mean().item()
            for i, (name, scores) in enumerate(zip(MARKED, named, strict=True))
        }
        ground = self.ground(middle(seen[0], batch)).argmax(-1)
        return right | {"ground": (ground == batch.grounds).float().mean().item()}


class Places:
    """Where the patches of a picture of each grid lie, for embedding and rotation, filled up to MOST_PATCHES."""

    def __init__(self, tower: Qwen3VLVisionModel) -> None:
        found = [self._find(tower, grid) for grid in GRIDS]
        self.indices, self.weights, self.cos, self.sin, self.mask = (
            torch.stack(list(parts)) for parts in zip(*found, strict=True)
        )

    @staticmethod
    def _find(tower: Qwen3VLVisionModel, grid: tuple[int, int]) -> list[torch.Tensor]:
        shape = torch.tensor([[1, grid[0] * MERGE, grid[1] * MERGE]])
        indices, weights = get_vision_interpolation_indices_and_weights(
            shape,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=MERGE,
            kwargs={},
        )
        position = get_vision_position_ids(shape, MERGE, kwargs={})
        cos, sin = tower.rotary_pos_emb(weights, position)
        filled = [
            functional.pad(part, (0, 0, 0, MOST_PATCHES - len(part)))
            for part in (indices, weights, cos, sin)
        ]
        hidden = torch.arange(MOST_PATCHES) >= len(indices)
        return [*filled, torch.where(hidden, -1e9, 0.0)]


def see(
    tower: Qwen3VLVisionModel,
    places: Places,
    batch: Batch,
    runner: Callable[..., list[torch.Tensor]] | None = None,
) -> list[torch.Tensor]:
    """Picture tokens `[pictures, MOST_TOKENS, width]`: the tower's own, then those of its deepstack."""
    kernel = tower.patch_embed.proj
    frames = kernel.weight.sum(2)  # a picture is a film whose frames are all alike
    hidden = functional.linear(batch.patches.to(frames.dtype), frames.flatten(1), kernel.bias)
    laid = (tower.pos_embed(places.indices) * places.weights[..., None]).sum(2)
    grids = batch.grids
    hidden = hidden + laid[grids]
    cos, sin, mask = places.cos[grids], places.sin[grids], places.mask[grids][:, None, None]
    return (runner or run_tower)(tower, hidden, cos, sin, mask)


def run_tower(
    tower: Qwen3VLVisionModel,
    hidden: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    mask: torch.Tensor,
) -> list[torch.Tensor]:
    """The blocks of the tower over `[pictures, patches, width]`."""
    pictures, patches, width = hidden.shape
    deep: list[torch.Tensor] = []
    for number, block in enumerate(tower.blocks):
        attention = block.attn
        joined = attention.qkv(block.norm1(hidden)).view(
            pictures, patches, 3, attention.num_heads, -1
        )
        query, key, value = joined.unbind(2)
        query, key = apply_rotary_pos_emb_vision(query, key, cos, sin)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        scores = (query @ key.transpose(2, 3)).float() * attention.scaling + mask
        mixed = scores.softmax(-1).to(value.dtype) @ value
        hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(pictures, patches, width))
        hidden = hidden + block.mlp(block.norm2(hidden))
        if number in tower.deepstack_visual_indexes:
            merger = tower.deepstack_merger_list[len(deep)]
            deep.append(merger(hidden).view(pictures, patches // MERGE**2, -1))
    return [tower.merger(hidden).view(pictures, patches // MERGE**2, -1), *deep]


def read(
    language: Qwen3VLTextModel,
    embedded: torch.Tensor,
    deep: list[torch.Tensor],
    mask: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
) -> torch.Tensor:
    """The layers of the language model over `[rows, length, width]`, deepstack added on the way."""
    hidden = embedded
    for number, layer in enumerate(language.layers):
        hidden = layer(hidden, attention_mask=mask, position_embeddings=(cos, sin))
        if number < len(deep):
            hidden = hidden + deep[number]
    return language.norm(hidden)


def mask_of(part: torch.Tensor) -> torch.Tensor:
    """`[rows, 1, length, length]`: 0 where a token may look, else minus infinity's stand-in."""
    length = part.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    same = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    return torch.where(earlier & same, 0.0, -1e9)[:, None]


def hidden_states(
    model: Qwen3VLForConditionalGeneration,
    batch: Batch,
    seen: list[torch.Tensor],
    reader: Callable[..., torch.Tensor] = read,
) -> torch.Tensor:
    """What the language model makes of the batch, `[rows, length, width]`."""
    language = model.model.language_model
    embedded = language.embed_tokens(batch.ids)
    rows = [functional.pad(tokens.flatten(0, 1), (0, 0, 1, 0)) for tokens in seen]
    laid = [row[batch.place] for row in rows]
    embedded = torch.where((batch.place > 0)[..., None], laid[0].to(embedded.dtype), embedded)
    cos, sin = language.rotary_emb(embedded, batch.position)
    return reader(language, embedded, laid[1:], mask_of(batch.part), cos, sin)


def answer_loss(
    model: Qwen3VLForConditionalGeneration, batch: Batch, hidden: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens; logits are computed for them alone."""
    labels = batch.labels[:, 1:]
    wanted = labels != IGNORED
    logits = model.lm_head(hidden[:, :-1][wanted])
    return functional.cross_entropy(logits.float(), labels[wanted])


def build_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], rate: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    matrices: list[nn.Parameter] = []
    sharp: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, weight in named:
        head = any(part in name for part in ("embed", "heads", "ground"))
        inside = weight.ndim == 2 and not head
        norm = "q_norm" in name or "k_norm" in name
        (matrices if inside else sharp if norm else others).append(weight)
    muon = torch.optim.Muon(
        matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw", ns_steps=5
    )
    groups: list[dict[str, Any]] = [{"params": others}]
    if sharp:
        groups.append({"params": sharp, "scale": FAST_NORMS})
    adam = torch.optim.AdamW(
        groups,
        lr=rate,
        betas=(0.9, 0.98),
        weight_decay=0.0,
        fused=True,
    )
    return [muon, adam]


def rate_at(step: int, done: float) -> float:
    """The share of the peak rate: linear warm-up, level to 0.35, then a cosine down to nothing at 1."""
    fall = max(0.0, min(1.0, (done - 0.35) / 0.65))
    return min((step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * fall)))


def fit_eyes(
    model: Qwen3VLForConditionalGeneration, eyes: Eyes, source: Iterable[Batch], steps: int
) -> None:
    """Teaches new eyes what a trained tower sees, so that their first guesses do not spoil it."""
    tower = model.model.visual
    places = Places(tower)
    adam = torch.optim.AdamW(eyes.parameters(), lr=1e-2)
    for _, batch in zip(range(steps), source, strict=False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                seen = see(tower, places, batch)
            loss = eyes(seen, batch)
        loss.backward()
        adam.step()
        adam.zero_grad()


def train(
    model: Qwen3VLForConditionalGeneration,
    eyes: Eyes,
    source: Iterable[Batch],
    steps: int,
    rate: float,
    report: Report,
    seconds: float = math.inf,
    talk: bool = True,
) -> int:
    """Up to `steps` updates, or as many as fit into `seconds`; returns how many there were.

    Without `talk` only the vision tower learns. `report` is called with (step, loss of the answers or
    of the eyes, seconds) after each.
    """
    tower = model.model.visual
    trained = [*(model if talk else tower).named_parameters(), *eyes.named_parameters()]
    optimizers = build_optimizers(trained, rate)
    kept = model.config._attn_implementation
    model.set_attn_implementation("eager")
    reader, runner = torch.compile(read, dynamic=False), torch.compile(run_tower, dynamic=False)
    places = Places(tower)
    begun, step = time.monotonic(), 0
    model.train()
    for step, batch in zip(range(1, steps + 1), source, strict=False):
        done = max(step / steps, (time.monotonic() - begun) / seconds)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = see(tower, places, batch, runner)
            loss = shown = eyes(seen, batch)
            if talk:
                hidden = hidden_states(model, batch, seen, reader)
                shown = answer_loss(model, batch, hidden)
                loss = shown + EYES_WEIGHT * loss
        loss.backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
                group["lr"] = rate * group.get("scale", 1.0) * rate_at(step, done)
            optimizer.step()
            optimizer.zero_grad()
        report(step, shown.item(), time.monotonic() - begun)
        if done >= 1:
            break
    model.set_attn_implementation(kept)
    return step
