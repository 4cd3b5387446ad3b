"""What was asked, of which model, for whom, and what it took: the dashboard, its sums, and the rows as a file.

Knows the ledger and its filters.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi import Request as HttpRequest
from pydantic import BeforeValidator, WithJsonSchema
from starlette.responses import Response, StreamingResponse

from engine import USAGE_FILES, Filters, Row, export_usage
from routers import wire
from routers.bodies import example

NANOSECONDS = 1_000_000_000
# Beside the contract's own fields, a row of the dashboard has these as they stand in the ledger.
MORE = (
    "dialect", "task", "status", "session", "request_id", "caller", "cached_tokens", "reasoning_tokens",
    "audio_s", "characters", "pages", "images", "megapixel_steps", "queued_s", "first_s",
)  # fmt: skip
router = APIRouter()
By = Literal["model", "day", "dialect", "project", "task", "caller", "user_key", "status"]
Word = Annotated[str | None, Query(max_length=256)]
LATEST = 4_000_000_000  # seconds since 1970, in the year 2096


def _near(value: Any) -> Any:
    """Refuse a number of seconds that is no time of ours; dates are read as they are."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return value
    if not 0 <= seconds <= LATEST:
        raise ValueError(f"seconds since 1970 lie between 0 and {LATEST}")
    return value


Moment = Annotated[
    datetime | None,
    BeforeValidator(_near),
    Query(description="ISO 8601, UTC where no zone is said; or seconds since 1970."),
    WithJsonSchema({"anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "minimum": 0, "maximum": LATEST},
        {"type": "null"},
    ]}),
]  # fmt: skip


def chosen(
    since: Moment = None,
    until: Moment = None,
    project: Word = None,
    model: Word = None,
    user_key: Word = None,
    dialect: Word = None,
    task: Word = None,
    caller: Word = None,
    status: Word = None,
    session: Word = None,
    request_id: Word = None,
) -> Filters:
    """Which rows are meant; what is empty leaves all."""
    words: Filters = {
        "project": project, "model": model, "user_key": user_key, "dialect": dialect, "task": task,
        "caller": caller, "status": status, "session": session, "request_id": request_id,
    }  # fmt: skip
    given = {name: value for name, value in words.items() if value}
    filters: Filters = {"since": since, "until": until, **given}  # type: ignore[typeddict-item]
    return filters


Chosen = Annotated[Filters, Depends(chosen)]


@router.get(
    "/api/v1/admin/dashboard",
    summary="What was asked, of which model, for whom, and what it took",
    description="Newest first. The header X-Next-Offset is there while more rows follow; with `count`,"
    " X-Total-Count says how many there are.",
    responses=example(
        [
            {
                "date": "2026-08-04T11:05:00+00:00",
                "total_seconds": 1500000000,
                "duration_s": 1.5,
                "total_tokens": 123,
                "input_tokens": 23,
                "output_tokens": 100,
                "model_name": "starter-chat",
                "input": [{"role": "user", "content": "example"}],
                "output": "the answer",
                "project": "projeto1",
                "process_id": "p001",
                "subprocess_id": "s001",
                "user_key": "u1",
            }
        ]
    ),
)
async def dashboard(
    http: HttpRequest,
    filters: Chosen,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    count: bool = False,
) -> Response:
    usage = wire.engine_of(http).usage
    await usage.flush()
    rows = await usage.rows(limit=limit, offset=offset, **filters)
    headers = {"x-next-offset": str(offset + limit)} if len(rows) == limit else {}
    if count:
        headers["x-total-count"] = str(await usage.count(**filters))
    return wire.json([_row(row) for row in rows], headers=headers)


@router.get(
    "/api/v1/admin/usage",
    summary="Sums of what was used, by model, project, dialect, task, caller, key, status or day",
    description="`run_s` are device-seconds, `own_load_s` load-seconds; both count everything once.",
    responses=example(
        [
            {
                "key": "starter-chat", "requests": 12, "failed": 0, "seconds": 14.2, "input_tokens": 230,
                "output_tokens": 1100, "cached_tokens": 12, "reasoning_tokens": 0, "audio_s": 0.0,
                "characters": 0, "pages": 0, "images": 0, "megapixel_steps": 0.0, "own_load_s": 0.8, "run_s": 13.1,
            }
        ]
    ),
)  # fmt: skip
async def sums(
    http: HttpRequest,
    filters: Chosen,
    by: By = "model",
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    usage = wire.engine_of(http).usage
    await usage.flush()
    return wire.json([asdict(total) for total in await usage.totals(by, limit=limit, **filters)])


@router.get(
    "/api/v1/admin/usage/export",
    summary="The rows as CSV or Parquet, oldest first, without their texts",
    responses=example(
        "id,started_at,request_id,dialect,model,task,…",
        USAGE_FILES["csv"],
        also=(USAGE_FILES["parquet"],),
    ),
)
async def export(
    http: HttpRequest, filters: Chosen, format: Literal["csv", "parquet"] = "csv"
) -> Response:
    usage = wire.engine_of(http).usage
    await usage.flush()
    headers = {"content-disposition": f'attachment; filename="atelier-usage.{format}"'}
    pieces = export_usage(usage, format, **filters)
    return StreamingResponse(pieces, headers=headers, media_type=USAGE_FILES[format])


def _row(row: Row) -> dict[str, Any]:
    return {
        "date": row.started_at.isoformat(),
        "total_seconds": round(row.seconds * NANOSECONDS),
        "duration_s": row.seconds,
        "device_seconds": row.run_s,
        "load_seconds": row.own_load_s,
        "total_tokens": row.input_tokens + row.output_tokens,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "model_name": row.model,
        "input": row.input,
        "output": row.output,
        "project": row.project or None,
        "process_id": row.process_id or None,
        "subprocess_id": row.subprocess_id or None,
        "user_key": row.user_key or None,
        **{name: getattr(row, name) for name in MORE},
    }
