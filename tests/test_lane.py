"""The lane with an injected clock, device and loader: nothing here sleeps or needs a model."""

from __future__ import annotations

import asyncio

import pytest

from engine.callers import Priority
from engine.errors import (
    BackendDied,
    Busy,
    DoesNotFit,
    InferenceFailed,
    LoadFailed,
    OutOfMemory,
    TimedOut,
    Unavailable,
)
from engine.events import Done, Loading, Queued, Text
from engine.footprints import Footprint
from tests.fakes import BatchModel, Bench, OutOfMemoryError, read, spec, text_of

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


async def test_failed_load_fails_all_who_asked_once_and_cools_down_doubling_to_five_minutes() -> None:
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
    await _run(bench, B)
    bench.family.failures = [OutOfMemoryError("full")]
    assert await _run(bench, A) == "0 1 2 "
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


async def test_the_least_valuable_idle_model_is_evicted_first() -> None:
    bench = Bench(total=300)
    for model in (A, B, C):
        await _run(bench, model)
        bench.clock.pass_(60)
    await _run(bench, A)  # a was used last; b is idle longest
    await _run(bench, spec("d"))
    assert sorted(bench.resident) == ["a", "c", "d"]


async def test_what_is_costly_to_load_outlives_what_is_cheap() -> None:
    bench = Bench(total=200)
    bench.family.load_s = 100
    await _run(bench, A)
    bench.family.load_s = 1
    await _run(bench, B)
    await _run(bench, C)
    assert sorted(bench.resident) == ["a", "c"]


async def test_can_never_fit_is_refused_at_once() -> None:
    bench = Bench(total=300)
    with pytest.raises(DoesNotFit, match="Choose a smaller model"):
        bench.ask(spec("huge", memory=301))


async def test_a_measured_footprint_replaces_the_declared_one() -> None:
    bench = Bench(total=300)
    bench.remembered.remember("a", "fake:0", Footprint(400, 1.0))
    with pytest.raises(DoesNotFit):
        bench.ask(A)
    await _run(bench, B)
    assert bench.remembered.get("b", "fake:0") == Footprint(100, 2.0)


async def test_pinned_models_are_not_evicted_and_are_named() -> None:
    bench = Bench(total=150)
    await _run(bench, A)
    bench.lane.pin("a", True)
    bench.clock.pass_(10_000)
    bench.turns(1)
    assert bench.resident == ["a"]
    job = bench.ask(B)
    bench.turns()
    with pytest.raises(DoesNotFit, match="pinned models hold the memory: a"):
        await read(job)
    bench.lane.pin("a", False)
    assert await _run(bench, B) == "0 1 2 "


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


async def test_batch_serves_several_at_once_and_others_join_in_the_middle() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    jobs = [bench.ask(batch, name) for name in "xyz"]
    bench.turns()
    assert [await text_of(job) for job in jobs] == ["0 1 2 "] * 3
    log = [e.removeprefix("batch:") for e in bench.family.log if e.startswith("batch:")]
    assert log == ["x:0", "y:0", "x:1", "y:1", "x:2", "y:2", "z:0", "z:1", "z:2"]


async def test_one_cancelled_row_leaves_the_others_alone() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    gone, stays = bench.ask(batch, "gone"), bench.ask(batch, "stays")
    bench.lane.turn()
    gone.cancel()
    bench.turns()
    assert await text_of(stays) == "0 1 2 "
    assert len([e for e in bench.family.log if "gone" in e]) <= 2  # stopped within one step
    assert bench.lane.status().running == 0


async def test_stop_ends_the_stream_with_what_is_there() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    job = bench.ask(batch)
    bench.lane.turn()
    assert job.stop() is True
    bench.turns()
    events = await read(job)
    assert isinstance(events[-1], Done) and events[-1].finish == "stop"
    assert len([e for e in bench.family.log if e.startswith("batch:")]) <= 2
    assert job.stop() is False


async def test_a_cancelled_waiting_job_never_loads() -> None:
    bench = Bench()
    job = bench.ask(A)
    job.cancel()
    bench.turns()
    assert bench.family.log == [] and bench.lane.status().waiting == 0


async def test_the_queue_is_bounded_and_says_when_to_come_back() -> None:
    bench = Bench(max_waiting=2)
    bench.ask(A)
    bench.ask(A)
    with pytest.raises(Busy) as caught:
        bench.ask(A)
    assert caught.value.retry_after is not None and caught.value.retry_after >= 1


async def test_urgent_goes_first_and_callers_share_fairly() -> None:
    bench = Bench()
    bench.family.words = 1
    for n in range(3):
        bench.ask(A, f"greedy{n}", caller="greedy")
    bench.ask(A, "modest", caller="modest")
    bench.ask(A, "batch", caller="x", priority=Priority.BATCH)
    bench.ask(A, "voice", caller="y", priority=Priority.VOICE)
    bench.turns()
    order = [e.split(":")[1] for e in bench.family.log if ":" in e]
    assert order == ["voice", "greedy0", "modest", "greedy1", "greedy2", "batch"]


