"""The Brenda dialect's picture calls: labels with their shares, the text in a picture; drawing is in a part.

Knows its paths and the engine's requests and events; nothing of how models see or read.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import (
    ChatRequest,
    Event,
    ImagePart,
    LabelRequest,
    Message,
    OcrRequest,
    Page,
    Result,
    Segment,
    TextPart,
    fold,
)
from routers import brenda_image_make, readings, wire
from routers.addresses import fetched
from routers.bodies import DISC, Body, build, bytes_of, example, shown
from routers.runs import fold_all, merge

CAPTION = "Describe this image in one sentence."

router = APIRouter(tags=["Brenda"])
router.include_router(brenda_image_make.router)


class AnalyzeBody(Body):
    """A picture, and what it may show."""

    model_config = shown({"image": DISC, "labels": ["a cat", "a dog", "a red square"]})

    image: str = Field(description="Base64, or a data: URL, of PNG, JPEG, WebP, BMP or TIFF.")
    labels: list[str] | None = Field(
        None, description="Any words; none: what the model knows by itself, and a caption."
    )
    model: str | None = Field(None, description="A model that labels; absent: the default.")


class OcrBody(Body):
    """A picture with text in it."""

    model_config = shown({"image": DISC, "lang": "fr"})

    image: str = Field(description="Base64, or a data: URL, of a picture or a PDF.")
    lang: str | None = Field(None, description='"fr", "Russian", "rus+eng"; absent: found out.')
    model: str | None = Field(None, description="A model that reads; absent: the default.")


def parse_labels(body: AnalyzeBody) -> LabelRequest:
    """The request for a picture's labels. Raises BadValue."""
    labels = tuple(dict.fromkeys(label.strip() for label in body.labels or ()))
    return build(LabelRequest, model=body.model, image=bytes_of(body.image, "image"), labels=labels)


def parse_caption(image: bytes) -> ChatRequest:
    """The request for a caption."""
    parts = (ImagePart(data=image), TextPart(text=CAPTION))
    return ChatRequest(messages=(Message(role="user", parts=parts),))


def parse_text(body: OcrBody) -> OcrRequest:
    """The request for a picture's text. Raises BadValue."""
    return build(
        OcrRequest,
        model=body.model,
        documents=(bytes_of(body.image, "image"),),
        language=body.lang or "",
    )


def _shares(result: Result) -> list[dict[str, Any]]:
    """Labels and their shares, the largest first."""
    ordered = sorted(result.segments, key=lambda each: -(each.score or 0.0))
    return [{"label": each.text, "score": each.score} for each in ordered]


def _line(line: Segment, page: Page) -> dict[str, Any]:
    where = {"page": page.number} if page.count > 1 else {}
    return {"text": line.text, "score": line.score, "box": line.box, **where}


@router.post(
    "/v1/ai/image/analyze",
    summary="How well each label fits a picture; without labels a caption too",
    responses=example(
        {
            "labels": [{"label": "a cat", "score": 0.93}, {"label": "a dog", "score": 0.07}],
            "best": "a cat",
            "model": "siglip",
            "processing_time": 0.12,
        }
    ),
)
async def analyze(body: AnalyzeBody, http: HttpRequest) -> Response:
    request = parse_labels(await fetched(http, body))
    began = time.perf_counter()
    engine, caller = wire.engine_of(http), wire.caller_of(http, "brenda")
    labeller = engine.labeller_of(request, http.state.session)
    runs: list[AsyncGenerator[Event]] = [engine.label(request, caller)]
    if not request.labels:
        runs.append(engine.run(parse_caption(request.image), caller))
    results = await wire.whole(http, merge(runs), fold_all)
    shares = _shares(results[0])
    answer: dict[str, Any] = {
        "labels": shares,
        "best": shares[0]["label"] if shares else None,
        "model": labeller.id,
        "processing_time": round(time.perf_counter() - began, 3),
    }
    if not request.labels:
        answer["caption"] = results[1].text.strip()
    return wire.json(answer, headers=wire.ignored_header(body.ignored("brenda")))


@router.post(
    "/v1/ai/image/ocr",
    summary="The text in a picture, line by line with boxes",
    responses=example(
        {
            "text": "Bonjour",
            "lang": "fr",
            "lines": [{"text": "Bonjour", "score": 0.99, "box": [12.0, 8.0, 140.0, 36.0]}],
            "model": "ocr",
            "processing_time": 0.4,
        }
    ),
)
async def ocr(body: OcrBody, http: HttpRequest) -> Response:
    began = time.perf_counter()
    request = parse_text(await fetched(http, body))
    engine = wire.engine_of(http)
    reader = engine.reader_of(request, http.state.session)
    events = engine.read(request, wire.caller_of(http, "brenda"))
    result = await wire.whole(http, events, fold)
    readings.check(result.pages, "image")
    answer = {
        "text": readings.text_of(result.pages),
        "lang": body.lang or "auto",
        "lines": [_line(line, page) for page in result.pages for line in page.lines],
        "model": reader.id,
        "processing_time": round(time.perf_counter() - began, 3),
    }
    return wire.json(answer, headers=wire.ignored_header(body.ignored("brenda")))
