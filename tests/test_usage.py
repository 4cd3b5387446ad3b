"""The ledger: rows, filters, totals, retention, interrupted rows, indexes, and what a killed process leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from engine.database import FILE, Database
from engine.errors import BadValue
from engine.settings import Settings
from engine.tables import ledger as table
from engine.tables import ledger_text
from engine.usage import TEXT_LIMIT, Filters, Ledger, Row, select_page
from tests.stores import URL, make_database, open_database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
only_sqlite = pytest.mark.skipif(bool(URL), reason="about the SQLite file")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path) as database:
        yield database


@pytest.fixture
def ledger(database: Database, settings: Settings) -> Ledger:
    return Ledger(database, settings)


def row(n: int = 0, **values: Any) -> Row:
    return Row(id=f"r{n:06}", started_at=NOON + timedelta(minutes=n), **values)


async def test_a_row_comes_back_as_it_was_written(ledger: Ledger) -> None:
    whole = Row(
        id="x", started_at=NOON, request_id="q", dialect="host", model="m", task="chat", caller="me",
        session="s", priority="api", status="ok", input_tokens=3, output_tokens=5, cached_tokens=2,
        queued_s=0.5, load_s=1.5, first_s=0.25, run_s=2.0, seconds=4.25, project="p", process_id="1",
        subprocess_id="2", user_key="u", input=[{"role": "user", "content": "héllo"}], output="wörld",
    )  # fmt: skip
    ledger.write(whole)
    await ledger.flush()
    assert await ledger.rows() == [whole]
    assert ledger.failed == 0


async def test_the_row_is_saved_as_it_was_when_written(ledger: Ledger) -> None:
    mine = row(output="before")
    ledger.write(mine)
    mine.output = "after"
    await ledger.flush()
    assert (await ledger.rows())[0].output == "before"


async def test_the_second_row_with_an_id_replaces_the_first(ledger: Ledger) -> None:
    ledger.write(row(input=[{"role": "user", "content": "hi"}]))
    ledger.write(row(status="ok", output="ho", output_tokens=1, seconds=2.0))
    await ledger.flush()
    (found,) = await ledger.rows()
    assert (found.status, found.output, found.input, found.seconds) == ("ok", "ho", None, 2.0)
    assert await ledger.count() == 1


async def test_rows_are_filtered_paged_and_newest_first(ledger: Ledger) -> None:
    for n in range(12):
        ledger.write(
            row(n, model=f"m{n % 2}", project="p" if n % 3 == 0 else None, user_key=f"u{n % 4}",
                session="s" if n < 6 else "t", dialect="host" if n == 5 else "ui")
        )  # fmt: skip
    await ledger.flush()

    async def numbers(**filters: Any) -> list[int]:
        rows = await ledger.rows(**filters)
        if "limit" not in filters:
            assert len(rows) == await ledger.count(**filters)
        return [int(found.id[1:]) for found in rows]

    assert await numbers() == list(range(11, -1, -1))
    assert await numbers(project="p") == [9, 6, 3, 0]
    assert await numbers(project="p", model="m1") == [9, 3]
    assert await numbers(user_key="u1") == [9, 5, 1]
    assert await numbers(session="t", limit=2) == [11, 10]
    assert await numbers(limit=3, offset=3) == [8, 7, 6]
    assert await numbers(dialect="host") == [5]
    assert await numbers(project="P") == []
    since, until = NOON + timedelta(minutes=2), NOON + timedelta(minutes=5)
    assert await numbers(since=since, until=until) == [4, 3, 2]
    naive = since.replace(tzinfo=None)
    assert await numbers(since=naive, until=until) == [4, 3, 2]
    elsewhere = until.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00+05:30").tzinfo)
    assert await numbers(since=since, until=elsewhere) == [4, 3, 2]
    assert await numbers(since=None, project=None) == await numbers()


@pytest.mark.parametrize("page", [{"limit": 0}, {"limit": 1001}, {"offset": -1}])
async def test_a_page_out_of_bounds_is_refused(ledger: Ledger, page: dict[str, int]) -> None:
    with pytest.raises(BadValue, match="1 to 1000"):
        await ledger.rows(**page)


async def test_totals_add_up(ledger: Ledger) -> None:
    for n in range(4):
        day = timedelta(days=n // 2)
        ledger.write(
            Row(started_at=NOON + day, model="a" if n else "b", dialect="ui", project=None,
                input_tokens=n, output_tokens=10, cached_tokens=1, seconds=0.5)
        )  # fmt: skip
    await ledger.flush()
    models = await ledger.totals("model")
    assert [(t.key, t.requests, t.input_tokens, t.output_tokens) for t in models] == [
        ("a", 3, 6, 30),
        ("b", 1, 0, 10),
    ]
    assert [(t.cached_tokens, t.seconds) for t in models] == [(3, 1.5), (1, 0.5)]
    days = await ledger.totals("day")
    assert [(t.key, t.requests) for t in days] == [("2026-03-02", 2), ("2026-03-01", 2)]
    assert [(t.key, t.requests) for t in await ledger.totals("project")] == [("", 4)]
    assert [t.requests for t in await ledger.totals("dialect", until=NOON + timedelta(days=1))] == [
        2
    ]
    with pytest.raises(BadValue):
        await ledger.totals("output")  # type: ignore[arg-type]


async def test_texts_are_kept_only_where_the_setting_says_so(
    database: Database, settings: Settings
) -> None:
    quiet = Ledger(database, settings.model_copy(update={"keep_text": False}))
    quiet.write(row(input=[{"role": "user", "content": "secret"}], output="secret"))
    await quiet.flush()
    (found,) = await quiet.rows()
    assert found.input is None and found.output is None
    assert database.read(lambda c: c.execute(select(ledger_text)).all()) == []


async def test_old_texts_go_and_their_rows_stay(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.usage.PRUNED_AT_ONCE", 3)
    for n in range(10):
        ledger.write(row(n, output=f"text {n}"))
    await ledger.flush()
    now = NOON + timedelta(days=30, minutes=7)
    assert await ledger.prune(now) == 7
    assert [found.output for found in await ledger.rows()] == ["text 9", "text 8", "text 7"] + [
        None
    ] * 7
    assert await ledger.prune(now) == 0


async def test_without_retention_nothing_is_forgotten(
    database: Database, settings: Settings
) -> None:
    ledger = Ledger(database, settings.model_copy(update={"retention_days": 0}))
    ledger.write(row(output="kept"))
    await ledger.flush()
    assert await ledger.prune(NOON + timedelta(days=9999)) == 0
    assert (await ledger.rows())[0].output == "kept"


async def test_hostile_texts_are_stored_or_cut(ledger: Ledger) -> None:
    long = [{"role": "user", "content": "x" * TEXT_LIMIT} for _ in range(4)]
    ledger.write(row(1, input=long, output="y" * (TEXT_LIMIT + 5)))
    ledger.write(
        row(2, project="p\0\ud800" * 200, output="a\0b\ud800", input=[{"content": "\0\ud800"}])
    )
    await ledger.flush()
    odd, cut = await ledger.rows()
    assert ledger.failed == 0
    assert odd.output == "ab?" and odd.project is not None and len(odd.project) == 256
    assert cut.input is not None and cut.output is not None
    assert sum(len(m["content"]) for m in cut.input) <= TEXT_LIMIT == len(cut.output)


async def test_a_row_that_cannot_be_saved_is_counted_and_logged_once(
    database: Database, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(database, settings)
    database.close()
    with caplog.at_level(logging.ERROR, "atelier.usage"):
        for n in range(3):
            ledger.write(row(n))
        await ledger.flush()
    assert ledger.failed == 3
    assert len(caplog.records) == 1
    database.open()
    ledger.write(row(4))
    await ledger.flush()
    assert [found.id for found in await ledger.rows()] == ["r000004"]


async def test_rows_that_a_dead_server_left_are_marked_at_the_next_opening(
    database: Database, settings: Settings
) -> None:
    mine = Ledger(database, settings)
    database.close()
    database.open()
    for n in range(3):
        mine.write(row(n))
    await mine.flush()
    own = database.read(lambda c: c.scalar(select(table.c.server).limit(1)))
    host, pid, born = str(own).rsplit("/", 2)
    recent = datetime.now(UTC)
    servers = {
        "r000000": f"{host}/{pid}/{float(born) - 9999:.0f}",  # its id was given to another process
        "r000001": own,  # running
        "r000002": f"elsewhere/{pid}/{born}",  # another machine, where that process runs
    }
    for name, server in servers.items():
        change = update(table).where(table.c.id == name).values(server=server, started_at=recent)
        database.write(lambda c, change=change: c.execute(change) and None).result(10)
    database.close()
    database.open()
    status = {found.id: found.status for found in await mine.rows()}
    assert status == {"r000000": "interrupted", "r000001": "started", "r000002": "started"}
    old = update(table).values(started_at=recent - timedelta(days=2))
    database.write(lambda c: c.execute(old) and None).result(10)
    database.close()
    database.open()
    assert {found.status for found in await mine.rows()} == {"interrupted"}


def fill(database: Database, count: int) -> None:
    """Many plausible rows: most of them untagged, one model used most."""
    chance = random.Random(1)
    rows = [
        {
            "id": f"{chance.getrandbits(96):024x}",
            "started_at": NOON + timedelta(seconds=n),
            "model": f"m{min(int(chance.expovariate(1)), 9)}",
            "project": chance.choice([None, None, "alpha", f"p{chance.randrange(500)}"]),
            "user_key": f"u{chance.randrange(500)}",
            "session": f"s{chance.randrange(1000)}",
            "dialect": chance.choice(["ui", "openai", "host"]),
            "status": "ok",
        }
        for n in range(count)
    ]
    database.write(lambda c: c.execute(insert(table), rows) and None).result(60)


@only_sqlite
@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "ix_ledger_started"),
        ({"since": NOON, "until": NOON + timedelta(hours=2)}, "ix_ledger_started"),
        ({"project": "p7"}, "ix_ledger_project"),
        ({"model": "m1", "since": NOON}, "ix_ledger_model"),
        ({"user_key": "u7"}, "ix_ledger_user_key"),
        ({"session": "s7"}, "ix_ledger_session"),
        ({"dialect": "ui"}, "ix_ledger_dialect"),
        ({"project": "alpha", "model": "m9"}, "ix_ledger_project_model"),
        (
            {"project": "alpha", "model": "m0", "user_key": "u7", "since": NOON},
            "ix_ledger_user_key",
        ),
        ({"dialect": "ui", "project": "p7"}, "ix_ledger_project"),
    ],
)
def test_every_filter_has_its_index_and_no_sort(
    database: Database, filters: Filters, index: str
) -> None:
    statement = select_page(filters, 100, 0).compile(dialect=_dialect(database))
    values = tuple(
        v.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(v, datetime) else v
        for v in (statement.params[name] for name in statement.positiontup or ())
    )
    plan = database.read(
        lambda c: [str(r[3]) for r in c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
    )
    picked = next(step for step in plan if "ix_ledger" in step)
    assert f" {index} " in f"{picked} ", plan
    picking = plan[: plan.index("SCAN page")]
    assert not any("TEMP B-TREE" in step for step in picking), plan


def _dialect(database: Database) -> Any:
    return database.read(lambda c: c.dialect)


async def test_pages_of_fifty_thousand_rows_are_quick(database: Database, ledger: Ledger) -> None:
    """Generous enough for a busy machine; a scan of the table takes longer still."""
    fill(database, 50_000)
    loop = asyncio.get_running_loop()
    cases: list[Filters] = [
        {},
        {"project": "alpha"},
        {"project": "nobody", "model": "m0"},
        {"user_key": "u7", "since": NOON},
        {"since": NOON + timedelta(hours=6), "until": NOON + timedelta(hours=7)},
    ]
    for filters in cases:
        best = 9.0
        for _ in range(5):
            began = loop.time()
            await ledger.rows(limit=100, **filters)
            best = min(best, loop.time() - began)
        assert best < 0.05, (filters, best)


CHILD = """
import asyncio, sys
from pathlib import Path
from engine.database import Database
from engine.settings import Settings
from engine.usage import Ledger, Row

