"""The Ollama Host dialect: ask a model in plain text, and the dashboard over what was asked.

Knows its paths and the engine's events, nothing of models or access; the ledger's are in `host_usage`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import BadValue, ChatRequest, Event, Message, Result, Text
from routers import host_usage, wire
from routers.addresses import fetched
from routers.bodies import Body, build, example, parts_of, shown
from routers.refusals import plain


class AskBody(Body):
    """A question to an agent (a model), and what the usage ledger files it under."""

    model_config = shown(
        {
            "agent": "starter-chat",
            "content": "Hello",
            "template": "You are polite and exact.",
            "project": "projeto1",
            "process_id": "001",
        }
    )

    agent: str | None = None
    content: str
    images: list[str] | None = Field(None, description="Pictures: base64 or data: URLs.")
    template: str | None = None
    user_key: str | int | None = None
    project: str | int | None = None
    process_id: str | int | None = None
    subprocess_id: str | int | None = None

    def tags(self) -> dict[str, str]:
        """The fields of the ledger."""
        names = ("user_key", "project", "process_id", "subprocess_id")
        values = {name: getattr(self, name) for name in names}
        return {name: str(value)[:256] for name, value in values.items() if value is not None}


def parse(body: AskBody) -> ChatRequest:
    """The request a question makes. Raises BadValue for an empty one."""
    if not body.content.strip():
        raise BadValue("content: it is empty. Ask something.", param="content")
    system = [Message.of("system", body.template)] if body.template else []
    asked = Message(role="user", parts=parts_of(body.content, body.images))
    return build(ChatRequest, model=body.agent, messages=(*system, asked))


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """The answer's text as it comes."""
    async for event in events:
        if isinstance(event, Text):
            yield event.delta.encode()


def reply(result: Result, meta: wire.Meta) -> str:
    return result.text


def _frame(body: dict[str, Any]) -> bytes:
    """A failure after the first words; plain text has no other place for it."""
    return f"\n\n[{body['error']}: {body['detail']}]".encode()


error = plain
HOST = wire.Dialect(
    "host",
    stream,
    reply,
    error,
    frame=_frame,
    end=b"",
    pulse=b"",
    media="text/plain; charset=utf-8",
)
router = APIRouter(tags=["Ollama Host"])
router.include_router(host_usage.router)


@router.get("/api/v1/ai/models", summary="The chat models' names", responses=example(["llama3"]))
async def models(http: HttpRequest) -> Response:
    return wire.json([spec.id for spec in wire.engine_of(http).models("chat")])


@router.post(
    "/api/v1/ai/ask_sync",
    summary="Ask and wait for the whole answer",
    responses=example("The whole answer.", "text/plain"),
)
async def ask_sync(body: AskBody, http: HttpRequest) -> Response:
    return await _ask(body, http, stream=False)


@router.post(
    "/api/v1/ai/ask_async",
    summary="Ask and read the answer as it is written",
    responses=example("The answer in pieces.", "text/plain"),
)
async def ask_async(body: AskBody, http: HttpRequest) -> Response:
    return await _ask(body, http, stream=True)


async def _ask(body: AskBody, http: HttpRequest, stream: bool) -> Response:
    request = parse(await fetched(http, body))
    meta = wire.meta_of(http, request, body.ignored("host"))
    events = wire.engine_of(http).run(request, wire.caller_of(http, "host", body.tags()))
    return await wire.respond(http, events, HOST, meta, stream=stream)
