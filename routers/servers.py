"""Other servers over HTTP: which there are, adding, asking again, forgetting. Their keys never come back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import Server
from routers import wire
from routers.bodies import Body, example, shown
from routers.refusals import plain

PATHS = ("/v1/servers",)
ADMIN = (("POST", "/v1/servers"), ("DELETE", "/v1/servers/"))
error = plain
router = APIRouter(tags=["Models"])

SERVER = {
    "name": "ollama", "url": "http://127.0.0.1:11434", "kind": "ollama", "source": "environment",
    "healthy": True, "error": "", "checked": 1790000000.0, "held": [],
    "models": [{"name": "llama3.2:3b", "id": "ollama/llama3.2:3b", "does": ["chat"], "size": 2019393189}],
}  # fmt: skip


class ServerBody(Body):
    """Another server."""

    model_config = shown({"url": "http://box:11434"})

    url: str = Field(min_length=1, max_length=2000, description="Its address.")
    kind: Literal["auto", "ollama", "openai"] = Field("auto", description="The dialect it speaks.")
    key: str = Field("", max_length=1000, description="Its bearer token.")
    name: str = Field("", max_length=64, description="What its models' ids begin with.")


def server_of(server: Server) -> dict[str, Any]:
    """A server as JSON, without its key."""
    models = [{**asdict(model), "id": f"{server.name}/{model.name}"} for model in server.models]
    return {
        **{name: getattr(server, name) for name in ("name", "url", "kind", "source", "healthy")},
        "error": server.error,
        "checked": server.checked,
        "held": [asdict(held) for held in server.held],
        "models": models,
    }


@router.get(
    "/v1/servers",
    summary="The other servers and their models, as they were when asked last",
    responses=example({"servers": [SERVER]}),
)
async def servers(http: HttpRequest) -> Response:
    found = wire.engine_of(http).servers.list()
    return wire.json({"servers": [server_of(server) for server in found]})


@router.post("/v1/servers", summary="Add a server and ask it at once", responses=example(SERVER))
async def add(body: ServerBody, http: HttpRequest) -> Response:
    found = await wire.engine_of(http).servers.add(body.url, body.kind, body.key, body.name)
    return wire.json(server_of(found), headers=wire.ignored_header(body.ignored("servers")))


@router.post(
    "/v1/servers/refresh",
    summary="Ask all servers again, now",
    responses=example({"servers": [SERVER]}),
)
async def refresh(http: HttpRequest) -> Response:
    found = await wire.engine_of(http).servers.refresh()
    return wire.json({"servers": [server_of(server) for server in found]})


@router.delete(
    "/v1/servers/{name}",
    summary="Forget a server that was added, and its models",
    responses=example({"name": "box", "deleted": True}),
)
async def remove(name: str, http: HttpRequest) -> Response:
    await wire.engine_of(http).servers.remove(name)
    return wire.json({"name": name, "deleted": True})
