"""Against a real Ollama that holds `starter-chat` (bench/README.md says how): only where OLLAMA_BASE_URL answers."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from engine import BadValue, Caller, ChatRequest, Engine, Message, Settings, Text, fold
from engine.errors import AtelierError, Unknown
from engine.families import remote
from engine.registry import ModelSpec
from engine.requests import Call, EmbedRequest, ImagePart, TextPart, Tool
from tests.conftest import asking, collect

URL = os.environ.get("OLLAMA_BASE_URL", "")
NAME = "starter-chat"
ID = f"ollama/{NAME}:latest"
ME = Caller(name="me", session="s")
QUESTION = "Hello! Who are you?"
PNG = b"\x89PNG\r\n\x1a\n"


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"{URL}/api/version", timeout=3) as answer:
            return b"version" in answer.read()
    except (OSError, ValueError):
        return False


pytestmark = pytest.mark.skipif(not _answers(), reason="OLLAMA_BASE_URL answers nothing")


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """Everything there is, with that server."""
    own = settings.model_copy(update={"ollama_base_url": URL})
    engine = Engine.build(own)
    await engine.start()
    await engine.servers.looked()
    yield engine
    await engine.close()


async def test_the_imported_starter_is_in_the_catalog(engine: Engine) -> None:
    spec = engine.registry.find(ID)
    assert spec.does == {"chat"} and spec.context == 1024
    assert spec.params == "4.43M" and 8_000_000 < spec.size < 10_000_000
    assert engine.registry.find(NAME).lane == "device"  # the bare name stays ours


@pytest.mark.parametrize("words", [QUESTION, "Bonjour ! Qui es-tu ?", "Hello"])
async def test_it_says_what_our_own_copy_says(engine: Engine, words: str) -> None:
    there = await fold(engine.run(asking(words, model=ID, temperature=0), ME))
    here = await fold(engine.run(asking(words, model=NAME, temperature=0), ME))
    assert there.text == here.text
    assert there.usage.output_tokens == here.usage.output_tokens
    assert there.finish == here.finish == "stop"


async def test_limits_stops_and_raw_prompts(engine: Engine) -> None:
    short = await fold(engine.run(asking(QUESTION, model=ID, max_tokens=5), ME))
    assert (short.finish, short.usage.output_tokens) == ("length", 5)
    cut = await fold(engine.run(asking(QUESTION, model=ID, stop=("starter",)), ME))
    assert (cut.finish, cut.text) == ("stop", "I am the ")
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    raw = await fold(engine.run(ChatRequest(prompt=prompt, model=ID), ME))
    assert raw.text.startswith("I am the starter model")


async def test_log_probabilities(engine: Engine) -> None:
    whole = await fold(engine.run(asking(QUESTION, model=ID, logprobs=2, max_tokens=4), ME))
    assert "".join(one.token for one in whole.logprobs) == whole.text
    assert all(one.logprob <= 0 and len(one.top) == 2 for one in whole.logprobs)


async def test_a_schema_is_kept_to(engine: Engine) -> None:
    import json

    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    request = asking(QUESTION, model=ID, json_schema=schema, max_tokens=60)
    assert isinstance(json.loads((await fold(engine.run(request, ME))).text)["ok"], bool)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"think": True}, BadValue, "does not support thinking"),
        ({"tools": (Tool(name="f"),)}, BadValue, "does not support tools"),
        ({"messages": (Message.of("user", "word " * 3000),)}, BadValue, "context length"),
        ({"model": "missing"}, Unknown, "not in the catalog"),
    ],
)
async def test_its_own_words_are_passed_on(
    engine: Engine, fields: dict[str, object], error: type[AtelierError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await collect(engine, asking(QUESTION, model=ID).model_copy(update=fields))


TEMPLATE = """{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ range .ToolCalls }}\
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ if and .IsThinkSet .Think }}<think>
{{ end }}"""


@pytest.fixture
async def parts(engine: Engine) -> AsyncIterator[str]:
    """The same weights under a template with tools and thinking: its name."""
    import ollama

    client = ollama.AsyncClient(URL)
    await client.create(model="starter-parts", from_=NAME, template=TEMPLATE)
    await engine.servers.refresh()
    assert engine.registry.find("starter-parts").accepts == {"reasoning", "tools"}
    yield "starter-parts"
    await client.delete("starter-parts")


async def test_it_thinks_apart_from_its_answer(engine: Engine, parts: str) -> None:
    whole = await fold(engine.run(asking("Hello", model=parts, think=True, max_tokens=6), ME))
    assert whole.reasoning and not whole.text and whole.usage.output_tokens == 6


async def test_it_calls_a_tool_and_reads_the_answer(engine: Engine, parts: str) -> None:
    arguments = {
        "type": "object",
        "properties": {"hot": {"type": "boolean"}},
        "required": ["hot"],
    }
    call = {  # weights this small call nothing by themselves; the grammar makes them
        "type": "object",
        "properties": {"name": {"const": "weather"}, "arguments": arguments},
        "required": ["name", "arguments"],
    }
    tool = Tool(name="weather", description="How it is", parameters=arguments)
    asked = Message.of("user", "Hello")
    request = ChatRequest(
        messages=(asked,), model=parts, tools=(tool,), json_schema=call, think=False, max_tokens=60
    )
    whole = await fold(engine.run(request, ME))
    (made,) = whole.tool_calls
    assert made.name == "weather" and made.arguments in ('{"hot":true}', '{"hot":false}')
    assert whole.finish == "tool_calls" and not whole.text
    told = (
        asked,
        Message(role="assistant", calls=(Call(**dataclasses.asdict(made)),)),
        Message(role="tool", parts=(TextPart(text="sunny"),), call_id=made.id),
    )
    answer = request.model_copy(update={"messages": told, "json_schema": None, "max_tokens": 5})
    assert (await fold(engine.run(answer, ME))).usage.output_tokens <= 5


async def test_a_picture_is_not_sent_to_a_model_that_cannot_see(engine: Engine) -> None:
    parts = (TextPart(text="Hello"), ImagePart(data=PNG))
    request = ChatRequest(messages=(Message(role="user", parts=parts),), model=ID, max_tokens=4)
    with pytest.raises(BadValue, match="does not accept pictures"):
        await collect(engine, request)


async def test_a_model_that_was_removed_there_is_unknown(engine: Engine) -> None:
    import ollama

    client = ollama.AsyncClient(URL)
    await client.copy(NAME, "soon-gone")
    await engine.servers.refresh()
    assert (await fold(engine.run(asking(QUESTION, model="soon-gone"), ME))).text
    await client.delete("soon-gone")
    with pytest.raises(Unknown, match="not found"):
        await collect(engine, asking(QUESTION, model="soon-gone"))
    await engine.servers.refresh()
    with pytest.raises(Unknown, match="catalog"):
        engine.registry.find("soon-gone")


async def test_it_loads_and_unloads(engine: Engine) -> None:
    await engine.load(ID, keep_alive=60)
    (server,) = await engine.servers.refresh()
    (held,) = [one for one in server.held if one.name.startswith(NAME)]
    assert held.memory > 1_000_000 and 50 < (held.expires_s or 0) <= 60
    assert await engine.evict(ID) is True
    assert await engine.evict(ID) is False
    (server,) = await engine.servers.refresh()
    assert not [one for one in server.held if one.name.startswith(NAME)]
    await fold(engine.run(asking(QUESTION, model=ID, keep_alive=0, max_tokens=2), ME))
    async with asyncio.timeout(5):
        while (await engine.servers.refresh())[0].held:
            await asyncio.sleep(0.05)


async def test_leaving_stops_it_there(engine: Engine) -> None:
    request = asking("Count from 1 to 500.", model=ID, max_tokens=900, temperature=1.9)
    async with aclosing(engine.run(request, ME)) as events:
        async for event in events:
            if isinstance(event, Text):
                break
    # the slot is free again at once: an answer of two tokens waits for no nine hundred
    async with asyncio.timeout(5):
        await fold(engine.run(asking("Hi", model=ID, max_tokens=2), ME))


async def test_vectors(settings: Settings) -> None:
    """Ollama makes vectors of a chat model too, though it does not list it as one that does."""
    spec = ModelSpec(
        id="vectors",
        does=frozenset({"embed"}),
        family="remote",
        lane="remote",
        options={"kind": "ollama", "base_url": URL, "model": NAME},
    )
    engine = Engine.build(settings, families={"remote": remote}, specs=[spec])
    await engine.start()
    await engine.load("vectors")
    request = EmbedRequest(texts=("one", "two", "one"), model="vectors")
    whole = await fold(engine.run(request, ME))
    one, two, again = (vector.values for vector in whole.vectors)
    assert len(one) == 256 and one == pytest.approx(again, abs=1e-3) and one != two
    assert whole.usage.input_tokens > 0
    short = await fold(engine.run(request.model_copy(update={"dimensions": 16}), ME))
    assert {len(vector.values) for vector in short.vectors} == {16}
    await engine.close()


async def test_many_at_once(engine: Engine) -> None:
    answers = await asyncio.gather(
        *(fold(engine.run(asking(QUESTION, model=ID, temperature=0), ME)) for _ in range(8))
    )
    assert len({answer.text for answer in answers}) == 1
