"""The doctor over HTTP: whether everything works on this server, for an admin.

Knows nothing of what is looked at.
"""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import Check, examine, worst
from routers import wire
from routers.bodies import example

ADMIN = (("GET", "/v1/doctor"),)
router = APIRouter(tags=["Monitoring"])
ANSWER = {
    "level": "warn",
    "checks": [
        {"group": "run", "name": "chat · hf_chat", "level": "ok", "fix": "", "seconds": 0.4,
         "text": "starter-chat on CPU · 8 cores: 0.40 s, 60 tokens/s; loaded in 1.2 s"},
        {"group": "programs", "name": "espeak-ng", "level": "fail", "seconds": None,
         "text": "It is missing; needed for voices that speak from phonemes.",
         "fix": "sudo apt-get install -y espeak-ng"},
    ],
}  # fmt: skip


@router.get(
    "/v1/doctor",
    summary="Does everything work here? A real run of each family, versions, disk, programs, servers",
    responses=example(ANSWER),
)
async def doctor(http: HttpRequest) -> Response:
    engine = wire.engine_of(http)

    async def all_of() -> list[Check]:
        found = examine(engine, origin=str(http.base_url), serving=True)
        return [check async for check in found]

    checks = await wire.until_gone(http.receive, all_of())
    value = {"level": worst(checks), "checks": [asdict(check) for check in checks]}
    return wire.json(value, headers={"cache-control": "no-store"})
