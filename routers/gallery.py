"""The gallery over HTTP: what was drawn on the page, its files, favourites, and all of them in one archive."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine.gallery import name_of, public
from routers import wire
from routers.bodies import Body, example, shown

SHOWN = {
    "id": "0006258f3a1c2b4d9e8f7a6b",
    "kind": "picture",
    "width": 512,
    "height": 512,
    "favourite": False,
}
KEEP = {"cache-control": "private, max-age=31536000, immutable"}
router = APIRouter(tags=["Gallery"])
Kind = Literal["picture", "creature"]


class FavourBody(Body):
    """What changes about a picture."""

    model_config = shown({"favourite": True})

    favourite: bool


def _mine(http: HttpRequest) -> str | None:
    """Whose pictures may be seen: one's own; an admin's are all."""
    return None if getattr(http.state, "rank", None) == "admin" else str(http.state.session)


@router.get(
    "/v1/gallery",
    summary="The pictures drawn on the page",
    responses=example({"pictures": [SHOWN]}),
)
async def pictures(
    http: HttpRequest, kind: Kind | None = None, search: str = "", favourites: bool = False
) -> Response:
    found = await wire.engine_of(http).gallery.find(http.state.session, kind, search, favourites)
    return wire.json({"pictures": [public(kept) for kept in found]})


@router.get(
    "/v1/gallery/pack.zip",
    summary="The newest 500 of them in one archive",
    responses=example("the bytes of the archive", "application/zip"),
)
async def pack(
    http: HttpRequest, kind: Kind | None = None, search: str = "", favourites: bool = False
) -> Response:
    gallery = wire.engine_of(http).gallery
    found = await gallery.find(http.state.session, kind, search, favourites)
    name = "creatures" if kind == "creature" else "pictures"
    return _file(await gallery.pack(found), "application/zip", f"{name}.zip", "attachment", {})


@router.get(
    "/v1/gallery/{id}/picture",
    summary="A picture, with its recipe inside",
    responses=example("the bytes of the picture", "image/png"),
)
async def picture(id: str, http: HttpRequest, download: bool = False) -> Response:
    gallery, mine = wire.engine_of(http).gallery, _mine(http)
    data, media = await gallery.file(id, mine)
    name = f"{name_of(await gallery.get(id, mine))}.png"
    return _file(data, media, name, "attachment" if download else "inline", KEEP)


@router.get(
    "/v1/gallery/{id}/thumb",
    summary="A picture, small",
    responses=example("the bytes of the picture", "image/webp"),
)
async def thumb(id: str, http: HttpRequest) -> Response:
    data, media = await wire.engine_of(http).gallery.file(id, _mine(http), small=True)
    return _file(data, media, "thumb.webp", "inline", KEEP)


@router.post("/v1/gallery/{id}", summary="Mark a picture", responses=example(SHOWN))
async def favour(id: str, body: FavourBody, http: HttpRequest) -> Response:
    kept = await wire.engine_of(http).gallery.favour(id, body.favourite, _mine(http))
    return wire.json(public(kept))


@router.delete("/v1/gallery/{id}", summary="Remove a picture", responses=example({"removed": "…"}))
async def remove(id: str, http: HttpRequest) -> Response:
    await wire.engine_of(http).gallery.remove(id, _mine(http))
    return wire.json({"removed": id})


def _file(data: bytes, media: str, name: str, how: str, headers: dict[str, Any]) -> Response:
    told = {**headers, "content-disposition": f'{how}; filename="{name}"'}
    return Response(data, 200, told, media_type=media)
