"""Counts every HTTP request by the template of its route, and logs it. Knows routes by what the router left behind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from middleware.scope import path_of

PAGE = "page"  # the label of what Gradio serves, and of what nothing does
QUIET = frozenset(
    {PAGE, "/health", "/ready", "/metrics"}
)  # asked again and again: logged for debugging only
GONE = 499
log = logging.getLogger("atelier.http")


class Meter:
    """Tells `served` of each request: method, route, status, seconds until the whole answer was sent.

    Args:
        routes: the templates that count by name; the others are the page's.
        broke: told of what nobody had foreseen.
    """

    def __init__(
        self,
        app: ASGIApp,
        served: Callable[[str, str, int, float], None],
        broke: Callable[[str], None],
        routes: Collection[str],
    ) -> None:
        self.app = app
        self._served, self._broke = served, broke
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            status = status or 500
            self._broke("INTERNAL_ERROR")
            raise
        finally:
            route = getattr(scope.get("route"), "path", "")
            route = route if route in self._routes else PAGE
            seconds = time.perf_counter() - began
            self._served(scope["method"], route, status or GONE, seconds)
            level = logging.DEBUG if route in QUIET and status < 500 else logging.INFO
            if log.isEnabledFor(level):
                self._write(level, scope, route, status or GONE, seconds)

    def _write(self, level: int, scope: Scope, route: str, status: int, seconds: float) -> None:
        path = path_of(scope)[:200].encode("unicode_escape").decode()
        milliseconds = round(1000 * seconds, 1)
        log.log(
            level, "http.response %s %s %d %.1f ms", scope["method"], path, status, milliseconds,
            extra={
                "request_id": scope["state"]["request_id"], "method": scope["method"], "route": route,
                "status": status, "duration_ms": milliseconds,
            },
        )  # fmt: skip
