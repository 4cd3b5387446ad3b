"""What every benchmark prints: its command, the machine, one Markdown table of medians."""

from __future__ import annotations

import platform
import shlex
import statistics
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version

import psutil

MB = 1_000_000


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def machine() -> str:
    """The processor's cores, the memory and the versions that matter, in a line."""
    parts = [
        f"{psutil.cpu_count()} CPU cores",
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("torch", "transformers", "gradio", "fastapi")),
    ]
    return ", ".join(parts)


def command() -> str:
    """How the running benchmark was started."""
    spec = sys.modules["__main__"].__spec__
    name = spec.name.removesuffix(".__main__") if spec else sys.argv[0]
    return shlex.join(["python", "-m", name, *sys.argv[1:]])


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], note: str) -> None:
    """Print the whole section."""
    print(f"\n### {title}\n\n`{command()}` · {machine()}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(f"\n{note}", flush=True)
