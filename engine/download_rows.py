"""Downloads as the database keeps them, so that a restart goes on with what was running. Knows only its table."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.database import Database, storable

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger("atelier.downloads")
ERROR_LIMIT = 2000


@dataclass(slots=True)
class DownloadRow:
    """One download.

    Args:
        source: "hub" or "ollama".
        model: the id that answers by it afterwards.
        files: what is fetched (see `engine.hub.Entry`); with `commit` it makes a resumed download the same one.
        phase: as its ticket's; "queued" and "downloading" go on after a restart.
        total: bytes.
    """

    id: str
    source: str
    model: str
    repo: str = ""
    revision: str = ""
    commit: str = ""
    licence: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)
    phase: str = "queued"
    total: int = 0
    error: str = ""
    code: str = ""
    session: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


class DownloadRows:
    """The table of downloads. Writes return at once; `read` waits for the database to open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, row: DownloadRow) -> None:
        """Insert or update a row."""
        values = {k: storable(v) if isinstance(v, str) else v for k, v in asdict(row).items()}
        values["error"] = values["error"][:ERROR_LIMIT]
        self._database.write(lambda c: _save(c, values)).add_done_callback(_note)

    def delete(self, id: str) -> None:
        """Forget a row."""
        self._database.write(lambda c: _delete(c, id)).add_done_callback(_note)

    async def flush(self) -> None:
        """Return when every row saved before is kept, or it was said in the log that it could not be."""
        await self._database.flush()

    async def read(self) -> list[DownloadRow]:
        """All rows, oldest first."""
        return await self._database.aread(_all)


def _save(connection: Connection, values: dict[str, Any]) -> None:
    from sqlalchemy import insert, update

    from engine.tables import downloads

    here = downloads.c.id == values["id"]
    if connection.execute(update(downloads).where(here).values(**values)).rowcount == 0:
        connection.execute(insert(downloads).values(**values))


def _delete(connection: Connection, id: str) -> None:
    from sqlalchemy import delete

    from engine.tables import downloads

    connection.execute(delete(downloads).where(downloads.c.id == id))


def _all(connection: Connection) -> list[DownloadRow]:
    from sqlalchemy import select

    from engine.tables import downloads

    found = connection.execute(select(downloads).order_by(downloads.c.created)).mappings()
    return [DownloadRow(**row) for row in found]


def _note(future: Future[None]) -> None:
    """Say that a restart will not know of it; the download itself goes on."""
    if error := future.exception():
        log.warning("A download could not be noted: %s", error)
