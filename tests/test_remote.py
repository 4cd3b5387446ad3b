"""Models on other servers: what arrives, and every way the other side can fail, in both dialects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from engine import Caller, Done, Engine, Settings, Text, fold
from engine.errors import (
    AtelierError,
    BadValue,
    InferenceFailed,
    Limited,
    TimedOut,
    TooLarge,
    Unavailable,
    Unknown,
)
from engine.events import Queued, ToolCall
from engine.families import remote
from engine.registry import ModelSpec
from engine.requests import EmbedRequest, Tool
from tests.conftest import asking, collect
from tests.upstream import Upstream, running

ME = Caller(name="me", session="s")
KINDS = ("openai", "ollama")


def row(kind: str, url: str, **options: object) -> ModelSpec:
    """A catalog row for a model of a server; `url` as the dialect wants it."""
    return ModelSpec(
        id="there",
        does=frozenset({"chat", "embed"}),
        family="remote",
        lane="remote",
        options={"kind": kind, "base_url": url, "model": "its-name", **options},
    )


@asynccontextmanager
async def engine_to(
    url: str, settings: Settings, kind: str = "openai", **values: object
) -> AsyncIterator[Engine]:
    """An engine that knows one model, on the server at `url` (an Upstream's own)."""
    plain = url if kind == "openai" else url.removesuffix("/v1")
    own = settings.model_copy(update=values)
    engine = Engine.build(own, families={"remote": remote}, specs=[row(kind, plain)])
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("raw", [False, True])
async def test_text_and_usage(settings: Settings, kind: str, raw: bool) -> None:
    fields = {"messages": (), "prompt": "hello"} if raw else {}
    request = asking("hello").model_copy(update=fields)
    async with running() as upstream, engine_to(upstream.url, settings, kind) as engine:
        whole = await fold(engine.run(request, ME))
    assert whole.text == "w0 w1 w2 w3 w4 "
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.finish) == (7, 5, "stop")
    assert whole.usage.cached_tokens == (3 if kind == "openai" else 0)
    assert upstream.bodies[0]["model"] == "its-name"


async def test_thinking_is_kept_apart(settings: Settings, kind: str) -> None:
    async with running("think") as upstream, engine_to(upstream.url, settings, kind) as engine:
        whole = await fold(engine.run(asking("hello", think=True), ME))
    assert (whole.reasoning, whole.text) == ("w0 w1 ", "w2 w3 w4 ")


async def test_tool_calls_arrive_whole(settings: Settings, kind: str) -> None:
    async with running("tools") as upstream, engine_to(upstream.url, settings, kind) as engine:
        tool = Tool(name="weather", parameters={"type": "object"})
        whole = await fold(engine.run(asking("hello", tools=(tool,)), ME))
    name = "c1" if kind == "openai" else "call_0"
    assert whole.tool_calls == [ToolCall(name, "weather", '{"city":"Porto"}')]
    assert whole.finish == "tool_calls"


async def test_vectors_come_in_the_order_of_their_texts(settings: Settings, kind: str) -> None:
    async with running() as upstream, engine_to(upstream.url, settings, kind) as engine:
        whole = await fold(engine.run(EmbedRequest(texts=("a", "b", "c")), ME))
    assert [vector.values for vector in whole.vectors] == [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)]
    assert whole.usage.input_tokens == 4


async def test_a_vector_that_is_missing_is_a_failure(settings: Settings, kind: str) -> None:
    async with running() as upstream, engine_to(upstream.url, settings, kind) as engine:
        upstream._told = lambda path, body: {"data": [], "embeddings": []}  # type: ignore[method-assign]
        with pytest.raises(InferenceFailed, match="vector for each text"):
            await collect(engine, EmbedRequest(texts=("a",)))


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("302", Unavailable),
        ("400", BadValue),
        ("401", Unavailable),
        ("404", Unknown),
        ("413", TooLarge),
        ("429", Limited),
        ("500", Unavailable),
        ("html", Unavailable),
        ("cut", InferenceFailed),
        ("error", InferenceFailed),
        ("silent", InferenceFailed),
        ("late", TimedOut),
    ],
)
async def test_failures_of_the_other_side_are_typed(
    settings: Settings, kind: str, mode: str, error: type[AtelierError]
) -> None:
    patience = {"openai_timeout": 0.2, "first_token_timeout": 0.3 if mode == "late" else 30}
    async with (
        running(mode) as upstream,
        engine_to(upstream.url, settings, kind, **patience) as engine,
    ):
        with pytest.raises(error) as caught:
            await collect(engine, asking("hello"))
        said = caught.value.message
        assert "Traceback" not in said and "127.0.0.1" not in said
        assert said.startswith(("The server of there", "The request is too large"))
        if mode.isdigit() and int(mode) >= 400:
            assert "no such luck" in said
        if mode == "error":
            assert "boom" in said
        if mode in {"429", "500"}:
            assert caught.value.retry_after == 7
        await engine.usage.flush()
        (row,) = await engine.usage.rows()
    begun = mode in {"cut", "error", "silent"}
    assert row.status == error.code
    assert row.output == ("w0 w1 " if begun else "")
    assert row.output_tokens == (2 if begun else 0)


