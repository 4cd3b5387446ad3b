"""OpenAI's embeddings: texts in, a vector for each out, as numbers or as base64."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import Result, Vector
from routers import wire
from routers.bodies import example
from routers.openai_bodies import EmbeddingsBody, parse_texts
from routers.openai_parts import error

router = APIRouter(tags=["OpenAI"])


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The body of an answer; the vectors in the order of their texts."""
    vectors = sorted(result.vectors, key=lambda vector: vector.index)
    given = result.usage.input_tokens
    return {
        "object": "list",
        "data": [_row(vector, meta.extra["base64"]) for vector in vectors],
        "model": meta.model,
        "usage": {"prompt_tokens": given, "total_tokens": given},
    }


def _row(vector: Vector, packed: bool) -> dict[str, Any]:
    values: list[float] | str = list(vector.values)
    if packed:
        floats = struct.pack(f"<{len(vector.values)}f", *vector.values)
        values = base64.b64encode(floats).decode()
    return {"object": "embedding", "index": vector.index, "embedding": values}


async def _never(events: Any, meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Embeddings are not streamed."""
    yield wire.DONE


EMBEDDINGS = wire.Dialect("openai", _never, reply, error)


@router.post(
    "/v1/embeddings",
    summary="Turn texts into vectors",
    responses=example(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}],
            "model": "starter-embed",
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }
    ),
)
async def embeddings(body: EmbeddingsBody, http: HttpRequest) -> Response:
    request = parse_texts(body)
    packed = body.encoding_format == "base64"
    meta = wire.meta_of(http, request, body.ignored("openai"), base64=packed)
    events = wire.engine_of(http).run(request, wire.caller_of(http, "openai"))
    return await wire.respond(http, events, EMBEDDINGS, meta, stream=False)