async def main():
    folder = Path(sys.argv[1])
    database = Database("", folder)
    ledger = Ledger(database, Settings(data_dir=folder))
    await asyncio.to_thread(database.open)
    n = 0
    while True:
        for _ in range(n % 3 + 1):
            row = Row(id=f"{sys.argv[2]}-{n}", output="x" * 500)
            ledger.write(row)
            n += 1
        await ledger.flush()
        assert ledger.failed == 0
        print(n, flush=True)

asyncio.run(main())
"""


def killed(folder: Path, name: str, after: int) -> int:
    """Run the child until it acknowledged `after` times, kill it, and return how many rows it had by then."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), name], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    acknowledged = 0
    for _ in range(after):
        acknowledged = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    for line in child.stdout.read().splitlines():
        with contextlib.suppress(ValueError):
            acknowledged = max(acknowledged, int(line))
    child.stdout.close()
    child.wait(10)
    return acknowledged


@only_sqlite
@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_process_is_killed(
    tmp_path: Path, settings: Settings, record_property: Callable[[str, object], None]
) -> None:
    kills = int(os.environ.get("TEST_KILLS", "5"))
    chance = random.Random(7)
    promised = {f"k{n}": killed(tmp_path, f"k{n}", chance.randrange(1, 60)) for n in range(kills)}
    database = make_database(tmp_path)
    ledger = Ledger(database, settings)  # marks at opening what was under way
    database.open()
    kept = set(database.read(lambda c: list(c.scalars(select(table.c.id)))))
    lost = [
        f"{k}-{n}" for k, count in promised.items() for n in range(count) if f"{k}-{n}" not in kept
    ]
    assert not lost
    statuses = set(database.read(lambda c: list(c.scalars(select(table.c.status).distinct()))))
    database.close()
    assert statuses == {"interrupted"}
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert ledger.failed == 0
    record_property("kills", kills)
    record_property("acknowledged", sum(promised.values()))
