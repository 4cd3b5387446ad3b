"""Brings a database to the newest schema, a script a step. Alembic is imported when a step is due.

A new step is a file `versions/<number>_<name>.py` with `revision` and `down_revision`, and its
number in `engine.tables.REVISION`. Steps that were released are never changed.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from engine.errors import Conflict
from engine.tables import REVISION, VERSION_TABLE

FOLDER = Path(__file__).parent
TURN = threading.Lock()  # alembic's context is one for the whole process
LOCK = 0x41_54_45_4C  # the advisory lock under which servers that start together take turns


def upgrade(connection: Connection, file: Path | None) -> None:
    """Migrate inside the caller's transaction; an SQLite `file` that holds data is copied first.

    Raises:
        Conflict: a newer version of Atelier wrote this database.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    found = find_revision(connection)
    if found == REVISION:
        return
    with TURN:
        _climb(connection, file, found)


def _climb(connection: Connection, file: Path | None, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise Conflict(
            f"A newer Atelier wrote this database (its schema is {found}, this one's {REVISION}). "
            "Update Atelier, or start it with another data folder."
        )
    if found is not None and file is not None:
        back_up(file, found)
    command.upgrade(config, "head")


def find_revision(connection: Connection) -> str | None:
    """The schema's number; None when the database is new."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return str(found) if found is not None else None


def back_up(file: Path, revision: str) -> Path:
    """Copy an SQLite file beside itself, whole or not at all; returns the copy."""
    target = file.with_name(f"{file.name}.{revision}.bak")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as copy:
        source.backup(copy)
    part.replace(target)
    return target
