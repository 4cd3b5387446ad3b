"""Files that the page loads by address: a script that runs beside it cannot stand inline in its head.

Knows a short list of names and no dialect.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from engine import Unknown

FOLDER = Path(__file__).resolve().parent.parent / "assets"
FILES = {"voice-capture.js": "text/javascript"}

router = APIRouter(include_in_schema=False)


@router.get("/v1/page/{name}")
async def file(name: str) -> Response:
    if name not in FILES:
        raise Unknown("The page has no such file.", param="name")
    return FileResponse(
        FOLDER / name, headers={"cache-control": "no-cache"}, media_type=FILES[name]
    )
