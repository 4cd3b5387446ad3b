"""The lane when things go wrong: loading, memory, time, backends that die."""

from __future__ import annotations

import pytest

from engine.errors import (
    BackendDied,
    InferenceFailed,
    LoadFailed,
    OutOfMemory,
    TimedOut,
    Unavailable,
)
from tests.fakes import BatchModel, Bench, OutOfMemoryError, read, run, spec, text_of

A, B, C = spec("a"), spec("b"), spec("c")


async def test_failed_load_fails_all_who_asked_once_and_cools_down_doubling_to_five_minutes() -> (
    None
):
    bench = Bench()
    delays = []
    for _ in range(7):
        bench.family.failures = [ValueError("bad file /secret/path")]
        jobs = [bench.ask(A), bench.ask(A)]
        bench.turns()
        for job in jobs:
            with pytest.raises(LoadFailed) as caught:
                await read(job)
            assert "/secret" not in caught.value.message
        with pytest.raises(LoadFailed) as caught:
            bench.ask(A)
        assert caught.value.retry_after is not None
        delays.append(round(caught.value.retry_after))
        bench.clock.pass_(caught.value.retry_after + 0.1)
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    assert len(bench.loads) == 7
    assert bench.device.taken == 0 and bench.resident == []
    job = bench.ask(A)
    bench.turns()
    await read(job)
    bench.family.failures = [ValueError("again")]
    bench.lane.evict("a")
    bench.turns(1)
    job = bench.ask(A)
    bench.turns()
    with pytest.raises(LoadFailed) as caught:
        await read(job)
    assert caught.value.retry_after == 10  # a success made it forget


async def test_load_out_of_memory_evicts_everything_idle_and_tries_once_more() -> None:
    bench = Bench()
    await run(bench, B)
    bench.family.failures = [OutOfMemoryError("full")]
    assert await run(bench, A) == "0 1 2 "
    assert bench.loads == ["load b", "load a", "load a"]
    assert bench.resident == ["a"]


async def test_load_out_of_memory_with_nothing_to_evict_is_tried_once() -> None:
    bench = Bench()
    bench.family.failures = [OutOfMemoryError("full"), OutOfMemoryError("full")]
    job = bench.ask(A)
    bench.turns()
    with pytest.raises(LoadFailed, match="no memory left"):
        await read(job)
    assert bench.loads == ["load a"]


async def test_what_is_costly_to_load_outlives_what_is_cheap() -> None:
    bench = Bench(total=200)
    bench.family.load_s = 100
    await run(bench, A)
    bench.family.load_s = 1
    await run(bench, B)
    await run(bench, C)
    assert sorted(bench.resident) == ["a", "c"]


async def test_out_of_memory_in_a_request_evicts_idle_models_and_tries_it_once_more() -> None:
    bench = Bench()
    await run(bench, B)
    tries = []

    def explode(n: int, request: object, emit: object) -> None:
        tries.append(n)
        if len(tries) == 1:
            raise OutOfMemoryError("CUDA out of memory")

    bench.family.script = explode
    assert await run(bench, A) == "0 1 2 "
    assert "close b" in bench.family.log


async def test_out_of_memory_twice_fails_that_request_alone() -> None:
    bench = Bench()

    def explode(n: int, request: object, emit: object) -> None:
        if request.messages[-1].text == "big":  # type: ignore[attr-defined]
            raise OutOfMemoryError("CUDA out of memory at 0x7fff")

    bench.family.script = explode
    big, small = bench.ask(A, "big"), bench.ask(A, "small")
    bench.turns()
    with pytest.raises(OutOfMemory) as caught:
        await read(big)
    assert "0x" not in caught.value.message
    assert await text_of(small) == "0 1 2 "


async def test_out_of_memory_after_text_was_sent_is_not_tried_again() -> None:
    bench = Bench()

    def explode(n: int, request: object, emit: object) -> None:
        if n == 2:
            raise OutOfMemoryError("CUDA out of memory")

    bench.family.script = explode
    job = bench.ask(A)
    bench.turns()
    with pytest.raises(OutOfMemory):
        await read(job)
    assert [e for e in bench.family.log if e == "a:hi:0"] == ["a:hi:0"]


