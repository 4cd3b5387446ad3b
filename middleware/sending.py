"""What uvicorn's HTTP protocol lacks: files from the disk's cache straight into the socket (ASGI's
`http.response.zerocopysend`), bodies that are not copied, and a limit on the time that headers take.

Files so only over plain HTTP. Where TLS is spoken, or another server serves us, answers find no such extension and
send bytes.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PIECE = 4_000_000  # bytes that one system call may send
NEAR = 1_000_000  # of what is in memory: the event loop stands still meanwhile, a fraction of a millisecond
EXTENSION = "http.response.zerocopysend"


class SendsFiles(HttpToolsProtocol):
    """uvicorn's HTTP protocol with that extension."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if EXTENSION not in scope.get("extensions", ()):
                await inner(scope, receive, send)
                return
            cycle: Any = cast(Any, send).__self__

            async def sending(message: Message) -> None:
                if message["type"] == EXTENSION:
                    await self._send_file(cycle, message)
                else:
                    await send(message)

            await inner(scope, receive, sending)

        self.app = app

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.scheme == "http":
            self.scope["extensions"] = {EXTENSION: {}}

    def on_body(self, body: bytes) -> None:
        """Hand a piece of a body on as it came: added to nothing it stays itself, where uvicorn copies it twice."""
        if not self.cycle.body:
            self.cycle.body = b""  # type: ignore[assignment]
        super().on_body(body)

    async def _send_file(self, cycle: Any, message: Message) -> None:
        """Send `count` bytes of the open file `file` from `offset` on. Raises EOFError where it has fewer."""
        count = message["count"]
        if cycle.disconnected or cycle.scope["method"] == "HEAD":
            return
        if count > (cycle.expected_content_length or 0):
            raise RuntimeError("Response content longer than Content-Length")
        await self._drained()
        if self.transport.is_closing():
            return
        socket = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            await _copy(socket, message["file"], message["offset"], count)
        except (BrokenPipeError, ConnectionError):
            return
        finally:
            os.close(socket)
        cycle.expected_content_length -= count

    async def _drained(self) -> None:
        """Wait until everything written before has left the process."""
        self.transport.set_write_buffer_limits(high=0)
        try:
            while self.transport.get_write_buffer_size() and not self.transport.is_closing():
                await (self.flow.drain() if self.flow.write_paused else asyncio.sleep(0))
        finally:
            self.transport.set_write_buffer_limits()


async def _copy(socket: int, file: int, offset: int, count: int) -> None:
    """The system copies: here what is in memory, in a thread what may have to come from a slow disk first."""
    loop = asyncio.get_running_loop()
    while count:
        try:
            if _in_memory(file, offset + min(count, NEAR) - 1):
                sent = os.sendfile(socket, file, offset, min(count, NEAR))
                await asyncio.sleep(0)
            else:
                call = loop.run_in_executor(
                    None, os.sendfile, socket, file, offset, min(count, PIECE)
                )
                sent = await _unhurt(call)
        except BlockingIOError:
            await _writable(loop, socket)
            continue
        if not sent:
            raise EOFError("the file is shorter than it was")
        offset += sent
        count -= sent


def _in_memory(file: int, offset: int) -> bool:
    """Whether a byte of the file can be read without waiting; False also where that cannot be told."""
    try:
        return os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except (OSError, AttributeError):  # not there yet, or no file system or system that tells
        return False


async def _unhurt(call: asyncio.Future[int]) -> int:
    """What a thread's call gives. Whoever is cancelled waits for its end: it holds the numbers of open files."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        call.exception()
        raise


async def _writable(loop: asyncio.AbstractEventLoop, socket: int) -> None:
    """Wait until the socket takes more, or the other side is gone."""
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(socket, wake)
    try:
        await ready
    finally:
        loop.remove_writer(socket)


class TimedHttp(SendsFiles):
    """uvicorn's HTTP protocol that closes a connection whose request line and headers take too long.

    uvicorn has no such limit, so half-open requests would stay for ever. What happens between two
    requests is left to its keep-alive limit, a slow body to the body limit.
    """

    def __init__(self, *args: Any, header_timeout: float = 10.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timeout = header_timeout
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arm()

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._expiry is None:
            self._expiry = self.loop.call_later(self._header_timeout, self._expire)

    def _disarm(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _expire(self) -> None:
        self._expiry = None
        if not self.transport.is_closing():
            self.transport.close()
