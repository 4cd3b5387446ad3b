"""The Ollama Vision dialect: pictures analysed, answers kept for an hour, and the model that sees.

Knows its four paths and the engine's requests and events; nothing of models, caches or access.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import (
    BadValue,
    ChatRequest,
    DetectRequest,
    Engine,
    ImagePart,
    Measure,
    Message,
    ModelSpec,
    Result,
    TextPart,
    Unavailable,
    Unknown,
    key_of,
    measure,
)
from engine.errors import NotDownloaded
from routers import wire
from routers.addresses import fetched
from routers.bodies import DISC, Body, build, bytes_of, example, shown
from routers.runs import fold_all, merge

OLLAMA = "http://localhost:11434"  # where an Ollama usually is
FRESH = 10.0  # seconds for which what is known of the Ollama server is told as it is
PATIENCE = 2.0  # seconds that it may take to answer; then what is known is told
UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB"))

router = APIRouter(tags=["Ollama Vision"])


class AnalyzeBody(Body):
    """A picture and what is asked of it."""

    model_config = shown(
        {
            "image": f"data:image/png;base64,{DISC}",
            "prompt": "Describe this image in detail",
            "context": "A drawing of a child",
            "cache": True,
        }
    )

    image: str = Field(description="Base64, or a data: URL, of PNG, JPEG, WebP, BMP or TIFF.")
    prompt: str
    context: str | None = Field(None, description="What is known of the scene already.")
    cache: bool = Field(
        True,
        description="Whether an answer of the last hour will do, and whether this one is kept.",
    )
    model: str | None = Field(None, description="A catalog id; absent: the current vision model.")
    detect: bool = Field(False, description="Also say which objects there are, and where.")


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture as it came: its bytes, their digest and its size."""

    data: bytes
    digest: bytes
    size: Measure

    @classmethod
    def at(cls, image: str) -> Looked:
        """The picture of a field. Raises BadValue, BadFormat."""
        data = bytes_of(image, "image")
        return cls(data, hashlib.sha256(data).digest(), measure(data, "image"))


def parse(body: AnalyzeBody, picture: bytes) -> ChatRequest:
    """The request an analysis makes. Raises BadValue."""
    if not body.prompt.strip():
        raise BadValue("prompt: it is empty. Ask something about the picture.", param="prompt")
    known = (body.context or "").strip()
    asked = f"Context: {known}\n\n{body.prompt}" if known else body.prompt
    parts = (ImagePart(data=picture), TextPart(text=asked))
    return build(ChatRequest, model=body.model, messages=(Message(role="user", parts=parts),))


