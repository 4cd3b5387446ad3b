"""The ledger: one row per request, whatever dialect or tab it came from, and what is asked of it.

Knows no engine and no HTTP. Writing never waits and never fails the answer it is about.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack
from uuid import uuid4

from engine.database import Database, storable
from engine.errors import BadValue
from engine.events import Usage
from engine.processes import is_dead, name_process
from engine.usage_queries import (
    GROUPINGS,
    MEASURED,
    WORD_LIMIT,
    Filters,
    Grouping,
    Total,
    count,
    series,
    sums,
    utc,
    where,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

    from engine.settings import Settings

TEXT_LIMIT = 1_000_000  # characters kept of a request's messages together, and of its answer
PAGE_LIMIT = 1000
PRUNED_AT_ONCE = 1000  # rows a commit, so that pruning never holds up other writes
FORGOTTEN = timedelta(days=1)  # a row this old that still says "started" was abandoned
TEXTS = ("input", "output")
MEASURES = tuple(f.name for f in fields(Usage))
log = logging.getLogger("atelier.usage")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Row:
    """What one request was and cost.

    Args:
        id: unique; a second row with the same id replaces the first.
        task: the capability.
        status: "started", then "ok", "stopped", "cancelled" or an error's code; "interrupted" when
            the server died meanwhile.
        input_tokens … own_load_s: as in `engine.events.Usage`; `seconds` is the whole of it, on the clock.
        project, process_id, subprocess_id, user_key: the caller's own tags.
        input: the messages as {"role", "content"}; None where texts are not kept (any more).
        output: the answer's text; likewise.
    """

    id: str = field(default_factory=lambda: uuid4().hex)
    started_at: datetime = field(default_factory=_now)
    request_id: str = ""
    dialect: str = ""
    model: str = ""
    task: str = ""
    caller: str = ""
    session: str = ""
    priority: str = ""
    status: str = "started"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    audio_s: float = 0.0
    characters: int = 0
    pages: int = 0
    images: int = 0
    megapixel_steps: float = 0.0
    queued_s: float = 0.0
    load_s: float = 0.0
    own_load_s: float = 0.0
    first_s: float = 0.0
    run_s: float = 0.0
    seconds: float = 0.0
    project: str | None = None
    process_id: str | None = None
    subprocess_id: str | None = None
    user_key: str | None = None
    input: list[dict[str, Any]] | None = None
    output: str | None = None


class Ledger:
    """The rows of all requests.

    Attributes:
        failed: rows that could not be saved since the start.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._keep_text = settings.keep_text
        self._retention = timedelta(days=settings.retention_days)
        self._server = ""
        self._failing = False
        self._counting = threading.Lock()
        self.failed = 0
        database.at_open(self._mark_interrupted)

    def write(self, row: Row) -> None:
        """Save the row as it is now, soon. Returns at once; a failure is counted and logged."""
        values = {f.name: getattr(row, f.name) for f in fields(row)}
        if not self._keep_text:
            values.update(input=None, output=None)
        saved = self._database.write(lambda c: _save(c, {**values, "server": self._server}))
        saved.add_done_callback(self._count)

    async def flush(self) -> None:
        """Return when every row written before is saved, or counted in `failed`."""
        await self._database.flush()

    async def rows(
        self, *, limit: int = 100, offset: int = 0, **filters: Unpack[Filters]
    ) -> list[Row]:
        """A page of rows, newest first. Raises BadValue for a limit outside 1..1000."""
        if not 1 <= limit <= PAGE_LIMIT or offset < 0:
            raise BadValue(f"Ask for 1 to {PAGE_LIMIT} rows from offset 0 on.", param="limit")
        return await self._database.aread(lambda c: _page(c, filters, limit, offset))

    async def count(self, **filters: Unpack[Filters]) -> int:
        """How many rows there are."""
        return await self._database.aread(lambda c: count(c, filters))

    async def totals(
        self, by: Grouping = "model", *, limit: int = PAGE_LIMIT, **filters: Unpack[Filters]
    ) -> list[Total]:
        """Sums by one thing, most requests first, or by UTC day, newest first; at most `limit` of them.

        Raises:
            BadValue: they do not go by that.
        """
        if by not in GROUPINGS:
            raise BadValue(f"Totals go by {', '.join(GROUPINGS)}.", param="by")
        return await self._database.aread(lambda c: sums(c, by, filters, limit))

    async def series(
        self, by: Grouping = "model", measure: str = "requests", **filters: Unpack[Filters]
    ) -> list[tuple[str, str, float]]:
        """(moment, key, amount) by time and one thing: hours where the filters span up to three days, else UTC days.

        Raises:
            BadValue: there is no such grouping, by day it goes anyway, or no such measure.
        """
        if by not in GROUPINGS or by == "day" or measure not in MEASURED:
            raise BadValue(f"A series is of {', '.join(MEASURED)}, by {', '.join(GROUPINGS)}.")
        return await self._database.aread(lambda c: series(c, by, measure, filters))

    async def pieces(self, size: int, **filters: Unpack[Filters]) -> AsyncGenerator[list[Row]]:
        """All rows in pieces of `size`, oldest first and without their texts."""
        last: tuple[datetime, int] | None = None
        while found := await self._database.aread(
            lambda c, last=last: _piece(c, filters, last, size)  # type: ignore[misc]
        ):
            last = found[-1][1].started_at, found[-1][0]
            yield [row for _, row in found]

    async def prune(self, now: datetime | None = None) -> int:
        """Forget the texts older than the retention setting; the rows stay. How many went."""
        if not self._retention:
            return 0
        before = (now or _now()) - self._retention
        gone = 0
        while lost := await self._database.awrite(lambda c: _forget(c, before)):
            gone += lost
        return gone

    def _count(self, future: Future[None]) -> None:
        """Note how a write went; on the writer's thread, or on the caller's when it was refused."""
        error = future.exception()
        with self._counting:
            self.failed += error is not None
            first, self._failing = error is not None and not self._failing, error is not None
        if first:
            log.error("Usage is not being recorded: %s", error, exc_info=error)

    def _mark_interrupted(self, connection: Connection) -> None:
        """Close the rows of servers that died over them. Runs before any row of ours is written."""
        from sqlalchemy import or_, select, update

        from engine.tables import ledger

        self._server = name_process()
        begun = ledger.c.status == "started"
        local = connection.dialect.name == "sqlite"  # then only this machine can have written them
        servers = connection.scalars(select(ledger.c.server).where(begun).distinct())
        dead = [server for server in servers if is_dead(server, self._server, local)]
        old = ledger.c.started_at < _now() - FORGOTTEN
        gone = begun & or_(ledger.c.server.in_(dead), old)
        marked = connection.execute(update(ledger).where(gone).values(status="interrupted"))
        if marked.rowcount:
            log.warning("%d requests were interrupted when the server died.", marked.rowcount)


