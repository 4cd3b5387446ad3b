"""A database of its own for each test: SQLite, or the server that TEST_DATABASE_URL names (emptied first).

And a Redis: one that is started here, or the one that TEST_REDIS_URL names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.servers import free_port
from engine.database import Database

URL = os.environ.get("TEST_DATABASE_URL", "")
REDIS_URL = os.environ.get("TEST_REDIS_URL", "")


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


@contextmanager
def redis_server(port: int, folder: Path) -> Iterator[str]:
    """A real Redis on a port, as far as this machine has one."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed (TEST_REDIS_URL names another one)")
    flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([program, *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert any("Ready to accept connections" in line for line in process.stdout)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    if REDIS_URL:
        yield REDIS_URL
        return
    with redis_server(free_port(), tmp_path) as url:
        yield url
