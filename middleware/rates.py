"""How often one address may call the API. Counts in memory, or in Redis for several processes.

The page's own requests (Gradio's) are not counted: its assets and its live header would use a rate up.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from engine import AtelierError, BadValue, Limited
from middleware.scope import Refuse, address, path_of

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import MovingWindowRateLimiter
    from redis.asyncio import ConnectionPool

CREATURES = "GET /v1/generate"
SEED = {
    "": "100/minute;1000/hour",
    "POST /api/v1/ai/vision/analyze": "10/minute",
    "POST /api/v1/ai/vision/models/": "1/hour",
    CREATURES: "60/minute",
}
COUNTED = ("/v1/", "/api/", "/models", "/ocr", "/chat", "/batch/")
log = logging.getLogger("atelier.rates")


@dataclass(slots=True)
class Limiter:
    """The rules of a rate setting, and the counters.

    Args:
        rules: "METHOD /prefix" (empty: every call) and its rates; built on the first call, since the
            library takes its time to import.
    """

    rules: dict[str, str]
    redis_url: str = ""
    _items: list[tuple[str, RateLimitItem]] = field(default_factory=list)
    _counters: list[MovingWindowRateLimiter] = field(default_factory=list)
    _pool: ConnectionPool | None = None
    _down: float = 0.0

    @classmethod
    def of(cls, rates: str, redis_url: str = "", creatures: int | None = None) -> Limiter | None:
        """The limiter of a setting: None for "", the published figures for "seed", else one rate for all.

        Args:
            creatures: calls of the creature service a minute, whatever else is set; 0: as many as one likes.

        Raises:
            BadValue: it is not a rate.
        """
        rules = dict(SEED) if rates == "seed" else {"": rates} if rates else {}
        if creatures is not None:
            rules.pop(CREATURES, None)
            rules |= {CREATURES: f"{creatures}/minute"} if creatures else {}
        if not rules:
            return None
        limiter = cls(rules, redis_url)
        limiter.build()
        return limiter

    def build(self) -> None:
        from limits import parse_many
        from limits.aio.storage import MemoryStorage
        from limits.aio.strategies import MovingWindowRateLimiter
        from limits.storage import storage_from_string

        try:
            self._items = [
                (where, item) for where, r in self.rules.items() for item in parse_many(r)
            ]
        except ValueError:
            raise BadValue(
                'ATELIER_RATE_LIMITS is no rate. Write "100/minute;1000/hour".'
            ) from None
        if self.redis_url:
            from redis.asyncio import ConnectionPool

            self._pool = ConnectionPool.from_url(
                self.redis_url, socket_timeout=1, socket_connect_timeout=1
            )
            url = self.redis_url.replace("redis", "async+redis", 1)
            shared = storage_from_string(url, implementation="redispy", connection_pool=self._pool)
            self._counters.append(MovingWindowRateLimiter(shared))
        self._counters.append(MovingWindowRateLimiter(MemoryStorage()))

    async def close(self) -> None:
        """Let go of Redis."""
        if self._pool is not None:
            await self._pool.aclose()

    async def wait(self, method: str, path: str, who: str) -> float:
        """Count a call; the seconds after which it may be made, 0 when it may be made now."""
        if self.redis_url and time.monotonic() >= self._down:
            try:
                return await self._count(self._counters[0], method, path, who)
            except self._lost() as error:
                self._down = time.monotonic() + 10
                log.warning(
                    "Redis is not reachable (%s): rates are counted here.", type(error).__name__
                )
        return await self._count(self._counters[-1], method, path, who)

    def _lost(self) -> tuple[type[Exception], ...]:
        kinds = self._counters[0].storage.base_exceptions
        return (*(kinds if isinstance(kinds, tuple) else (kinds,)), OSError, asyncio.TimeoutError)

    async def _count(
        self, counter: MovingWindowRateLimiter, method: str, path: str, who: str
    ) -> float:
        for where, item in self._items:
            if f"{method} {path}".startswith(where) and not await counter.hit(item, who, where):
                reset = (await counter.get_window_stats(item, who, where)).reset_time
                return max(1.0, float(reset) - time.time())
        return 0.0


class Rates:
    """Refuses with 429 and `Retry-After` what goes over a rate."""

    def __init__(self, app: ASGIApp, refuse: Refuse, limiter: Limiter) -> None:
        self.app = app
        self._refuse = refuse
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = path_of(scope)
            if path.startswith(COUNTED) and scope["method"] != "OPTIONS":
                wait = await self._limiter.wait(scope["method"], path, address(scope))
                if wait:
                    seconds = math.ceil(wait)
                    error: AtelierError = Limited(
                        f"Too many calls. Try again in {seconds} seconds.", retry_after=seconds
                    )
                    await self._refuse(path, error)(scope, receive, send)
                    return
        await self.app(scope, receive, send)