def _save(connection: Connection, values: dict[str, Any]) -> None:
    from sqlalchemy import delete, insert, select, update

    from engine.tables import ledger, ledger_text

    row: dict[str, Any] = {
        name: storable(value)[:WORD_LIMIT] if isinstance(value, str) else value
        for name, value in values.items()
        if name not in TEXTS
    }
    row["started_at"] = utc(row["started_at"])
    number = connection.scalar(select(ledger.c.number).where(ledger.c.id == row["id"]))
    if number is None:
        (number,) = connection.execute(insert(ledger), row).inserted_primary_key or (None,)
    else:
        connection.execute(update(ledger).where(ledger.c.number == number), row)
        connection.execute(delete(ledger_text).where(ledger_text.c.number == number))
    said, answer = _shorten(values["input"]), values["output"]
    if said is not None or answer is not None:
        answer = storable(answer)[:TEXT_LIMIT] if answer is not None else None
        text = {"number": number, "started_at": row["started_at"], "input": said, "output": answer}
        connection.execute(insert(ledger_text), text)


def _shorten(messages: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """The messages, each cut to its share where they are too long together."""
    if not messages:
        return messages
    share = TEXT_LIMIT
    if sum(len(str(m.get("content", ""))) for m in messages) > TEXT_LIMIT:
        share = TEXT_LIMIT // len(messages)
    return [
        {key: value[:share] if isinstance(value, str) else value for key, value in m.items()}
        for m in messages
    ]


def select_page(filters: Filters, limit: int, offset: int) -> Select[Any]:
    """The statement of `Ledger.rows`: picks the rows in an index alone, then fetches them."""
    from sqlalchemy import select

    from engine.tables import ledger, ledger_text

    newest = ledger.c.started_at.desc(), ledger.c.number.desc()
    picked = select(ledger.c.number).where(*where(filters)).order_by(*newest)
    page = picked.limit(limit).offset(offset).subquery("page")
    columns = [ledger.c[f.name] for f in fields(Row) if f.name not in TEXTS]
    return (
        select(*columns, ledger_text.c.input, ledger_text.c.output)
        .select_from(page.join(ledger, ledger.c.number == page.c.number))
        .outerjoin(ledger_text, ledger_text.c.number == ledger.c.number)
        .order_by(*newest)
    )


def _page(connection: Connection, filters: Filters, limit: int, offset: int) -> list[Row]:
    found = connection.execute(select_page(filters, limit, offset)).mappings()
    return [Row(**row) for row in found]


def _piece(
    connection: Connection, filters: Filters, last: tuple[datetime, int] | None, size: int
) -> list[tuple[int, Row]]:
    """The rows behind the last one that was taken, with their numbers."""
    from sqlalchemy import or_, select

    from engine.tables import ledger

    when, number = ledger.c.started_at, ledger.c.number
    names = [f.name for f in fields(Row) if f.name not in TEXTS]
    chosen = select(number, *(ledger.c[name] for name in names)).where(*where(filters))
    if last is not None:  # said twice, so that an index finds the place
        chosen = chosen.where(when >= last[0], or_(when > last[0], number > last[1]))
    found = connection.execute(chosen.order_by(when, number).limit(size))
    return [(row[0], Row(**dict(zip(names, row[1:], strict=True)))) for row in found]


def _forget(connection: Connection, before: datetime) -> int:
    from sqlalchemy import delete, select

    from engine.tables import ledger_text

    old = select(ledger_text.c.number).where(ledger_text.c.started_at < before)
    some = old.order_by(ledger_text.c.started_at).limit(PRUNED_AT_ONCE).scalar_subquery()
    return connection.execute(delete(ledger_text).where(ledger_text.c.number.in_(some))).rowcount
