"""A database of its own for each test: SQLite, or the server that TEST_DATABASE_URL names (emptied first)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.database import Database

URL = os.environ.get("TEST_DATABASE_URL", "")


def make_database(folder: Path) -> Database:
    """A database that is not open yet, in `folder` or on the server."""
    return Database(URL, folder)


@contextmanager
def open_database(folder: Path) -> Iterator[Database]:
    if URL:
        empty(URL)
    database = make_database(folder)
    database.open()
    try:
        yield database
    finally:
        database.close()


def empty(url: str) -> None:
    from sqlalchemy import MetaData, create_engine

    engine = create_engine(url)
    found = MetaData()
    found.reflect(engine)
    found.drop_all(engine)
    engine.dispose()
