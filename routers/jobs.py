"""Tickets over HTTP: what runs, waits and downloads; its events from any point; pause, resume, cancel, again.

A session sees its own requests and documents whole and others' without title and id; downloads are everybody's to
see and their session's (or an admin's) to change. An admin sees and may do all; without tokens everybody is one.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import WAITING, Done, Event, Forbidden, Ticket, Unknown
from routers import wire
from routers.bodies import Body, example, shown
from routers.refusals import plain

PATHS = ("/v1/jobs", "/v1/models/download")
error = plain
router = APIRouter(tags=["Jobs"])

TICKET = {
    "id": "8f14e45fceea167a5a36dedd", "kind": "download", "title": "Qwen/Qwen3-0.6B",
    "model": "Qwen/Qwen3-0.6B", "phase": "downloading", "ahead": 0, "done": 512000000,
    "total": 1519000000, "speed": 24000000.0, "seconds_left": 42.0, "error": "",
    "created_at": "2026-01-01T12:00:00+00:00", "own": True,
}  # fmt: skip
OFFER = {
    "model": "Qwen/Qwen3-0.6B", "repo": "Qwen/Qwen3-0.6B", "commit": "c1899de2",
    "licence": "apache-2.0", "licence_link": "https://huggingface.co/Qwen/Qwen3-0.6B",
    "gated": False, "size": 1519000000, "missing": 1519000000, "free": 80000000000,
    "present": False, "files": ["config.json", "model.safetensors", "tokenizer.json"],
    "does": ["chat"], "context": 40960,
}  # fmt: skip
END = b"event: end\n" + wire.DONE
Number = Annotated[int, Query(ge=0, description="Only events beyond this number.")]


class DownloadBody(Body):
    """A model to fetch."""

    model_config = shown({"model": "Qwen/Qwen3-0.6B", "accept_licence": True})

    model: str = Field(
        min_length=1, max_length=300, description="A catalog id, a hub id or its page's address."
    )
    revision: str = Field("", max_length=128, description="Branch, tag or commit; empty: main.")
    accept_licence: bool = Field(False, description="The licence was read and is accepted.")
    source: Literal["hub", "ollama"] = Field("hub", description="Who fetches it.")
    dry_run: bool = Field(False, description="Only say what would be fetched, and its licence.")


def show(ticket: Ticket, http: HttpRequest) -> dict[str, Any]:
    """A ticket as this caller may see it."""
    own = _is_own(ticket, http)
    value = asdict(ticket)
    del value["session"]
    value["created_at"] = ticket.created_at.isoformat()
    value["own"] = own
    if not own and ticket.kind != "download":
        value |= {"id": "", "title": "", "error": ""}
    return value


def _is_own(ticket: Ticket, http: HttpRequest) -> bool:
    return bool(http.state.rank == "admin" or ticket.session == http.state.session)


def _seen(id: str, http: HttpRequest) -> Ticket:
    """A ticket that the caller may read. Another session's request or document is not said to be there."""
    ticket = wire.engine_of(http).jobs.get(id)
    if ticket.kind != "download" and not _is_own(ticket, http):
        raise Unknown("There is no such job. It may have ended a while ago.", param="id")
    return ticket


def _held(id: str, http: HttpRequest) -> Ticket:
    """A ticket that the caller may change."""
    ticket = _seen(id, http)
    if not _is_own(ticket, http):
        raise Forbidden(
            "Another session began this. It can change it, and so can an admin (ATELIER_ADMIN_TOKEN)."
        )
    return ticket


def frame(item: tuple[int, Event], ticket: dict[str, Any]) -> bytes:
    """An event as SSE: its number as id, its kind as event; states and the end with the whole ticket."""
    number, event = item
    kind = type(event).__name__.lower()
    value: dict[str, Any] = {"type": kind, **asdict(event)}
    if not value.get("logprobs", True):
        del value["logprobs"]
    if isinstance(event, (*WAITING, Done)):
        value["ticket"] = ticket
    data = orjson.dumps(value, default=_encoded)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, kind.encode(), data)


