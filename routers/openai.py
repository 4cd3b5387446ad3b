"""The OpenAI dialect: models, chat completions, completions.

Knows OpenAI's words and the engine's events; nothing of models, queues or access.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import (
    VERSION,
    WAITING,
    AtelierError,
    BadValue,
    ChatRequest,
    Done,
    Event,
    ModelSpec,
    Reasoning,
    Result,
    Text,
    ToolCall,
    Unknown,
    Usage,
)
from routers import wire
from routers.bodies import example
from routers.openai_bodies import (
    CHOICES,
    ChatBody,
    CommonBody,
    CompletionBody,
    parse,
    parse_prompts,
)

PATHS = (
    "/v1/models",
    "/v1/chat/",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/",
    "/v1/audio/",
)
FINGERPRINT = f"fp_atelier_{VERSION}"
Tagged = tuple[int, Event]  # (index of the choice, its event)


# Several choices ----------------------------------------------------------------------------------


async def choices(runs: list[AsyncGenerator[Event]]) -> AsyncGenerator[Tagged]:
    """The events of all runs as they come, each with the index of its run; one failure ends them all."""
    if len(runs) == 1:
        async with contextlib.aclosing(runs[0]):
            async for event in runs[0]:
                yield 0, event
        return
    inbox: asyncio.Queue[Tagged | BaseException | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(n, run, inbox)) for n, run in enumerate(runs)]
    try:
        running = len(runs)
        while running:
            item = await inbox.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    index: int,
    run: AsyncGenerator[Event],
    inbox: asyncio.Queue[Tagged | BaseException | None],
) -> None:
    async with contextlib.aclosing(run):
        try:
            async for event in run:
                inbox.put_nowait((index, event))
        except AtelierError as error:
            inbox.put_nowait(error)
        else:
            inbox.put_nowait(None)


async def fold_choices(events: AsyncIterator[Tagged]) -> list[Result]:
    """The whole answers, by index."""
    results: dict[int, Result] = {}
    async for index, event in events:
        results.setdefault(index, Result()).add(event)
    return [results[index] for index in sorted(results)]


def total(usages: list[Usage], each: int) -> dict[str, Any]:
    """OpenAI's usage over all choices; a prompt counts once for its `each` choices."""
    prompts = [usages[n : n + each] for n in range(0, len(usages), each)]
    given = sum(max(usage.input_tokens for usage in group) for group in prompts)
    cached = sum(max(usage.cached_tokens for usage in group) for group in prompts)
    made = sum(usage.output_tokens for usage in usages)
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


# Chat ---------------------------------------------------------------------------------------------


def _envelope(meta: wire.Meta, kind: str) -> dict[str, Any]:
    return {
        "id": meta.extra["id"],
        "object": kind,
        "created": meta.created,
        "model": meta.model,
        "system_fingerprint": FINGERPRINT,
    }


def reply(results: list[Result], meta: wire.Meta) -> dict[str, Any]:
    """The body of a whole chat answer."""
    return {
        **_envelope(meta, "chat.completion"),
        "choices": [
            {
                "index": index,
                "message": _answer(result, meta, index),
                "logprobs": None,
                "finish_reason": result.finish,
            }
            for index, result in enumerate(results)
        ],
        "usage": total([result.usage for result in results], len(results)),
    }


def _answer(result: Result, meta: wire.Meta, index: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"role": "assistant", "content": result.text, "refusal": None}
    if result.reasoning:
        answer["reasoning_content"] = result.reasoning
    if result.tool_calls:
        answer["content"] = result.text or None
        answer["tool_calls"] = [_call(call) for call in result.tool_calls]
    return answer


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


