"""The request's and the session's id: taken from the client or made, and always returned."""

from __future__ import annotations

import re
import secrets

from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from engine import request_id as current
from middleware.scope import header, with_headers

SENSIBLE = re.compile(r"[\w.:@+/=-]{1,128}", re.ASCII)
COOKIE = "atelier_page"  # a browser's own id, set by the page's script


class Ids:
    """Puts `request_id` and `session` into the request's state and both on the answer.

    A session id that the client did not bring cannot be guessed: it is what `stop`, the chosen model and
    stored documents belong to. What a browser loads by itself, pictures and files, brings the cookie alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given(scope, b"x-request-id") or secrets.token_hex(12)
        session = _given(scope, b"x-session-id") or _browser(scope) or secrets.token_urlsafe(24)
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "session": session}
        current.set(request_id)  # for the log; stays with this request's task
        ids = [(b"x-request-id", request_id.encode()), (b"x-session-id", session.encode())]
        await self.app(scope, receive, with_headers(send, ids))


def _given(scope: Scope, name: bytes) -> str:
    value = header(scope, name)
    return value if SENSIBLE.fullmatch(value) else ""


def _browser(scope: Scope) -> str:
    value = cookie_parser(header(scope, b"cookie")).get(COOKIE, "")
    return value if len(value) >= 8 and SENSIBLE.fullmatch(value) else ""
