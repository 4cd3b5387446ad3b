"""The creature service's one call. Who may make it, and how often, is decided before; `/health` is ChatVLM's."""

from __future__ import annotations

import logging
import time
from base64 import b64encode

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import AtelierError
from routers import wire
from routers.bodies import DISC, example

log = logging.getLogger("pokemon")
router = APIRouter(tags=["Creatures"])


@router.get(
    "/v1/generate",
    summary="A creature: picture, name and rarity",
    responses=example(
        {
            "imageBase64": DISC,
            "metadata": {"id": "pkm_MFXJZ23A4FGH", "name": "Lumitalith", "rarity": "B"},
            "generatedAt": "2026-11-12T20:41:32Z",
        }
    ),
)
async def generate(http: HttpRequest) -> Response:
    began = time.perf_counter()
    engine = wire.engine_of(http)
    asked = {"method": "GET", "path": "/v1/generate", "request_id": http.state.request_id}
    if engine.settings.log_request_body:
        asked["query"] = http.url.query[:1000]
    log.info("http.request", extra=asked)
    status = 500
    try:
        caller = wire.caller_of(http, "creatures")
        made = await wire.until_gone(http.receive, engine.creatures.make(caller))
        status = 200
    except AtelierError as error:
        status = error.status
        raise
    finally:
        seconds = round(time.perf_counter() - began, 4)
        log.info("http.response", extra={**asked, "status": status, "seconds": seconds})
    told = {"id": made.id, "name": made.name, "rarity": made.rarity}
    return wire.json(
        {
            "imageBase64": b64encode(made.image).decode(),
            "metadata": told,
            "generatedAt": made.generated_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        headers={"cache-control": "no-store"},
    )
