"""The files area over HTTP: folders, uploads, downloads with ranges, archives, and a trash that can be undone.

All paths are relative to the root of the files; nothing outside can be named. All who may use the server share it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from engine import BadValue, FileEntry
from engine.files import Existing, Removed
from engine.previews import WIDEST
from engine.previews import picture as draw
from routers import wire
from routers.bodies import Body, example, kept_as, shown
from routers.files_answers import FileAnswer
from routers.files_forms import receive_form
from routers.refusals import plain

PATHS = ("/v1/files/",)
error = plain
router = APIRouter(tags=["Files"])

ENTRY = {
    "name": "holiday.jpg", "path": "pictures/holiday.jpg", "type": "file", "size": 812345,
    "modified": "2026-01-01T12:00:00+00:00",
}  # fmt: skip
FOLDER = {**ENTRY, "name": "pictures", "path": "pictures", "type": "directory", "size": 0}
GONE = {
    "id": "18ecf0d4245e21f571ea52ec", "path": "pictures/holiday.jpg", "type": "file", "size": 812345,
    "removed": "2026-01-01T12:00:00+00:00",
}  # fmt: skip
DONE = {"status": "success"}
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "path": {"type": "string", "description": "The folder; made where it is missing."},
                        "existing": {
                            "type": "string", "enum": list(get_args(Existing)), "default": "refuse",
                            "description": "What happens where a name is taken: 409, the old file goes to"
                            " the trash, or the new one gets a number.",
                        },
                    },
                }
            }
        },
    }
}  # fmt: skip


class PathBody(Body):
    """A file or folder."""

    model_config = shown({"path": "pictures/2026"})

    path: str = Field(description="Relative to the root of the files.")


class MoveBody(Body):
    """From where to where."""

    model_config = shown({"source": "pictures/a.jpg", "destination": "pictures/2026/a.jpg"})

    source: str
    destination: str = Field(description="The new path, or a folder to move it into.")


class CompressBody(PathBody):
    """What is packed, and what the archive beside it is called."""

    model_config = shown({"path": "pictures", "zip_name": "pictures.zip"})

    zip_name: str = Field(
        description='A name without folders; ".zip" is added where it is missing.'
    )


class DecompressBody(PathBody):
    """Which archive is unpacked, and where."""

    model_config = shown({"path": "pictures.zip", "extract_path": "pictures"})

    extract_path: str | None = Field(
        None,
        description="A folder, made where it is missing; absent: a new one called like the archive.",
    )


class RestoreBody(Body):
    """Something in the trash."""

    model_config = shown({"id": GONE["id"]})

    id: str


def entry_value(entry: FileEntry) -> dict[str, Any]:
    """A file or folder as JSON."""
    return {**asdict(entry), "modified": entry.modified.isoformat()}


def removed_value(gone: Removed) -> dict[str, Any]:
    """Something in the trash as JSON."""
    return {**asdict(gone), "removed": gone.removed.isoformat()}


def done(body: Body, **values: Any) -> Response:
    """An answer that says it worked, and with what."""
    return wire.json({**DONE, **values}, headers=wire.ignored_header(body.ignored("files")))


# Folders


@router.post(
    "/v1/files/directory/create", summary="Make a folder", responses=example({**DONE, **FOLDER})
)
async def create_directory(body: PathBody, http: HttpRequest) -> Response:
    return done(body, **entry_value(await wire.engine_of(http).files.create(body.path)))


@router.post(
    "/v1/files/directory/move",
    summary="Move or rename a folder",
    responses=example({**DONE, **FOLDER}),
)
async def move_directory(body: MoveBody, http: HttpRequest) -> Response:
    files = wire.engine_of(http).files
    return done(body, **entry_value(await files.move(body.source, body.destination, "directory")))


@router.delete(
    "/v1/files/directory/delete",
    summary="Move a folder to the trash",
    responses=example({**DONE, **GONE}),
)
async def delete_directory(body: PathBody, http: HttpRequest) -> Response:
    gone = await wire.engine_of(http).files.remove(body.path, "directory")
    return done(body, **removed_value(gone))


@router.post(
    "/v1/files/directory/compress",
    summary="Pack a folder into a ZIP beside it",
    responses=example({**DONE, **ENTRY, "name": "pictures.zip", "path": "pictures.zip"}),
)
async def compress(body: CompressBody, http: HttpRequest) -> Response:
    work = wire.engine_of(http).files.compress(body.path, body.zip_name)
    return done(body, **entry_value(await wire.until_gone(http.receive, work)))


# Files


@router.post(
    "/v1/files/upload",
    summary="Upload files; all of them are there afterwards, or none",
    responses=example({**DONE, "path": "pictures", "files": [ENTRY]}),
    openapi_extra=FORM,
)
async def upload(http: HttpRequest) -> Response:
    announced = int(http.headers.get("content-length", 0))
    async with wire.engine_of(http).files.upload(announced) as coming:
        fields = await receive_form(http, coming)
        existing = fields.get("existing") or "refuse"
        if existing not in get_args(Existing):
            raise BadValue("existing: refuse, replace or rename.", param="existing")
        path = fields.get("path", "")
        if existing == "replace":
            wire.engine_of(http).files.may_remove()
        found = await coming.land(path, existing)  # type: ignore[arg-type]
    return wire.json({**DONE, "path": path, "files": [entry_value(entry) for entry in found]})


@router.post(
    "/v1/files/move", summary="Move or rename a file", responses=example({**DONE, **ENTRY})
)
async def move(body: MoveBody, http: HttpRequest) -> Response:
    files = wire.engine_of(http).files
    return done(body, **entry_value(await files.move(body.source, body.destination, "file")))


@router.delete(
    "/v1/files/delete", summary="Move a file to the trash", responses=example({**DONE, **GONE})
)
async def delete(body: PathBody, http: HttpRequest) -> Response:
    return done(body, **removed_value(await wire.engine_of(http).files.remove(body.path, "file")))


@router.head("/v1/files/download/{path:path}", include_in_schema=False)
@router.get(
    "/v1/files/download/{path:path}",
    summary="A file to be saved; a folder comes as a ZIP, made as it is sent",
    responses=example("the file's bytes", "application/octet-stream"),
)
async def download(path: str, http: HttpRequest) -> Response:
    files = wire.engine_of(http).files
    entry = await files.look(path)
    if entry.type == "file":
        return FileAnswer(await files.open(path), http.headers, inline=False)
    pieces = files.packed(path) if http.method == "GET" else ()
    told = {
        "content-disposition": kept_as(f"{entry.name or 'files'}.zip"),
        "cache-control": "no-store",
    }
    return StreamingResponse(pieces, headers=told, media_type="application/zip")


@router.head("/v1/files/stream/{path:path}", include_in_schema=False)
@router.get(
    "/v1/files/stream/{path:path}",
    summary="A file to be shown or played, in ranges where they are asked for",
    responses=example("the file's bytes", "application/octet-stream"),
)
async def stream(path: str, http: HttpRequest) -> Response:
    opened = await wire.engine_of(http).files.open(path)
    return FileAnswer(opened, http.headers, inline=True)


@router.get(
    "/v1/files/picture/{path:path}",
    summary="A picture, or a page of a PDF, as a JPEG at most so wide",
    responses=example("the bytes of the picture", "image/jpeg"),
)
async def picture(
    path: str,
    http: HttpRequest,
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    width: Annotated[int, Query(ge=16, le=WIDEST)] = 1200,
) -> Response:
    work = draw(wire.engine_of(http).files, path, page, width)
    data = await wire.until_gone(http.receive, work)
    kept = {"cache-control": "private, max-age=86400"} if "v" in http.query_params else {}
    return Response(data, headers=kept, media_type="image/jpeg")


@router.post(
    "/v1/files/decompress",
    summary="Unpack a ZIP, whole or not at all",
    responses=example({**DONE, **FOLDER, "files": 12, "unpacked": 8123456}),
)
async def decompress(body: DecompressBody, http: HttpRequest) -> Response:
    work = wire.engine_of(http).files.decompress(body.path, body.extract_path)
    entry, found = await wire.until_gone(http.receive, work)
    return done(body, **entry_value(entry), files=found.files, unpacked=found.size)


# Looking


async def _listed(path: str, http: HttpRequest) -> Response:
    entries, hidden = await wire.engine_of(http).files.list(path)
    shown_as = "/".join(part for part in path.split("/") if part not in {"", "."})
    values = [entry_value(entry) for entry in entries]
    return wire.json({"path": shown_as, "entries": values, "hidden": hidden})


LISTED = example({"path": "pictures", "entries": [ENTRY], "hidden": 0})


@router.get("/v1/files/list", summary="What the root holds", responses=LISTED)
async def list_root(http: HttpRequest) -> Response:
    return await _listed("", http)


@router.get("/v1/files/list/{path:path}", summary="What a folder holds", responses=LISTED)
async def list_directory(path: str, http: HttpRequest) -> Response:
    return await _listed(path, http)


# The trash


@router.get(
    "/v1/files/trash",
    summary="What can be brought back, newest first",
    responses=example({"entries": [GONE], "days": 7.0}),
)
async def trash(http: HttpRequest) -> Response:
    files = wire.engine_of(http).files
    values = [removed_value(gone) for gone in await files.trash()]
    return wire.json({"entries": values, "days": files.settings.trash_days})


@router.post(
    "/v1/files/restore",
    summary="Bring something back from the trash",
    responses=example({**DONE, **ENTRY}),
)
async def restore(body: RestoreBody, http: HttpRequest) -> Response:
    return done(body, **entry_value(await wire.engine_of(http).files.restore(body.id)))


@router.delete(
    "/v1/files/trash",
    summary="Remove for good what lies in the trash",
    responses=example({**DONE, "removed": 3}),
)
async def empty_trash(
    http: HttpRequest, older_than: Annotated[float, Query(ge=0, description="Days.")] = 0
) -> Response:
    count = await wire.engine_of(http).files.empty_trash(older_than * 86_400)
    return wire.json({**DONE, "removed": count})
