"""Time to the first token of a conversation's second turn, with its keys and values kept and without.

`python -m bench.prefix [--model random-88m] [--dtype bfloat16] [--lengths 256,1000,2000,4000] [--repeats 5]`

One process and one thread holds two copies of the model, driven as the lane drives them; they take turns at every
length. A first turn of so many tokens is answered with 16, then 32 new tokens follow. The answers must be the same.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import Any

from bench.chat import Listener
from bench.models import SMALL, folder_of, ids
from bench.report import median, table
from engine.families import hf_chat
from engine.registry import ModelSpec
from engine.requests import ChatRequest
from engine.settings import Settings

ANSWER, NEW = 16, 32


@dataclass(frozen=True, slots=True)
class First:
    """Seconds to the first token, and the tokens of the whole answer."""

    wall: float
    made: list[int]


class Side:
    """One copy of the model; `prefix_memory` 0 keeps nothing."""

    def __init__(self, model: str, dtype: str, device: str, prefix_memory: int) -> None:
        spec = ModelSpec(
            id=model, does=frozenset({"chat"}), family="hf_chat", path=str(folder_of(model))
        )
        settings = Settings(dtype=dtype, device=device, prefix_memory=prefix_memory)
        self.backend: Any = hf_chat.load(spec, settings)
        self.backend._prompter.encode = lambda text, request, context: (  # type: ignore[method-assign]
            [int(n) for n in (request.prompt or "").split()],
            True,
        )

    def ask(self, prompt: list[int]) -> First:
        listener = Listener()
        text = " ".join(map(str, prompt))
        self.backend.join(ChatRequest(prompt=text, max_tokens=ANSWER, temperature=0), listener)
        (answer,) = self.backend._waiting
        began = time.perf_counter()
        while not listener.over:
            self.backend.step()
        return First(listener.times[0] - began, answer.made)


def measure(sides: tuple[Side, Side], length: int, seed: int) -> tuple[First, First]:
    """The second turn's first token with reuse and without."""
    prompt = ids(length, seed)
    first = [side.ask(prompt) for side in sides]
    # Both continue the same text, whatever rounding made of the first answers.
    prompt = prompt + first[0].made + ids(NEW, seed + 1)
    return sides[0].ask(prompt), sides[1].ask(prompt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=SMALL)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lengths", default="256,1000,2000,4000")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    sides = (
        Side(options.model, options.dtype, options.device, 2_000_000_000),
        Side(options.model, options.dtype, options.device, 0),
    )
    rows = []
    for length in map(int, options.lengths.split(",")):
        measure(sides, length, 1)
        found = [measure(sides, length, 100 * n) for n in range(1, options.repeats + 1)]
        print(length, [(a.wall, b.wall) for a, b in found], file=sys.stderr, flush=True)
        walls = [median(pair[n].wall for pair in found) for n in (0, 1)]
        worst = max(a.wall / b.wall for a, b in found)
        same = sum(a.made == b.made for a, b in found)
        rows.append((
            f"{length:,}", f"{1000 * walls[0]:.0f}", f"{1000 * walls[1]:.0f}", f"{walls[0] / walls[1]:.3f}",
            f"{worst:.3f}", f"{same}/{len(found)}",
        ))  # fmt: skip
    table(
        f"Second turn's first token, {options.model}, {options.dtype}, {options.device}",
        (
            "first turn, tokens",
            "kept, ms",
            "read again, ms",
            "ratio",
            "worst ratio",
            "same answers",
        ),
        rows,
        f"Medians of {options.repeats}; answers of {ANSWER} tokens, {NEW} new tokens in the second turn.",
    )


if __name__ == "__main__":
    main()
