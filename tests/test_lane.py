"""The lane with an injected clock, device and loader: what is loaded, leased, kept and evicted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.errors import (
    DoesNotFit,
)
from engine.events import Done, Loading, Text
from engine.footprints import Footprint
from engine.logs import request_id
from tests.fakes import Bench, key_of, read, run, spec, text_of

A, B, C = spec("a"), spec("b"), spec("c")


async def test_first_use_loads_and_the_stream_ends_with_done() -> None:
    bench = Bench()
    job = bench.ask(A)
    bench.turns()
    events = await read(job)
    assert [type(e) for e in events] == [Loading, Text, Done]
    assert events[0] == Loading("a", 1.0)
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.usage.input_tokens, done.usage.output_tokens) == (1, 3)
    assert done.usage.load_s == pytest.approx(2.0)


async def test_one_load_however_many_ask() -> None:
    bench = Bench()
    jobs = [bench.ask(A, str(n)) for n in range(5)]
    bench.turns()
    assert [await text_of(job) for job in jobs] == ["0 1 2 "] * 5
    assert bench.loads == ["load a"]


async def test_the_least_valuable_idle_model_is_evicted_first() -> None:
    bench = Bench(total=300)
    for model in (A, B, C):
        await run(bench, model)
        bench.clock.pass_(60)
    await run(bench, A)  # a was used last; b is idle longest
    await run(bench, spec("d"))
    assert sorted(bench.resident) == ["a", "c", "d"]


async def test_can_never_fit_is_refused_at_once() -> None:
    bench = Bench(total=300)
    with pytest.raises(DoesNotFit, match="Choose a smaller model"):
        bench.ask(spec("huge", memory=301))


async def test_a_measured_footprint_replaces_the_declared_one() -> None:
    bench = Bench(total=300)
    bench.remembered.remember(key_of("a"), Footprint(400, 1.0))
    with pytest.raises(DoesNotFit):
        bench.ask(A)
    await run(bench, B)
    assert bench.remembered.get(key_of("b")) == Footprint(100, 2.0, 100)


async def test_pinned_models_are_not_evicted_and_are_named() -> None:
    bench = Bench(total=150)
    await run(bench, A)
    bench.lane.pin("a", True)
    bench.clock.pass_(10_000)
    bench.turns(1)
    assert bench.resident == ["a"]
    job = bench.ask(B)
    bench.turns()
    with pytest.raises(DoesNotFit, match="pinned models hold the memory: a"):
        await read(job)
    bench.lane.pin("a", False)
    assert await run(bench, B) == "0 1 2 "


@pytest.mark.parametrize(
    ("keep_alive", "after", "resident"),
    [
        (None, 299, ["a"]),
        (None, 301, []),
        (0, 0, []),
        (-1, 1_000_000, ["a"]),
        (5, 4, ["a"]),
        (5, 6, []),
    ],
)
async def test_keep_alive_as_ollama_means_it(
    keep_alive: float | None, after: float, resident: list[str]
) -> None:
    bench = Bench()
    job = bench.ask(A, keep_alive=keep_alive)
    bench.turns(2)
    await read(job)
    bench.clock.pass_(after)
    bench.turns(1)
    assert bench.resident == resident


async def test_the_idle_clock_starts_when_the_last_lease_ends() -> None:
    bench = Bench(keep_alive=10)
    bench.family.script = lambda n, request, emit: bench.clock.pass_(100)
    job = bench.ask(A)
    bench.turns(1)
    await read(job)
    bench.clock.pass_(9)
    bench.turns(1)
    assert bench.resident == ["a"]
    bench.clock.pass_(2)
    bench.turns(1)
    assert bench.resident == [] and bench.device.taken == 0


async def test_a_leased_model_is_never_evicted() -> None:
    bench = Bench(total=150)
    batch = spec("batch", batch=True)
    first = bench.ask(batch)
    bench.turns(1)
    second, third = bench.ask(B), bench.ask(batch, "late")
    bench.lane.turn()
    assert bench.resident == ["batch"]
    assert not second.over
    bench.turns()
    assert await text_of(first) == await text_of(second) == await text_of(third) == "0 1 2 "
    # b waited for batch, and batch's late caller did not take its turn
    order = [e for e in bench.family.log if e.startswith(("load", "close"))]
    assert order == ["load batch", "close batch", "load b", "close b", "load batch"]


async def test_evict_waits_for_the_running_request_and_answers() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    job = bench.ask(batch)
    bench.turns(1)
    answer = bench.lane.evict("batch")
    bench.turns(1)
    assert not answer.done() and bench.resident == ["batch"]
    bench.turns()
    assert answer.result(0) is True and bench.resident == []
    assert await text_of(job) == "0 1 2 "
    missing = bench.lane.evict("batch")
    bench.turns(1)
    assert missing.result(0) is False


async def test_an_eviction_that_nobody_waits_for_harms_nobody() -> None:
    bench = Bench()
    job = bench.ask(spec("batch", batch=True))
    bench.turns(1)
    gone, stays = bench.lane.evict("batch"), bench.lane.evict("batch")
    gone.cancel()
    bench.turns()
    assert stays.result(0) is True and bench.resident == []
    assert await text_of(job) == "0 1 2 "


async def test_the_thread_itself_serves_expires_and_ends() -> None:
    bench = Bench()
    from engine.lane import Lane

    lane = Lane(
        bench.device, {"fake": bench.family}, bench.lane._settings, bench.remembered, threaded=True
    )
    try:
        bench.lane = lane
        job = bench.ask(A, keep_alive=0.05)
        assert await asyncio.wait_for(text_of(job), 5) == "0 1 2 "
        for _ in range(100):
            if not bench.resident:
                break
            await asyncio.sleep(0.02)
        assert bench.resident == []
    finally:
        lane.close()
    assert not lane._thread.is_alive()


async def test_what_is_logged_while_it_loads_carries_the_requests_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    seen: list[str] = []
    load = bench.family.load

    def noted(*given: Any) -> Any:
        seen.append(request_id.get())
        return load(*given)

    monkeypatch.setattr(bench.family, "load", noted)
    jobs = [bench.ask(A, request_id="a1"), bench.ask(B, request_id="b2")]
    bench.turns()
    for job in jobs:
        await read(job)
    assert seen == ["a1", "b2"]
    assert request_id.get() == ""
