"""What was measured or chosen and must outlive a restart: models' footprints, remembered settings.

Read from memory at once, from any thread; written behind. Knows no model and no device.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

log = logging.getLogger("atelier.database")
Key = tuple[str, str, str]  # model, device, dtype


@dataclass(frozen=True, slots=True)
class Footprint:
    """What loading a model took: bytes on the device, and seconds."""

    memory: int
    load_s: float


class Footprints:
    """Measured footprints by model, device and dtype."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[Key, Footprint] = {}
        self._changing = threading.Lock()
        database.at_open(self._load)

    def get(self, model: str, device: str, dtype: str = "") -> Footprint | None:
        """The footprint, or None when it was never measured (or is not read yet)."""
        return self._known.get((model, device, dtype))

    def remember(self, model: str, device: str, footprint: Footprint, dtype: str = "") -> None:
        """Keep the largest memory seen and the latest load time; returns at once."""
        key = (model, device, dtype)
        with self._changing:
            kept = self._known[key] = _merge(self._known.get(key), footprint)
        self._database.write(lambda c: _save(c, key, kept)).add_done_callback(_note)

    def _load(self, connection: Connection) -> None:
        from sqlalchemy import select

        from engine.tables import footprints

        for model, device, dtype, memory, load_s in connection.execute(select(footprints)):
            key, stored = (model, device, dtype), Footprint(memory, load_s)
            with self._changing:
                newer = self._known.get(key)
                self._known[key] = _merge(stored, newer) if newer else stored


class Choices:
    """Remembered settings, such as the default model of a capability: text by key."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, str] = {}
        database.at_open(self._load)

    def get(self, key: str) -> str | None:
        """The value, or None when nothing was chosen (or is not read yet)."""
        return self._known.get(key)

    def set(self, key: str, value: str) -> None:
        """Remember a value; returns at once."""
        self._known[key] = value
        self._database.write(lambda c: _choose(c, key, value)).add_done_callback(_note)

    def _load(self, connection: Connection) -> None:
        from sqlalchemy import select

        from engine.tables import choices

        for key, value in connection.execute(select(choices)):
            self._known.setdefault(key, value)


def _merge(older: Footprint | None, newer: Footprint) -> Footprint:
    return Footprint(max(older.memory, newer.memory), newer.load_s) if older else newer


def _save(connection: Connection, key: Key, footprint: Footprint) -> None:
    from sqlalchemy import select

    from engine.tables import footprints

    model, device, dtype = key
    row = {"model": model, "device": device, "dtype": dtype}
    stored = connection.execute(
        select(footprints.c.memory, footprints.c.load_s).filter_by(**row)
    ).one_or_none()
    kept = _merge(Footprint(*stored) if stored else None, footprint)
    _put(connection, footprints, row, {"memory": kept.memory, "load_s": kept.load_s})


def _choose(connection: Connection, key: str, value: str) -> None:
    from engine.tables import choices

    _put(connection, choices, {"key": key}, {"value": value})


def _put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    """Update the row with this key, or insert it."""
    from sqlalchemy import and_, insert, update

    here = and_(*(table.c[name] == value for name, value in key.items()))
    if connection.execute(update(table).where(here).values(**values)).rowcount == 0:
        connection.execute(insert(table).values(**key, **values))


def _note(future: Future[None]) -> None:
    """Say that something will be forgotten at the next start; it holds until then."""
    if error := future.exception():
        log.warning("A measured or chosen value could not be saved: %s", error)