async def stream(events: AsyncIterator[Tagged], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Chat chunks. A token costs one JSON string between two pieces of bytes made once."""
    pieces = _pieces(meta, "chat.completion.chunk")
    heads = [pieces.head(index) for index in range(meta.extra["choices"])]
    role = b'{"role":"assistant","content":"","refusal":null}'
    yield b"".join(pieces.chunk(index, role) for index in range(len(heads)))
    calls = [0] * len(heads)
    usages = [Usage()] * len(heads)
    async for index, event in events:
        match event:
            case Text(delta):
                yield heads[index] + b'{"content":' + orjson.dumps(delta) + b"}" + pieces.tail
            case Reasoning(delta):
                yield pieces.chunk(index, orjson.dumps({"reasoning_content": delta}))
            case ToolCall():
                call = {"index": calls[index], **_call(event)}
                calls[index] += 1
                yield pieces.chunk(index, orjson.dumps({"tool_calls": [call]}))
            case Done(finish, usage):
                usages[index] = usage
                yield pieces.chunk(index, b"{}", finish)
            case _:
                yield wire.waiting(event)
    last = pieces.usage(total(usages, meta.extra["each"])) if meta.extra["usage"] else b""
    yield last + wire.DONE


class _Pieces:
    """The parts of a chunk that do not change from token to token."""

    def __init__(self, envelope: dict[str, Any], field: bytes, usage: bool) -> None:
        self._start = b"data: " + orjson.dumps(envelope)[:-1]
        self._field = field
        self._usage = b',"usage":null' if usage else b""
        self.tail = self._tail(b"null")

    def _tail(self, finish: bytes) -> bytes:
        return b',"logprobs":null,"finish_reason":' + finish + b"}]" + self._usage + b"}\n\n"

    def head(self, index: int) -> bytes:
        return self._start + b',"choices":[{"index":%d,"%b":' % (index, self._field)

    def chunk(self, index: int, value: bytes, finish: str | None = None) -> bytes:
        return self.head(index) + value + self._tail(orjson.dumps(finish))

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self._start + b',"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n"


def _pieces(meta: wire.Meta, kind: str, field: bytes = b"delta") -> _Pieces:
    return _Pieces(_envelope(meta, kind), field, meta.extra["usage"])


# Completions --------------------------------------------------------------------------------------


def reply_text(results: list[Result], meta: wire.Meta) -> dict[str, Any]:
    """The body of a whole text completion."""
    return {
        **_envelope(meta, "text_completion"),
        "choices": [
            {
                "index": index,
                "text": meta.extra["echo"][index] + result.text,
                "logprobs": None,
                "finish_reason": result.finish,
            }
            for index, result in enumerate(results)
        ],
        "usage": total([result.usage for result in results], meta.extra["each"]),
    }


async def stream_text(events: AsyncIterator[Tagged], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Text chunks; the echoed prompt comes first."""
    pieces = _pieces(meta, "text_completion", b"text")
    heads = [pieces.head(index) for index in range(meta.extra["choices"])]
    for index, prompt in enumerate(meta.extra["echo"]):
        if prompt:
            yield pieces.chunk(index, orjson.dumps(prompt))
    usages = [Usage()] * len(heads)
    async for index, event in events:
        match event:
            case Text(delta):
                yield heads[index] + orjson.dumps(delta) + pieces.tail
            case Done(finish, usage):
                usages[index] = usage
                yield pieces.chunk(index, b'""', finish)
            case _:
                yield wire.waiting(event)
    last = pieces.usage(total(usages, meta.extra["each"])) if meta.extra["usage"] else b""
    yield last + wire.DONE


# Errors and routes --------------------------------------------------------------------------------

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error(exc: AtelierError) -> dict[str, Any]:
    """OpenAI's error body."""
    kind = TYPES.get(exc.status, "server_error" if exc.status >= 500 else "invalid_request_error")
    code = exc.code.lower()
    if isinstance(exc, Unknown) and exc.param == "model":
        code = "model_not_found"
    elif exc.status == 401:
        code = "invalid_api_key"
    return {"error": {"message": exc.message, "type": kind, "param": exc.param, "code": code}}


def waits(tagged: Tagged) -> bool:
    """True for an event that only reports a state."""
    return isinstance(tagged[1], WAITING)


CHAT = wire.Dialect("openai", stream, reply, error, fold_choices, waits=waits)
TEXT = wire.Dialect("openai", stream_text, reply_text, error, fold_choices, waits=waits)
router = APIRouter(tags=["OpenAI"])


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation, whole or streamed",
    responses=example(
        {
            "id": "chatcmpl-1f",
            "object": "chat.completion",
            "created": 1767225600,
            "model": "starter-chat",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello!"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
        }
    ),
)
async def chat_completions(body: ChatBody, http: HttpRequest) -> Response:
    unread = () if body.tool_choice in (None, "auto", "none") else ("tool_choice",)
    return await _complete(http, body, [parse(body)], CHAT, "chatcmpl-", unread)


@router.post(
    "/v1/completions",
    summary="Continue a text",
    responses=example(
        {
            "id": "cmpl-1f",
            "object": "text_completion",
            "created": 1767225600,
            "model": "starter-chat",
            "choices": [{"index": 0, "text": " upon a time", "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4},
        }
    ),
)
async def completions(body: CompletionBody, http: HttpRequest) -> Response:
    return await _complete(http, body, parse_prompts(body), TEXT, "cmpl-")


async def _complete(
    http: HttpRequest,
    body: CommonBody,
    requests: list[ChatRequest],
    dialect: wire.Dialect,
    prefix: str,
    unread: tuple[str, ...] = (),
) -> Response:
    each = body.n or 1
    if each * len(requests) > CHOICES:
        raise BadValue(f"n: at most {CHOICES} answers at once.", param="n")
    asked = [request for request in requests for _ in range(each)]
    echo = [request.prompt or "" if getattr(body, "echo", False) else "" for request in asked]
    meta = wire.meta_of(
        http,
        requests[0],
        body.ignored(dialect.name, *unread),
        id=f"{prefix}{http.state.request_id}",
        choices=len(asked),
        each=each,
        echo=echo,
        usage=bool(body.stream_options and body.stream_options.include_usage),
    )
    engine, caller = wire.engine_of(http), wire.caller_of(http, dialect.name)
    events = choices([engine.run(request, caller) for request in asked])
    return await wire.respond(http, events, dialect, meta, stream=bool(body.stream))


@router.get(
    "/v1/models",
    summary="The catalog",
    responses=example(
        {
            "object": "list",
            "data": [{"id": "starter-chat", "object": "model", "owned_by": "atelier"}],
        }
    ),
)
async def models(http: HttpRequest) -> Response:
    return wire.json({"object": "list", "data": [_row(s) for s in wire.engine_of(http).models()]})


@router.get(
    "/v1/models/{model:path}",
    summary="One model of the catalog",
    responses=example({"id": "starter-chat", "object": "model", "owned_by": "atelier"}),
)
async def model(model: str, http: HttpRequest) -> Response:
    return wire.json(_row(wire.engine_of(http).registry.find(model)))


def _row(spec: ModelSpec) -> dict[str, Any]:
    owner = spec.repo.partition("/")[0] or "atelier"
    return {
        "id": spec.id,
        "object": "model",
        "created": 0,
        "owned_by": owner,
        "capabilities": sorted(spec.does),
        "starter": spec.starter,
    }
