"""OpenAI's completions of plain text, whole or streamed.

Knows OpenAI's words and the engine's events; nothing of models, queues or access.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import Done, Result, Text, TokenLogprob, Usage
from routers import wire
from routers.bodies import EVENTS, example
from routers.openai_bodies import CompletionBody, parse_prompts
from routers.openai_parts import Pieces, complete, dialect, envelope, total
from routers.runs import Tagged

router = APIRouter(tags=["OpenAI"])


def reply(results: list[Result], meta: wire.Meta) -> dict[str, Any]:
    """The body of a whole text completion."""
    echo = meta.extra["echo"]
    return {
        **envelope(meta, "text_completion"),
        "choices": [
            {
                "index": index,
                "text": echo[index] + result.text,
                "logprobs": _told(result.logprobs, len(echo[index]))
                if meta.extra["logprobs"]
                else None,
                "finish_reason": result.finish,
            }
            for index, result in enumerate(results)
        ],
        "usage": total([result.usage for result in results], meta.extra["each"]),
    }


def _told(tokens: Iterable[TokenLogprob], start: int) -> dict[str, Any]:
    """Chances in the columns of the older shape; offsets count characters of the text from `start`."""
    rows = list(tokens)
    offsets = []
    for row in rows:
        offsets.append(start)
        start += len(row.token)
    return {
        "tokens": [row.token for row in rows],
        "token_logprobs": [row.logprob for row in rows],
        "top_logprobs": [{one.token: one.logprob for one in row.top} for row in rows],
        "text_offset": offsets,
    }


async def stream(events: AsyncIterator[Tagged], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Text chunks; the echoed prompt comes first."""
    pieces = Pieces(meta, "text_completion", b"text")
    heads = pieces.heads
    for index, prompt in enumerate(meta.extra["echo"]):
        if prompt:
            yield pieces.chunk(index, orjson.dumps(prompt))
    usages = [Usage()] * len(heads)
    offsets = [len(prompt) for prompt in meta.extra["echo"]]
    async for index, event in events:
        match event:
            case Text(delta, ()):
                yield heads[index] + orjson.dumps(delta) + pieces.tail
                offsets[index] += len(delta)
            case Text(delta, logprobs):
                told = _told(logprobs, offsets[index])
                yield pieces.chunk(index, orjson.dumps(delta), logprobs=told)
                offsets[index] += len(delta)
            case Done(finish, usage):
                usages[index] = usage
                yield pieces.chunk(index, b'""', finish)
            case _:
                yield wire.waiting(event)
    last = pieces.usage(total(usages, meta.extra["each"])) if meta.extra["usage"] else b""
    yield last + wire.DONE


TEXT = dialect(stream, reply)


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
        },
        also=(EVENTS,),
    ),
)
async def completions(body: CompletionBody, http: HttpRequest) -> Response:
    return await complete(http, body, parse_prompts(body), TEXT, "cmpl-")