def _encoded(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError


async def stream(items: AsyncIterator[Any], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Numbered events to frames."""
    async for item in items:
        yield frame(item, meta.extra["ticket"]())
    yield END


JOBS = wire.Dialect(
    name="jobs",
    stream=stream,
    reply=lambda result, meta: result,
    error=plain,
    frame=lambda value: b"event: error\ndata: " + orjson.dumps(value) + b"\n\n",
    end=END,
    waits=lambda item: False,
)


@router.get(
    "/v1/jobs", summary="What runs, waits and downloads", responses=example({"jobs": [TICKET]})
)
async def jobs(http: HttpRequest) -> Response:
    tickets = wire.engine_of(http).jobs.list()
    return wire.json({"jobs": [show(ticket, http) for ticket in tickets]})


@router.get(
    "/v1/jobs/{id:path}/events",
    summary="A job's events from any point, then live",
    responses=example(
        'id: 7\nevent: text\ndata: {"type":"text","delta":"Hi"}', "text/event-stream"
    ),
)
async def events(id: str, http: HttpRequest, after: Number = 0) -> Response:
    _seen(id, http)
    last = http.headers.get("last-event-id", "")
    after = max(after, int(last)) if last.isascii() and last.isdigit() else after
    found = wire.engine_of(http).jobs

    def now() -> dict[str, Any]:
        return show(found.get(id), http)

    meta = wire.Meta(id=http.state.request_id, model="", extra={"ticket": now})
    return await wire.respond(http, found.follow(id, after), JOBS, meta, stream=True)


@router.post(
    "/v1/jobs/{id:path}/pause",
    summary="Pause a download or a document's reading",
    responses=example(TICKET),
)
async def pause(id: str, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    if _held(id, http).kind == "document":
        await engine.documents.pause(id)
        return wire.json(show(engine.jobs.get(id), http))
    return wire.json(show(engine.downloads.pause(id), http))


@router.post(
    "/v1/jobs/{id:path}/resume",
    summary="Go on with a paused download or document",
    responses=example(TICKET),
)
async def resume(id: str, http: HttpRequest) -> Response:
    if _held(id, http).kind == "document":
        return await _go_on(id, http)
    return wire.json(show(wire.engine_of(http).downloads.resume(id), http))


async def _go_on(id: str, http: HttpRequest) -> Response:
    """Have a document's missing and failed pages read; its ticket."""
    engine = wire.engine_of(http)
    await engine.documents.resume(id)
    return wire.json(show(engine.jobs.get(id), http))


@router.post(
    "/v1/jobs/{id:path}/retry",
    summary="Try a failed download again, or a document's failed pages",
    responses=example(TICKET),
)
async def retry(id: str, http: HttpRequest) -> Response:
    if _held(id, http).kind == "document":
        return await _go_on(id, http)
    return wire.json(show(wire.engine_of(http).downloads.retry(id), http))


@router.get("/v1/jobs/{id:path}", summary="One job", responses=example(TICKET))
async def job(id: str, http: HttpRequest) -> Response:
    return wire.json(show(_seen(id, http), http))


@router.delete(
    "/v1/jobs/{id:path}",
    summary="Cancel a job; an answer ends with what is there",
    responses=example({"cancelled": True}),
)
async def cancel(id: str, http: HttpRequest) -> Response:
    engine, state = wire.engine_of(http), http.state
    try:
        _held(id, http)
    except Unknown:  # another process may have it
        if await engine.cancel_elsewhere(id, state.session, state.rank == "admin"):
            return wire.json({"cancelled": True})
        raise
    return wire.json({"cancelled": engine.jobs.cancel(id)})


@router.post(
    "/v1/models/download",
    summary="Fetch a model, or say what that would mean",
    responses={**example(OFFER), 202: {"description": "Begun: its ticket"}},
)
async def download(body: DownloadBody, http: HttpRequest) -> Response:
    downloads = wire.engine_of(http).downloads
    if body.dry_run:
        offer = await wire.until_gone(http.receive, downloads.look(body.model, body.revision))
        return wire.json(_offered(offer))
    ticket = await downloads.begin(
        body.model,
        revision=body.revision,
        accept_licence=body.accept_licence,
        source=body.source,
        session=http.state.session,
    )
    return wire.json(show(ticket, http), 202)


def _offered(offer: Any) -> dict[str, Any]:
    names = (
        "model", "repo", "revision", "commit", "gated", "size", "missing", "free", "present",
    )  # fmt: skip
    return {
        **{name: getattr(offer, name) for name in names},
        "licence": offer.licence.name,
        "licence_link": offer.licence.link,
        "files": [entry["path"] for entry in offer.files],
        "does": sorted(offer.spec.does),
        "context": offer.spec.context,
    }
