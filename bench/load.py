"""A client that holds many streamed chats at once and costs little itself: raw sockets, one loop.

Knows HTTP/1.1 and OpenAI's stream; not which server answers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

READ = 1 << 16


class Broken(RuntimeError):
    """A stream was refused or ended before its time."""


@dataclass(slots=True)
class Stream:
    """One finished chat: when it was asked, when each token came (perf_counter), and the text."""

    asked: float
    times: list[float] = field(default_factory=list)
    text: str = ""
    usage: int = 0

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.times[0] - self.asked

    @property
    def tokens(self) -> int:
        """Output tokens: what the server counted, else the pieces that came."""
        return self.usage or len(self.times)


async def chat(
    url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Stream:
    """One streamed completion from `url`, read to its end. Raises Broken."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    payload = json.dumps({**body, "stream": True}).encode()
    head = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(payload)),
        "Connection": "close",
        **(headers or {}),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    stream = Stream(asked=time.perf_counter())
    writer.write(f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + payload)
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise Broken((answer + await reader.read(2000)).decode(errors="replace"))
        await _read(_pieces(reader, b"chunked" in answer.lower()), stream)
    except asyncio.IncompleteReadError as error:
        raise Broken("the connection ended too early") from error
    finally:
        writer.close()
    return stream


async def _pieces(reader: asyncio.StreamReader, chunked: bool) -> AsyncIterator[bytes]:
    """The body as it comes, without the lines that say how long each chunk is."""
    if not chunked:
        while piece := await reader.read(READ):
            yield piece
        return
    while size := int(await reader.readline() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)


async def _read(pieces: AsyncIterator[bytes], stream: Stream) -> None:
    rest = b""
    async for piece in pieces:
        now = time.perf_counter()
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: [DONE]"):
                return
            if line.startswith(b"data: {"):
                _take(json.loads(line[6:]), stream, now)
    raise Broken(f"the stream ended after {len(stream.times)} pieces without [DONE]")


def _take(chunk: dict[str, Any], stream: Stream, now: float) -> None:
    if "error" in chunk:
        raise Broken(str(chunk["error"]))
    for choice in chunk.get("choices") or ():
        text = (choice.get("delta") or {}).get("content")
        if text:
            stream.times.append(now)
            stream.text += text
    usage = chunk.get("usage") or {}
    stream.usage = usage.get("completion_tokens", stream.usage)


async def many(
    url: str, bodies: Sequence[Mapping[str, Any]], headers: Mapping[str, str] | None = None
) -> list[Stream | Broken]:
    """All at once; a stream that broke stands in its place."""
    found = await asyncio.gather(
        *(chat(url, body, headers) for body in bodies), return_exceptions=True
    )
    streams: list[Stream | Broken] = []
    for item in found:
        if isinstance(item, BaseException) and not isinstance(item, Broken):
            item = Broken(repr(item))
        streams.append(item)
    return streams


async def get(url: str) -> tuple[int, float]:
    """The status of a GET and the seconds it took."""
    parts = urlsplit(url)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
    )
    try:
        line = await reader.readline()
        await reader.read()
    finally:
        writer.close()
    return int(line.split()[1]), time.perf_counter() - began
