"""What is still being answered when the server stops: told so, and ended as HTTP asks.

Only a stopping server cancels a request's task; a client that hangs up is noticed elsewhere.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import Unavailable
from middleware.scope import Refuse, path_of


class Ending:
    """Answers a cancelled request with 503, or closes the stream that it had begun."""

    def __init__(self, app: ASGIApp, refuse: Refuse) -> None:
        self.app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = ended = False

        async def noted(message: Message) -> None:
            nonlocal begun, ended
            begun = True
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, noted)
        except asyncio.CancelledError:
            if not begun:
                error = Unavailable("The server is stopping. Ask again in a moment.", retry_after=5)
                await self._refuse(path_of(scope), error)(scope, receive, send)
            elif not ended:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
