"""The largest body accepted, for every path: refused before it is read, or as soon as it is too long."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import BadValue, TooLarge
from middleware.scope import Refuse, header, path_of


class TooLong(HTTPException):
    """Raised out of `receive`: web frameworks let their own exception pass where they wrap others."""


class Body:
    """Refuses a body of more than `limit` bytes, announced or chunked, with 413.

    Args:
        own: paths with a limit of their own, and the variable that sets it.
    """

    def __init__(
        self,
        app: ASGIApp,
        refuse: Refuse,
        limit: int,
        own: Mapping[str, tuple[int, str]] | None = None,
    ) -> None:
        self.app = app
        self._refuse = refuse
        self._limit = limit, "ATELIER_BODY_LIMIT"
        self._own = dict(own or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = header(scope, b"content-length")
        if announced and not (announced.isascii() and announced.isdigit()):
            wrong = BadValue("Content-Length must be a number of bytes.")
            await self._refuse(path_of(scope), wrong)(scope, receive, send)
            return
        limit, variable = self._own.get(path_of(scope), self._limit)
        error = TooLarge(
            f"The body is larger than the {limit:,} bytes accepted. Send less, or raise {variable}."
        )
        if announced and int(announced) > limit:
            await self._refuse(path_of(scope), error)(scope, receive, send)
            return
        await self._count(scope, receive, send, error, limit)

    async def _count(
        self, scope: Scope, receive: Receive, send: Send, error: TooLarge, limit: int
    ) -> None:
        read = 0
        started = False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise TooLong(413, error.message)
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, noted)
        except TooLong:
            if started:
                raise
            await self._refuse(path_of(scope), error)(scope, receive, send)
