"""Stored documents as the database keeps them. Knows their table; that of their pages is `engine.page_rows`'.

A document belongs to the process that reads it: `server` holds its name, and changes hands in one statement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.database import Database, storable
from engine.errors import BadValue, Conflict, Unknown
from engine.events import Page
from engine.page_rows import (
    count_pages,
    drop_failed,
    page_codes,
    put_corrections,
    put_page,
    read_pages,
)
from engine.papers import (
    DocumentRow,
    Paper,
    PaperPhase,
    Quota,
    StoredPage,
    Task,
    utc_now,
)
from engine.processes import is_dead, name_process

if TYPE_CHECKING:
    from sqlalchemy import Connection

WORKING = ("queued", "running")
ABANDONED = timedelta(days=1)  # a document that stood still for so long may be taken from anybody
ERROR_LIMIT = 2000


class DocumentRows:
    """The tables of documents. Every method waits for the database; an id that is not there raises `Unknown`.

    `session` None stands for whoever may see everything.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._server = ""
        database.at_open(self._name)

    def _name(self, connection: Connection) -> None:
        self._server = name_process()

    async def add(self, row: DocumentRow, quota: Quota) -> Paper:
        """Insert a row that this process reads. Raises Conflict when the quota is used up."""
        row = replace(row, name=storable(row.name), session=storable(row.session)[:256])
        return await self._database.awrite(
            lambda c: _add(c, replace(row, server=self._server), quota)
        )

    async def check(self, size: int, quota: Quota) -> None:
        """Raises Conflict when a document of so many bytes is too much."""
        await self._database.aread(lambda c: _check_quota(c, size, quota))

    async def get(self, id: str, session: str | None = None) -> Paper:
        return await self._database.aread(lambda c: _paper(c, id, session))

    async def row(self, id: str, session: str | None = None) -> DocumentRow:
        return await self._database.aread(lambda c: _find(c, id, session)[1])

    async def list(self, session: str | None) -> Sequence[Paper]:
        """Newest first."""
        return await self._database.aread(lambda c: _list(c, session))

    async def claim(self) -> Sequence[DocumentRow]:
        """Take over what is to be read and whose process is gone; oldest first."""
        return await self._database.awrite(lambda c: _claim(c, self._server))

    async def release(self, ids: Collection[str]) -> None:
        """Let others take these over."""
        await self._database.awrite(lambda c: _release(c, ids, self._server))

    async def task(self, id: str) -> Task | None:
        """What is to be read next; the document is "running" from now on. None: it is not ours to read."""
        return await self._database.awrite(lambda c: _task(c, id, self._server))

    async def keep(self, id: str, model: str, page: Page) -> bool:
        """Store a page that was read, or that failed. False: the document is to be read no further."""
        return await self._database.awrite(lambda c: _keep(c, id, model, page, self._server))

    async def set(
        self, id: str, phase: PaperPhase, among: Collection[str], error: str = "", code: str = ""
    ) -> bool:
        """Change the phase if it is one of these. False: it is not."""
        values = {"phase": phase, "error": storable(error)[:ERROR_LIMIT], "code": code}
        return await self._database.awrite(lambda c: _set(c, id, among, values))

    async def go_on(self, id: str) -> tuple[DocumentRow, bool]:
        """Have this process read what is missing or failed; the row, and False when nothing is.

        Raises:
            Conflict: it is being read.
        """
        return await self._database.awrite(lambda c: _go_on(c, id, self._server))

    async def add_model(self, id: str, model: str) -> tuple[DocumentRow, bool]:
        """One more reading; the row, and whether this process reads it.

        Raises:
            Conflict: that model reads it already.
        """
        return await self._database.awrite(lambda c: _add_model(c, id, model, self._server))

    async def pages(self, id: str, model: str = "", number: int = 0) -> Sequence[StoredPage]:
        """What a model ("": the first) read, in the order of pages; only one page where a number is given."""
        return await self._database.aread(lambda c: _pages(c, id, model, number))

    async def correct(self, id: str, model: str, number: int, line: int, text: str) -> StoredPage:
        """Keep another text for a line; its own text again takes the correction back."""
        return await self._database.awrite(lambda c: _correct(c, id, model, number, line, text))

    async def remove(self, id: str) -> None:
        await self._database.awrite(lambda c: _remove(c, id))

    async def outdated(self, before: datetime) -> Sequence[str]:
        """The ids of what ended and did not change since."""
        return await self._database.aread(lambda c: _outdated(c, before))

    async def ids(self) -> frozenset[str]:
        return await self._database.aread(_ids)


