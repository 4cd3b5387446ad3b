"""A line of the table: what is promised, and what was reached. Knows nothing of how it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Verdict = Literal["reached", "missed", "not run here"]


@dataclass(frozen=True, slots=True)
class Reached:
    """What a measurement came to.

    Attributes:
        said: the figures, as the table shows them.
        verdict: "not run here" where this machine lacks what it needs; `said` tells what.
        details: lines for whoever wants to know more: failures, seeds, commands.
    """

    said: str
    verdict: Verdict
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class Run:
    """One run of the tool.

    Attributes:
        quick: the form of some minutes.
        seed: what every random choice begins with.
        minutes: how long the soak lasts; 0: by the form.
        folder: where reports are kept.
        mistakes: for each server that was started, its answers with 5xx that are no deliberate 502, 503, 504, 507.
    """

    quick: bool
    seed: int
    folder: Path
    minutes: float = 0.0
    mistakes: dict[str, int] = field(default_factory=dict)

    def of(self, full: int, quick: int) -> int:
        """The size of a measurement in this form."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Figure:
    """One promise. `name` is what `--only` takes; `number` is its line in the scoreboard."""

    name: str
    number: str
    title: str
    target: str
    measure: Callable[[Run], Reached]


def judged(said: str, good: bool, *details: str) -> Reached:
    """Reached or missed."""
    return Reached(said, "reached" if good else "missed", details)
