"""Footprints and choices: read from memory at once, kept over restarts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.database import Database
from engine.footprints import Choices, Footprint, Footprints, Key
from tests.stores import make_database, open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path) as database:
        yield database


def key(device: str = "cpu", form: str = "float32", **other: str) -> Key:
    return Key("m", other.get("revision", ""), device, form, other.get("shape", "8192x1"))


def reopened(database: Database) -> tuple[Footprints, Choices]:
    """What a new process would find."""
    database.close()
    footprints, choices = Footprints(database), Choices(database)
    assert footprints.get(key()) is None and choices.get("default.chat") is None
    database.open()
    return footprints, choices


def test_the_largest_memory_and_peak_and_the_latest_time_are_kept(database: Database) -> None:
    mine = Footprints(database)
    for memory, load_s, peak in ((10, 3.0, 40), (30, 2.0, 90), (20, 1.0, 50)):
        mine.remember(key(), Footprint(memory, load_s, peak))
    assert mine.get(key()) == Footprint(30, 1.0, 90)
    assert reopened(database)[0].get(key()) == Footprint(30, 1.0, 90)


def test_devices_revisions_forms_and_shapes_are_kept_apart(database: Database) -> None:
    keys = (key(), key("cuda:0"), key(form="int8"), key(revision="v2"), key(shape="16384x1"))
    mine = Footprints(database)
    for n, one in enumerate(keys):
        mine.remember(one, Footprint(n, 1.0, n))
    found = reopened(database)[0]
    assert [found.get(one) for one in keys] == [Footprint(n, 1.0, n) for n in range(5)]
    assert found.get(key("cuda:1")) is None


def test_large_memories_fit(database: Database) -> None:
    whole = Footprint(141 * 2**30, 60.0, 141 * 2**30)
    Footprints(database).remember(key("cuda:0"), whole)
    assert reopened(database)[0].get(key("cuda:0")) == whole


def test_what_is_measured_before_opening_joins_what_was_stored(tmp_path: Path) -> None:
    with open_database(tmp_path) as database:
        Footprints(database).remember(key(), Footprint(50, 9.0, 60))
        Choices(database).set("k", "older")
    database = make_database(tmp_path)
    footprints, choices = Footprints(database), Choices(database)
    footprints.remember(key(), Footprint(7, 1.0, 70))
    choices.set("k", "newer")
    assert footprints.get(key()) == Footprint(7, 1.0, 70)
    database.open()
    assert footprints.get(key()) == Footprint(50, 1.0, 70)
    assert choices.get("k") == "newer"
    database.close()


def test_two_processes_keep_the_larger(database: Database) -> None:
    first, second = Footprints(database), Footprints(database)
    first.remember(key(), Footprint(50, 1.0, 50))
    second.remember(key(), Footprint(20, 2.0, 80))
    assert reopened(database)[0].get(key()) == Footprint(50, 2.0, 80)


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
        mine.remember(key(), Footprint(1, 1.0))
        choices.set("k", "v")
    assert mine.get(key()) == Footprint(1, 1.0) and choices.get("k") == "v"
    assert len(caplog.records) == 2
