"""What one look of the doctor found, and how it is told in a terminal. A leaf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail", "skip"]
Group = Literal["run", "machine", "versions", "data", "ports", "programs", "page", "servers"]
GROUPS: tuple[Group, ...] = (
    "machine", "run", "versions", "data", "ports", "programs", "page", "servers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found.

    Args:
        group: what it belongs to. name: what was looked at.
        level: "fail": something does not work; "warn": it works and may not for long, or not for everybody;
            "skip": there is nothing to look at.
        text: what was found, a sentence or figures. fix: what to do, often a command.
        seconds: what the look took, or the run.
    """

    group: Group
    name: str
    level: Level
    text: str
    fix: str = ""
    seconds: float | None = None


def worst(checks: list[Check]) -> Level:
    """The worst of some checks' levels: what a whole examination came to."""
    levels = {check.level for check in checks}
    return next((level for level in ("fail", "warn") if level in levels), "ok")


MARKS = {"ok": "  ok  ", "warn": " warn ", "fail": " FAIL ", "skip": "  -   "}
COLOURS = {"ok": "32", "warn": "33", "fail": "31", "skip": "90"}


def as_line(check: Check, colour: bool = False) -> str:
    """A check as text: one line, and one more with what to do."""
    mark = MARKS[check.level]
    if colour:
        mark = f"\x1b[{COLOURS[check.level]}m{mark}\x1b[0m"
    text = f"{mark} {check.group:<9} {check.name}: {check.text}"
    return f"{text}\n{' ' * 17}-> {check.fix}" if check.fix else text
