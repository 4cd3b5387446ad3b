"""The Brenda dialect's language models: list, load, generate, session, stop.

Knows its paths and the engine's requests and events, nothing of how models run or of access.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import ChatRequest, Event, Message, Result, Text
from routers import wire
from routers.addresses import fetched
from routers.bodies import EVENTS, Body, Lenient, Sampling, build, example, parts_of, shown
from routers.refusals import plain


class Turn(Lenient):
    """One message."""

    role: Literal["system", "user", "assistant"]
    content: str
    images: list[str] | None = Field(None, description="Pictures: base64 or data: URLs.")


class GenerateBody(Sampling):
    """A conversation to answer; the sampling fields are optional extras."""

    model_config = shown(
        {
            "model": "starter-chat",
            "messages": [{"role": "user", "content": "Bonjour"}],
            "stream": False,
        }
    )

    model: str | None = None
    messages: list[Turn]
    stream: bool = False


class LoadBody(Body):
    """Which model to load."""

    model_config = shown({"model_name": "starter-chat"})

    model_name: str


def parse(body: GenerateBody) -> ChatRequest:
    """The request a conversation makes. Raises BadValue."""
    messages = tuple(
        Message(role=turn.role, parts=parts_of(turn.content, turn.images, f"messages.{n}."))
        for n, turn in enumerate(body.messages)
    )
    return build(ChatRequest, model=body.model, messages=messages, **body.sampling())


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """`{content}` chunks."""
    async for event in events:
        if isinstance(event, Text):
            yield b'data: {"content":' + orjson.dumps(event.delta) + b"}\n\n"
        else:
            yield wire.waiting(event)
    yield wire.DONE


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    return {
        "model": meta.model,
        "message": {"role": "assistant", "content": result.text},
        "usage": {
            "input_tokens": result.usage.input_tokens,
            "output_tokens": result.usage.output_tokens,
        },
        "processing_time": round(meta.seconds, 3),
    }


error = plain
BRENDA = wire.Dialect("brenda", stream, reply, error)
router = APIRouter(tags=["Brenda"])


@router.get(
    "/v1/ai/models", summary="The chat models", responses=example({"models": ["starter-chat"]})
)
async def models(http: HttpRequest) -> Response:
    return wire.json({"models": [spec.id for spec in wire.engine_of(http).models("chat")]})


@router.post(
    "/v1/ai/load_model",
    summary="Load a model, and choose it for this session",
    responses=example({"status": "success", "model": "starter-chat", "load_time": 0.4}),
)
async def load_model(body: LoadBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    spec = engine.registry.find(body.model_name)
    seconds = await wire.until_gone(http.receive, engine.load(spec.id))
    if "chat" in spec.does:
        await engine.choose_for(http.state.session, spec.id)
    return wire.json({"status": "success", "model": spec.id, "load_time": round(seconds, 3)})


@router.post(
    "/v1/ai/generate",
    summary="Answer a conversation, whole or streamed",
    responses=example(
        {
            "model": "starter-chat",
            "message": {"role": "assistant", "content": "Bonjour !"},
            "usage": {"input_tokens": 5, "output_tokens": 2},
            "processing_time": 0.2,
        },
        also=(EVENTS,),
    ),
)
async def generate(body: GenerateBody, http: HttpRequest) -> Response:
    request = parse(await fetched(http, body))
    meta = wire.meta_of(http, request, body.ignored("brenda"))
    events = wire.engine_of(http).run(request, wire.caller_of(http, "brenda"))
    return await wire.respond(http, events, BRENDA, meta, stream=body.stream)


@router.get(
    "/v1/ai/session",
    summary="This session's id and model",
    responses=example(
        {"session_id": "abc", "current_model": "starter-chat", "has_model_loaded": True}
    ),
)
async def session(http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    chosen = engine.sessions.get(http.state.session).model
    current = chosen or engine.registry.default("chat").id
    loaded = {model.id for model in engine.status().resident}
    return wire.json(
        {
            "session_id": http.state.session,
            "current_model": current,
            "has_model_loaded": current in loaded,
        }
    )


@router.post(
    "/v1/ai/stop",
    summary="Stop this session's running generations",
    responses=example({"stopped": 1}),
)
async def stop(http: HttpRequest) -> Response:
    return wire.json({"stopped": await wire.engine_of(http).stop_everywhere(http.state.session)})
