"""The ledger in natural units: sums, amounts over time, and the rows as files that other programs read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadValue
from engine.settings import Settings
from engine.usage import Ledger, Row
from engine.usage_export import COLUMNS, export_usage
from tests.stores import open_database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path, settings: Settings) -> Iterator[Ledger]:
    with open_database(tmp_path) as database:
        yield Ledger(database, settings)


def row(n: int, **values: Any) -> Row:
    return Row(id=f"r{n}", started_at=NOON + timedelta(hours=n), status="ok", **values)


async def fill(ledger: Ledger) -> None:
    ledger.write(
        row(0, model="ocr", task="ocr", pages=3, run_s=6.0, project="p", output="text", caller="a")
    )
    ledger.write(
        row(1, model="stt", task="transcribe", audio_s=12.5, run_s=2.0, user_key="k", caller="b")
    )
    ledger.write(
        row(2, model="tts", task="speak", characters=400, audio_s=20.0, run_s=3.0, own_load_s=1.5)
    )
    ledger.write(
        row(30, model="sd", task="image", images=2, megapixel_steps=42.0, run_s=9.0, project="=1+1")
    )
    ledger.write(
        row(31, model="ocr", task="ocr", pages=1, reasoning_tokens=7, run_s=1.0, request_id="q")
    )
    await ledger.flush()


async def test_units_come_back_and_add_up(ledger: Ledger) -> None:
    await fill(ledger)
    sums = {total.key: total for total in await ledger.totals("model")}
    assert (sums["ocr"].pages, sums["ocr"].run_s, sums["ocr"].reasoning_tokens) == (4, 7.0, 7)
    assert (sums["tts"].characters, sums["tts"].audio_s, sums["tts"].own_load_s) == (400, 20.0, 1.5)
    assert (sums["sd"].images, sums["sd"].megapixel_steps) == (2, 42.0)
    for by, keys in {
        "caller": ["", "a", "b"],
        "user_key": ["", "k"],
        "day": ["2026-03-02", "2026-03-01"],
    }.items():
        totals = await ledger.totals(by)  # type: ignore[arg-type]
        assert [total.key for total in totals] == keys
        assert sum(total.pages for total in totals) == 4 and sum(t.run_s for t in totals) == 21.0
    assert [total.key for total in await ledger.totals("model", limit=1)] == ["ocr"]
    assert [r.id for r in await ledger.rows(task="ocr")] == ["r31", "r0"]
    assert [r.id for r in await ledger.rows(request_id="q", status="ok")] == ["r31"]


async def test_amounts_over_time(ledger: Ledger) -> None:
    await fill(ledger)
    assert await ledger.series("model", "pages", task="ocr") == [
        ("2026-03-01", "ocr", 3.0),
        ("2026-03-02", "ocr", 1.0),
    ]
    hourly = await ledger.series("task", "run_s", since=NOON, until=NOON + timedelta(hours=3))
    assert hourly == [
        ("2026-03-01 12:00", "ocr", 6.0),
        ("2026-03-01 13:00", "transcribe", 2.0),
        ("2026-03-01 14:00", "speak", 3.0),
    ]
    assert sum(n for _, _, n in await ledger.series("dialect", "requests")) == 5
    for bad in ({"by": "day"}, {"by": "output"}, {"measure": "secrets"}):
        with pytest.raises(BadValue):
            await ledger.series(**bad)  # type: ignore[arg-type]


async def whole(ledger: Ledger, kind: Any, **filters: Any) -> bytes:
    return b"".join([piece async for piece in export_usage(ledger, kind, **filters)])


async def test_csv_holds_every_row_once_and_no_formula(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.usage_export.PIECE", 2)
    await fill(ledger)
    rows = list(csv.DictReader(io.StringIO((await whole(ledger, "csv")).decode())))
    assert [r["id"] for r in rows] == ["r0", "r1", "r2", "r30", "r31"]
    assert tuple(rows[0]) == COLUMNS and "output" not in rows[0]
    assert rows[0]["started_at"] == "2026-03-01T12:00:00.000000Z" and rows[0]["pages"] == "3"
    assert rows[3]["project"] == "'=1+1"  # a spreadsheet must not reckon with it
    some = await whole(ledger, "csv", task="ocr", since=NOON + timedelta(hours=5))
    assert [r["id"] for r in csv.DictReader(io.StringIO(some.decode()))] == ["r31"]


async def test_parquet_is_read_back(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    monkeypatch.setattr("engine.usage_export.PIECE", 2)
    await fill(ledger)
    frame = pd.read_parquet(io.BytesIO(await whole(ledger, "parquet")))
    assert list(frame.columns) == list(COLUMNS) and len(frame) == 5
    assert frame["pages"].sum() == 4 and str(frame["pages"].dtype) == "int64"
    assert frame["audio_s"].sum() == 32.5 and frame["project"].tolist()[3] == "=1+1"
    assert frame["started_at"].dt.tz is not None


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_no_rows_are_a_file_too(ledger: Ledger, kind: str) -> None:
    import pandas as pd

    data = io.BytesIO(await whole(ledger, kind))
    frame = pd.read_csv(data) if kind == "csv" else pd.read_parquet(data)
    assert list(frame.columns) == list(COLUMNS) and frame.empty


async def test_there_are_two_kinds(ledger: Ledger) -> None:
    with pytest.raises(BadValue, match="csv and parquet"):
        await whole(ledger, "xlsx")


async def test_pieces_hold_rows_of_one_moment_once(ledger: Ledger) -> None:
    for n in range(25):
        ledger.write(Row(id=f"s{n}", started_at=NOON, status="ok"))
    await ledger.flush()
    pieces = [piece async for piece in ledger.pieces(4)]
    assert [len(piece) for piece in pieces] == [4] * 6 + [1]
    assert len({r.id for piece in pieces for r in piece}) == 25


def test_a_row_has_every_measure() -> None:
    from engine.events import Usage

    assert {f.name for f in fields(Usage)} <= {f.name for f in fields(Row)}
