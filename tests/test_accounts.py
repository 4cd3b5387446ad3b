"""Nothing used is counted twice or lost: shared loadings, stops, hang-ups, failures, retries, two runs as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from engine import Caller, Engine
from engine.errors import InferenceFailed
from engine.events import Done, Usage
from engine.picture_chat import added
from engine.usage import Row
from tests.conftest import asking, collect
from tests.fakes import Bench, read, spec


@pytest.fixture
async def started(build: Callable[..., Engine]) -> AsyncIterator[Engine]:
    engine = build()
    await engine.start()
    yield engine
    await engine.close()


async def rows(engine: Engine) -> list[Row]:
    await engine.usage.flush()
    return await engine.usage.rows()


async def test_a_loading_that_five_waited_for_is_counted_once() -> None:
    bench = Bench()
    jobs = [bench.ask(spec("a"), str(n)) for n in range(5)]
    bench.turns()
    usages = []
    for job in jobs:
        done = (await read(job))[-1]
        assert isinstance(done, Done)
        usages.append(done.usage)
    assert [u.load_s for u in usages] == [pytest.approx(2.0)] * 5  # they all waited for it
    assert sum(u.own_load_s for u in usages) == pytest.approx(2.0)


async def hung_up(engine: Engine, text: str, events: int) -> None:
    async with aclosing(engine.run(asking(text), Caller(name="me", session="s"))) as stream:
        count = 0
        async for _ in stream:
            count += 1
            if count == events:
                return


async def test_who_hangs_up_pays_for_what_was_used(started: Engine) -> None:
    await hung_up(started, "!slow one two three four five six seven", 5)
    (row,) = await rows(started)
    assert row.status == "cancelled" and row.input_tokens == 8 and row.output_tokens >= 2
    assert row.run_s > 0.02 and 0 < row.first_s <= row.run_s <= row.seconds


async def test_who_stops_pays_for_what_was_used(started: Engine) -> None:
    async with aclosing(
        started.run(asking("!slow " + "word " * 200), Caller(session="s"))
    ) as stream:
        count = 0
        async for _ in stream:
            count += 1
            if count == 5:
                started.stop("s")
    (row,) = await rows(started)
    assert row.status == "stopped" and 2 <= row.output_tokens < 200 and row.run_s > 0.02


async def test_a_failure_pays_too_and_a_retry_once(started: Engine) -> None:
    with pytest.raises(InferenceFailed):
        await collect(started, asking("!fail one two three"))
    await collect(started, asking("!oom one two"))
    retried, failed = await rows(started)
    assert failed.status == "INFERENCE_FAILED" and failed.output_tokens == 2
    assert (retried.status, retried.input_tokens, retried.output_tokens) == ("ok", 3, 4)
    totals = {total.key: total for total in await started.usage.totals("status")}
    assert totals["INFERENCE_FAILED"].failed == 1 and totals["ok"].failed == 0
    whole = (await started.usage.totals("task"))[0]
    assert whole.requests == 2 and whole.output_tokens == 6
    assert whole.own_load_s == pytest.approx(failed.own_load_s + retried.own_load_s)


async def test_tokens_made_grow_while_they_are_made(started: Engine) -> None:
    async with aclosing(
        started.run(asking("!slow " + "word " * 50), Caller(session="s"))
    ) as stream:
        seen = set()
        async for _ in stream:
            seen.add(started.made())
            await asyncio.sleep(0)
    assert len(seen) > 5
    assert started.made() == (await rows(started))[0].output_tokens


def test_two_runs_together_lose_no_unit() -> None:
    one = Usage(input_tokens=1, pages=2, audio_s=1.5, first_s=0.5, run_s=1.0, own_load_s=2.0)
    both = added(one, Usage(input_tokens=2, pages=1, images=3, first_s=9.0, run_s=2.0))
    assert both == Usage(
        input_tokens=3, pages=3, images=3, audio_s=1.5, first_s=0.5, run_s=3.0, own_load_s=2.0
    )
