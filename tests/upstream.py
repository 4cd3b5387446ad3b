"""A small server that speaks OpenAI's and Ollama's dialects and can misbehave: `mode` says how."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 302: "Found", 401: "Unauthorized", 404: "Not Found", 429: "Too Many"}
MODEL = "paced:latest"
SHOWN = {
    "capabilities": ["completion", "tools", "vision", "thinking", "insert"],
    "details": {"parameter_size": "4.4M", "family": "llama"},
    "model_info": {"llama.context_length": 1024},
}
ROW = {"name": MODEL, "model": MODEL, "size": 8_900_000, "digest": "abc", "details": {}}


@dataclass
class Upstream:
    """Answers `words` words; modes: ok, cut, silent, error, late, html, tools, think, or a status as a number."""

    mode: str = "ok"
    words: int = 5
    pause: float = 0.0
    url: str = ""
    rows: list[dict[str, Any]] = field(default_factory=lambda: [dict(ROW)])
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    written: int = 0
    open: int = 0
    connections: int = 0

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request. True: the connection may serve another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.open += 1
        try:
            method, path, _ = head.split(" ", 2)
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            lower = {name.lower(): value for name, value in fields.items()}
            body = json.loads(await reader.readexactly(int(lower.get("content-length", 0))) or b"0")
            self.paths.append(path)
            self.keys.add(lower.get("authorization", ""))
            if method == "POST":
                self.bodies.append(body)
            if self.mode.isdigit():
                return await self._whole(writer, {"error": {"message": "no such luck"}})
            if self.mode == "html":
                return await self._whole(writer, "<html>", "text/html")
            if method == "POST" and body.get("stream") is False:
                return await self._whole(writer, {"done": True, "done_reason": "load"})
            if path.endswith(("/chat/completions", "/v1/completions", "/api/chat", "/generate")):
                return await self._stream(writer, path)
            return await self._whole(writer, self._told(path, body))
        finally:
            self.open -= 1

    async def _whole(self, writer: Any, value: Any, kind: str = "application/json") -> bool:
        body = json.dumps(value).encode()
        status = int(self.mode) if self.mode.isdigit() else 404 if value is None else 200
        writer.write(
            f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\nContent-Type: {kind}\r\n"
            f"Retry-After: 7\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return True

    def _told(self, path: str, body: Any) -> Any:
        """What is asked without a stream."""
        names = [row["name"] for row in self.rows]
        texts = body.get("input", []) if isinstance(body, dict) else []
        vectors = [[float(n), 1.0] for n, _ in enumerate(texts)]
        data = [{"index": n, "embedding": v} for n, v in enumerate(vectors)]
        answers = {
            "/api/tags": {"models": self.rows},
            "/api/ps": {"models": [{**ROW, "expires_at": "2318-09-07T10:11:12.123456789Z"}]},
            "/api/show": SHOWN,
            "/api/embed": {"embeddings": vectors, "prompt_eval_count": 4},
            "/v1/models": {"data": [{"id": name, "object": "model"} for name in names]},
            "/v1/embeddings": {"data": data[::-1], "usage": {"prompt_tokens": 4}},
        }
        return answers.get(path)

    async def _stream(self, writer: asyncio.StreamWriter, path: str) -> bool:
        speak = _Ollama(path) if "/api/" in path else _OpenAI()
        if self.mode == "late":
            await asyncio.sleep(30)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: ")
        writer.write(speak.kind + b"\r\n\r\n")
        for n in range(self.words):
            if self.mode == "silent" and n == 2:
                await asyncio.sleep(30)
            if self.mode == "cut" and n == 2:
                return False
            if self.mode == "error" and n == 2:
                self._send(writer, speak.error())
                await writer.drain()
                return False
            self._send(writer, speak.word(f"w{n} ", self.mode == "think" and n < 2))
            self.written += 1
            await writer.drain()
            await asyncio.sleep(self.pause)
        for piece in speak.end(self.mode == "tools"):
            self._send(writer, piece)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


class _OpenAI:
    kind = b"text/event-stream"

    def word(self, text: str, thought: bool) -> bytes:
        return _event({"delta": {"reasoning_content" if thought else "content": text}})

    def error(self) -> bytes:
        return b'data: {"error":{"message":"boom"}}\n\n'

    def end(self, tools: bool) -> list[bytes]:
        pieces = []
        for piece in ('{"city":', '"Porto"}') if tools else ():
            function = {"arguments": piece, "name": "weather" if piece[0] == "{" else ""}
            call = {"index": 0, "id": "c1", "function": function}
            pieces.append(_event({"delta": {"tool_calls": [call]}}))
        pieces.append(_event({"delta": {}, "finish_reason": "tool_calls" if tools else "stop"}))
        usage = {"prompt_tokens": 7, "completion_tokens": 5}
        usage["prompt_tokens_details"] = {"cached_tokens": 3}  # type: ignore[assignment]
        pieces.append(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
        return [*pieces, b"data: [DONE]\n\n"]


class _Ollama:
    kind = b"application/x-ndjson"

    def __init__(self, path: str) -> None:
        self._chat = path.endswith("/chat")

    def word(self, text: str, thought: bool) -> bytes:
        if self._chat:
            said = {"role": "assistant", "content": "", "thinking" if thought else "content": text}
            return _line({"message": said, "done": False})
        return _line({"thinking" if thought else "response": text, "done": False})

    def error(self) -> bytes:
        return _line({"error": "boom"})

    def end(self, tools: bool) -> list[bytes]:
        call = {"function": {"name": "weather", "arguments": {"city": "Porto"}}}
        said = {"message": {"role": "assistant", "content": "", "tool_calls": [call]}}
        last: dict[str, Any] = {"message": {"role": "assistant", "content": ""}, "response": ""}
        last |= {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 5}
        return [*([_line({**said, "done": False})] if tools else []), _line(last)]


def _event(choice: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps({"model": MODEL, **value}).encode() + b"\n"


@asynccontextmanager
async def running(mode: str = "ok", **values: Any) -> AsyncIterator[Upstream]:
    """An upstream on a free port of loopback."""
    upstream = Upstream(mode, **values)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield upstream
    finally:
        server.close()  # and do not wait: clients may keep their connections
