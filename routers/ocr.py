"""Our own OCR dialect: documents in, pages out, at once or one by one, as JSON or as a file.

What is to be kept and read in the background is `routers.ocr_documents`'.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import BadValue, Done, Event, OcrRequest, Page, Progress, Result, bind, fold
from engine.exports import EXPORTS
from routers import ocr_documents, readings, wire
from routers.bodies import EVENTS, build, example, seconds_of, shown
from routers.ocr_shapes import (
    PAGE,
    PDF,
    DocumentsBody,
    Format,
    described,
    file_answer,
    page_values,
    received,
)
from routers.refusals import plain

PATHS = ("/v1/ocr/",)
error = plain
router = APIRouter(tags=["OCR"])
router.include_router(ocr_documents.router)
ANSWER = {
    "text": "Dear Sir or Madam,", "pages": [PAGE], "model": "ocr", "language": "fr",
    "processing_time": 1.2, "usage": {"input_tokens": 0, "output_tokens": 0}, "stopped": False,
}  # fmt: skip


class ReadBody(DocumentsBody):
    """Documents to be read now."""

    model_config = shown({"documents": [PDF], "language": "fr", "pages": "1-3", "format": "json"})

    format: Format = Field(
        "json", description="JSON with boxes, text, Markdown, hOCR or a searchable PDF."
    )
    stream: bool = Field(False, description="Each page as it is read, as server-sent events.")
    keep_alive: float | str | None = Field(
        None, description='Seconds ("5m" too) the model stays loaded afterwards; -1 for good.'
    )


def parse(body: ReadBody, documents: Sequence[bytes]) -> OcrRequest:
    """The request that a body makes. Raises BadValue for what does not go together."""
    if body.stream and body.format != "json":
        raise BadValue("stream: pages come as JSON. Leave format out, or stream.", param="stream")
    return build(
        OcrRequest,
        model=body.model,
        documents=tuple(documents),
        keep_alive=seconds_of(body.keep_alive),
        **body.options(),
    )


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Pages and progress as they come, then the end."""
    async for event in events:
        match event:
            case Page():
                yield _frame({"type": "page", **page_values([event])[0]})
            case Progress(done, total):
                yield _frame({"type": "progress", "done": done, "total": total})
            case Done():
                yield _frame({"type": "done", **_end(event, meta)})
            case _:
                yield wire.waiting(event)
    yield wire.DONE


def _end(done: Done, meta: wire.Meta) -> dict[str, Any]:
    return {
        "model": meta.model,
        "language": meta.extra["language"],
        "processing_time": round(meta.seconds, 3),
        "usage": asdict(done.usage),
        "stopped": done.stopped,
    }


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The whole answer as JSON."""
    return {
        "text": result.text,
        "pages": page_values(result.pages),
        **_end(result.done or Done(), meta),
    }


async def folded(events: AsyncIterator[Event]) -> Result:
    """The whole answer. Raises the first page's error where no page at all could be read."""
    result = await fold(events)
    readings.check(result.pages)
    return result


OCR = wire.Dialect("ocr", stream, reply, error, fold=folded)


@router.post(
    "/v1/ocr/read",
    summary="Read documents: PDFs, TIFFs and pictures, as a form or as JSON",
    responses=example(
        ANSWER, also=("text/plain", "text/markdown", "text/html", "application/pdf", EVENTS)
    ),
    openapi_extra=described(ReadBody),
)
async def read(http: HttpRequest) -> Response:
    body, files = await received(http, ReadBody)
    request = parse(body, [data for _, data in files])
    engine = wire.engine_of(http)
    meta = wire.Meta(
        id=http.state.request_id,
        model=engine.reader_of(request, http.state.session).id,
        ignored=body.ignored("ocr"),
        extra={"language": body.language},
    )
    events = engine.read(request, wire.caller_of(http, "ocr"))
    if body.format == "json":
        return await wire.respond(http, events, OCR, meta, stream=body.stream)
    result = await wire.whole(http, events, folded)
    work = asyncio.to_thread(
        bind, result.pages, body.format, request.documents.__getitem__, password=body.password,
        dpi=body.dpi, title=Path(files[0][0]).stem, language=body.language,
    )  # fmt: skip
    data = await wire.until_gone(http.receive, work)
    media, suffix = EXPORTS[body.format]
    headers = {**wire.ignored_header(meta.ignored), **_failures(result.pages)}
    if body.format in {"text", "markdown"}:
        return Response(data, headers=headers, media_type=media)
    return file_answer(data, media, f"{Path(files[0][0]).stem}{suffix}", headers)


def _failures(pages: Sequence[Page]) -> dict[str, str]:
    """A header that names the pages which a file leaves out."""
    failed = [f"{page.document + 1}.{page.number}" for page in pages if page.error]
    return {"x-failed-pages": ", ".join(failed[:100])} if failed else {}
