"""The ledger with a million rows: a filtered page, a count, sums, and what writing a row costs.

Fills a database of its own in a temporary folder with rows as a busy server leaves them: most untagged, one
model used most, a few failures.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from bench.report import median, quantile, table
from engine.database import Database
from engine.settings import Settings
from engine.usage import Ledger, Row
from engine.usage_queries import Filters

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = 90 * 86_400  # seconds over which the rows lie
TASKS = ("chat",) * 12 + ("embed", "embed", "ocr", "transcribe", "speak", "translate", "image")
PAGES: dict[str, tuple[Filters, int]] = {
    "everything": ({}, 0),
    "project": ({"project": "alpha"}, 0),
    "a rare project": ({"project": "p77"}, 0),
    "project and model": ({"project": "alpha", "model": "m1"}, 0),
    "model, last day": ({"model": "m0", "since": BEGAN + timedelta(seconds=SPAN - 86_400)}, 0),
    "key": ({"user_key": "u77"}, 0),
    "caller": ({"caller": "10.0.0.7"}, 0),
    "task": ({"task": "ocr"}, 0),
    "failed with one code": ({"status": "OUT_OF_MEMORY"}, 0),
    "request id": ({"request_id": "q0000777777"}, 0),
    "dialect and task": ({"dialect": "openai", "task": "speak"}, 0),
    "project and task": ({"project": "alpha", "task": "image"}, 0),
    "page 1,000 of a project": ({"project": "alpha"}, 99_900),
    "a day, page 50": (
        {"since": BEGAN + timedelta(days=40), "until": BEGAN + timedelta(days=41)},
        4_900,
    ),
}


def rows(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    for n in range(count):
        task = chance.choice(TASKS)
        long = chance.expovariate(1)
        yield {
            "id": f"{n:024x}",
            "started_at": BEGAN + timedelta(seconds=n * SPAN / count),
            "request_id": f"q{n:010}",
            "dialect": chance.choice(("ui", "openai", "openai", "ollama", "host")),
            "model": f"m{min(int(chance.expovariate(1)), 9)}",
            "task": task,
            "caller": f"10.0.0.{chance.randrange(20)}",
            "session": f"s{chance.randrange(5000)}",
            "priority": "api",
            "status": "OUT_OF_MEMORY" if n % 5003 == 0 else "stopped" if n % 50 == 0 else "ok",
            "input_tokens": int(100 * long),
            "output_tokens": int(200 * long),
            "pages": int(task == "ocr"),
            "audio_s": 5 * long if task in ("transcribe", "speak") else 0.0,
            "run_s": long,
            "seconds": 1.1 * long,
            "project": chance.choice((None, None, "alpha", f"p{chance.randrange(500)}")),
            "user_key": f"u{chance.randrange(500)}",
        }


def fill(database: Database, count: int) -> None:
    from sqlalchemy import insert

    from engine.tables import ledger

    source = rows(count)
    while values := list(islice(source, 20_000)):
        database.write(lambda c, v=values: c.execute(insert(ledger), v) and None).result(120)  # type: ignore[misc]


async def timed(ask: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        await ask()
        found.append(1000 * (time.perf_counter() - began))
    return found


async def measure(ledger: Ledger, times: int) -> list[list[str]]:
    found = []
    for name, (filters, offset) in PAGES.items():
        took = await timed(
            lambda f=filters, o=offset: ledger.rows(limit=100, offset=o, **f),  # type: ignore[misc]
            times,
        )
        found.append([f"page of 100: {name}", *shown(took)])
    for by in ("model", "day", "project", "user_key"):
        took = await timed(lambda b=by: ledger.totals(b), 3)  # type: ignore[misc]
        found.append([f"sums of all rows by {by}", *shown(took)])
    week = BEGAN + timedelta(seconds=SPAN - 7 * 86_400)
    took = await timed(lambda: ledger.totals("model", since=week), 3)
    found.append(["sums of the last week by model", *shown(took)])
    took = await timed(lambda: ledger.count(project="alpha"), 3)
    found.append(["count of a project's rows", *shown(took)])
    began = time.perf_counter()
    for n in range(2000):
        ledger.write(Row(id=f"new{n}", model="m0", task="chat", status="ok"))
    await ledger.flush()
    each = 1000 * (time.perf_counter() - began) / 2000
    return [*found, ["a row written, of 2,000 at once", f"{each:.3f}", "", ""]]


def shown(took: list[float]) -> list[str]:
    return [f"{value:.1f}" for value in (median(took), quantile(took, 0.95), max(took))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Database("", Path(folder))
        ledger = Ledger(database, Settings(data_dir=Path(folder), _env_file=None))
        database.open()
        began = time.perf_counter()
        fill(database, given.rows)
        took = time.perf_counter() - began
        size = sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6
        found = asyncio.run(measure(ledger, given.times))
        database.close()
    table(
        f"The ledger with {given.rows:,} rows",
        ("what", "ms, median", "95 %", "most"),
        found,
        f"Filled in {took:.0f} s; {size:.0f} MB with all indexes.",
    )


if __name__ == "__main__":
    main()