def reply(results: list[Result], body: AnalyzeBody, size: Measure, model: str) -> dict[str, Any]:
    """What is said of a picture, and what is kept of it."""
    objects = results[1].segments if len(results) > 1 else []
    return {
        "response_text": results[0].text,
        "detected_objects": [
            {"label": each.text, "score": each.score, "box": each.box} for each in objects
        ],
        "scene_context": {
            "context": body.context or "",
            "width": size.width,
            "height": size.height,
            "format": size.format,
        },
        "model": model,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


# The model that sees ------------------------------------------------------------------------------


def name_of(engine: Engine, spec: ModelSpec) -> str:
    """A model's name: its id; of another server's, the bare one where that is free, as Ollama lists it."""
    bare = str(spec.options.get("model", "")) if spec.lane == "remote" else ""
    ours = engine.registry.knows(bare) and engine.registry.find(bare).id == spec.id
    return bare if ours else spec.id


def size_of(number: int) -> str:
    """Bytes as Ollama writes them ("4.7GB", "13GB"); empty where they are not known."""
    unit, name = next((each for each in UNITS if number >= each[0]), (0, ""))
    if not unit:
        return ""
    value = number / unit
    return f"{value:.0f}{name}" if value >= 10 else f"{value:.1f}".removesuffix(".0") + name


def current(engine: Engine) -> str | None:
    """The name of the model that pictures go to; None where none can see."""
    try:
        return name_of(engine, engine.registry.default("chat", "image"))
    except Unknown:
        return None


def _able(engine: Engine, request: ChatRequest | DetectRequest, session: str) -> ModelSpec:
    """The model that answers a request. Raises Unknown, BadValue; Unavailable: there is none of its kind."""
    try:
        return engine.resolve(request, session)
    except Unknown as error:
        if request.model:
            raise
        less = " Or leave detect out." if isinstance(request, DetectRequest) else ""
        raise Unavailable(error.message + less) from None


# Routes -------------------------------------------------------------------------------------------


@router.post(
    "/api/v1/ai/vision/analyze",
    summary="Ask about a picture; the same question within an hour is answered from memory",
    responses=example(
        {
            "response_text": "Two red circles beside a blue square.",
            "detected_objects": [
                {"label": "cat", "score": 0.94, "box": [12.0, 30.5, 210.0, 188.0]}
            ],
            "scene_context": {"context": "", "width": 640, "height": 480, "format": "PNG"},
            "processing_time": 2.45,
            "model": "llava:latest",
            "timestamp": "2026-11-21T10:30:00.000+00:00",
        }
    ),
)
async def analyze(body: AnalyzeBody, http: HttpRequest) -> Response:
    began = time.perf_counter()
    engine, session = wire.engine_of(http), http.state.session
    body = await fetched(http, body)
    look = await asyncio.to_thread(Looked.at, body.image)
    request = parse(body, look.data)
    runs: list[ChatRequest | DetectRequest] = [request]
    if body.detect:
        runs.append(DetectRequest(image=look.data))
    specs = [_able(engine, each, session) for each in runs]
    asked = (body.prompt, body.context or "", *(spec.id for spec in specs))
    key = key_of("vision", look.digest, *asked)
    found = await engine.answers.get(key) if body.cache else None
    answer = found
    if answer is None:
        caller = wire.caller_of(http, "vision")
        events = merge([engine.run(each, caller) for each in runs])
        results = await wire.whole(http, events, fold_all)
        answer = reply(results, body, look.size, name_of(engine, specs[0]))
        if body.cache and not any(each.done and each.done.stopped for each in results):
            await engine.answers.put(key, answer)
    answer = {**answer, "processing_time": round(time.perf_counter() - began, 3)}
    told = {"x-cache": "miss" if found is None else "hit"}
    return wire.json(answer, headers=told | wire.ignored_header(body.ignored("vision")))


@router.get(
    "/api/v1/ai/vision/models",
    summary="The models that see and are here",
    responses=example(
        {
            "available_models": [{"name": "llava:latest", "size": "4.7GB"}],
            "current_model": "llava:latest",
        }
    ),
)
async def models(http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    cards = [await engine.cards.read(spec.id) for spec in engine.models("chat", "image")]
    available = [
        {"name": name_of(engine, card.spec), "size": size_of(card.size or card.spec.size)}
        for card in cards
        if card.present
    ]
    return wire.json({"available_models": available, "current_model": current(engine)})


@router.post(
    "/api/v1/ai/vision/models/{name:path}",
    summary="Choose the model that pictures go to, also after a restart",
    responses=example({"status": "success", "current_model": "llava:13b"}),
)
async def switch(name: str, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    spec = engine.registry.resolve(name, "chat", "image")
    card = await engine.cards.read(spec.id)
    if not card.present and not engine.settings.auto_download:
        raise NotDownloaded(
            f"The files of model '{spec.id}' are not on this machine. Get them on the Models tab, or by"
            " POST /v1/models/download, and switch then.",
            param="model",
        )
    engine.choose("chat", spec.id, "image")
    return wire.json({"status": "success", "current_model": name_of(engine, spec)})


@router.get(
    "/api/v1/ai/health",
    summary="Whether the service works, and whether Ollama can be reached",
    responses=example(
        {
            "status": "healthy",
            "ollama": {"reachable": True, "base_url": OLLAMA},
            "current_model": "llava:latest",
            "timestamp": "2026-11-21T10:30:00.000+00:00",
        }
    ),
)
async def health(http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    reachable, url = await _ollama(engine)
    return wire.json(
        {
            "status": "healthy",
            "ollama": {"reachable": reachable, "base_url": url},
            "current_model": current(engine),
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
    )


async def _ollama(engine: Engine) -> tuple[bool, str]:
    """Whether the Ollama server answers, and where it is; asked anew where what is known is old."""
    server = next((each for each in engine.servers.list() if each.kind == "ollama"), None)
    if server is None:
        return False, engine.settings.ollama_base_url or OLLAMA
    if time.time() - server.checked > FRESH:
        asked = asyncio.ensure_future(engine.servers.refresh(server.name))
        await asyncio.wait([asked], timeout=PATIENCE)
        server = next((each for each in engine.servers.list() if each.name == server.name), server)
    return server.healthy is True, server.url
