"""What the processes of one server tell each other, over Redis: small facts that all of them keep, and questions.

Knows neither sign-ins nor requests. Without a Redis there is nobody else; while it cannot be reached, each process
goes on alone, and what it could not tell is told when Redis is back.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

PREFIX = "atelier:1:"  # the number changes with the form of what is kept
CHANNEL = f"{PREFIX}told"
REST = 2.0  # seconds for which a Redis that failed is left alone
PATIENCE = 1.0  # seconds to wait for the others' answers
UNTOLD = 10_000  # facts that wait for Redis, at most
MOST = 20_000  # facts of a kind that are read at the start
log = logging.getLogger("atelier.shared")

Fact = Callable[[str, str | None], None]
Loaded = Callable[[Mapping[str, str]], None]
Question = Callable[..., int]


class Shared:
    """Facts and questions between processes. Use it on one event loop.

    A fact has a kind, a key and a value: `keep` and `forget` change it here, in Redis and in every process that is
    there; one that starts, or that finds Redis again, reads all of them.

    Args:
        url: the Redis; "": no other process.
    """

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._me = secrets.token_hex(8)
        self._facts: dict[str, tuple[Fact, Loaded]] = {}
        self._questions: dict[str, Question] = {}
        self._untold: OrderedDict[tuple[str, str], tuple[str | None, float]] = OrderedDict()
        self._redis: Any = None
        self._errors: tuple[type[Exception], ...] = (OSError, ValueError)
        self._listening: asyncio.Task[None] | None = None
        self._there = asyncio.Event()
        self._rested = 0.0

    @property
    def alone(self) -> bool:
        """No other process can be reached: none is there, or Redis is not."""
        return not self._there.is_set()

    def hold(self, kind: str, changed: Fact, loaded: Loaded) -> None:
        """Have facts of a kind kept: `changed(key, value)` for each (None: forgotten), `loaded` with all of them."""
        self._facts[kind] = (changed, loaded)

    def answer(self, question: str, fn: Question) -> None:
        """Have a question answered here: a number, usually of things that were done."""
        self._questions[question] = fn

    async def start(self) -> None:
        """Find Redis and read what is known; returns after two seconds in any case, and goes on looking."""
        if self._url and self._listening is None:
            self._listening = asyncio.create_task(self._listen())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._there.wait(), 2)

    async def close(self) -> None:
        """Let go of Redis."""
        while self._listening is not None and not self._listening.done():
            self._listening.cancel()  # once may not do: redis-py can take it for a time-out of its own
            await asyncio.wait([self._listening], timeout=0.2)
        self._listening = None
        if self._redis is not None:
            client, self._redis = self._redis, None
            await client.aclose()
        self._there.clear()

    async def keep(self, kind: str, key: str, value: str, seconds: float) -> None:
        """Make a fact known for so long."""
        await self._change(kind, key, value, seconds)

    async def forget(self, kind: str, key: str) -> None:
        """Make it known that a fact holds no longer."""
        await self._change(kind, key, None, 0)

    async def ask(self, question: str, *words: str) -> int:
        """What the others did, added up. Those that do not answer within a second count as nothing."""
        if self.alone:
            return 0
        place = f"{PREFIX}answer:{secrets.token_hex(8)}"
        total = 0

        async def gather(redis: Any) -> None:
            nonlocal total
            message = orjson.dumps({"by": self._me, "ask": question, "words": words, "to": place})
            others = await redis.publish(CHANNEL, message) - 1  # this process listens as well
            until = time.monotonic() + PATIENCE
            for _ in range(others):
                left = until - time.monotonic()
                found = await redis.blpop(place, timeout=max(0.05, left))
                if found is None:
                    break
                total += int(found[1])

        await self._try(gather)
        return total

    # Facts

    async def _change(self, kind: str, key: str, value: str | None, seconds: float) -> None:
        if not self._url:
            return
        self._untold[(kind, key)] = (value, time.time() + seconds)
        self._untold.move_to_end((kind, key))
        while len(self._untold) > UNTOLD:
            self._untold.popitem(last=False)
        await self._try(self._tell)

    async def _tell(self, redis: Any) -> None:
        """Bring to Redis and to the others what they do not know yet."""
        while self._untold:
            (kind, key), (value, until) = next(iter(self._untold.items()))
            name = f"{PREFIX}{kind}:{key}"
            left = round((until - time.time()) * 1000)
            if value is None or left <= 0:
                await redis.delete(name)
            else:
                await redis.set(name, value, px=left)
            message = {"by": self._me, "kind": kind, "key": key, "value": value}
            await redis.publish(CHANNEL, orjson.dumps(message))
            if self._untold.get((kind, key)) == (value, until):
                del self._untold[(kind, key)]

    async def _load(self, redis: Any) -> None:
        for kind, (_, loaded) in self._facts.items():
            start = f"{PREFIX}{kind}:"
            names = [name async for name in redis.scan_iter(match=f"{start}*", count=1000)][:MOST]
            values = await redis.mget(names) if names else []
            pairs = zip(names, values, strict=True)
            loaded({name[len(start) :]: value for name, value in pairs if value is not None})

    # Listening

    async def _listen(self) -> None:
        """For ever: read what is known, then hear what changes."""
        while True:
            await self._try(self._hear)
            self._there.clear()
            await asyncio.sleep(REST)

    async def _hear(self, redis: Any) -> None:
        async with redis.pubsub() as heard:
            await heard.subscribe(CHANNEL)
            await self._tell(redis)
            await self._load(redis)
            self._there.set()
            while True:
                message = await heard.get_message(ignore_subscribe_messages=True, timeout=5)
                if message is not None:
                    await self._take(redis, orjson.loads(message["data"]))

    async def _take(self, redis: Any, message: dict[str, Any]) -> None:
        if message["by"] == self._me:
            return
        if "ask" in message:
            fn = self._questions.get(message["ask"])
            done = fn(*message["words"]) if fn is not None else 0
            await redis.rpush(message["to"], done)
            await redis.expire(message["to"], 10)
        elif message["kind"] in self._facts:
            self._facts[message["kind"]][0](message["key"], message["value"])

    async def _try(self, work: Callable[[Any], Awaitable[None]]) -> None:
        """Do something with Redis; what goes wrong with it is logged and harms nothing."""
        try:
            await work(await self._connected())
        except self._errors as error:
            if time.monotonic() >= self._rested:
                log.warning(
                    "Redis is not reachable (%s): this process goes on alone.", type(error).__name__
                )
            self._rested = time.monotonic() + 60

    async def _connected(self) -> Any:
        redis = await asyncio.to_thread(importlib.import_module, "redis.asyncio")
        if self._redis is None:
            self._errors = (redis.RedisError, OSError, ValueError)
            self._redis = redis.Redis.from_url(
                self._url, socket_timeout=2, socket_connect_timeout=1, retry=None,
                decode_responses=True, health_check_interval=10,
            )  # fmt: skip
        return self._redis
