"""The front door: `/` is the page for a browser and JSON for everyone else."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from middleware.scope import header, path_of, with_headers


class Front:
    """Sends `GET /` to `page` when the client accepts HTML; everything else to `app`."""

    def __init__(self, app: ASGIApp, page: ASGIApp) -> None:
        self.app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) != "/":
            await self.app(scope, receive, send)
            return
        reads = scope["method"] in {"GET", "HEAD"}
        send = with_headers(send, (), vary=b"Accept")
        if reads and "text/html" in header(scope, b"accept").lower():
            await self._page(scope, receive, send)
        else:  # the server leaves the body of an answer to HEAD out
            await self.app({**scope, "method": "GET"} if reads else scope, receive, send)
