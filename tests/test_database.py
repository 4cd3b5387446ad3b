"""The database: lazy opening, one writer that acknowledges only what is committed, migrations, bad files."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, text

from engine import migrations
from engine.database import FILE, Database, storable
from engine.errors import BadValue, Conflict, Unavailable, Unknown
from engine.tables import REVISION, VERSION_TABLE, choices, metadata
from tests.stores import URL, make_database, open_database

only_sqlite = pytest.mark.skipif(bool(URL), reason="about the SQLite file")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path) as database:
        yield database


def add(connection: Connection, key: str) -> str:
    connection.execute(insert(choices).values(key=key, value="v"))
    return key


def keys(connection: Connection) -> set[str]:
    return set(connection.scalars(select(choices.c.key)))


def test_importing_what_is_kept_imports_no_database_library() -> None:
    names = "database usage conversations turns footprints"
    code = "\n".join(
        [
            *(f"import engine.{name}" for name in names.split()),
            "import sys; print([m for m in sys.modules if m in ('sqlalchemy', 'alembic')])",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@only_sqlite
def test_calls_made_before_opening_wait_for_it(tmp_path: Path) -> None:
    database = make_database(tmp_path)
    written = database.write(lambda c: add(c, "early"))
    found: list[set[str]] = []
    reader = threading.Thread(target=lambda: found.append(database.read(keys)))
    reader.start()
    assert not written.done() and not found
    database.open()
    assert written.result(10) == "early"
    reader.join(10)
    assert database.read(keys) == {"early"} and len(found) == 1
    database.close()


@only_sqlite
def test_the_file_is_durable_and_private(database: Database, tmp_path: Path) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert database.write(pragmas).result(10) == ["wal", 2, 1]
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@only_sqlite
def test_reading_cannot_write(database: Database) -> None:
    with pytest.raises(Unavailable):
        database.read(lambda c: add(c, "x"))


def test_queued_writes_share_a_commit_and_one_that_fails_takes_no_other_along(
    database: Database,
) -> None:
    gate, runs = threading.Event(), []
    database.write(lambda c: gate.wait(10))  # holds the writer while the rest gathers

    def fail(connection: Connection) -> None:
        runs.append(connection)
        add(connection, "half-done")
        raise Unknown("no")

    good = [database.write(lambda c, n=n: add(c, f"k{n}")) for n in range(20)]
    bad = database.write(fail)
    doubled = database.write(lambda c: add(c, "k3"))
    gate.set()
    assert [f.result(10) for f in good] == [f"k{n}" for n in range(20)]
    with pytest.raises(Unknown):
        bad.result(10)
    with pytest.raises(Conflict):
        doubled.result(10)
    assert database.read(keys) == {f"k{n}" for n in range(20)}
    assert len(runs) == 2  # once with the others, once alone


def test_a_write_that_was_acknowledged_is_visible_at_once(database: Database) -> None:
    for n in range(50):
        database.write(lambda c, n=n: add(c, f"k{n}")).result(10)
        assert f"k{n}" in database.read(keys)


async def test_a_write_is_carried_out_though_its_caller_left(database: Database) -> None:
    gate = threading.Event()
    database.write(lambda c: gate.wait(10))
    task = asyncio.create_task(database.awrite(lambda c: add(c, "kept")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await database.awrite(lambda c: None)
    assert await database.aread(keys) == {"kept"}


def test_closing_commits_what_is_queued_and_refuses_the_rest(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        queued = [database.write(lambda c, n=n: add(c, f"k{n}")) for n in range(300)]
        database.close()
        assert all(f.done() and f.exception() is None for f in queued)
        with pytest.raises(Unavailable, match="stopping"):
            database.write(keys).result(10)
        with pytest.raises(Unavailable, match="stopping"):
            database.read(keys)
        database.open()
        assert len(database.read(keys)) == 300


@only_sqlite
def test_closing_without_opening_frees_who_waits(tmp_path: Path) -> None:
    database = make_database(tmp_path)
    queued = database.write(keys)
    database.close()
    with pytest.raises(Unavailable):
        queued.result(10)


def test_a_full_queue_refuses_instead_of_growing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.database.WAITING", 3)
    gate, held = threading.Event(), threading.Event()
    database.write(lambda c: held.set() or gate.wait(10))
    assert held.wait(10)
    futures = [database.write(lambda c, n=n: add(c, f"k{n}")) for n in range(5)]
    gate.set()
    outcomes = [type(f.exception(10)) for f in futures]
    assert outcomes == [type(None)] * 3 + [Unavailable] * 2


def test_the_schema_is_what_the_tables_say(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    def differences(connection: Connection) -> list[object]:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert database.read(differences) == []
    assert database.read(migrations.find_revision) == REVISION
    assert ScriptDirectory(str(migrations.FOLDER)).get_current_head() == REVISION


@pytest.fixture
def next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One more migration, as a later version would bring it; returns its file."""
    folder = tmp_path / "later"
    shutil.copytree(migrations.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    script = folder / "versions" / "9999_more.py"
    script.write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f'revision, down_revision = "9999", "{REVISION}"\n'
        'def upgrade():\n    op.add_column("choices", sa.Column("why", sa.Text))\n'
    )
    monkeypatch.setattr(migrations, "FOLDER", folder)
    monkeypatch.setattr(migrations, "REVISION", "9999")
    return script