def _names() -> list[str]:
    return [f.name for f in fields(DocumentRow)]


def _find(connection: Connection, id: str, session: str | None = None) -> tuple[int, DocumentRow]:
    from sqlalchemy import select

    from engine.tables import documents

    columns = (documents.c[name] for name in _names())
    found = select(documents.c.number, *columns).where(documents.c.id == storable(id))
    one = connection.execute(found).mappings().one_or_none()
    if one is None or (session is not None and one["session"] != storable(session)[:256]):
        raise Unknown("There is no such document; it may have been removed.", param="id")
    values = dict(one)
    return values.pop("number"), DocumentRow(**values)


def _paper(connection: Connection, id: str, session: str | None = None) -> Paper:
    number, row = _find(connection, id, session)
    return row.paper(count_pages(connection, [number]).get(number, {}))


def _list(connection: Connection, session: str | None) -> list[Paper]:
    from sqlalchemy import select

    from engine.tables import documents

    columns = (documents.c[name] for name in _names())
    found = select(documents.c.number, *columns)
    if session is not None:
        found = found.where(documents.c.session == storable(session)[:256])
    rows = connection.execute(found.order_by(documents.c.number.desc())).mappings().all()
    counts = count_pages(connection, [row["number"] for row in rows])
    return [
        DocumentRow(**{name: row[name] for name in _names()}).paper(counts.get(row["number"], {}))
        for row in rows
    ]


def _check_quota(connection: Connection, size: int, quota: Quota) -> None:
    from sqlalchemy import func, select

    from engine.tables import documents

    count, held = connection.execute(select(func.count(), func.sum(documents.c.size))).one()
    if count >= quota.documents:
        raise Conflict(
            f"{count} documents are stored, the most that are kept. Remove some and try again."
        )
    if int(held or 0) + size > quota.size:
        raise Conflict(
            f"The stored documents would take more than the {quota.size / 1e6:,.0f} MB that are kept for "
            "them. Remove some and try again."
        )


def _add(connection: Connection, row: DocumentRow, quota: Quota) -> Paper:
    from sqlalchemy import insert

    from engine.tables import documents

    _check_quota(connection, row.size, quota)
    connection.execute(insert(documents).values(**asdict(row)))
    return _paper(connection, row.id)


def _update(connection: Connection, number: int, **values: Any) -> None:
    from sqlalchemy import update

    from engine.tables import documents

    here = documents.c.number == number
    connection.execute(update(documents).where(here).values(updated=utc_now(), **values))


def _claim(connection: Connection, own: str) -> list[DocumentRow]:
    from sqlalchemy import select, update

    from engine.tables import documents

    columns = documents.c.number, documents.c.id, documents.c.server, documents.c.updated
    working = documents.c.phase.in_(WORKING)
    found = connection.execute(select(*columns).where(working).order_by(documents.c.number)).all()
    local = connection.dialect.name == "sqlite"
    claimed = []
    for number, name, server, updated in found:
        ours = server == own or is_dead(server, own, local) or updated < utc_now() - ABANDONED
        here = (documents.c.number == number) & (documents.c.server == server) & working
        if ours and connection.execute(update(documents).where(here).values(server=own)).rowcount:
            claimed.append(_find(connection, name)[1])
    return claimed


def _release(connection: Connection, ids: Collection[str], own: str) -> None:
    from sqlalchemy import update

    from engine.tables import documents

    here = documents.c.id.in_(ids) & (documents.c.server == own)
    connection.execute(update(documents).where(here).values(server=""))