async def test_leaving_hangs_up_on_the_other_server(settings: Settings, kind: str) -> None:
    async with (
        running(words=1000, pause=0.01) as upstream,
        engine_to(upstream.url, settings, kind) as engine,
    ):
        async with aclosing(engine.run(asking("hello"), ME)) as events:
            async for event in events:
                if isinstance(event, Text):
                    break
        await _until_closed(upstream)
        assert upstream.written < 50


async def test_stop_ends_the_stream_and_bills_what_came(settings: Settings, kind: str) -> None:
    async with (
        running(words=1000, pause=0.01) as upstream,
        engine_to(upstream.url, settings, kind) as engine,
    ):
        seen = []
        async for event in engine.run(asking("hello"), ME):
            seen.append(event)
            engine.stop("s")
        assert isinstance(seen[-1], Done)
        assert seen[-1].usage.output_tokens == sum(isinstance(event, Text) for event in seen) > 0
        await _until_closed(upstream)


async def test_connections_are_used_again(settings: Settings, kind: str) -> None:
    async with running() as upstream, engine_to(upstream.url, settings, kind) as engine:
        for _ in range(4):
            await collect(engine, asking("hello"))
    assert upstream.connections == 1


async def test_a_connection_that_was_closed_meanwhile_is_opened_anew(
    settings: Settings, kind: str
) -> None:
    async with running() as upstream, engine_to(upstream.url, settings, kind) as engine:
        answer = upstream._answer

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            await answer(reader, writer)
            await reader.readuntil(b"\r\n\r\n")  # take the next request and hang up on it
            upstream._answer = answer  # type: ignore[method-assign]
            return False

        upstream._answer = once  # type: ignore[method-assign]
        for _ in range(2):
            assert (await fold(engine.run(asking("hello"), ME))).text == "w0 w1 w2 w3 w4 "
    assert upstream.connections == 2


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
        await _until_idle(engine)
        gone = [asyncio.create_task(ask()) for _ in range(5)]
        await asyncio.sleep(0.03)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        await _until_idle(engine)
        assert not engine.remote._waiting
        assert isinstance((await ask())[-1], Done)


async def test_loading_and_unloading_are_passed_on_to_ollama(settings: Settings) -> None:
    async with running() as upstream, engine_to(upstream.url, settings, "ollama") as engine:
        await engine.load("there", keep_alive=90)
        assert upstream.bodies == [{"model": "its-name", "stream": False, "keep_alive": 90}]
        assert await engine.evict("there") is False  # the upstream holds another one
        assert upstream.paths[-1] == "/api/ps"


async def test_a_row_that_changes_gets_a_new_client(settings: Settings, kind: str) -> None:
    async with (
        running(words=2) as first,
        running(words=3) as second,
        engine_to(first.url, settings, kind) as engine,
    ):
        slow = asyncio.create_task(collect(engine, asking("hello")))
        await asyncio.sleep(0)
        url = second.url if kind == "openai" else second.root
        engine.registry.add(row(kind, url))
        assert (await fold(engine.run(asking("hello"), ME))).text == "w0 w1 w2 "
        assert isinstance((await slow)[-1], Done)


async def test_unloading_from_a_server_that_is_down_says_so(settings: Settings) -> None:
    async with engine_to("http://127.0.0.1:9", settings, "ollama") as engine:
        for call in (engine.evict("there"), engine.load("there")):
            with pytest.raises(Unavailable, match="does not answer"):
                await call


@pytest.mark.parametrize(
    ("own", "settings_url", "sent"),
    [("mine", "", "Bearer mine"), ("", "{url}", "Bearer general"), ("", "http://other:1/v1", "")],
)
async def test_a_key_goes_to_its_own_server_alone(
    settings: Settings, own: str, settings_url: str, sent: str
) -> None:
    async with running() as upstream:
        values = {
            "openai_api_key": "general",
            "openai_base_url": settings_url.format(url=upstream.url),
        }
        spec = row("openai", upstream.url, api_key=own)
        client = remote.load(spec, settings.model_copy(update=values))
        await client._upstream.ask("/models")
        await client.close()
    assert upstream.keys == {sent}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"url": ""}, BadValue),
        ({"url": "file:///etc/passwd"}, BadValue),
        ({"url": "http://user@box"}, BadValue),
        ({"url": "http://box:port"}, BadValue),
        ({"kind": "morse"}, BadValue),
        ({"url": "http://box.lan:11434"}, Unavailable),
    ],
)
async def test_rows_that_cannot_be_served(
    settings: Settings, options: dict[str, str], error: type[AtelierError]
) -> None:
    offline = settings.model_copy(update={"offline": True})
    with pytest.raises(error):
        remote.load(row(**{"kind": "ollama", "url": "", **options}), offline)


async def _until_closed(upstream: Upstream) -> None:
    async with asyncio.timeout(2):
        while upstream.open:
            await asyncio.sleep(0.01)


async def _until_idle(engine: Engine) -> None:
    async with asyncio.timeout(2):
        while engine.remote._tasks or engine.remote._running:
            await asyncio.sleep(0.01)
