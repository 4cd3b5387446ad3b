"""Many streams share frames, and a reader that is behind stops the reading."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator

import pytest

from engine import Text
from engine.callers import Caller
from engine.events import Done, Event
from engine.job import Job
from engine.registry import ModelSpec
from routers import wire
from tests.test_wire import META, PLAIN, Fake

SPEC = ModelSpec(id="far", does=frozenset({"chat"}), family="remote", lane="remote")


@pytest.mark.parametrize(
    ("running", "gap"), [(1, 0.0), (5, 0.0), (6, 0.012), (25, 0.05), (50, 0.1), (5000, 0.1)]
)
def test_a_crowd_sends_500_frames_a_second_together(running: int, gap: float):
    assert wire.Pace(running=running).gap == pytest.approx(gap)


async def test_the_first_content_is_not_held_and_what_follows_is_spaced():
    async def events() -> AsyncGenerator[Event]:
        for word in ("a", "b", "c", "d"):
            yield Text(word)
        yield Done()

    client, source = Fake(), events()
    times: list[float] = []

    async def send(message: dict[str, object]) -> None:
        if message.get("body"):
            times.append(time.monotonic())
        await client.send(message)

    pace = wire.Pace(rate=20.0)  # one stream alone is a crowd: 50 ms between its frames
    stream = wire.Stream(wire.Opening([await anext(source)]), source, PLAIN, META, {}, pace)
    began = time.monotonic()
    await stream({"type": "http"}, client.receive, send)
    assert client.body == b"abcd" and pace.running == 0
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert times[0] - began < 0.04 and gaps[0] < 0.04, "the opening frames are held"
    assert min(gaps[1:]) >= 0.045


async def test_a_writer_waits_until_its_reader_has_taken_everything():
    job = Job(SPEC, None, Caller(), time.monotonic, asyncio.get_running_loop())
    job.put(Text("a"))
    assert await anext(job) == Text("a") and not job.behind
    job.put(Text("b"))
    job.wake()
    assert job.behind, "the reader is busy with the first"
    waiting = asyncio.create_task(job.taken())
    await asyncio.sleep(0)
    job.put(Text("c"))
    assert not waiting.done()
    assert await anext(job) == Text("bc"), "neighbours come merged"
    await asyncio.wait_for(waiting, 1)
    assert not job.behind


async def test_a_reader_that_waits_is_not_behind():
    job = Job(SPEC, None, Caller(), time.monotonic, asyncio.get_running_loop())
    reading = asyncio.create_task(anext(job))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    job.put(Text("a"))
    job.wake()
    assert not job.behind
    await asyncio.wait_for(job.taken(), 1)
    assert await reading == Text("a")
