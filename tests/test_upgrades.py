"""Databases that every older version left open in this one, with a copy beside them; a newer one's is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from engine import Engine, migrations
from engine.database import FILE
from engine.tables import REVISION, VERSION_TABLE
from tests.serving import Served
from tests.stores import URL

pytestmark = pytest.mark.skipif(bool(URL), reason="about the SQLite file")
OLDER = [f"{number:04}" for number in range(1, int(REVISION))]
VALUES: tuple[tuple[type[Any], Any], ...] = (
    (sa.JSON, []), (sa.DateTime, datetime(2026, 1, 2)), (sa.Integer, 1), (sa.Float, 1.0),
    (sa.Boolean, 0), (sa.LargeBinary, b"1"), (sa.String, "old"),
)  # fmt: skip

SHAPED: dict[str, Any] = {"models": ["old"], "options": {}}  # JSON that is read and not only kept


def older(folder: Path, revision: str) -> dict[str, int]:
    """Write a database of this revision by its own released scripts, two rows in each table; how many."""
    from alembic import command
    from alembic.config import Config

    folder.mkdir(parents=True)
    engine = sa.create_engine(f"sqlite:///{folder / FILE}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrations.FOLDER))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        found = sa.MetaData()
        found.reflect(connection)
        counts = {}
        for table in found.sorted_tables:
            if table.name not in {VERSION_TABLE, "sqlite_stat1"}:
                for number in (1, 2):
                    connection.execute(table.insert().values(row_of(table, number)))
                counts[table.name] = 2
    engine.dispose()
    return counts


def row_of(table: sa.Table, number: int) -> dict[str, Any]:
    """A value for each column that asks for one; keys differ from row to row, and lead to rows that are there."""
    row: dict[str, Any] = {}
    for column in table.columns:
        value = next(value for kind, value in VALUES if isinstance(column.type, kind))
        value = SHAPED.get(column.name, value)
        if column.primary_key or column.foreign_keys or column.unique or column.name == "id":
            value = number if isinstance(column.type, sa.Integer) else f"old-{number}"
        if not column.nullable:
            row[column.name] = value
    return row


def counted(file: Path, tables: dict[str, int]) -> dict[str, int]:
    with closing(sqlite3.connect(file)) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
        return {
            name: plain.execute(f'select count(*) from "{name}"').fetchone()[0] for name in tables
        }


def content(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as plain:
        return list(plain.iterdump())


def revision_of(file: Path) -> str:
    with closing(sqlite3.connect(file)) as plain:
        return str(plain.execute(f"select version_num from {VERSION_TABLE}").fetchone()[0])


@pytest.mark.parametrize("revision", OLDER)
async def test_every_older_database_opens(
    tmp_path: Path, build: Callable[..., Engine], revision: str
) -> None:
    folder = tmp_path / "data"
    counts = older(folder, revision)
    engine = build(data_dir=folder, retention_days=0, documents_days=0)
    await engine.start()
    try:
        rows = await engine.usage.rows(limit=10)
        totals = await engine.usage.totals("model")
        assert await engine.conversations.list() is not None
        assert await engine.documents.list(None) is not None
    finally:
        await engine.close()
    assert [row.model for row in rows] == ["old", "old"] and totals[0].requests == 2
    assert revision_of(folder / FILE) == REVISION
    kept = {
        name: count for name, count in counts.items() if name != "footprints" or revision > "0002"
    }
    assert counted(folder / FILE, kept) == kept, "a row was lost on the way"
    copy = folder / f"{FILE}.{revision}.bak"
    assert revision_of(copy) == revision and counted(copy, counts) == counts
    assert copy.stat().st_mode & 0o077 == 0


async def test_opening_again_makes_no_second_copy(
    tmp_path: Path, build: Callable[..., Engine]
) -> None:
    folder = tmp_path / "data"
    older(folder, OLDER[-1])
    for _ in range(2):
        engine = build(data_dir=folder)
        await engine.start()
        await engine.usage.rows()
        await engine.close()
    assert [path.name for path in folder.glob("*.bak*")] == [f"{FILE}.{OLDER[-1]}.bak"]


def test_a_newer_database_is_refused_in_words(
    tmp_path: Path, served: Callable[..., Served], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    older(folder, REVISION)
    with closing(sqlite3.connect(folder / FILE)) as plain:
        plain.execute(f"update {VERSION_TABLE} set version_num = '0999'")
        plain.commit()
    before = content(folder / FILE)
    with served(data_dir=folder).client() as client:
        answer = client.get("/api/v1/admin/dashboard")
        assert answer.status_code == 409
        assert "newer Atelier" in answer.json()["detail"] and "Update" in answer.json()["detail"]
        assert client.get("/health").status_code == 200
    assert content(folder / FILE) == before, "what is refused is left alone"
    assert not list(folder.glob("*.bak*"))
