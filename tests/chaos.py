"""A proxy that breaks connections: between us and another server, in every way a network can.

Modes: pass; down (nobody listens); hole (takes the request, answers nothing); reset (at once);
and after `after` bytes of the answer: cut (ends), snap (is reset), stall (falls silent); slow (a few
bytes at a time).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

PIECE = 7  # bytes at a time when slow: splits lines, JSON and characters
NEVER = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


@dataclass
class Chaos:
    """The proxy; `mode` may be changed while it runs and holds for what comes next."""

    target: str
    mode: str = "pass"
    after: int = 0
    url: str = ""
    seen: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen += 1
        if self.mode == "reset":
            _reset(writer)
            return
        parts = urlsplit(self.target)
        back, forth = await asyncio.open_connection(parts.hostname, parts.port)
        asking = asyncio.create_task(self._ask(reader, forth))
        try:
            await self._answer(back, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            asking.cancel()
            forth.close()
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.mode != "hole":
                    forth.write(data)
                    await forth.drain()
            forth.close()

    async def _answer(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await back.read(PIECE if self.mode == "slow" else 65536):
            left = self.after - passed
            broken = self.mode in {"cut", "snap", "stall"} and len(data) >= left
            writer.write(data[: max(0, left)] if broken else data)
            await writer.drain()
            passed += len(data)
            if broken and self.mode == "stall":
                await asyncio.sleep(30)
            if broken and self.mode == "snap":
                _reset(writer)
            if broken:
                return
            await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NEVER)
    writer.transport.abort()


@asynccontextmanager
async def chaos(target: str, mode: str = "pass", after: int = 0) -> AsyncIterator[Chaos]:
    """The proxy in front of `target`, on a free port of loopback; its `url` has the target's path."""
    proxy = Chaos(target, mode, after)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        server = None
        if mode != "down":  # a bound socket that does not listen refuses, and keeps the port ours
            held.listen()
            server = await asyncio.start_server(proxy.serve, sock=held.dup())
        proxy.url = f"http://127.0.0.1:{held.getsockname()[1]}{urlsplit(target).path}"
        try:
            yield proxy
        finally:
            if server is not None:
                server.close()
