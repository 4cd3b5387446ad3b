"""What processes tell each other over a real Redis: facts, questions, and a Redis that goes and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.servers import free_port
from engine import Access, Limited, NoToken, Settings
from engine import shared as module
from engine.shared import Shared
from middleware.rates import Limiter
from tests.stores import redis_server


class Place:
    """One process's end: the facts of a kind that it knows."""

    def __init__(self, url: str, kind: str = "colour") -> None:
        self.known: dict[str, str] = {}
        self.shared = Shared(url)
        self.shared.hold(kind, self._changed, self._loaded)

    def _changed(self, key: str, value: str | None) -> None:
        if value is None:
            self.known.pop(key, None)
        else:
            self.known[key] = value

    def _loaded(self, facts: Mapping[str, str]) -> None:
        self.known = dict(facts)


@asynccontextmanager
async def places(url: str, count: int = 2) -> AsyncIterator[list[Place]]:
    found = [Place(url) for _ in range(count)]
    for place in found:
        await place.shared.start()
    try:
        yield found
    finally:
        for place in found:
            await place.shared.close()


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < end, "never"
        await asyncio.sleep(0.01)


async def test_a_fact_is_known_everywhere_and_by_who_comes_later(redis_url: str) -> None:
    async with places(redis_url, 3) as (one, two, three):
        await one.shared.keep("colour", "sky", "blue", 60)
        await one.shared.keep("colour", "sea", "green", 60)
        await until(lambda: two.known == three.known == {"sky": "blue", "sea": "green"})
        await two.shared.forget("colour", "sky")
        await until(lambda: three.known == {"sea": "green"})
        late = Place(redis_url)
        await late.shared.start()
        assert late.known == {"sea": "green"}
        await late.shared.close()


async def test_a_fact_ends_in_time(redis_url: str) -> None:
    async with places(redis_url, 1) as (one,):
        await one.shared.keep("colour", "dawn", "red", 0.2)
        await asyncio.sleep(0.4)
        late = Place(redis_url)
        await late.shared.start()
        assert late.known == {}
        await late.shared.close()


async def test_answers_are_added_up(redis_url: str) -> None:
    async with places(redis_url, 3) as found:
        for number, place in enumerate(found):
            place.shared.answer("how many", lambda word, number=number: number * len(word))
        assert await found[0].shared.ask("how many", "ab") == 2 + 4
        assert await found[2].shared.ask("how many", "ab") == 0 + 2
        assert await found[0].shared.ask("what nobody answers") == 0


async def test_one_that_does_not_answer_is_not_waited_for(redis_url: str) -> None:
    import redis.asyncio

    plain = redis.asyncio.Redis.from_url(redis_url)
    async with places(redis_url) as (one, two), plain.pubsub() as deaf:
        two.shared.answer("anything", lambda: 3)
        await deaf.subscribe(module.CHANNEL)  # it hears, and says nothing
        began = asyncio.get_running_loop().time()
        assert await one.shared.ask("anything") == 3
        assert 0.5 < asyncio.get_running_loop().time() - began < 3
    await plain.aclose()


async def test_alone_nothing_is_asked_of_anybody() -> None:
    one = Shared()
    await one.start()
    await one.keep("colour", "sky", "blue", 60)
    assert one.alone and await one.ask("anything") == 0
    await one.close()


async def test_what_was_not_told_is_told_when_redis_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 0.05)
    port = free_port()
    with redis_server(port, tmp_path) as url:
        one, two = Place(url), Place(url)
        await one.shared.start()
        await two.shared.start()
        await one.shared.keep("colour", "sky", "blue", 60)
        await until(lambda: two.known == {"sky": "blue"})
    await until(lambda: one.shared.alone and two.shared.alone)
    await one.shared.forget("colour", "sky")
    await one.shared.keep("colour", "sea", "green", 60)
    assert await one.shared.ask("anything") == 0
    with redis_server(port, tmp_path):
        await until(lambda: not one.shared.alone and not two.shared.alone)
        await until(lambda: two.known == {"sea": "green"})
        await one.shared.close()
        await two.shared.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "nonsense://x"])
async def test_without_a_redis_the_start_is_not_held_up(url: str) -> None:
    one = Shared(url)
    began = asyncio.get_running_loop().time()
    await one.start()
    await one.keep("colour", "sky", "blue", 60)
    assert one.alone and await one.ask("anything") == 0
    assert asyncio.get_running_loop().time() - began < 6
    await one.close()


async def test_a_sign_in_counts_everywhere_and_so_does_its_end(redis_url: str) -> None:
    here, there = Shared(redis_url), Shared(redis_url)
    settings = Settings(token="secret")
    doors = [Access(settings, shared=shared) for shared in (here, there)]
    for shared in (here, there):
        await shared.start()
    try:
        session = await doors[0].sign_in("secret", "a")
        await until(lambda: doors[1].rank(None, session) == "admin")
        await doors[1].sign_out(session)
        await until(lambda: doors[0].rank(None, session) is None)
        for number in range(10):
            with pytest.raises(NoToken):
                await doors[number % 2].sign_in("guess", "b")
        for door in doors:
            with pytest.raises(Limited):
                await door.sign_in("secret", "b")
    finally:
        await here.close()
        await there.close()


async def test_redis_never_sees_a_session(redis_url: str) -> None:
    import redis.asyncio

    shared = Shared(redis_url)
    door = Access(Settings(token="secret"), shared=shared)
    await shared.start()
    plain = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    try:
        session = await door.sign_in("secret", "a")
        names = [name async for name in plain.scan_iter("*")]
        values = [str(await plain.get(name)) for name in names]
        assert any("signed" in name for name in names)
        assert not any(session in text or "secret" in text for text in (*names, *values))
    finally:
        await plain.aclose()
        await shared.close()


async def test_rates_are_counted_together(redis_url: str) -> None:
    one, two = (Limiter.of("3/minute", redis_url) for _ in range(2))
    assert one and two
    waits = [await limiter.wait("GET", "/v1/x", "a") for limiter in (one, two, one, two, one)]
    assert waits[:3] == [0.0] * 3 and min(waits[3:]) > 0
    for limiter in (one, two):
        await limiter.close()


async def test_nothing_is_left_open(redis_url: str) -> None:
    import redis.asyncio

    async with redis.asyncio.Redis.from_url(redis_url) as plain:
        before = {each["id"] for each in await plain.client_list()}
        shared, limiter = Shared(redis_url), Limiter.of("3/minute", redis_url)
        assert limiter
        asked = [shared.keep("colour", str(n), "blue", 60) for n in range(5)]
        await asyncio.gather(*asked, limiter.wait("GET", "/v1/x", "a"))
        assert len(await plain.client_list()) > len(before)
        await shared.close()
        await limiter.close()
        await asyncio.sleep(0.1)
        assert {each["id"] for each in await plain.client_list()} == before
