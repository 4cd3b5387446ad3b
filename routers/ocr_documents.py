"""Stored documents over HTTP: kept, read in the background, corrected, exported, removed.

A document belongs to the X-Session-ID that sent it; to all others it is not there. Its ticket, to be followed under
/v1/jobs/{id}/events, has its id.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import AtelierError, Unknown
from engine.exports import EXPORTS
from routers import wire
from routers.bodies import Body, example, shown
from routers.ocr_shapes import (
    PAGE,
    PAPER,
    Format,
    NamedBody,
    described,
    file_answer,
    page_values,
    paper_value,
    received,
)

router = APIRouter(tags=["OCR"])
Model = Annotated[str, Query(description="Whose reading; empty: the first one's.")]
Original = Annotated[bool, Query(description="As it was read, without corrections.")]
Width = Annotated[int | None, Query(ge=16, le=4000, description="Pixels; absent: as it was read.")]


class LineBody(Body):
    """What a line really says."""

    model_config = shown({"text": "Dear Sir or Madam,"})

    text: str = Field(max_length=20_000, description="Its own text takes a correction back.")
    model: str = Field("", max_length=512, description="Whose reading; empty: the first one's.")


class AgainBody(Body):
    """Who else is to read it."""

    model_config = shown({"model": "tesseract"})

    model: str = Field(min_length=1, max_length=512, description='A catalog id, or "auto".')


@router.post(
    "/v1/ocr/documents",
    summary="Keep documents and have them read in the background",
    responses={202: {"description": "Kept; what could not be is named"}, **example({
        "documents": [PAPER], "failed": [{"name": "broken.pdf", "error": "BAD_FORMAT", "detail": "…"}],
    })},
    openapi_extra=described(NamedBody),
)  # fmt: skip
async def add(http: HttpRequest) -> Response:
    body, files = await received(http, NamedBody)
    documents = wire.engine_of(http).documents
    added: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    for name, data in files:
        try:
            paper = await documents.add(
                name, data, session=http.state.session, model=body.model or "", **body.options()
            )
        except AtelierError as error:
            if len(files) == 1:
                raise
            failed.append({"name": name, "error": error.code, "detail": error.message})
        else:
            added.append(paper_value(paper))
    headers = wire.ignored_header(body.ignored("ocr"))
    return wire.json({"documents": added, "failed": failed}, 202, headers)


@router.get(
    "/v1/ocr/documents",
    summary="The session's documents, newest first",
    responses=example({"documents": [PAPER]}),
)
async def documents(http: HttpRequest) -> Response:
    papers = await wire.engine_of(http).documents.list(http.state.session)
    return wire.json({"documents": [paper_value(paper) for paper in papers]})


@router.get("/v1/ocr/documents/{id}", summary="One document", responses=example(PAPER))
async def document(id: str, http: HttpRequest) -> Response:
    paper = await wire.engine_of(http).documents.get(id, http.state.session)
    return wire.json(paper_value(paper))


@router.get(
    "/v1/ocr/documents/{id}/pages",
    summary="What was read of a document so far",
    responses=example({"pages": [PAGE]}),
)
async def pages(
    id: str, http: HttpRequest, model: Model = "", original: Original = False
) -> Response:
    found = await wire.engine_of(http).documents.pages(
        id, model, original=original, session=http.state.session
    )
    return wire.json({"pages": await asyncio.to_thread(page_values, found)})


@router.get(
    "/v1/ocr/documents/{id}/pages/{number}",
    summary="What was read of one page",
    responses=example(PAGE),
)
async def page(
    id: str, number: int, http: HttpRequest, model: Model = "", original: Original = False
) -> Response:
    found = await wire.engine_of(http).documents.pages(
        id, model, number=number, original=original, session=http.state.session
    )
    if number < 1 or not found:
        raise Unknown(f"Page {number} has not been read. Choose another, or wait.", param="number")
    return wire.json(page_values(found)[0])


@router.get(
    "/v1/ocr/documents/{id}/pages/{number}/picture",
    summary="A page as a JPEG picture",
    responses=example("the bytes of the picture", "image/jpeg"),
    response_class=Response,
)
async def picture(id: str, number: int, http: HttpRequest, width: Width = None) -> Response:
    work = wire.engine_of(http).documents.picture(id, number, width, session=http.state.session)
    data = await wire.until_gone(http.receive, work)
    return Response(
        data, headers={"cache-control": "private, max-age=3600"}, media_type="image/jpeg"
    )


@router.post(
    "/v1/ocr/documents/{id}/pages/{number}/lines/{line}",
    summary="Correct a line, counted from 0; answers with the page",
    responses=example(PAGE),
)
async def correct(id: str, number: int, line: int, body: LineBody, http: HttpRequest) -> Response:
    found = await wire.engine_of(http).documents.correct(
        id, number, line, body.text, body.model, session=http.state.session
    )
    return wire.json(page_values([found])[0], headers=wire.ignored_header(body.ignored("ocr")))


@router.post(
    "/v1/ocr/documents/{id}/cancel",
    summary="Stop reading; what was read stays",
    responses=example({**PAPER, "phase": "cancelled"}),
)
async def cancel(id: str, http: HttpRequest) -> Response:
    paper = await wire.engine_of(http).documents.cancel(id, session=http.state.session)
    return wire.json(paper_value(paper))


@router.post(
    "/v1/ocr/documents/{id}/pause",
    summary="Stop reading for now",
    responses=example({**PAPER, "phase": "paused"}),
)
async def pause(id: str, http: HttpRequest) -> Response:
    paper = await wire.engine_of(http).documents.pause(id, session=http.state.session)
    return wire.json(paper_value(paper))


@router.post(
    "/v1/ocr/documents/{id}/resume",
    summary="Read what is missing, and what failed once more",
    responses=example({**PAPER, "phase": "queued"}),
)
async def resume(id: str, http: HttpRequest) -> Response:
    paper = await wire.engine_of(http).documents.resume(id, session=http.state.session)
    return wire.json(paper_value(paper))


@router.post(
    "/v1/ocr/documents/{id}/again",
    summary="Have another model read it too, beside the first",
    responses=example({**PAPER, "phase": "queued"}),
)
async def again(id: str, body: AgainBody, http: HttpRequest) -> Response:
    paper = await wire.engine_of(http).documents.again(id, body.model, session=http.state.session)
    return wire.json(paper_value(paper), headers=wire.ignored_header(body.ignored("ocr")))


@router.get(
    "/v1/ocr/documents/{id}/export",
    summary="What was read as one file: text, Markdown, JSON, hOCR or a searchable PDF",
    responses=example(
        "the bytes of the file",
        "application/pdf",
        also=("text/plain", "text/markdown", "text/html", "application/json"),
    ),
    response_class=Response,
)
async def export(
    id: str, http: HttpRequest, format: Format = "text", model: Model = ""
) -> Response:
    stored = wire.engine_of(http).documents
    paper = await stored.get(id, http.state.session)
    work = stored.export(id, format, model, session=http.state.session)
    data = await wire.until_gone(http.receive, work)
    media, suffix = EXPORTS[format]
    return file_answer(data, media, f"{Path(paper.name).stem}{suffix}")


@router.delete(
    "/v1/ocr/documents/{id}",
    summary="Delete a document, what was read of it and what was corrected",
    responses=example({"id": PAPER["id"], "deleted": True}),
)
async def remove(id: str, http: HttpRequest) -> Response:
    await wire.engine_of(http).documents.remove(id, session=http.state.session)
    return wire.json({"id": id, "deleted": True})