def columns(connection: Connection) -> list[str]:
    from sqlalchemy import inspect

    return [column["name"] for column in inspect(connection).get_columns("choices")]


def test_an_older_database_is_backed_up_and_migrated(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database.write(lambda c: add(c, "old")).result(10)
    database.close()
    request.getfixturevalue("next_step")
    database.open()
    assert database.read(columns) == ["key", "value", "why"]
    assert database.read(keys) == {"old"}
    if not URL:
        with sqlite3.connect(tmp_path / f"{FILE}.{REVISION}.bak") as backup:
            assert backup.execute("select key from choices").fetchall() == [("old",)]
        backup.close()


def test_a_migration_that_fails_changes_nothing(
    database: Database, request: pytest.FixtureRequest
) -> None:
    database.close()
    script: Path = request.getfixturevalue("next_step")
    right = script.read_text()
    script.write_text(right + '    op.add_column("no_such_table", sa.Column("x", sa.Text))\n')
    with pytest.raises(Unavailable):
        database.open()
    script.write_text(right)
    database.open()
    assert database.read(columns) == ["key", "value", "why"]


def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    database.write(lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num='0999'")))
    database.close()
    with pytest.raises(Conflict, match=r"newer Atelier .*0999.*Update Atelier"):
        database.open()
    with pytest.raises(Conflict):
        database.read(keys)


@only_sqlite
@pytest.mark.parametrize(
    "content", [b"not a database " * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_damaged_file_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    database = make_database(tmp_path)
    with pytest.raises(Unavailable, match="backup") as caught:
        database.open()
    assert str(tmp_path) not in str(caught.value)
    assert (tmp_path / FILE).read_bytes() == content
    with pytest.raises(Unavailable, match="backup"):
        database.write(keys).result(10)
    database.close()


@only_sqlite
def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="ATELIER_DATA_DIR"):
        make_database(tmp_path / "file" / "folder").open()


@only_sqlite
def test_a_file_that_another_program_holds_is_busy_not_broken(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.close()
    monkeypatch.setattr("engine.database.BUSY_SECONDS", 0.05)
    database.open()
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="busy"):
        database.write(lambda c: add(c, "x")).result(10)
    other.close()
    assert database.write(lambda c: add(c, "x")).result(10) == "x"


@only_sqlite
def test_a_full_disk_fails_a_write_and_no_later_one(database: Database) -> None:
    def fill(connection: Connection) -> None:
        size = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={size}")
        connection.execute(insert(choices).values(key="big", value="x" * 1_000_000))

    with pytest.raises(Unavailable, match="disk is full"):
        database.write(fill).result(10)

    def free(connection: Connection) -> str:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        return add(connection, "after")

    assert database.write(free).result(10) == "after"
    assert database.read(keys) == {"after"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a database's URL"),
        ("nosuch://host/name", "not a database's URL"),
        ("sqlite://", "in memory"),
        ("mysql+pymysql_no_such://h/n", "not a database's URL"),
    ],
)
def test_a_wrong_url_is_refused_in_words(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(BadValue, match=words):
        Database(url, tmp_path).open()


def test_storable_text_survives_every_database() -> None:
    assert storable("a\0b\ud800é😀") == "ab?é😀"


OPENER = """
import sys
from pathlib import Path
from sqlalchemy import insert
from engine.database import Database
from engine.tables import choices
database = Database("", Path(sys.argv[1]))
database.open()
for n in range(50):
    database.write(lambda c: c.execute(insert(choices).values(key=f"{sys.argv[2]}-{n}", value=""))).result()
database.close()
"""


@only_sqlite
@pytest.mark.slow
def test_several_processes_may_open_and_write_the_same_new_file(tmp_path: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", OPENER, str(tmp_path), str(n)]) for n in range(3)
    ]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    with open_database(tmp_path) as database:
        assert database.read(lambda c: c.scalar(select(func.count()).select_from(choices))) == 150


@only_sqlite
def test_several_may_be_opened_at_once_in_one_process(tmp_path: Path) -> None:
    databases = [make_database(tmp_path / str(n)) for n in range(6)]
    failed: list[BaseException] = []

    def begin(database: Database) -> None:
        try:
            database.open()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begin, args=(each,)) for each in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.close()
    assert failed == []


def test_opening_twice_is_opening_once(database: Database) -> None:
    before = threading.active_count()
    database.open()
    assert threading.active_count() == before


def test_writes_are_batched(database: Database) -> None:
    """Two thousand acknowledged writes must not cost two thousand flushes of the disk."""
    commits: list[object] = []
    from sqlalchemy import event

    assert database._writer is not None
    event.listen(database._writer, "commit", commits.append)
    began = time.monotonic()
    futures = [database.write(lambda c, n=n: add(c, f"k{n}")) for n in range(2000)]
    for future in futures:
        future.result(30)
    assert len(commits) <= 200, time.monotonic() - began
