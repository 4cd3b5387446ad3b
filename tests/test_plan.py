"""Plans: who leaves for whom, said before and done as said; in which form, and why."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from engine.errors import AtelierError, BadValue, DoesNotFit
from engine.events import Loading
from engine.footprints import Footprint
from engine.plan import Holding, Room, choose
from engine.registry import ModelSpec
from tests.fakes import BatchModel, Bench, Model, key_of, read, run, spec

A, B, C = spec("a"), spec("b"), spec("c")


def holding(id: str, memory: int = 100, **more: object) -> Holding:
    values = {"reserve": memory, "idle_s": 0.0, "value": 1.0, "busy": False, "pinned": False}
    return Holding(id, memory, **{**values, **more})  # type: ignore[arg-type]


def room(*holdings: Holding, budget: int = 300, free: int = 1000) -> Room:
    return Room("fake:0", "Fake device", budget, 1000, free, holdings)


CHOICES: dict[str, tuple[int, Room, list[str], bool, bool]] = {
    "there is room": (100, room(holding("x")), [], False, True),
    "the least valuable leaves": (
        150,
        room(holding("x", value=5.0), holding("y", value=1.0)),
        ["y"],
        False,
        True,
    ),
    "as few as possible": (
        120,
        room(holding("x", 200, value=2.0), holding("y", 10, value=9.0)),
        ["x"],
        False,
        True,
    ),
    "the idle before the busy": (
        200,
        room(holding("x", busy=True, value=1.0), holding("y", value=9.0)),
        ["y"],
        False,
        True,
    ),
    "a busy one is waited for": (250, room(holding("x", busy=True)), ["x"], True, True),
    "a pinned one stays": (250, room(holding("x", pinned=True)), [], False, False),
    "what it will need again counts": (
        150,
        room(holding("x", 100, reserve=200)),
        ["x"],
        False,
        True,
    ),
    "other programs count": (100, room(budget=300, free=50), [], False, False),
    "evicting frees what is held, not what is reserved": (
        150,
        room(holding("x", 50, reserve=200), free=60),
        ["x"],
        False,
        False,
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_who_leaves(case: str) -> None:
    need, where, leave, waits, enough = CHOICES[case]
    choice = choose(need, where)
    assert ([h.id for h in choice.leave], choice.waits, choice.enough) == (leave, waits, enough)


async def test_a_plan_tells_what_leaves_what_stays_and_changes_nothing() -> None:
    bench = Bench(total=250)
    await run(bench, A)
    bench.clock.pass_(240)
    await run(bench, B)
    plan = bench.lane.plan(C)
    assert plan.sentence == "c needs about 0.0 MB; will unload a, idle 4 min; b stays."
    assert [(one.id, one.memory) for one in plan.unloads] == [("a", 100)]
    assert (plan.stays, plan.fits, plan.needed, plan.free, plan.total) == (
        ("b",), "after_unload", 100, 50, 250,
    )  # fmt: skip
    assert not plan.measured and bench.resident == ["a", "b"]


async def test_what_the_plan_says_is_what_happens() -> None:
    """Random models, asked at random times: each is planned, then loaded, and the two agree."""
    draw = random.Random(5)
    bench = Bench(total=1000)
    models = [spec(f"m{n}", memory=draw.randrange(50, 600)) for n in range(12)]
    kinds = set()
    for _ in range(150):
        bench.clock.pass_(draw.random() * 40)
        model = draw.choice(models)
        if draw.random() < 0.1:
            bench.lane.pin(draw.choice(models).id, draw.random() < 0.3)
            bench.turns(1)
        bench.lane.turn()  # the expired leave first, as they would
        before, plan = set(bench.resident), bench.lane.plan(model)
        kinds.add((plan.fits, bool(plan.unloads)))
        try:
            await run(bench, model)
        except DoesNotFit as refused:
            assert plan.fits == "too_big" and refused.message == plan.sentence
            assert set(bench.resident) == before
            continue
        assert plan.fits in {"fits", "after_unload"}
        gone = {leaving.id for leaving in plan.unloads}
        assert set(bench.resident) == (before - gone) | {model.id}
        assert set(plan.stays) >= before - gone - {model.id}
    assert kinds >= {("fits", False), ("after_unload", True), ("too_big", False)}


async def test_a_busy_model_is_waited_for_and_the_plan_says_so() -> None:
    bench = Bench(total=150)
    batch = spec("batch", batch=True)
    job = bench.ask(batch)
    bench.lane.turn()
    plan = bench.lane.plan(B)
    assert plan.waits and "answering now" in plan.sentence
    waiting = bench.ask(B)
    bench.lane.turn()
    assert bench.resident == ["batch"]
    bench.turns()
    await read(job)
    await read(waiting)
    assert bench.resident == ["b"]


async def test_other_programs_are_named_and_not_run_over() -> None:
    bench = Bench(total=1000)
    bench.device.foreign = 950
    plan = bench.lane.plan(A)
    assert plan.fits == "too_big" and "other programs" in plan.sentence
    job = bench.ask(A)
    bench.turns()
    with pytest.raises(DoesNotFit, match="other programs"):
        await read(job)
    assert bench.loads == []
    bench.device.foreign = 0
    assert await run(bench, A) == "0 1 2 "


async def test_a_resident_model_is_planned_as_it_is() -> None:
    bench = Bench()
    await run(bench, A)
    plan = bench.lane.plan(A)
    assert (plan.resident, plan.fits, plan.needed, plan.unloads) == (True, "fits", 100, ())
    fresh = bench.lane.plan(A, fresh=True)
    assert not fresh.resident and fresh.free == 1000


async def test_the_peak_of_a_working_model_is_remembered_and_reserved() -> None:
    bench = Bench(total=1000)
    batch = spec("batch", batch=True)
    job = bench.ask(batch)
    bench.lane.turn()
    model = bench.family.models[0]
    assert isinstance(model, BatchModel)
    peaks = [400, 350]
    model.memory = lambda: peaks.pop(0) if peaks else 150  # type: ignore[attr-defined]
    for _ in range(10):
        bench.clock.pass_(1)
        bench.turns(1)
    await read(job)
    (resident,) = bench.lane.status().resident
    assert resident.memory == 150
    assert bench.remembered.get(key_of("batch")) == Footprint(100, 2.0, 400)
    assert (
        bench.lane.plan(spec("big", memory=700)).unloads[0].id == "batch"
    )  # 150 held, 400 reserved
    bench.lane.evict("batch")
    bench.turns(1)
    assert (bench.lane.plan(batch).needed, bench.lane.plan(batch).measured) == (400, True)


async def test_one_large_request_does_not_bar_a_model_for_ever() -> None:
    bench = Bench(total=300)
    bench.remembered.remember(key_of("a"), Footprint(100, 1.0, 5000))
    assert bench.lane.plan(A).needed == 300
    assert await run(bench, A) == "0 1 2 "


async def test_an_unknown_need_is_said_and_tried() -> None:
    bench = Bench()
    plan = bench.lane.plan(spec("x", memory=0))
    assert plan.fits == "unknown" and "measured when it is loaded" in plan.sentence


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quantisation": "int8"}, "its family does not quantise"),
        ({"quantisation": "int3"}, "not a quantisation"),
        ({"offload": True}, "cannot be offloaded here"),
        ({"dtype": "float8"}, "not a type of weights"),
    ],
)
async def test_a_form_that_cannot_be_had_is_refused_at_once(options: dict, said: str) -> None:
    bench = Bench()
    with pytest.raises(BadValue, match=said):
        bench.lane.plan(spec("x", **options))
    with pytest.raises(AtelierError, match=said):
        bench.ask(spec("x", **options))
    assert bench.loads == []


async def test_what_a_closed_model_leaves_behind_is_logged_and_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(total=10_000_000_000)
    big = spec("big", memory=2_000_000_000)
    await run(bench, big)
    bench.family.models[-1].close = lambda: None  # type: ignore[method-assign]
    bench.lane.evict("big")
    bench.turns(1)
    assert bench.lane.status().left_behind == 2_000_000_000
    assert "big left 2.0 GB behind" in caplog.text


async def test_a_failed_load_that_keeps_memory_is_shown() -> None:
    bench = Bench(total=10_000_000_000)

    def load(model: object, settings: object) -> object:
        bench.device.taken += 900_000_000
        raise ValueError("half way")

    bench.family.load = load  # type: ignore[assignment,method-assign]
    job = bench.ask(A)
    bench.turns()
    with pytest.raises(AtelierError):
        await read(job)
    assert bench.lane.status().left_behind == 900_000_000


@pytest.mark.parametrize(
    ("total", "asked", "form", "why"),
    [
        (1300, "auto", "bfloat16", ""),
        (800, "auto", "int8", "as int8, because bfloat16 does not fit"),
        (600, "auto", "int4", "as int4, because bfloat16 does not fit"),
        (1300, "int8", "int8", "as int8, as asked"),
        (800, "none", "", ""),
        (500, "auto", "", ""),
    ],
)
async def test_a_smaller_form_is_chosen_where_it_is_needed_and_said(
    total: int, asked: str, form: str, why: str
) -> None:
    bench = Bench(total=total, quantisation=asked, dtype="bfloat16")
    bench.device.name = "cpu"
    bench.family.QUANTISES = True  # type: ignore[attr-defined]
    told: list[dict[str, object]] = []

    def load(model: ModelSpec, settings: object) -> Model:
        told.append(dict(model.options))
        bench.device.taken += 10
        return Model(bench.family, replace(model, memory=10))

    bench.family.load = load  # type: ignore[assignment,method-assign]
    model = replace(spec("big", memory=1200), size=1000)
    plan = bench.lane.plan(model)
    if not form:
        assert plan.fits == "too_big" and "Choose a smaller model" in plan.sentence
        with pytest.raises(DoesNotFit):
            bench.ask(model)
        return
    assert (plan.fits, plan.form, plan.note) == ("fits", form, why)
    job = bench.ask(model)
    bench.turns()
    notes = {event.note for event in await read(job) if isinstance(event, Loading)}
    assert notes == {why}
    assert told[0]["quantisation"] == (form if form != "bfloat16" else "none")
    assert told[0]["dtype"] == "bfloat16" and not told[0]["offload"]
    (resident,) = bench.lane.status().resident
    assert resident.form == form
