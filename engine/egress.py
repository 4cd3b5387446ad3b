"""A proxy on loopback for one child process, which judges every address the child wants exactly as the fetcher does.

The child may connect to nothing else (`engine.visits`), so a library that fetches what a page tells it to fetch
goes where we would go and nowhere else. Knows no library and no page.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import secrets

from engine.addresses import Ip, Target, read_url
from engine.errors import AtelierError
from engine.fetch import CONNECT, SILENCE, Fetcher

HEAD_BYTES = 64_000  # of a request's headers
HEAD_SECONDS = 15.0
PIECE = 65_536
AT_ONCE = 32  # connections
OURS = frozenset({
    "proxy-authorization", "proxy-connection", "connection", "keep-alive", "host", "upgrade",
})  # fmt: skip
log = logging.getLogger("atelier.fetch")


class Egress:
    """The proxy; `async with` opens and closes it.

    Args:
        most: bytes that may come in altogether; beyond them every connection ends.

    Attributes:
        url: what the child is told, with a password of its own in it.
        port: where it listens on 127.0.0.1.
        refused: why addresses were not opened, newest last.
        exceeded: `most` was reached.
    """

    def __init__(self, fetcher: Fetcher, most: int) -> None:
        self._fetcher = fetcher
        self._most = most
        self._came = 0
        self._password = secrets.token_urlsafe(24)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url, self.port = "", 0
        self.refused: list[AtelierError] = []
        self.exceeded = False

    async def __aenter__(self) -> Egress:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://atelier:{self._password}@127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            pass  # one of the two hung up; the child sees that
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, _, rest = head[0].partition(" ")
        asked = rest.rpartition(" ")[0]
        headers = [(n.strip(), v.strip()) for n, _, v in (h.partition(":") for h in head[1:] if h)]
        if not self._knows(headers):
            return await _say(
                writer, "407 Proxy Authentication Required", "Proxy-Authenticate: Basic\r\n"
            )
        if len(self._tasks) > AT_ONCE:
            return await _say(writer, "503 Busy")
        tunnel = method == "CONNECT"
        try:
            target = read_url(f"https://{asked}/" if tunnel else asked)
            numbers = await self._fetcher.reach(target)
        except AtelierError as error:
            self.refused.append(error)
            return await _say(writer, "403 Forbidden")
        there = await _connected(target, numbers)
        if there is None:
            return await _say(writer, "502 Bad Gateway")
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                there[1].write(_head(method, target, headers))
            await self._join(reader, writer, *there)
        finally:
            there[1].close()

    def _knows(self, headers: list[tuple[str, str]]) -> bool:
        """Whether it is the child that asks and no other program of this machine."""
        want = base64.b64encode(f"atelier:{self._password}".encode()).decode()
        return any(
            name.lower() == "proxy-authorization" and hmac.compare_digest(value, f"Basic {want}")
            for name, value in headers
            if value.isascii()
        )

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        """Both ways at once, until one side ends or falls silent."""
        out = asyncio.create_task(self._pump(reader, far_writer, counts=False))
        back = asyncio.create_task(self._pump(far_reader, writer, counts=True))
        try:
            await back
        finally:
            out.cancel()
            back.cancel()
            await asyncio.gather(out, back, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: bool
    ) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            while True:
                # The child may think for a while between two questions; a server may not.
                async with asyncio.timeout(SILENCE if counts else None):
                    piece = await reader.read(PIECE)
                if not piece:
                    return
                if counts:
                    self._came += len(piece)
                    if self._came > self._most:
                        self.exceeded = True
                        return
                writer.write(piece)
                await writer.drain()


async def _connected(
    target: Target, numbers: list[Ip]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """A connection to the first of the judged numbers that answers."""
    for number in numbers:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT):
                return await asyncio.open_connection(str(number), target.port)
    return None


def _head(method: str, target: Target, headers: list[tuple[str, str]]) -> bytes:
    """A request to the server itself: one Host, the one that was judged, and one request a connection."""
    kept = [f"{name}: {value}" for name, value in headers if name.lower() not in OURS]
    port = f":{target.url.explicit_port}" if target.url.explicit_port else ""
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [
        f"{method} {target.url.raw_path_qs} HTTP/1.1", f"Host: {host}{port}", "Connection: close", *kept,
    ]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _say(writer: asyncio.StreamWriter, status: str, more: str = "") -> None:
    writer.write(
        f"HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    await writer.drain()
