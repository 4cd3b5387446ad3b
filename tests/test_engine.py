"""The one door: admission, sessions, the ledger row, and every way a request can end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import pytest

from engine import Caller, ChatRequest, Done, Engine, Message, Text, fold
from engine.callers import Priority
from engine.errors import BadValue, Busy, InferenceFailed, Unknown
from tests.conftest import asking, collect

ME = Caller(name="me", dialect="test", session="s1", request_id="r1", tags={"project": "p"})


@pytest.mark.parametrize("model", ["echo", "echo-batch", "parrot"])
async def test_fold_of_the_stream_is_the_whole_answer(engine: Engine, model: str) -> None:
    request = asking("one two three", model)
    streamed = "".join(e.delta for e in await collect(engine, request) if isinstance(e, Text))
    whole = await fold(engine.run(request, ME))
    assert streamed == whole.text == "echo: one two three"
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (3, 4)


async def test_one_ledger_row_for_each_request(engine: Engine) -> None:
    await fold(engine.run(asking("hello there", "echo"), ME))
    await engine.usage.flush()
    (row,) = await engine.usage.rows()
    assert (row.model, row.task, row.dialect, row.session, row.status) == (
        "echo", "chat", "test", "s1", "ok",
    )  # fmt: skip
    assert (row.input_tokens, row.output_tokens, row.project) == (2, 3, "p")
    assert row.input == [{"role": "user", "content": "hello there"}]
    assert row.output == "echo: hello there"
    assert row.request_id == "r1" and row.seconds > 0


async def test_unknown_model_names_the_nearest(engine: Engine) -> None:
    with pytest.raises(Unknown, match="echo"):
        await collect(engine, asking("hi", "ecko"))
    await engine.usage.flush()
    assert await engine.usage.rows() == []


async def test_wrong_capability_names_who_can(engine: Engine) -> None:
    from engine.requests import EmbedRequest

    with pytest.raises(BadValue, match="cannot embed"):
        await collect(engine, EmbedRequest(texts=("x",), model="echo"))


async def test_a_session_remembers_its_model(engine: Engine) -> None:
    engine.sessions.get("s1").model = "echo-batch"
    await fold(engine.run(asking("hi"), ME))
    await fold(engine.run(asking("hi"), Caller(session="other")))
    await engine.usage.flush()
    assert [row.model for row in await engine.usage.rows()] == ["echo", "echo-batch"]


async def test_a_failure_is_typed_recorded_and_says_nothing_of_the_inside(engine: Engine) -> None:
    with pytest.raises(InferenceFailed) as caught:
        await collect(engine, asking("!fail a b c", "echo"))
    assert "/etc" not in caught.value.message
    await engine.usage.flush()
    (row,) = await engine.usage.rows()
    assert row.status == "INFERENCE_FAILED" and row.output == "echo: !fail"


@pytest.mark.parametrize("model", ["echo", "echo-batch"])
async def test_leaving_stops_the_device_within_a_token(engine: Engine, model: str) -> None:
    spoken = 0
    async with aclosing(engine.run(asking("!slow !long", model), ME)) as events:
        async for event in events:
            spoken += isinstance(event, Text)
            if spoken == 3:
                break
    await _idle(engine)
    await engine.usage.flush()
    (row,) = await engine.usage.rows()
    assert row.status == "cancelled" and row.output_tokens <= 6


@pytest.mark.parametrize("how", ["session", "request"])
async def test_stop_ends_the_stream_properly(engine: Engine, how: str) -> None:
    seen = []
    async with aclosing(engine.run(asking("!slow !long", "echo-batch"), ME)) as events:
        async for event in events:
            seen.append(event)
            if len(seen) == 5:  # two of loading, three words
                stopped = engine.stop("s1") if how == "session" else engine.stop_request("r1")
                assert stopped == 1
    assert isinstance(seen[-1], Done)
    assert engine.stop("s1") == 0 and engine.stop("") == 0
    await engine.usage.flush()
    (row,) = await engine.usage.rows()
    assert row.status == "stopped" and row.output_tokens >= 3


async def test_stop_touches_its_own_session_alone(engine: Engine) -> None:
    async def answer(session: str) -> str:
        request = asking("!slow a b c d e f g h", "echo-batch")
        return (await fold(engine.run(request, Caller(session=session)))).text

    tasks = [asyncio.create_task(answer(s)) for s in ("one", "two")]
    await asyncio.sleep(0.06)
    engine.stop("one")
    one, two = await asyncio.gather(*tasks)
    assert len(one) < len(two) and two.endswith("g h")


async def test_concurrent_requests_do_not_mix(engine: Engine) -> None:
    async def answer(n: int) -> str:
        return (await fold(engine.run(asking(f"word{n} " * 20, "echo-batch"), ME))).text

    answers = await asyncio.gather(*(answer(n) for n in range(20)))
    assert answers == ["echo: " + " ".join([f"word{n}"] * 20) for n in range(20)]


async def test_a_full_queue_is_refused(build: Callable[..., Engine]) -> None:
    engine = build(max_waiting=1)
    await engine.start()
    busy = []
    for waiting in (0, 1):
        busy.append(asyncio.create_task(collect(engine, asking("!slow !long", "echo"))))
        await _until(lambda: engine.status().running == 1 and engine.status().waiting == waiting)  # noqa: B023
    with pytest.raises(Busy):
        await collect(engine, asking("hi", "echo"))
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    await engine.close()


async def test_out_of_memory_once_is_not_seen(engine: Engine) -> None:
    whole = await fold(engine.run(asking("!oom x", "echo"), ME))
    assert whole.text == "echo: !oom x"


async def test_load_evict_and_status(engine: Engine) -> None:
    assert await engine.load("echo") >= 0
    assert [m.id for m in engine.status().resident] == ["echo"]
    assert await engine.load("parrot") == 0.0
    assert await engine.evict("echo") is True
    assert await engine.evict("echo") is False
    with pytest.raises(Unknown):
        await engine.evict("nobody")
    assert engine.status().resident == ()


async def test_priority_lets_chat_pass_a_batch_job(engine: Engine) -> None:
    await engine.load("echo-batch")
    batch = Caller(priority=Priority.BATCH)
    long = asyncio.create_task(fold(engine.run(asking("!slow !long", "echo"), batch)))
    await asyncio.sleep(0.1)
    chat = Caller(priority=Priority.CHAT)
    async with asyncio.timeout(10):
        whole = await fold(engine.run(asking("quick", "echo-batch"), chat))
    assert whole.text == "echo: quick" and not long.done()
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)


async def test_keep_text_off_stores_none(build: Callable[..., Engine]) -> None:
    engine = build(keep_text=False)
    await engine.start()
    await fold(engine.run(asking("secret", "echo"), ME))
    await engine.usage.flush()
    (row,) = await engine.usage.rows()
    assert row.input is None and row.output is None and row.output_tokens == 2
    await engine.close()


async def test_the_chosen_default_survives_a_restart(build: Callable[..., Engine]) -> None:
    engine = build()
    await engine.start()
    engine.choose("chat", "echo-batch")
    await engine.close()
    engine = build()
    await engine.start()
    await _until(lambda: engine.registry.default("chat").id == "echo-batch")
    await engine.close()


def test_a_request_needs_messages_or_a_prompt() -> None:
    with pytest.raises(ValueError, match="messages"):
        ChatRequest()
    with pytest.raises(ValueError, match="not both"):
        ChatRequest(prompt="x", messages=(Message.of("user", "x"),))


async def _idle(engine: Engine) -> None:
    await _until(lambda: engine.status().running == 0)


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("end", ["request", "session", "ticket"])
async def test_an_answer_ended_from_outside_is_kept_as_stopped(engine: Engine, end: str) -> None:
    kept = await engine.conversations.create()
    turn = await engine.turns.ask(kept.id, asking("!slow " + "la " * 400, "echo"), ME, "sing")
    while not turn.result.text:
        await asyncio.sleep(0.01)
    ends = {"request": engine.stop_request, "session": engine.stop, "ticket": engine.jobs.cancel}
    assert ends[end]("s1" if end == "session" else "r1")
    async with aclosing(turn.follow()) as events:
        *_, done = [event async for event in events]
    assert isinstance(done, Done) and done.stopped and done.finish == "stop"
    *_, entry = await engine.conversations.entries(kept.id)
    assert entry.finish == "stopped" and entry.text.startswith("echo:")
