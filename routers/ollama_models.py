"""The models of the Ollama dialect: which there are, which are loaded, what they are, fetching and deleting them.

Knows Ollama's words, the engine's cards and downloads; nothing of how models run.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.routing import APIRoute
from pydantic import Field
from starlette.responses import Response

from engine import (
    VERSION,
    AtelierError,
    BadValue,
    Conflict,
    Done,
    Engine,
    Event,
    Forbidden,
    ModelSpec,
    Progress,
    Ticket,
    Unknown,
)
from routers import wire
from routers.bodies import Body, example, shown
from routers.ollama_models_shapes import LATEST, find, row, running, shown_card

SPOKEN = "0.17.4"  # the version of Ollama whose API this is; clients ask for a least one
COMING = frozenset({"queued", "downloading"})


def error(exc: AtelierError) -> dict[str, Any]:
    """Ollama's error body."""
    return {"error": exc.message}


def frame(value: Any) -> bytes:
    """A value as a line of a stream."""
    return orjson.dumps(value) + b"\n"


# Routes -------------------------------------------------------------------------------------------


class JsonRoute(APIRoute):
    """Reads a body as JSON whatever its type says, as Ollama does: `curl -d` calls it a form."""

    def get_route_handler(self) -> Callable[[HttpRequest], Any]:
        handle = super().get_route_handler()

        async def handler(http: HttpRequest) -> Response:
            headers = [pair for pair in http.scope["headers"] if pair[0] != b"content-type"]
            headers.append((b"content-type", b"application/json"))
            answer: Response = await handle(
                HttpRequest({**http.scope, "headers": headers}, http.receive, http._send)
            )
            return answer

        return handler


router = APIRouter(tags=["Ollama"], route_class=JsonRoute)
DETAILS = {
    "parent_model": "",
    "format": "safetensors",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "4.43M",
    "quantization_level": "BF16",
}
ROW = {
    "name": "starter-chat:latest",
    "model": "starter-chat:latest",
    "modified_at": "2026-11-20T20:26:12.512Z",
    "size": 9030000,
    "digest": "61fbcdc4c18a6655dd7e29942d8a1e6911a59c1e5cecf4dfa704c49ed621f9d2",
    "details": DETAILS,
}


@router.head("/api/tags", include_in_schema=False)
@router.get("/api/tags", summary="The models on this machine", responses=example({"models": [ROW]}))
async def tags(http: HttpRequest) -> Response:
    cards = [card for card in await wire.engine_of(http).cards.all() if card.present]
    rows = [row(card) for card in cards if card.spec.does & {"chat", "embed"}]
    return wire.json({"models": sorted(rows, key=lambda row: row["modified_at"], reverse=True)})


