"""The cache of answers: an hour by the clock, a bound on memory, and a Redis that comes and goes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bench.servers import free_port
from engine import key_of
from engine.answers import COST, PREFIX, REST, SECONDS, Answers
from tests.fakes import Clock
from tests.stores import redis_server

ANSWER = {"response_text": "un carré rouge — красный", "detected_objects": [[1.5, None]]}


def test_keys_tell_parts_apart():
    keys = [
        key_of("a", "b"),
        key_of("ab", ""),
        key_of("", "ab"),
        key_of("ab"),
        key_of("b", "a"),
        key_of("a", b"\xff"),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of("é") == key_of("é".encode())
    assert key_of("\ud800")  # JSON can hold half a character


async def test_an_answer_stays_for_an_hour():
    clock = Clock()
    answers = Answers(clock=clock)
    assert await answers.get("k") is None
    await answers.put("k", ANSWER)
    clock.pass_(SECONDS - 1)
    assert await answers.get("k") == ANSWER
    clock.pass_(1)
    assert await answers.get("k") is None
    assert (answers.hits, answers.misses) == (1, 2)


async def test_what_is_kept_is_nobodys_to_change():
    answers = Answers()
    value = {"list": [1]}
    await answers.put("k", value)
    value["list"].append(2)
    first = await answers.get("k")
    assert first == {"list": [1]}
    first["list"].append(3)
    assert await answers.get("k") == {"list": [1]}


async def test_memory_is_bounded_and_the_longest_unused_goes():
    answers = Answers(room=3 * (COST + 10))
    for name in "abc":
        await answers.put(name, "12345678")  # ten bytes as JSON
    await answers.get("a")
    await answers.put("d", "12345678")
    assert [await answers.get(name) for name in "abcd"] == [
        "12345678",
        None,
        "12345678",
        "12345678",
    ]
    await answers.put("big", "x" * 1000)
    assert await answers.get("big") is None and await answers.get("a")


async def test_a_newer_answer_replaces_an_older_one():
    answers = Answers(room=2 * (COST + 10))
    for n in range(10):
        await answers.put("k", n)
    await answers.put("other", 1)
    assert (await answers.get("k"), await answers.get("other")) == (9, 1)


# Redis --------------------------------------------------------------------------------------------


async def test_redis_shares_answers(redis_url: str):
    import redis.asyncio

    key = key_of(os.urandom(8))
    here, there = Answers(redis_url), Answers(redis_url)
    plain = redis.asyncio.Redis.from_url(redis_url)
    try:
        assert await there.get(key) is None
        await here.put(key, ANSWER)
        assert await there.get(key) == ANSWER
        assert 0 < await plain.pttl(PREFIX + key) <= SECONDS * 1000
        await plain.set(PREFIX + key, b"\xff not ours")
        assert await there.get(key) is None
    finally:
        await plain.delete(PREFIX + key)
        for each in (here, there):
            await each.close()
        await plain.aclose()


async def test_redis_forgets_in_time(redis_url: str):
    answers = Answers(redis_url, seconds=0.05)
    await answers.put("brief", 1)
    await asyncio.sleep(0.1)
    assert await answers.get("brief") is None
    await answers.close()


async def test_a_redis_that_goes_is_missed_and_one_that_comes_back_is_found(tmp_path: Path):
    clock, port = Clock(), free_port()
    with redis_server(port, tmp_path) as url:
        answers = Answers(url, clock=clock)
        await answers.put("k", 1)
        assert await answers.get("k") == 1
    assert await answers.get("k") is None
    with redis_server(port, tmp_path):
        await answers.put("k", 2)  # it is left alone for a while
        assert await answers.get("k") is None
        clock.pass_(REST)
        await answers.put("k", 3)
        assert await answers.get("k") == 3
    await answers.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "nonsense://x"])
async def test_without_a_redis_every_question_is_a_miss(url: str):
    answers = Answers(url)
    await asyncio.wait_for(answers.put("k", 1), 3)
    assert await asyncio.wait_for(answers.get("k"), 3) is None
    await answers.close()


async def test_a_hung_redis_does_not_hang_us():
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    answers = Answers(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    assert await asyncio.wait_for(answers.get("k"), 5) is None
    await answers.close()
    server.close()
