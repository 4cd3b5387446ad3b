"""OpenAI's chat completions: text, thoughts, tool calls and token chances, whole or streamed.

Knows OpenAI's words and the engine's events; nothing of models, queues or access.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import Done, Reasoning, Result, Text, TokenLogprob, ToolCall, Usage
from routers import wire
from routers.addresses import fetched
from routers.bodies import EVENTS, example
from routers.openai_bodies import ChatBody, parse
from routers.openai_parts import Pieces, complete, dialect, envelope, total
from routers.runs import Tagged

router = APIRouter(tags=["OpenAI"])


def reply(results: list[Result], meta: wire.Meta) -> dict[str, Any]:
    """The body of a whole chat answer."""
    return {
        **envelope(meta, "chat.completion"),
        "choices": [
            {
                "index": index,
                "message": _answer(result),
                "logprobs": _told(result.logprobs) if meta.extra["logprobs"] else None,
                "finish_reason": result.finish,
            }
            for index, result in enumerate(results)
        ],
        "usage": total([result.usage for result in results], len(results)),
    }


def _answer(result: Result) -> dict[str, Any]:
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


def _told(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    content = [
        {**_chance(token), "top_logprobs": [_chance(one) for one in token.top]} for token in tokens
    ]
    return {"content": content, "refusal": None}


def _chance(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.bytes)}


async def stream(events: AsyncIterator[Tagged], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Chat chunks. A token costs one JSON string between two pieces of bytes made once."""
    pieces = Pieces(meta, "chat.completion.chunk", b"delta")
    heads = pieces.heads
    role = b'{"role":"assistant","content":"","refusal":null}'
    yield b"".join(pieces.chunk(index, role) for index in range(len(heads)))
    calls = [0] * len(heads)
    usages = [Usage()] * len(heads)
    async for index, event in events:
        match event:
            case Text(delta, ()):
                yield heads[index] + b'{"content":' + orjson.dumps(delta) + b"}" + pieces.tail
            case Text(delta, logprobs):
                content = orjson.dumps({"content": delta})
                yield pieces.chunk(index, content, logprobs=_told(logprobs))
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


CHAT = dialect(stream, reply)


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
        },
        also=(EVENTS,),
    ),
)
async def chat_completions(body: ChatBody, http: HttpRequest) -> Response:
    body = await fetched(http, body)
    return await complete(http, body, [parse(body)], CHAT, "chatcmpl-")
