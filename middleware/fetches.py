"""Closes the two routes by which Gradio fetches a URL for whoever asks."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from engine import Forbidden
from middleware.scope import Refuse

FETCHING = re.compile(r"gradio_api/+(proxy=|file=(?!/[^/]))")
ROUNDS = 8


class Fetches:
    """Refuses `/gradio_api/proxy=…`, and `/gradio_api/file=…` for anything but a path on this machine."""

    def __init__(self, app: ASGIApp, refuse: Refuse) -> None:
        self.app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and fetches(scope["path"]):
            error = Forbidden("This server opens no URL for a page. Upload the file instead.")
            await self._refuse(scope["path"], error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def fetches(path: str) -> bool:
    """Whether Gradio would open a URL for this path, however often it is encoded."""
    for _ in range(ROUNDS):
        plain = unquote(path)
        if plain == path:
            break
        path = plain
    plain = re.sub(r"[\x00-\x20\x7f]", "", path).replace("\\", "/").lower()
    return "%" in plain.partition("=")[0] or FETCHING.search(plain) is not None
