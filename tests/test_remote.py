"""Models on other servers: what arrives, what goes out, and every way the other side can fail."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from engine import Caller, Done, Engine, Settings, Text, fold
from engine.errors import AtelierError, InferenceFailed, Limited, Unavailable, Unknown
from engine.events import Queued, ToolCall
from engine.families import remote
from engine.registry import ModelSpec
from engine.requests import Tool
from tests.conftest import asking, collect
from tests.upstream import running

ME = Caller(name="me", session="s")


@asynccontextmanager
async def engine_to(url: str, settings: Settings, **values: object) -> AsyncIterator[Engine]:
    spec = ModelSpec(
        id="there",
        does=frozenset({"chat"}),
        family="remote",
        lane="remote",
        options={"base_url": url, "model": "its-name"},
    )
    own = settings.model_copy(update=values)
    engine = Engine.build(own, families={"remote": remote}, specs=[spec])
    await engine.start()
    yield engine
    await engine.close()


async def test_text_usage_and_body(settings: Settings) -> None:
    async with running() as upstream, engine_to(upstream.url, settings) as engine:
        request = asking("hello", stop=("END",), seed=3, top_k=5, temperature=0.5)
        whole = await fold(engine.run(request, ME))
    assert whole.text == "w0 w1 w2 w3 w4 "
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.finish) == (7, 5, "stop")
    (body,) = upstream.bodies
    assert body["model"] == "its-name"
    assert body["messages"] == [{"role": "user", "content": "hello"}]
    assert (body["stop"], body["seed"], body["top_k"], body["temperature"]) == (["END"], 3, 5, 0.5)


async def test_tool_calls_are_gathered(settings: Settings) -> None:
    async with running("tools") as upstream, engine_to(upstream.url, settings) as engine:
        tool = Tool(name="weather", parameters={"type": "object"})
        whole = await fold(engine.run(asking("hello", tools=(tool,)), ME))
    assert whole.tool_calls == [ToolCall("c1", "weather", '{"city":"Porto"}')]
    assert whole.finish == "tool_calls"


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("401", Unavailable),
        ("404", Unknown),
        ("429", Limited),
        ("500", Unavailable),
        ("cut", InferenceFailed),
        ("error", InferenceFailed),
        ("silent", InferenceFailed),
    ],
)
async def test_failures_of_the_other_side_are_typed(
    settings: Settings, mode: str, error: type[AtelierError]
) -> None:
    async with (
        running(mode) as upstream,
        engine_to(upstream.url, settings, openai_timeout=0.3) as engine,
    ):
        with pytest.raises(error) as caught:
            await collect(engine, asking("hello"))
        assert "Traceback" not in caught.value.message
        if mode.isdigit():
            assert "no such luck" in caught.value.message
        await engine.usage.flush()
        (row,) = await engine.usage.rows()
    assert row.status == error.code
    assert row.output == ("w0 w1 " if not mode.isdigit() else "")


async def test_a_server_that_is_down(settings: Settings) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with engine_to(f"http://127.0.0.1:{port}/v1", settings) as engine:
        with pytest.raises(Unavailable, match="Is it running"):
            await collect(engine, asking("hello"))


async def test_leaving_hangs_up_on_the_other_server(settings: Settings) -> None:
    async with (
        running(words=1000, pause=0.01) as upstream,
        engine_to(upstream.url, settings) as engine,
    ):
        async with aclosing(engine.run(asking("hello"), ME)) as events:
            async for event in events:
                if isinstance(event, Text):
                    break
        async with asyncio.timeout(2):
            while upstream.open:
                await asyncio.sleep(0.01)
        assert upstream.written < 50


async def test_stop_ends_the_stream_with_done(settings: Settings) -> None:
    async with (
        running(words=1000, pause=0.01) as upstream,
        engine_to(upstream.url, settings) as engine,
    ):
        seen = []
        async for event in engine.run(asking("hello"), ME):
            seen.append(event)
            engine.stop("s")
        assert isinstance(seen[-1], Done)
        async with asyncio.timeout(2):
            while upstream.open:
                await asyncio.sleep(0.01)


async def test_beyond_the_limit_requests_wait_their_turn(settings: Settings) -> None:
    async with (
        running(words=3, pause=0.02) as upstream,
        engine_to(upstream.url, settings, remote_parallel=2) as engine,
    ):
        peak = 0

        async def ask() -> list[object]:
            nonlocal peak
            events: list[object] = []
            async for event in engine.run(asking("hello"), ME):
                peak = max(peak, upstream.open)
                events.append(event)
            return events

        answers = await asyncio.gather(*(ask() for _ in range(7)))
        assert all(isinstance(events[-1], Done) for events in answers)
        assert peak <= 2
        assert any(isinstance(events[0], Queued) for events in answers)
        assert engine.remote._running == 0
        gone = [asyncio.create_task(ask()) for _ in range(5)]
        await asyncio.sleep(0.03)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        async with asyncio.timeout(2):
            while engine.remote._tasks:
                await asyncio.sleep(0.01)
        assert engine.remote._running == 0 and not engine.remote._waiting
        assert isinstance((await ask())[-1], Done)
