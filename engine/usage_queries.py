"""What is asked of the ledger's rows: filters, counts, sums, amounts over time. Knows no texts and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from engine.database import storable

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

WORD_LIMIT = 256
WELL = ("ok", "started", "stopped", "cancelled")  # every other status is an error's code
HOURLY = timedelta(days=3)  # up to this span amounts come by the hour
# What there are amounts of over time; tokens are those read and made.
MEASURED = (
    "requests", "tokens", "run_s", "seconds", "audio_s", "pages", "images", "characters", "megapixel_steps",
    "own_load_s",
)  # fmt: skip


class Filters(TypedDict, total=False):
    """Which rows; None or absent leaves all. `since` <= started_at < `until`, naive means UTC."""

    since: datetime | None
    until: datetime | None
    project: str | None
    model: str | None
    user_key: str | None
    session: str | None
    dialect: str | None
    task: str | None
    caller: str | None
    status: str | None
    request_id: str | None


Grouping = Literal["model", "day", "dialect", "project", "task", "caller", "user_key", "status"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over the rows that share `key`: a model, a day as YYYY-MM-DD, …; "" is no project.

    Args:
        failed: those that ended in an error.
        run_s: device-seconds: how long each request was worked on, together. A batch serves several at once, so
            this may be more than the clock's.
        own_load_s: seconds of loadings, each counted once, with the request that brought it about.
        seconds: on the callers' clocks, waiting included.
    """

    key: str
    requests: int
    failed: int
    seconds: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    audio_s: float
    characters: int
    pages: int
    images: int
    megapixel_steps: float
    own_load_s: float
    run_s: float


def where(filters: Filters) -> list[ColumnElement[bool]]:
    """The conditions of these filters."""
    from engine.tables import ledger

    conditions: list[ColumnElement[bool]] = []
    for name, value in filters.items():
        if value is None:
            continue
        if isinstance(value, datetime):
            edge, started = utc(value), ledger.c.started_at
            conditions.append(started >= edge if name == "since" else started < edge)
        else:
            conditions.append(ledger.c[name] == storable(str(value))[:WORD_LIMIT])
    return conditions


def count(connection: Connection, filters: Filters) -> int:
    """How many rows there are."""
    from sqlalchemy import func, select

    from engine.tables import ledger

    counted = select(func.count()).select_from(ledger).where(*where(filters))
    return connection.scalar(counted) or 0


def sums(connection: Connection, by: str, filters: Filters, limit: int) -> list[Total]:
    """Sums of the rows by one thing."""
    from sqlalchemy import case, desc, func, select

    from engine.tables import ledger

    key = func.date(ledger.c.started_at) if by == "day" else ledger.c[by]
    failed = func.sum(case((ledger.c.status.in_(WELL), 0), else_=1))
    summed = [f.name for f in fields(Total)[3:]]
    requests = func.count()
    order = [desc(key)] if by == "day" else [requests.desc(), key]
    chosen = select(key, requests, failed, *(func.sum(ledger.c[name]) for name in summed))
    found = connection.execute(
        chosen.where(*where(filters)).group_by(key).order_by(*order).limit(limit)
    )
    kinds: dict[str, Any] = {f.name: float if f.type == "float" else int for f in fields(Total)}
    return [
        Total(
            str(key or ""), n, int(bad),
            **{name: kinds[name](value) for name, value in zip(summed, rest, strict=True)},
        )
        for key, n, bad, *rest in found
    ]  # fmt: skip


def series(
    connection: Connection, by: str, measure: str, filters: Filters
) -> list[tuple[str, str, float]]:
    """Amounts by time and one thing, oldest first."""
    from sqlalchemy import func, select

    from engine.tables import ledger

    since, until = filters.get("since"), filters.get("until") or datetime.now(UTC)
    hourly = since is not None and utc(until) - utc(since) <= HOURLY
    when: Any = func.date(ledger.c.started_at)
    if hourly and connection.dialect.name == "sqlite":
        when = func.strftime("%Y-%m-%d %H:00", ledger.c.started_at)
    elif hourly:
        when = func.to_char(ledger.c.started_at, "YYYY-MM-DD HH24:00")
    amount: Any = func.count()
    if measure == "tokens":
        amount = func.sum(ledger.c.input_tokens + ledger.c.output_tokens)
    elif measure != "requests":
        amount = func.sum(ledger.c[measure])
    key = ledger.c[by]
    chosen = select(when, key, amount).where(*where(filters)).group_by(when, key).order_by(when)
    return [(str(at), str(k or ""), float(n)) for at, k, n in connection.execute(chosen)]


def utc(moment: datetime) -> datetime:
    """The moment in UTC; naive means UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
