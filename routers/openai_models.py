"""OpenAI's list of models."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import ModelSpec
from routers import wire
from routers.bodies import example

router = APIRouter(tags=["OpenAI"])


@router.get(
    "/v1/models",
    summary="The catalog",
    responses=example(
        {
            "object": "list",
            "data": [{"id": "starter-chat", "object": "model", "owned_by": "atelier"}],
        }
    ),
)
async def models(http: HttpRequest) -> Response:
    specs = sorted(wire.engine_of(http).models(), key=lambda spec: "chat" not in spec.does)
    return wire.json({"object": "list", "data": [_row(spec) for spec in specs]})


@router.get(
    "/v1/models/{model:path}",
    summary="One model of the catalog",
    responses=example({"id": "starter-chat", "object": "model", "owned_by": "atelier"}),
)
async def model(model: str, http: HttpRequest) -> Response:
    return wire.json(_row(wire.engine_of(http).registry.find(model)))


def _row(spec: ModelSpec) -> dict[str, Any]:
    owner = spec.repo.partition("/")[0] or "atelier"
    return {
        "id": spec.id,
        "object": "model",
        "created": 0,
        "owned_by": owner,
        "capabilities": sorted(spec.does),
        "starter": spec.starter,
    }