async def test_a_batch_step_out_of_memory_drops_only_the_newest() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    old, new = bench.ask(batch, "old"), bench.ask(batch, "new")
    bench.lane.turn()
    model = bench.family.models[0]
    assert isinstance(model, BatchModel)
    model.faults = [OutOfMemoryError("full"), OutOfMemoryError("full")]
    bench.turns()
    assert await text_of(old) == "0 1 2 "
    with pytest.raises(OutOfMemory):
        await read(new)


async def test_a_batch_step_out_of_memory_once_harms_nobody() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    jobs = [bench.ask(batch, "x"), bench.ask(batch, "y")]
    bench.lane.turn()
    model = bench.family.models[0]
    assert isinstance(model, BatchModel)
    model.faults = [OutOfMemoryError("full")]
    bench.turns()
    assert [await text_of(job) for job in jobs] == ["0 1 2 "] * 2


async def test_a_dead_backend_is_loaded_anew_for_whom_nothing_was_said_yet() -> None:
    bench = Bench()
    died: list[int] = []

    def die(n: int, request: object, emit: object) -> None:
        if not died:
            died.append(n)
            raise BackendDied("gone")

    bench.family.script = die
    assert await run(bench, A) == "0 1 2 "
    assert bench.loads == ["load a", "load a"]


async def test_a_foreign_fault_in_a_step_fails_the_batch_and_reloads_the_backend() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    jobs = [bench.ask(batch, "x"), bench.ask(batch, "y")]
    bench.lane.turn()
    model = bench.family.models[0]
    assert isinstance(model, BatchModel)
    model.faults = [ValueError("tensor at /srv/x")]
    bench.turns()
    for job in jobs:
        with pytest.raises(InferenceFailed) as caught:
            await read(job)
        assert "/srv" not in caught.value.message
    assert bench.resident == [] and bench.device.taken == 0
    assert await run(bench, batch) == "0 1 2 "


async def test_time_runs_from_the_start_of_inference_loading_not_counted() -> None:
    bench = Bench(time_limit=5)
    bench.family.load_s = 100
    assert await run(bench, A) == "0 1 2 "
    bench.family.script = lambda n, request, emit: bench.clock.pass_(3)
    bench.family.models.clear()
    bench.lane.evict("a")
    job = bench.ask(A)
    bench.turns()
    with pytest.raises(TimedOut):
        await read(job)
    assert bench.lane.status().running == 0


async def test_a_backend_that_never_says_done_is_an_error_and_not_a_hang() -> None:
    bench = Bench()
    job = bench.ask(A)
    bench.family.words = 0

    def silent(n: int, request: object, emit: object) -> None:
        raise AssertionError

    bench.turns(0)
    original = bench.family.load

    def load(model: object, settings: object) -> object:
        loaded = original(model, settings)  # type: ignore[arg-type]
        loaded.chat = lambda request, emit: None  # type: ignore[method-assign]
        return loaded

    bench.family.load = load  # type: ignore[assignment,method-assign]
    bench.turns()
    with pytest.raises(InferenceFailed):
        await read(job)
    assert bench.lane.status().running == 0


async def test_close_fails_who_runs_and_waits_and_refuses_newcomers() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    running = bench.ask(batch)
    bench.lane.turn()
    waiting = bench.ask(B)
    bench.lane.close()
    for job in (running, waiting):
        with pytest.raises(Unavailable):
            await read(job)
    with pytest.raises(Unavailable):
        bench.ask(A)


async def test_memory_is_back_after_unload_cancel_and_failure() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    job = bench.ask(batch)
    bench.lane.turn()
    job.cancel()
    bench.turns()
    bench.lane.evict("batch")
    bench.turns(1)
    bench.family.failures = [ValueError("broken")]
    failed = bench.ask(A)
    bench.turns()
    with pytest.raises(LoadFailed):
        await read(failed)
    assert bench.device.taken == 0 and bench.lane.status().held == 0
    assert bench.device.released >= 2
