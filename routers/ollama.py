"""The Ollama dialect: chat, generate, embeddings; its models are in `ollama_models`.

Knows Ollama's words and the engine's events; nothing of how models run, of queues or access.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import (
    AtelierError,
    BadValue,
    ChatRequest,
    Done,
    EmbedRequest,
    Event,
    ModelSpec,
    Reasoning,
    Result,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)
from engine.errors import InferenceFailed
from routers import ollama_models, wire
from routers.addresses import fetched
from routers.bodies import example, seconds_of
from routers.ollama_bodies import (
    ChatBody,
    EmbedBody,
    GenerateBody,
    OldEmbedBody,
    parse_chat,
    parse_embed,
    parse_generate,
)
from routers.ollama_models import JsonRoute, frame
from routers.ollama_models_shapes import capabilities, find

# Not "/api/": the Host dialect's paths begin with "/api/v1/".
PATHS = (
    "/api/tags", "/api/ps", "/api/version", "/api/show", "/api/chat", "/api/generate", "/api/embed",
    "/api/pull", "/api/delete", "/api/copy", "/api/create", "/api/push", "/api/blobs/", "/api/me",
    "/api/signout", "/api/status", "/api/experimental/",
)  # fmt: skip
ADMIN = (("POST", "/api/pull"), ("DELETE", "/api/delete"))
NDJSON = "application/x-ndjson"
NANOSECONDS = 1_000_000_000
PATIENCE = 1.0  # seconds an unloading is waited for; it goes on behind the answer


# The answer's words -------------------------------------------------------------------------------


def now() -> str:
    """The time as Ollama writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _chat(text: str = "", thought: str = "", calls: list[dict[str, Any]] | None = None) -> Any:
    """What `/api/chat` says of one piece of an answer."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thought:
        message["thinking"] = thought
    if calls:
        message["tool_calls"] = calls
    return {"message": message}


def _generate(text: str = "", thought: str = "", calls: list[dict[str, Any]] | None = None) -> Any:
    """What `/api/generate` says of one; there are no tools, so no calls."""
    return {"response": text, "thinking": thought} if thought else {"response": text}


WORDS = {"chat": _chat, "generate": _generate}
# The same in bytes around a JSON string, for the tokens of a stream.
AROUND = {
    "chat": (b'","message":{"role":"assistant","content":', b'},"done":false}\n'),
    "generate": (b'","response":', b',"done":false}\n'),
}


def _call(call: ToolCall, index: int) -> dict[str, Any]:
    try:
        arguments = orjson.loads(call.arguments or b"{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InferenceFailed(
            f"The model called '{call.name[:80]}' with arguments that are not JSON. Ask again, and "
            "leave it room for the whole call (num_predict)."
        )
    function = {"index": index, "name": call.name, "arguments": arguments}
    return {"id": call.id, "function": function} if call.id else {"function": function}


def _told(logprobs: tuple[TokenLogprob, ...] | list[TokenLogprob]) -> dict[str, Any]:
    """Log probabilities, where there are any."""
    return {"logprobs": [_logprob(one) for one in logprobs]} if logprobs else {}


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    told: dict[str, Any] = {"token": one.token, "logprob": one.logprob, "bytes": list(one.bytes)}
    if one.top:
        told["top_logprobs"] = [_logprob(other) for other in one.top]
    return told


def _head(meta: wire.Meta) -> dict[str, Any]:
    return {"model": meta.extra["name"], "created_at": now()}


def _end(usage: Usage, meta: wire.Meta) -> dict[str, Any]:
    """What an answer took, in nanoseconds and tokens."""
    return {
        "total_duration": round(meta.seconds * NANOSECONDS),
        "load_duration": round((usage.queued_s + usage.load_s) * NANOSECONDS),
        "prompt_eval_count": usage.input_tokens,
        "prompt_eval_duration": round(usage.first_s * NANOSECONDS),
        "eval_count": usage.output_tokens,
        "eval_duration": round(max(0.0, usage.run_s - usage.first_s) * NANOSECONDS),
    }


def _reason(finish: str) -> str:
    return "length" if finish == "length" else "stop"


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The body of a whole answer."""
    calls = [_call(call, n) for n, call in enumerate(result.tool_calls)]
    return {
        **_head(meta),
        **WORDS[meta.extra["kind"]](result.text, result.reasoning, calls),
        "done": True,
        "done_reason": _reason(result.finish),
        **_told(result.logprobs),
        **_end(result.usage, meta),
    }


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """A line for each piece. A token costs one JSON string between bytes made once, and the time."""
    words = WORDS[meta.extra["kind"]]
    start = b'{"model":' + orjson.dumps(meta.extra["name"]) + b',"created_at":"'
    before, after = AROUND[meta.extra["kind"]]
    calls = 0
    async for event in events:
        match event:
            case Text(delta, ()):
                yield start + now().encode() + before + orjson.dumps(delta) + after
            case Text(delta, logprobs):
                yield frame({**_head(meta), **words(delta), "done": False, **_told(logprobs)})
            case Reasoning(delta):
                yield frame({**_head(meta), **words(thought=delta), "done": False})
            case ToolCall():
                piece = words(calls=[_call(event, calls)])
                calls += 1
                yield frame({**_head(meta), **piece, "done": False})
            case Done(finish, usage):
                end = {"done": True, "done_reason": _reason(finish), **_end(usage, meta)}
                yield frame({**_head(meta), **words(), **end})


