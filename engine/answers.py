"""Answers that may be given once more: JSON values kept for an hour, in memory or in Redis.

Knows neither questions nor models: a key is made of all that an answer depends on.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import orjson

SECONDS = 3600.0  # how long an answer is kept
ROOM = 32_000_000  # bytes of answers in memory
COST = 300  # bytes that an entry takes beside its answer
REST = 10.0  # seconds for which a Redis that failed is left alone
PREFIX = "atelier:answers:1:"  # the number changes with the form of what is kept
log = logging.getLogger("atelier.answers")


def key_of(*parts: bytes | str) -> str:
    """The key of an answer that depends on these parts, in this order, and on nothing else."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


class Answers:
    """Answers by their keys. Use it on one event loop; one that cannot be had is a miss, never an error.

    Args:
        redis_url: where they are kept for all processes; "": in this one's memory.
        seconds: how long; clock: for memory (Redis has its own).
        room: bytes in memory; the ones longest unused go first.

    Attributes:
        hits, misses: how often an answer was there, and how often it was not.
    """

    def __init__(
        self,
        redis_url: str = "",
        *,
        seconds: float = SECONDS,
        room: int = ROOM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = redis_url
        self._seconds = seconds
        self._room = room
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._size = 0
        self._redis: Any = None
        self._rested = 0.0  # until when Redis is left alone
        self.hits = self.misses = 0

    async def get(self, key: str) -> Any | None:
        """The answer of a key; None where there is none (any more)."""
        data = await self._ask("get", PREFIX + key) if self._url else self._recall(key)
        value = _read(data)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    async def put(self, key: str, value: Any) -> None:
        """Keep an answer: any value that JSON has, but null."""
        data = orjson.dumps(value)
        if self._url:
            await self._ask("set", PREFIX + key, data, px=max(1, round(self._seconds * 1000)))
        else:
            self._keep(key, data)

    async def close(self) -> None:
        """Let go of Redis."""
        if self._redis is not None:
            client, self._redis = self._redis, None
            await client.aclose()

    # In memory

    def _recall(self, key: str) -> bytes | None:
        until, data = self._kept.get(key, (0.0, b""))
        if self._clock() >= until:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return data

    def _keep(self, key: str, data: bytes) -> None:
        self._drop(key)
        if len(data) + COST > self._room:
            return
        self._kept[key] = (self._clock() + self._seconds, data)
        self._size += len(data) + COST
        while self._size > self._room:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        if key in self._kept:
            self._size -= len(self._kept.pop(key)[1]) + COST

    # In Redis

    async def _ask(self, command: str, *args: Any, **options: Any) -> Any:
        """What Redis says; None while it cannot be reached."""
        if self._clock() < self._rested:
            return None
        redis = await asyncio.to_thread(importlib.import_module, "redis.asyncio")
        try:
            if self._redis is None:
                self._redis = redis.Redis.from_url(
                    self._url, socket_timeout=1, socket_connect_timeout=1, retry=None
                )
            return await getattr(self._redis, command)(*args, **options)
        except (redis.RedisError, OSError, ValueError) as error:
            self._rested = self._clock() + REST
            log.warning("Redis keeps no answers now (%s).", type(error).__name__)
            return None


def _read(data: Any) -> Any | None:
    """The value as it was kept; None where this is not ours."""
    try:
        return None if data is None else orjson.loads(data)
    except (orjson.JSONDecodeError, TypeError):
        return None
