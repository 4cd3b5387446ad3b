"""The lane's queue and batches: who goes first, who gives way, who may leave."""

from __future__ import annotations

import pytest

from engine.callers import Priority
from engine.errors import (
    Busy,
)
from engine.events import Done, Queued, Text
from tests.fakes import BatchModel, Bench, read, run, spec, text_of

A, B, C = spec("a"), spec("b"), spec("c")


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
    assert log == [
        "a:long:0",
        "a:long:1",
        "batch:chat:0",
        "batch:chat:1",
        "batch:chat:2",
        "a:long:2",
    ]


async def test_a_long_job_does_not_give_way_to_its_equals_but_steps_their_batches() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    running = bench.ask(batch, "chat")
    bench.lane.turn()
    bench.family.script = lambda n, request, emit: bench.clock.pass_(0.03)
    bench.ask(A, "long")
    late = bench.ask(B, "late")
    bench.turns()
    log = [e for e in bench.family.log if ":" in e]
    assert log.index("batch:chat:1") < log.index("a:long:2")
    assert log.index("a:long:2") < log.index("b:late:0")
    assert await text_of(running) == await text_of(late) == "0 1 2 "


async def test_a_short_job_is_not_held_up_at_each_emit_by_its_equals() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    running = bench.ask(batch, "chat")
    bench.lane.turn()
    bench.family.script = lambda n, request, emit: bench.clock.pass_(0.002)
    short = bench.ask(A, "short")
    bench.turns()
    log = [e for e in bench.family.log if ":" in e]
    assert log.index("a:short:2") < log.index("batch:chat:1")
    assert await text_of(running) == await text_of(short) == "0 1 2 "


async def test_a_flood_of_urgent_work_leaves_a_long_job_its_share() -> None:
    bench = Bench()
    batch = spec("batch", batch=True)
    await run(bench, batch)
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
    assert (
        bench.clock() - before < 200
    )  # 3 s of its own work, at least a tenth of the time, and ageing


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