def reply_embed(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The body of `/api/embed`."""
    vectors = sorted(result.vectors, key=lambda vector: vector.index)
    return {
        "model": meta.extra["name"],
        "embeddings": [vector.values for vector in vectors],
        "total_duration": round(meta.seconds * NANOSECONDS),
        "load_duration": round((result.usage.queued_s + result.usage.load_s) * NANOSECONDS),
        "prompt_eval_count": result.usage.input_tokens,
    }


def reply_embeddings(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The body of the older `/api/embeddings`."""
    return {"embedding": result.vectors[0].values}


error = ollama_models.error
COMPLETE = wire.Dialect(
    "ollama", stream, reply, error, frame=frame, end=b"", pulse=b"", media=NDJSON
)
EMBED = wire.Dialect("ollama", stream, reply_embed, error)
OLD_EMBED = wire.Dialect("ollama", stream, reply_embeddings, error)


# Routes -------------------------------------------------------------------------------------------

router = APIRouter(tags=["Ollama"], route_class=JsonRoute)
router.include_router(ollama_models.router)
TOOK = {
    "total_duration": 412000000,
    "load_duration": 1000000,
    "prompt_eval_count": 9,
    "prompt_eval_duration": 31000000,
    "eval_count": 2,
    "eval_duration": 380000000,
}


@router.post(
    "/api/chat",
    summary="Answer a conversation, streamed unless told otherwise",
    responses=example(
        {
            "model": "starter-chat",
            "created_at": "2026-11-20T20:26:12.512000Z",
            "message": {"role": "assistant", "content": "Hello!"},
            "done": True,
            "done_reason": "stop",
            **TOOK,
        },
        also=("application/x-ndjson",),
    ),
)
async def chat(body: ChatBody, http: HttpRequest) -> Response:
    return await _complete(http, body, "chat", parse_chat)


@router.post(
    "/api/generate",
    summary="Answer a prompt, streamed unless told otherwise; an empty one loads or unloads the model",
    responses=example(
        {
            "model": "starter-chat",
            "created_at": "2026-11-20T20:26:12.512000Z",
            "response": "Hello!",
            "done": True,
            "done_reason": "stop",
            **TOOK,
        },
        also=("application/x-ndjson",),
    ),
)
async def generate(body: GenerateBody, http: HttpRequest) -> Response:
    return await _complete(http, body, "generate", parse_generate)


async def _complete(
    http: HttpRequest, body: Any, kind: str, parse: Callable[[Any, str | None], ChatRequest]
) -> Response:
    spec = _named(http, body.model)
    await _check_thinking(http, spec, body)
    if not body.is_empty:
        body = await fetched(http, body)
        request = parse(body, spec.id if spec else None)
        return await _answer(http, request, COMPLETE, body, kind=kind)
    spec = spec or wire.engine_of(http).registry.default("chat")
    how = await _load(http, spec, seconds_of(body.keep_alive))
    head = {"model": body.model or spec.id, "created_at": now()}
    return wire.json({**head, **WORDS[kind](), "done": True, "done_reason": how})


@router.post(
    "/api/embed",
    summary="The vectors of texts; no text loads the model",
    responses=example(
        {
            "model": "starter-embed",
            "embeddings": [[0.0103, -0.0018, 0.0721]],
            "total_duration": 14000000,
            "load_duration": 1000000,
            "prompt_eval_count": 8,
        }
    ),
)
async def embed(body: EmbedBody, http: HttpRequest) -> Response:
    return await _embed(http, body, EMBED, {"embeddings": []})


@router.post(
    "/api/embeddings",
    summary="The vector of one text; /api/embed replaced this",
    responses=example({"embedding": [0.0103, -0.0018, 0.0721]}),
)
async def embeddings(body: OldEmbedBody, http: HttpRequest) -> Response:
    return await _embed(http, body, OLD_EMBED, {"embedding": []})


async def _embed(
    http: HttpRequest,
    body: EmbedBody | OldEmbedBody,
    dialect: wire.Dialect,
    nothing: dict[str, Any],
) -> Response:
    spec = _named(http, body.model)
    request = parse_embed(body, spec.id if spec else None)
    if request is not None:
        return await _answer(http, request, dialect, body)
    spec = spec or wire.engine_of(http).registry.default("embed")
    await _load(http, spec, seconds_of(body.keep_alive))
    return wire.json(nothing if dialect is OLD_EMBED else {"model": body.model, **nothing})


async def _answer(
    http: HttpRequest,
    request: ChatRequest | EmbedRequest,
    dialect: wire.Dialect,
    body: Any,
    **extra: Any,
) -> Response:
    engine = wire.engine_of(http)
    name = body.model or engine.resolve(request, http.state.session).id
    meta = wire.meta_of(http, request, body.unread(), name=name, **extra)
    events = engine.run(request, wire.caller_of(http, "ollama"))
    streams = dialect is COMPLETE and body.stream is not False
    return await wire.respond(http, events, dialect, meta, stream=streams)


def _named(http: HttpRequest, name: str) -> ModelSpec | None:
    """The model of a name; None where no name is given. Raises Unknown."""
    return find(wire.engine_of(http), name) if name else None


async def _check_thinking(http: HttpRequest, spec: ModelSpec | None, body: Any) -> None:
    """Refuse thinking of a model whose template knows none, as Ollama does; others are not known well enough."""
    if not body.think or spec is None:
        return
    card = await wire.engine_of(http).cards.read(spec.id)
    if card.template and "thinking" not in capabilities(card):
        raise BadValue(f'"{body.model[:200]}" does not support thinking', param="think")


async def _load(http: HttpRequest, spec: ModelSpec, keep_alive: float | None) -> str:
    """Load a model, or unload it where it is to be kept for no time; what was done, in Ollama's word."""
    engine = wire.engine_of(http)
    if keep_alive == 0:
        leaving = asyncio.ensure_future(engine.evict(spec.id))
        await asyncio.wait([leaving], timeout=PATIENCE)
        return "unload"
    await wire.until_gone(http.receive, engine.load(spec.id, keep_alive))
    return "load"


# What only Ollama itself does ---------------------------------------------------------------------


class NotOffered(AtelierError):
    """Ollama has this call and this server has not."""

    status, code = 501, "NOT_OFFERED"


COPY = "Models are not copied here. Add an alias to the model's row in models.toml."
CREATE = (
    "Models are not made here. Paste a folder, a hub id or a server's address on the Models tab, or "
    "add a row to models.toml; a system prompt goes into the request itself."
)
PUSH = "Models are not uploaded from here. Use the hub's own tool: hf upload."
ACCOUNT = "There is no ollama.com account here, and none is needed: everything runs on this server."
MISSING = {
    "/api/copy": COPY,
    "/api/create": CREATE,
    "/api/push": PUSH,
    "/api/blobs/{digest}": CREATE,
    "/api/me": ACCOUNT,
    "/api/signout": ACCOUNT,
}


def _refuse(why: str) -> Callable[[], Any]:
    async def refuse() -> Response:
        raise NotOffered(why)

    return refuse


for path, why in MISSING.items():
    methods = ["POST", "HEAD"] if "blobs" in path else ["POST"]
    router.add_api_route(path, _refuse(why), methods=methods, include_in_schema=False)
