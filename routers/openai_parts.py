"""What the OpenAI endpoints share: several choices, the frames of a stream, usage, errors.

Knows OpenAI's words and the engine's events; nothing of models, queues or access.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import (
    VERSION,
    WAITING,
    AtelierError,
    BadValue,
    ChatRequest,
    Unknown,
    Usage,
)
from routers import wire
from routers.openai_bodies import CHOICES, CommonBody
from routers.runs import Tagged, fold_all, merge

FINGERPRINT = f"fp_atelier_{VERSION}"
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
PARAMS = {"json_schema": "response_format"}  # our names of fields, and OpenAI's


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
            "reasoning_tokens": sum(usage.reasoning_tokens for usage in usages),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def waits(tagged: Tagged) -> bool:
    """True for an event that only reports a state."""
    return isinstance(tagged[1], WAITING)


def envelope(meta: wire.Meta, kind: str) -> dict[str, Any]:
    """What every answer and every chunk begins with."""
    return {
        "id": meta.extra["id"],
        "object": kind,
        "created": meta.created,
        "model": meta.model,
        "system_fingerprint": FINGERPRINT,
    }


class Pieces:
    """The parts of a chunk that do not change from token to token.

    Args:
        field: what a choice's new text stands in ("delta", "text").
    """

    def __init__(self, meta: wire.Meta, kind: str, field: bytes) -> None:
        self._start = b"data: " + orjson.dumps(envelope(meta, kind))[:-1]
        self._field = field
        self._usage = b',"usage":null' if meta.extra["usage"] else b""
        self.tail = self.ended(b"null", b"null")
        self.heads = [self.head(index) for index in range(meta.extra["choices"])]

    def head(self, index: int) -> bytes:
        """A chunk of choice `index` up to its value."""
        return self._start + b',"choices":[{"index":%d,"%b":' % (index, self._field)

    def ended(self, logprobs: bytes, finish: bytes) -> bytes:
        """A chunk from behind its value."""
        return b',"logprobs":%b,"finish_reason":%b}]%b}\n\n' % (logprobs, finish, self._usage)

    def chunk(
        self, index: int, value: bytes, finish: str | None = None, logprobs: Any = None
    ) -> bytes:
        """A whole chunk."""
        told = b"null" if logprobs is None else orjson.dumps(logprobs)
        return self.heads[index] + value + self.ended(told, orjson.dumps(finish))

    def usage(self, usage: dict[str, Any]) -> bytes:
        """The last chunk, where usage was asked for."""
        return self._start + b',"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n"


def error(exc: AtelierError) -> dict[str, Any]:
    """OpenAI's error body."""
    kind = TYPES.get(exc.status, "server_error" if exc.status >= 500 else "invalid_request_error")
    code = exc.code.lower()
    if isinstance(exc, Unknown) and exc.param == "model":
        code = "model_not_found"
    elif exc.status == 401:
        code = "invalid_api_key"
    param = PARAMS.get(exc.param or "", exc.param)
    return {"error": {"message": exc.message, "type": kind, "param": param, "code": code}}


def dialect(stream: Any, reply: Any) -> wire.Dialect:
    """The dialect of an endpoint whose answers have several choices."""
    return wire.Dialect("openai", stream, reply, error, fold_all, waits=waits)


async def complete(
    http: HttpRequest,
    body: CommonBody,
    requests: list[ChatRequest],
    spoken: wire.Dialect,
    prefix: str,
) -> Response:
    """Answer `n` times to each request, whole or streamed, as choices of one answer."""
    each = body.n or 1
    if each * len(requests) > CHOICES:
        raise BadValue(f"n: at most {CHOICES} answers at once.", param="n")
    asked = [own(request, n) for request in requests for n in range(each)]
    echo = [request.prompt or "" if getattr(body, "echo", False) else "" for request in asked]
    meta = wire.meta_of(
        http,
        requests[0],
        body.ignored(spoken.name),
        id=f"{prefix}{http.state.request_id}",
        choices=len(asked),
        each=each,
        echo=echo,
        usage=bool(body.stream_options and body.stream_options.include_usage),
        logprobs=asked[0].logprobs is not None,
    )
    engine, caller = wire.engine_of(http), wire.caller_of(http, spoken.name)
    events = merge([engine.run(request, caller) for request in asked])
    return await wire.respond(http, events, spoken, meta, stream=bool(body.stream))


def own(request: ChatRequest, number: int) -> ChatRequest:
    """The request of choice `number`: with a seed of its own, or all choices would be the same."""
    if not number or request.seed is None:
        return request
    return request.model_copy(update={"seed": (request.seed + number) % 2**63})
