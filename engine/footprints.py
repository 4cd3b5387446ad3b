"""What was measured or chosen and must outlive a restart: models' footprints, remembered settings.

Read from memory at once, from any thread; written behind. Knows no model and no device.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

log = logging.getLogger("atelier.database")


class Key(NamedTuple):
    """What a footprint was measured of: `form` as "bfloat16" or "int8", `shape` as "8192x16"."""

    model: str
    revision: str
    device: str
    form: str
    shape: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model took: bytes once loaded, seconds to load, and the most bytes it held while it worked."""

    memory: int
    load_s: float
    peak: int = 0


class Footprints:
    """Measured footprints, by model, revision, device, form and shape."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[Key, Footprint] = {}
        self._changing = threading.Lock()
        database.at_open(self._load)

    def get(self, key: Key) -> Footprint | None:
        """The footprint, or None when it was never measured (or is not read yet)."""
        return self._known.get(key)

    def remember(self, key: Key, footprint: Footprint) -> None:
        """Keep the largest memory and peak seen and the latest load time; returns at once."""
        with self._changing:
            kept = self._known[key] = _merge(self._known.get(key), footprint)
        self._database.write(lambda c: _save(c, key, kept)).add_done_callback(_note)

    def _load(self, connection: Connection) -> None:
        from sqlalchemy import select

        from engine.tables import footprints

        for *names, memory, load_s, peak in connection.execute(select(footprints)):
            key, stored = Key(*names), Footprint(memory, load_s, peak)
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
    if older is None:
        return newer
    memory, peak = max(older.memory, newer.memory), max(older.peak, newer.peak)
    return Footprint(memory, newer.load_s, peak)


def _save(connection: Connection, key: Key, footprint: Footprint) -> None:
    from sqlalchemy import select

    from engine.tables import footprints

    row = key._asdict()
    measured = footprints.c.memory, footprints.c.load_s, footprints.c.peak
    stored = connection.execute(select(*measured).filter_by(**row)).one_or_none()
    kept = _merge(Footprint(*stored) if stored else None, footprint)
    _put(connection, footprints, row, asdict(kept))


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
