"""Footprints and choices: read from memory at once, kept over restarts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.database import Database
from engine.footprints import Choices, Footprint, Footprints
from tests.stores import make_database, open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path) as database:
        yield database


def reopened(database: Database) -> tuple[Footprints, Choices]:
    """What a new process would find."""
    database.close()
    footprints, choices = Footprints(database), Choices(database)
    assert footprints.get("m", "cpu") is None and choices.get("default.chat") is None
    database.open()
    return footprints, choices


def test_the_largest_memory_and_the_latest_time_are_kept(database: Database) -> None:
    mine = Footprints(database)
    for memory, load_s in ((10, 3.0), (30, 2.0), (20, 1.0)):
        mine.remember("m", "cpu", Footprint(memory, load_s))
    assert mine.get("m", "cpu") == Footprint(30, 1.0)
    assert reopened(database)[0].get("m", "cpu") == Footprint(30, 1.0)


def test_devices_and_types_are_kept_apart(database: Database) -> None:
    mine = Footprints(database)
    mine.remember("m", "cpu", Footprint(1, 1.0))
    mine.remember("m", "cuda:0", Footprint(2, 1.0))
    mine.remember("m", "cpu", Footprint(3, 1.0), dtype="bfloat16")
    found = reopened(database)[0]
    assert [found.get("m", "cpu"), found.get("m", "cuda:0"), found.get("m", "cpu", "bfloat16")] == [
        Footprint(1, 1.0),
        Footprint(2, 1.0),
        Footprint(3, 1.0),
    ]
    assert found.get("m", "cuda:1") is None


def test_large_memories_fit(database: Database) -> None:
    Footprints(database).remember("m", "cuda:0", Footprint(141 * 2**30, 60.0))
    assert reopened(database)[0].get("m", "cuda:0") == Footprint(141 * 2**30, 60.0)


def test_what_is_measured_before_opening_joins_what_was_stored(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        Footprints(database).remember("m", "cpu", Footprint(50, 9.0))
        Choices(database).set("k", "older")
    database = make_database(tmp_path)
    footprints, choices = Footprints(database), Choices(database)
    footprints.remember("m", "cpu", Footprint(7, 1.0))
    choices.set("k", "newer")
    assert footprints.get("m", "cpu") == Footprint(7, 1.0)
    database.open()
    assert footprints.get("m", "cpu") == Footprint(50, 1.0)
    assert choices.get("k") == "newer"
    database.close()


def test_two_processes_keep_the_larger(database: Database) -> None:
    first, second = Footprints(database), Footprints(database)
    first.remember("m", "cpu", Footprint(50, 1.0))
    second.remember("m", "cpu", Footprint(20, 2.0))
    assert reopened(database)[0].get("m", "cpu") == Footprint(50, 2.0)


def test_choices_are_kept(database: Database) -> None:
    mine = Choices(database)
    mine.set("default.chat", "a")
    mine.set("default.chat", "b")
    mine.set("autre", "é")
    assert mine.get("default.chat") == "b"
    found = reopened(database)[1]
    assert (found.get("default.chat"), found.get("autre"), found.get("x")) == ("b", "é", None)


def test_without_a_database_they_last_until_the_end(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    mine, choices = Footprints(database), Choices(database)
    database.close()
    with caplog.at_level(logging.WARNING, "atelier.database"):
        mine.remember("m", "cpu", Footprint(1, 1.0))
        choices.set("k", "v")
    assert mine.get("m", "cpu") == Footprint(1, 1.0) and choices.get("k") == "v"
    assert len(caplog.records) == 2
