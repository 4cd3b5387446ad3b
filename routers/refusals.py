"""One place where an error becomes an HTTP answer, in the words of the dialect whose path was called.

Knows no dialect by name: `api.py` brings the table of paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from engine import AtelierError, BadFormat, BadValue, Forbidden, NoToken, TooLarge, Unknown
from routers.bodies import first_of

Shape = Callable[[AtelierError], dict[str, Any]]


class Misshapen(BadValue):
    """The body has the wrong shape."""

    status, code = 422, "INVALID_BODY"


class WrongMethod(AtelierError):
    """The path is right and the method is not."""

    status, code = 405, "METHOD_NOT_ALLOWED"


class Broken(AtelierError):
    """A fault of our own; the log has the traceback under the request's id."""

    status, code = 500, "INTERNAL_ERROR"


HTTP: dict[int, type[AtelierError]] = {
    kind.status: kind
    for kind in (BadValue, NoToken, Forbidden, Unknown, WrongMethod, TooLarge, BadFormat, Misshapen)
}


def plain(error: AtelierError) -> dict[str, Any]:
    """The error body of every path that no dialect claims."""
    return {"detail": error.message, "error": error.code}


class Refusals:
    """Errors to answers.

    Args:
        shapes: (path prefixes, error body of that dialect, status of a misshapen body) per dialect.
    """

    def __init__(self, shapes: Sequence[tuple[tuple[str, ...], Shape, int]]) -> None:
        self._shapes = tuple(shapes)

    def answer(self, path: str, error: AtelierError) -> Response:
        """The answer that says `error` on `path`."""
        shape, misshapen = self._found(path)
        status = misshapen if isinstance(error, Misshapen) else error.status
        headers = {}
        if error.retry_after is not None:
            headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        elif status in {429, 503}:
            headers["retry-after"] = "5"
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        return Response(orjson.dumps(shape(error)), status, headers, media_type="application/json")

    def shape_of(self, path: str) -> Shape:
        """The error body of the dialect that a path belongs to."""
        return self._found(path)[0]

    def _found(self, path: str) -> tuple[Shape, int]:
        for prefixes, shape, misshapen in self._shapes:
            if path.startswith(prefixes):
                return shape, misshapen
        return plain, 422

    async def ours(self, http: HttpRequest, error: Exception) -> Response:
        """The handler of AtelierError."""
        assert isinstance(error, AtelierError)
        return self.answer(http.url.path, error)

    async def misshapen(self, http: HttpRequest, error: Exception) -> Response:
        """The handler of a body, query or path that does not fit its model."""
        assert isinstance(error, RequestValidationError)
        where, what = first_of(error.errors())
        message = f"{where}: {what}." if where else f"{what[:1].upper()}{what[1:]}."
        return self.answer(http.url.path, Misshapen(message, param=where or None))

    async def framework(self, http: HttpRequest, error: Exception) -> Response:
        """The handler of what the web framework itself refuses."""
        assert isinstance(error, HTTPException)
        kind = HTTP.get(error.status_code, Broken if error.status_code >= 500 else BadValue)
        message = str(error.detail)
        if kind is Unknown:
            message = f"There is nothing at {http.url.path[:200]}. See /docs for what there is."
        elif kind is WrongMethod:
            message = f"{http.method} is not for this path. See /docs."
        answer = self.answer(http.url.path, kind(message))
        answer.headers.update(error.headers or {})
        if kind is WrongMethod:
            answer.headers["allow"] = ", ".join(_methods(http)) or answer.headers.get("allow", "")
        return answer

    async def broken(self, http: HttpRequest, error: Exception) -> Response:
        """The handler of everything else: a fault of ours; the server logs the traceback."""
        return self.answer(
            http.url.path,
            Broken(f"The server made a mistake. Its log has it under {http.state.request_id}."),
        )


def _methods(http: HttpRequest) -> list[str]:
    """All methods of the path that was called; the framework names those of its first route alone.

    Of `/v1/models/load` and `/v1/models/{model}` the first is meant, as the published description has it.
    """
    fit = [r for r in http.app.state.routes if r.matches(http.scope)[0] is not Match.NONE]
    path = min((r.path for r in fit), key=lambda path: path.count("{"), default="")
    return sorted({method for r in fit if r.path == path for method in r.methods or ()})
