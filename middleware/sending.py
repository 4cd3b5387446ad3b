"""Files from the disk's cache straight into the socket: ASGI's `http.response.zerocopysend`, which uvicorn lacks.

Only over plain HTTP. Where TLS is spoken, or another server serves us, answers find no such extension and send bytes.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

PIECE = 4_000_000  # bytes that one system call may send
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
    """The system copies; in a thread, since the file may have to come from a slow disk first."""
    loop = asyncio.get_running_loop()
    while count:
        call = loop.run_in_executor(None, os.sendfile, socket, file, offset, min(count, PIECE))
        try:
            sent = await asyncio.shield(call)
        except BlockingIOError:
            await _writable(loop, socket)
            continue
        except asyncio.CancelledError:
            await asyncio.wait([call])  # the numbers of the files may not be used again before
            call.exception()
            raise
        if not sent:
            raise EOFError("the file is shorter than it was")
        offset += sent
        count -= sent


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