async def test_nobody_waits_for_ever() -> None:
    bench = Bench()
    bench.family.words = 1
    bench.ask(A, "old", priority=Priority.BATCH)
    bench.clock.pass_(150)
    for n in range(3):
        bench.ask(A, f"new{n}", caller=f"c{n}", priority=Priority.CHAT)
    bench.turns()
    order = [e.split(":")[1] for e in bench.family.log if ":" in e]
    assert order[0] == "old"


async def test_everyone_waiting_sees_how_many_go_before() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    jobs = [bench.ask(batch, str(n)) for n in range(5)]
    bench.turns(20)
    seen = [[e.ahead for e in await read(job) if isinstance(e, Queued)] for job in jobs]
    assert seen[:2] == [[], []]
    assert seen[2][-1] == 0 and seen[4][0] >= seen[4][-1]


async def test_a_long_job_gives_way_to_a_more_urgent_one_at_its_next_emit() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)

    def interrupt(n: int, request: object, emit: object) -> None:
        if n == 1:
            bench.ask(batch, "chat", priority=Priority.CHAT)

    bench.family.script = interrupt
    bench.ask(A, "long", priority=Priority.BATCH)
    bench.turns()
    log = [e for e in bench.family.log if ":" in e]
    assert log == ["a:long:0", "a:long:1", "batch:chat:0", "batch:chat:1", "batch:chat:2", "a:long:2"]


async def test_a_long_job_does_not_give_way_to_its_equals_but_steps_their_batches() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    running = bench.ask(batch, "chat")
    bench.lane.turn()
    bench.ask(A, "long")
    late = bench.ask(B, "late")
    bench.turns()
    log = [e for e in bench.family.log if ":" in e]
    assert log.index("batch:chat:1") < log.index("a:long:2")
    assert log.index("a:long:2") < log.index("b:late:0")
    assert await text_of(running) == await text_of(late) == "0 1 2 "


async def test_a_flood_of_urgent_work_leaves_a_long_job_its_share() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    await _run(bench, batch)
    flood: list[object] = []

    def work(n: int, request: object, emit: object) -> None:
        bench.clock.pass_(1.0)

    def flooding(model: BatchModel) -> None:
        step = model.step

        def slow_step() -> None:
            bench.clock.pass_(0.1)
            if len(flood) < 10_000:
                flood.append(bench.ask(batch, "f", priority=Priority.CHAT))
            step()

        model.step = slow_step  # type: ignore[method-assign]

    model = bench.family.models[0]
    assert isinstance(model, BatchModel)
    flooding(model)
    bench.family.script = work
    flood.append(bench.ask(batch, "f", priority=Priority.CHAT))
    job = bench.ask(A, "long", priority=Priority.BATCH)
    before = bench.clock()
    for _ in range(2000):
        if job.over:
            break
        bench.lane.turn()
    assert job.over
    assert bench.clock() - before < 200  # 3 s of its own work, at least a tenth of the time, and ageing


async def test_out_of_memory_in_a_request_evicts_idle_models_and_tries_it_once_more() -> None:
    bench = Bench()
    await _run(bench, B)
    tries = []

    def explode(n: int, request: object, emit: object) -> None:
        tries.append(n)
        if len(tries) == 1:
            raise OutOfMemoryError("CUDA out of memory")

    bench.family.script = explode
    assert await _run(bench, A) == "0 1 2 "
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
    assert await _run(bench, A) == "0 1 2 "
    assert bench.loads == ["load a", "load a"]


async def test_a_foreign_fault_in_a_step_fails_the_batch_and_reloads_the_backend() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    jobs = [bench.ask(batch, "x"), bench.ask(batch, "y")]
    bench.lane.turn()
    model = bench.family.models[0]
    assert isinstance(model, BatchModel)
    model.faults = [ValueError("tensor at /root/x")]
    bench.turns()
    for job in jobs:
        with pytest.raises(InferenceFailed) as caught:
            await read(job)
        assert "/root" not in caught.value.message
    assert bench.resident == [] and bench.device.taken == 0
    assert await _run(bench, batch) == "0 1 2 "


async def test_time_runs_from_the_start_of_inference_loading_not_counted() -> None:
    bench = Bench(time_limit=5)
    bench.family.load_s = 100
    assert await _run(bench, A) == "0 1 2 "
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


async def test_a_slow_reader_gets_merged_text_and_the_batch_does_not_wait() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    slow, fast = bench.ask(batch, "slow"), bench.ask(batch, "fast")
    bench.turns()
    assert await text_of(fast) == "0 1 2 "
    texts = [e for e in await read(slow) if isinstance(e, Text)]
    assert texts == [Text("0 1 2 ")]


async def test_two_models_that_do_not_fit_together_alternate_without_a_failure() -> None:
    bench = Bench(total=150)
    x, y = spec("x", batch=True), spec("y", batch=True)
    jobs = [bench.ask((x, y)[n % 2], str(n), caller=f"c{n % 4}") for n in range(40)]
    for _ in range(500):
        bench.lane.turn()
        assert bench.device.taken <= 150
    assert {await text_of(job) for job in jobs} == {"0 1 2 "}


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


async def _run(bench: Bench, model: object) -> str:
    job = bench.ask(model)  # type: ignore[arg-type]
    bench.turns()
    return await text_of(job)