@router.get(
    "/api/ps",
    summary="The models in memory",
    responses=example({"models": [ROW | {"expires_at": "2026-11-20T21:54:08Z", "size_vram": 0}]}),
)
async def ps(http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    cards, now = {card.spec.id: card for card in await engine.cards.all()}, datetime.now(UTC)
    rows = [
        running(cards[resident.id], resident, not lane.name.startswith("cpu"), now)
        for lane in engine.status().lanes
        for resident in lane.resident
        if resident.id in cards
    ]
    return wire.json({"models": sorted(rows, key=lambda row: row["expires_at"], reverse=True)})


@router.head("/api/version", include_in_schema=False)
@router.get(
    "/api/version",
    summary="The version of Ollama's API that is spoken",
    responses=example({"version": SPOKEN, "atelier": VERSION}),
)
async def version() -> Response:
    return wire.json({"version": SPOKEN, "atelier": VERSION})


class NameBody(Body):
    """A body that names a model; `name` is the older word."""

    model_config = shown({"model": "starter-chat"})

    model: str | None = None
    name: str | None = None

    @property
    def named(self) -> str:
        """The name. Raises BadValue: there is none."""
        if not (name := self.model or self.name):
            raise BadValue("model is required", param="model")
        return name


@router.post(
    "/api/show",
    summary="What a model is and can do",
    responses=example(
        {
            "template": "{{ messages }}",
            "details": DETAILS,
            "model_info": {"general.architecture": "llama", "llama.context_length": 1024},
            "capabilities": ["completion"],
            "modified_at": "2026-11-20T20:26:12.512Z",
        }
    ),
)
async def show(body: NameBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    return wire.json(shown_card(await engine.cards.read(find(engine, body.named).id)))


@router.delete(
    "/api/delete", summary="Delete a model's downloaded files", responses=example("", "text/plain")
)
async def delete(body: NameBody, http: HttpRequest) -> Response:
    engine, settings = wire.engine_of(http), wire.engine_of(http).settings
    if http.app.state.access.is_open and (settings.share or not settings.is_loopback):
        raise Forbidden("Files are not deleted for strangers. Start the server with ATELIER_TOKEN.")
    spec = find(engine, body.named)
    if not await engine.remove_model(spec.id):
        raise Unknown(f"model '{body.named[:200]}' not found: it has no files here to delete")
    return Response(status_code=200)


# Pulling ------------------------------------------------------------------------------------------


class PullBody(NameBody):
    """The body of `/api/pull`."""

    model_config = shown({"model": "Qwen/Qwen3-0.6B", "accept_licence": True})

    stream: bool | None = None
    insecure: bool | None = None
    accept_licence: bool = Field(
        False, description="Accepts a licence that is not an open one; the refusal names it."
    )


async def lines(events: AsyncIterator[dict[str, Any]], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Progress, a line each."""
    async for event in events:
        yield frame(event)


async def last(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """What a pull ends with."""
    end: dict[str, Any] = {}
    async for event in events:
        end = event
    return end


PULL = wire.Dialect(
    "ollama", lines, lambda end, meta: end, error, last, frame=frame, end=b"",
    waits=lambda event: False, pulse=b"", media="application/x-ndjson",
)  # fmt: skip
PULLED = {"status": "success"}


@router.post(
    "/api/pull",
    summary="Fetch a model, with its progress",
    responses=example({"status": "success"}, also=("application/x-ndjson",)),
)
async def pull(body: PullBody, http: HttpRequest) -> Response:
    engine, name = wire.engine_of(http), body.named
    before = {ticket.id for ticket in engine.jobs.list() if ticket.phase in COMING}
    ticket = await wire.until_gone(http.receive, _begun(engine, body, http.state.session))
    meta = wire.Meta(id=http.state.request_id, model=name, ignored=body.ignored("ollama"))
    mine = ticket is not None and ticket.id not in before
    events = progress(engine, ticket, mine)
    return await wire.respond(http, events, PULL, meta, stream=body.stream is not False)


async def _begun(engine: Engine, body: PullBody, session: str) -> Ticket | None:
    """The download a pull began or joined; None: there is nothing to fetch."""
    name = body.named.removesuffix(LATEST)
    downloads = engine.downloads
    server, slash, there = name.partition("/")
    if server == "ollama" and slash:
        return await downloads.begin(there, source="ollama", session=session)
    try:
        spec = find(engine, name)
    except Unknown:
        spec = None
    if spec is not None and (spec.path or not spec.repo):
        return None if downloads.is_present(spec) else _nowhere(spec)
    model = spec.id if spec else name
    accepted = body.accept_licence or (await downloads.look(model)).licence.is_open
    return await downloads.begin(model, accept_licence=accepted, session=session)


def _nowhere(spec: ModelSpec) -> Ticket:
    raise BadValue(f"'{spec.id}' names no repository to fetch it from. Give its row a repo.")


async def progress(
    engine: Engine, ticket: Ticket | None, mine: bool
) -> AsyncGenerator[dict[str, Any]]:
    """A download in Ollama's words. Who began it and hangs up pauses it; the next pull goes on.

    Raises:
        AtelierError: it failed, or somebody cancelled it.
    """
    yield {"status": "pulling manifest"}
    if ticket is None:
        yield PULLED
        return
    digest = hashlib.sha256(ticket.model.encode()).hexdigest()
    whole = False
    try:
        async with aclosing(engine.jobs.follow(ticket.id)) as events:
            async for _, event in events:
                whole = isinstance(event, Done)
                if line := _line(event, digest):
                    yield line
        if not whole:
            raise Conflict("The download was cancelled. Pull again to begin it anew.")
        yield {"status": "verifying sha256 digest"}
        yield {"status": "writing manifest"}
        yield PULLED
    finally:
        if mine and engine.jobs.get(ticket.id).phase in COMING:
            engine.downloads.pause(ticket.id)


def _line(event: Event, digest: str) -> dict[str, Any] | None:
    if not isinstance(event, Progress) or not event.total:
        return None
    return {
        "status": f"pulling {digest[:12]}",
        "digest": f"sha256:{digest}",
        "total": event.total,
        "completed": event.done,
    }
