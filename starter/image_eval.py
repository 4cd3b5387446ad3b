"""Judges pictures of creatures by their pixels alone: each is compared with the drawings of what it might show.

For every trait, the drawing that was asked for is set beside those that differ from it in this trait alone; where two
of them differ, the picture must be clearly nearer to the one that was asked for. Nothing here has learned anything.
"""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.bestiary import CHOICES, Traits
from starter.image_data import STYLES, TWO_COLOURED, ask, creatures, picture_of, plainly

ASKED = 200  # pictures
SEED = 90_001
STEPS, GUIDANCE, TOGETHER = 8, 1.0, 10
NEARER = (
    0.75  # at most so much of the distance to any other drawing may be left to the one asked for
)
DIFFERS = 24  # levels of a channel from which on two drawings differ at a place
PLACES = 6  # pixels that must differ for two drawings to be told apart
FAR = 24.0  # levels of mean distance to the drawing from which on a picture shows nothing


@dataclass(frozen=True, slots=True)
class Wish:
    """A creature, the prompt that asks for it, and whether it is in the creature service's own words."""

    traits: Traits
    text: str
    own: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is right in a picture, a trait each; `distance` is to the nearest style's drawing, in levels."""

    wish: Wish
    right: dict[str, bool]
    distance: float

    @property
    def whole(self) -> bool:
        return all(self.right.values()) and self.distance < FAR


@lru_cache(maxsize=400)
def drawing(traits: Traits, style: int) -> np.ndarray:
    """The drawing as int16 [SIDE, SIDE, 3]."""
    return picture_of(traits, style).astype(np.int16)


def others(traits: Traits, name: str) -> Iterator[Traits]:
    """The creatures that differ from one in a single trait."""
    if name == "second" and traits.pattern not in TWO_COLOURED:
        return  # no word tells it
    for word in CHOICES[name]:
        if word == getattr(traits, name) or (name == "second" and word == traits.colour):
            continue
        changed = replace(traits, **{name: word})
        # Its second colour stays, so that nothing else differs; where that is the new colour, it cannot.
        yield plainly(changed) if changed.second == changed.colour else changed


def judge(picture: np.ndarray, wish: Wish) -> Verdict:
    """What is right in a picture, uint8 [SIDE, SIDE, 3]."""
    seen = picture.astype(np.int16)
    far = [np.abs(seen - drawing(wish.traits, style)).mean() for style in range(STYLES)]
    style = int(np.argmin(far))
    asked = drawing(wish.traits, style)
    right = {}
    for name in CHOICES:
        rivals = [drawing(other, style) for other in others(wish.traits, name)]
        if rivals:
            right[name] = all(_is_nearer(seen, asked, rival) for rival in rivals)
    return Verdict(wish, right, float(far[style]))


def _is_nearer(seen: np.ndarray, asked: np.ndarray, rival: np.ndarray) -> bool:
    """Whether a picture is clearly nearer to a drawing than to another, where these two differ."""
    where = np.abs(asked - rival).max(-1) >= DIFFERS
    if where.sum() < PLACES:
        return True
    mine, other = (np.abs(seen - one)[where].mean() for one in (asked, rival))
    return bool(mine <= NEARER * other)


def wishes(count: int, seed: int = SEED) -> list[Wish]:
    """Prompts for held-out creatures, every second one worded in another way than the creature service does."""
    chance, source = random.Random(seed), creatures(seed, held=True)
    made = []
    for n in range(count):
        traits = next(source)
        text = traits.caption if n % 2 == 0 else ask(traits, chance, own=0.0, leave=0.0).text
        made.append(Wish(traits, text, n % 2 == 0))
    return made


def read_pipe(folder: Path) -> Any:
    """The folder's pipeline, as anybody opens it."""
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, safety_checker=None
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make(
    pipe: Any, texts: Sequence[str], steps: int = STEPS, guidance: float = GUIDANCE
) -> list[np.ndarray]:
    """Pictures of prompts, each by a seed of its own: uint8 [SIDE, SIDE, 3]."""
    import torch

    made: list[np.ndarray] = []
    for n in range(0, len(texts), TOGETHER):
        some = list(texts[n : n + TOGETHER])
        seeds = [torch.Generator("cpu").manual_seed(n + k) for k in range(len(some))]
        found = pipe(some, num_inference_steps=steps, guidance_scale=guidance, generator=seeds)
        made += [np.asarray(one) for one in found.images]
    return made


def measure(
    folder: Path,
    count: int = ASKED,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    sheet: Path | None = None,
) -> list[Verdict]:
    """Verdicts on pictures of held-out creatures; with `sheet` the pictures too, those asked for below them."""
    asked = wishes(count)
    pictures = make(read_pipe(folder), [wish.text for wish in asked], steps, guidance)
    with ProcessPoolExecutor(2) as pool:
        verdicts = list(pool.map(judge, pictures, asked))
    if sheet is not None:
        write_sheet(sheet, pictures, asked)
    return verdicts


def write_sheet(file: Path, pictures: Sequence[np.ndarray], asked: Sequence[Wish]) -> None:
    """The first 32 pictures in rows of eight, below each row the drawings."""
    from PIL import Image

    rows = []
    for n in range(0, min(32, len(pictures)), 8):
        rows.append(np.concatenate(list(pictures[n : n + 8]), 1))
        drawn = [drawing(wish.traits, 0).astype(np.uint8) for wish in asked[n : n + 8]]
        rows.append(np.concatenate(drawn, 1))
    widest = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    Image.fromarray(np.concatenate(rows)).save(file)


def share(verdicts: Sequence[Verdict], name: str = "") -> float:
    """How many of the pictures are right, whole or in one trait."""
    told = [
        one.right[name] if name else one.whole for one in verdicts if not name or name in one.right
    ]
    return sum(told) / max(1, len(told))


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """The table of the card."""
    rows = ["| what | pictures | right |", "|---|---|---|"]
    groups = {
        "whole creatures": verdicts,
        "… asked as the creature service asks": [one for one in verdicts if one.wish.own],
        "… in other words": [one for one in verdicts if not one.wish.own],
    }
    rows += [f"| {name} | {len(some)} | {share(some):.1%} |" for name, some in groups.items()]
    for name in CHOICES:
        count = sum(name in one.right for one in verdicts)
        rows.append(f"| {name} | {count} | {share(verdicts, name):.1%} |")
    mean = sum(one.distance for one in verdicts) / max(1, len(verdicts))
    rows.append(f"| mean distance to the drawing, of 255 levels | {len(verdicts)} | {mean:.1f} |")
    return "\n".join(rows)
