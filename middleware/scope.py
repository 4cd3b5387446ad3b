"""Reading and answering plain ASGI: what all the classes here share."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Scope, Send

from engine import AtelierError

Refuse = Callable[
    [str, AtelierError], Response
]  # (path, error) -> the answer in the path's dialect

__all__ = ["ASGIApp", "Refuse", "address", "header", "path_of", "with_headers"]


def path_of(scope: Scope) -> str:
    """The path below the root path a proxy serves us under."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def header(scope: Scope, name: bytes) -> str:
    """The first header of this (lower-case) name; empty when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def address(scope: Scope) -> str:
    """The client's address; "local" over a Unix socket."""
    client = scope.get("client")
    return str(client[0]) if client else "local"


def with_headers(send: Send, headers: Iterable[tuple[bytes, bytes]], vary: bytes = b"") -> Send:
    """`send`, adding those headers that an answer does not have yet, and to its `Vary`."""
    extra = list(headers)

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            have = list(message.get("headers", ()))
            names = {bytes(name).lower() for name, _ in have}
            have += [(name, value) for name, value in extra if name not in names]
            if vary:
                have.append((b"vary", vary))
            message = {**message, "headers": have}
        await send(message)

    return wrapped
