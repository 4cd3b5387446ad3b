"""A small server that speaks OpenAI's streaming dialect and can misbehave: `mode` says how."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many", 500: "Error"}


@dataclass
class Upstream:
    """Answers `words` words; modes: ok, cut, silent, error, tools, or a status as a number."""

    mode: str = "ok"
    words: int = 5
    pause: float = 0.0
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    written: int = 0
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length")
        )
        self.bodies.append(json.loads(await reader.readexactly(length)))
        if self.mode.isdigit():
            body = b'{"error":{"message":"no such luck"}}'
            status = int(self.mode)
            writer.write(
                f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        for n in range(self.words):
            if self.mode == "silent" and n == 2:
                await asyncio.sleep(30)
            if self.mode == "cut" and n == 2:
                return
            if self.mode == "error" and n == 2:
                writer.write(b'data: {"error":{"message":"boom"}}\n\n')
                await writer.drain()
                return
            self._send(writer, {"choices": [{"delta": {"content": f"w{n} "}}]})
            self.written += 1
            await writer.drain()
            await asyncio.sleep(self.pause)
        finish = "stop"
        if self.mode == "tools":
            finish = "tool_calls"
            for piece in ('{"city":', '"Porto"}'):
                call = {"index": 0, "id": "c1", "function": {"arguments": piece}}
                call["function"]["name"] = "weather" if piece[0] == "{" else ""  # type: ignore[index]
                self._send(writer, {"choices": [{"delta": {"tool_calls": [call]}}]})
        self._send(writer, {"choices": [{"delta": {}, "finish_reason": finish}]})
        self._send(writer, {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()

    def _send(self, writer: asyncio.StreamWriter, chunk: dict[str, Any]) -> None:
        writer.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


@asynccontextmanager
async def running(mode: str = "ok", **values: Any) -> AsyncIterator[Upstream]:
    """An upstream on a free port of loopback."""
    upstream = Upstream(mode, **values)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream.url = f"http://127.0.0.1:{port}/v1"
    async with server:
        yield upstream
