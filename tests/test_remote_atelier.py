"""Another Atelier, in a process of its own, as the other server: in both dialects it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from bench.servers import Server, atelier
from engine import BadValue, Caller, ChatRequest, Engine, Message, Settings, Text, fold
from engine.errors import InferenceFailed
from engine.families import remote
from tests.chaos import chaos
from tests.conftest import asking, collect

pytestmark = pytest.mark.slow  # another server

NAME = "starter-chat"
ME = Caller(name="me", session="s")
QUESTION = "Hello! Who are you?"
DIALECTS = {"openai": "/v1", "ollama": ""}


@pytest.fixture(scope="module")
def other() -> Iterator[Server]:
    with atelier(env={"ATELIER_PROBE_LOCAL": "false"}) as server:
        server.wait("/health")
        yield server


@pytest.fixture(params=DIALECTS)
async def engine(
    request: pytest.FixtureRequest, settings: Settings, other: Server
) -> AsyncIterator[Engine]:
    """An engine that has the other server alone, added under its dialect's name."""
    engine = Engine.build(settings, families={"remote": remote}, specs=[])
    await engine.start()
    url = other.url + DIALECTS[request.param]
    server = await engine.servers.add(url, request.param, name=request.param)
    assert server.healthy, server.error
    yield engine
    await engine.close()


async def test_its_models_are_in_our_catalog(engine: Engine) -> None:
    spec = engine.registry.find(NAME)
    assert "chat" in spec.does and spec.lane == "remote"
    if spec.options["kind"] == "ollama":
        assert spec.size > 8_000_000 and spec.context == 1024


async def test_it_answers_as_it_answers_itself(engine: Engine, other: Server) -> None:
    import openai

    client = openai.AsyncOpenAI(base_url=f"{other.url}/v1", api_key="none")
    asked = [{"role": "user", "content": QUESTION}]
    direct = await client.chat.completions.create(model=NAME, messages=asked, temperature=0)  # type: ignore[call-overload]
    whole = await fold(engine.run(asking(QUESTION, model=NAME, temperature=0), ME))
    await client.close()
    assert whole.text == direct.choices[0].message.content
    assert whole.usage.input_tokens == direct.usage.prompt_tokens
    assert whole.usage.output_tokens == direct.usage.completion_tokens


async def test_limits_stops_and_raw_prompts(engine: Engine) -> None:
    short = await fold(engine.run(asking(QUESTION, model=NAME, max_tokens=5), ME))
    assert (short.finish, short.usage.output_tokens) == ("length", 5)
    cut = await fold(engine.run(asking(QUESTION, model=NAME, stop=("starter",)), ME))
    assert (cut.finish, cut.text) == ("stop", "I am the ")
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    raw = await fold(engine.run(ChatRequest(prompt=prompt, model=NAME, temperature=0), ME))
    assert raw.text.startswith("I am the starter model")


async def test_its_refusals_are_passed_on(engine: Engine) -> None:
    long = asking("", model=NAME).model_copy(
        update={"messages": (Message.of("user", "word " * 3000),)}
    )
    with pytest.raises(BadValue, match=r"It says: .*tokens"):
        await collect(engine, long)


async def test_leaving_stops_the_other_one(engine: Engine, other: Server) -> None:
    request = asking("Count from 1 to 500.", model=NAME, max_tokens=900)
    async with aclosing(engine.run(request, ME)) as events:
        async for event in events:
            if isinstance(event, Text):
                break
    async with asyncio.timeout(10):
        await fold(engine.run(asking("Hi", model=NAME, max_tokens=2), ME))


@pytest.mark.parametrize("kind", DIALECTS)
async def test_it_dies_in_mid_answer(settings: Settings, other: Server, kind: str) -> None:
    async with chaos(other.url + DIALECTS[kind]) as proxy:
        engine = Engine.build(settings, families={"remote": remote}, specs=[])
        await engine.start()
        await engine.servers.add(proxy.url, kind, name="other")  # type: ignore[arg-type]
        proxy.mode, proxy.after = "snap", 1500
        with pytest.raises(InferenceFailed, match="broke off in mid-answer"):
            await collect(engine, asking(QUESTION, model=NAME, temperature=0))
        proxy.mode = "pass"
        assert (await fold(engine.run(asking(QUESTION, model=NAME), ME))).finish == "stop"
        await engine.close()