def _task(connection: Connection, id: str, own: str) -> Task | None:
    try:
        number, row = _find(connection, id)
    except Unknown:
        return None
    if row.phase not in WORKING or row.server != own:
        return None
    if row.phase == "queued":
        _update(connection, number, phase="running", error="", code="")
    model, read, failed = row.models[-1], set[int](), 0
    for model in row.models:
        stored = page_codes(connection, number, model)
        read, failed = set(stored), sum(1 for code in stored.values() if code)
        if len(read) < len(row.numbers):
            break
    return Task(row, model, tuple(n for n in row.numbers if n not in read), failed)


def _keep(connection: Connection, id: str, model: str, page: Page, own: str) -> bool:
    try:
        number, row = _find(connection, id)
    except Unknown:
        return False
    if page.number in row.numbers and model in row.models:
        put_page(connection, number, model, page)
        _update(connection, number)
    return row.phase == "running" and row.server == own


def _set(connection: Connection, id: str, among: Collection[str], values: dict[str, Any]) -> bool:
    try:
        number, row = _find(connection, id)
    except Unknown:
        return False
    if row.phase not in among:
        return False
    _update(connection, number, **values)
    return True


def _go_on(connection: Connection, id: str, own: str) -> tuple[DocumentRow, bool]:
    number, row = _find(connection, id)
    if row.phase in WORKING:
        raise Conflict("This document is being read already. Wait for its end, or cancel it first.")
    drop_failed(connection, number)
    counts = count_pages(connection, [number]).get(number, {})
    if all(counts.get(model, (0, 0))[0] >= len(row.numbers) for model in row.models):
        if row.phase != "done":
            _update(connection, number, phase="done", error="", code="")
        return _find(connection, id)[1], False
    _update(connection, number, phase="queued", error="", code="", server=own)
    return _find(connection, id)[1], True


def _add_model(connection: Connection, id: str, model: str, own: str) -> tuple[DocumentRow, bool]:
    number, row = _find(connection, id)
    if model in row.models:
        raise Conflict(
            f"'{model}' reads this document already. Resume it to read failed pages again.",
            param="model",
        )
    values: dict[str, Any] = {"models": [*row.models, model]}
    if row.phase not in WORKING:
        values |= {"phase": "queued", "error": "", "code": "", "server": own}
    _update(connection, number, **values)
    row = _find(connection, id)[1]
    return row, row.server == own


def _model_of(row: DocumentRow, model: str) -> str:
    if model and model not in row.models:
        raise Unknown(
            f"'{model[:200]}' has not read this document. These have: {', '.join(row.models)}.",
            param="model",
        )
    return model or row.models[0]


def _pages(connection: Connection, id: str, model: str, number: int) -> list[StoredPage]:
    document, row = _find(connection, id)
    return read_pages(connection, document, _model_of(row, model), number)


def _correct(
    connection: Connection, id: str, model: str, number: int, line: int, text: str
) -> StoredPage:
    document, row = _find(connection, id)
    model = _model_of(row, model)
    stored = next(iter(read_pages(connection, document, model, number)), None)
    if number < 1 or stored is None:
        raise Unknown(f"Page {number} has not been read. Choose another.", param="number")
    if not 0 <= line < len(stored.page.lines):
        raise BadValue(
            f"Page {number} has {len(stored.page.lines)} lines, counted from 0.", param="line"
        )
    corrections = {**stored.corrections, line: storable(text)}
    if text == stored.page.lines[line].text:
        del corrections[line]
    stored = replace(stored, corrections=corrections)
    put_corrections(connection, document, model, stored)
    _update(connection, document)
    return stored


def _remove(connection: Connection, id: str) -> None:
    from sqlalchemy import delete

    from engine.tables import documents

    number, _ = _find(connection, id)
    connection.execute(delete(documents).where(documents.c.number == number))


def _outdated(connection: Connection, before: datetime) -> list[str]:
    from sqlalchemy import select

    from engine.tables import documents

    ended = documents.c.phase.not_in(WORKING)
    return list(
        connection.scalars(select(documents.c.id).where(ended, documents.c.updated < before))
    )


def _ids(connection: Connection) -> frozenset[str]:
    from sqlalchemy import select

    from engine.tables import documents

    return frozenset(connection.scalars(select(documents.c.id)))
