"""`python -m prove [--only conformance paths] [--quick] [--seed 1] [--minutes 10] [--out FOLDER]`.

Prints one table, writes it as Markdown and JSON, and ends with 1 when a target was missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.report import command, machine, table
from bench.servers import ROOT
from prove.board import FIGURES
from prove.figure import Figure, Reached, Run

HEAD = ("#", "figure", "what", "target", "reached", "verdict", "took")


def measure(run: Run, figures: Sequence[Figure]) -> list[tuple[Figure, Reached, float]]:
    """One after the other; what is found is told as it comes."""
    found = []
    for figure in figures:
        print(f"{figure.name} …", file=sys.stderr, flush=True)
        began = time.monotonic()
        reached = figure.measure(run)
        found.append((figure, reached, time.monotonic() - began))
        print(f"{figure.name}: {reached.said} ({reached.verdict})", file=sys.stderr, flush=True)
        if reached.verdict != "reached":
            print(
                *(f"    {line}" for line in reached.details), sep="\n", file=sys.stderr, flush=True
            )
    return found


def write(run: Run, found: Sequence[tuple[Figure, Reached, float]], passed: bool) -> None:
    """The table on the terminal, and beside it `prove.md` and `prove.json`."""
    rows = [
        (f.number, f.name, f.title, f.target, r.said, f"**{r.verdict}**", f"{took:.0f} s")
        for f, r, took in found
    ]
    form = "quick form" if run.quick else "full form"
    note = f"Seed {run.seed}, {form}. A line alone: `python -m prove --only {found[-1][0].name}`."
    table("What was proved", HEAD, rows, note)
    lines = [
        f"`{command()}` · {machine()}",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|---" * len(HEAD) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    (run.folder / "prove.md").write_text("\n".join([*lines, "", note, ""]), "utf-8")
    told = {
        "command": command(), "machine": machine(), "seed": run.seed, "quick": run.quick, "passed": passed,
        "figures": [
            {"name": f.name, "number": f.number, "target": f.target, "seconds": round(took, 1), **asdict(r)}
            for f, r, took in found
        ],
    }  # fmt: skip
    (run.folder / "prove.json").write_text(json.dumps(told, indent=1, ensure_ascii=False), "utf-8")


def main(argv: Sequence[str] | None = None, figures: Sequence[Figure] = FIGURES) -> int:
    """The exit status."""
    names = [figure.name for figure in figures]
    parser = argparse.ArgumentParser(prog="python -m prove", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, metavar="FIGURE", help=", ".join(names))
    parser.add_argument("--skip", nargs="+", choices=names, metavar="FIGURE", default=[])
    parser.add_argument("--quick", action="store_true", help="the form of some minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="how long the soak lasts")
    parser.add_argument("--out", type=Path, default=ROOT / ".prove", help="where the results go")
    given = parser.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    run = Run(given.quick, given.seed, given.out.resolve(), given.minutes)
    chosen = [f for f in figures if f.name in (given.only or names) and f.name not in given.skip]
    found = measure(run, chosen)
    passed = all(reached.verdict != "missed" for _, reached, _ in found)
    write(run, found, passed)
    return 0 if passed and found else 1


if __name__ == "__main__":
    sys.exit(main())
