"""An OpenAI-compatible server without a model, for the gateway benchmarks: tokens at a steady pace.

Its answer to a question is made of the question's checksum and a counter, so that a client can tell
a lost, doubled or foreign token. `python -m bench.upstream PORT [TOKENS_PER_SECOND]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

MODEL = "paced"
DEFAULT_TOKENS = 100
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def words_for(question: str, count: int) -> list[str]:
    """The tokens of the answer to a question."""
    mark = f"{zlib.crc32(question.encode()):08x}"
    return [f"{mark}-{n} " for n in range(count)]


class Paced:
    """The ASGI application; `pace` is tokens per second of each stream."""

    def __init__(self, pace: float) -> None:
        self._gap = 1 / pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while scope["method"] == "POST":
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"].endswith("/chat/completions"):
            await self._stream(json.loads(body), send)
        else:
            models = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0}]}
            await _whole(send, models)

    async def _stream(self, body: dict[str, Any], send: Send) -> None:
        words = words_for(body["messages"][-1]["content"], body.get("max_tokens") or DEFAULT_TOKENS)
        usage = {
            "prompt_tokens": 1,
            "completion_tokens": len(words),
            "total_tokens": len(words) + 1,
        }
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await _whole(send, {**_frame(), "choices": [choice], "usage": usage})
            return
        await _head(send, b"text/event-stream")
        began = time.perf_counter()
        for n, word in enumerate(words):
            await asyncio.sleep(max(0.0, began + n * self._gap - time.perf_counter()))
            await _data(send, {**_frame(), "choices": [_choice({"content": word})]})
        await _data(send, {**_frame(), "choices": [_choice({}, "stop")]})
        await _data(send, {**_frame(), "choices": [], "usage": usage})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


def _frame() -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": MODEL}


def _choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


async def _head(send: Send, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})


async def _data(send: Send, value: dict[str, Any]) -> None:
    frame = b"data: " + json.dumps(value).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": frame, "more_body": True})


async def _whole(send: Send, value: dict[str, Any]) -> None:
    await _head(send, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


if __name__ == "__main__":
    speed = float(sys.argv[2]) if len(sys.argv) > 2 else 50.0
    uvicorn.run(Paced(speed), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
