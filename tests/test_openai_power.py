"""What power users ask of the OpenAI dialect, with the `openai` package and the starter model itself."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from engine import Engine, Settings
from engine.events import Done, Vector
from engine.registry import Emit, ModelSpec
from engine.requests import EmbedRequest
from tests import echo
from tests.serving import Served, serve

pytestmark = pytest.mark.slow  # a server and a real model


Short = Annotated[str, Field(max_length=12)]  # a tiny model would not end a string by itself


class City(BaseModel):
    name: Short
    country: Literal["France", "Portugal", "Brazil", "Russia"]
    people: int = Field(ge=0, le=50_000_000)
    rivers: list[Short] = Field(min_length=1, max_length=3)


class Forecast(BaseModel):
    """The weather of a city."""

    city: str
    days: int = Field(ge=1, le=9)


TOOLS = [openai.pydantic_function_tool(Forecast, name="forecast")]
ASKED: list[Any] = [{"role": "user", "content": "Hello, who are you?"}]


class Embeds:
    """A family whose vectors are the lengths of the texts."""

    def embed(self, request: EmbedRequest, emit: Emit) -> None:
        for index, text in enumerate(request.texts):
            emit.count(input=len(text.split()))
            emit(Vector(index, tuple(float(len(text)) for _ in range(request.dimensions or 3))))
        emit(Done())

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the starter model on one thread, which is faster on a busy machine, and of vectors."""
    folder = tmp_path_factory.mktemp("power")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.families._loading.usable_cores", lambda: 1)
        from engine.families import hf_chat
        from engine.registry import ROOT, read_catalog

        specs = [s for s in read_catalog(ROOT / "models.toml") if s.id == "starter-chat"]
        embeds = ModelSpec(id="lengths", does=frozenset({"embed"}), family="embeds")
        families = {
            "hf_chat": hf_chat,
            "echo": echo,
            "embeds": SimpleNamespace(SPECS=(), load=lambda spec, settings: Embeds()),
        }
        engine = Engine.build(settings, families=families, specs=[*specs, embeds, *echo.SPECS])
        with serve(settings, engine=engine) as running:
            yield running


@pytest.fixture
def client(starter: Served) -> Iterator[openai.OpenAI]:
    url = f"{starter.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120) as client:
        yield client


def test_a_pydantic_model_comes_back(client):
    answer = client.chat.completions.parse(
        model="starter-chat", messages=ASKED, response_format=City, max_tokens=300
    )
    city = answer.choices[0].message.parsed
    assert isinstance(city, City) and city.rivers
    assert answer.choices[0].finish_reason == "stop"


def test_any_json_object(client):
    answer = client.chat.completions.create(
        model="starter-chat",
        messages=ASKED,
        response_format={"type": "json_object"},
        max_tokens=150,
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_a_limit_that_is_too_small_is_told(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="starter-chat", messages=ASKED, response_format=City, max_tokens=5
        )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (
            {"type": "object", "properties": {"a": {"type": "int"}}},
            "properties.a: Invalid type: int",
        ),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Nothing can satisfy"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_at_fault_is_a_400(client, schema, words, stream):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="starter-chat", messages=ASKED, response_format=form, stream=stream
        )
    assert words in caught.value.message and caught.value.param == "response_format"


def test_a_loop_with_tools(client):
    messages = list(ASKED)
    first = client.chat.completions.create(
        model="starter-chat", messages=messages, tools=TOOLS, tool_choice="required",
        parallel_tool_calls=False, max_tokens=200,
    )  # fmt: skip
    [choice] = first.choices
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    [call] = choice.message.tool_calls
    assert call.function.name == "forecast"
    Forecast.model_validate_json(call.function.arguments)
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "wet"}]
    second = client.chat.completions.create(
        model="starter-chat", messages=messages, tools=TOOLS, tool_choice="none", max_tokens=20
    )
    assert second.choices[0].message.content and not second.choices[0].message.tool_calls
    assert second.usage.prompt_tokens > 20


def test_a_named_tool_and_one_that_is_not_offered(client):
    def choose(name: str) -> Any:
        return client.chat.completions.create(
            model="starter-chat", messages=ASKED, max_tokens=150,
            tools=[*TOOLS, {"type": "function", "function": {"name": "clock"}}],
            tool_choice={"type": "function", "function": {"name": name}},
        )  # fmt: skip

    calls = choose("clock").choices[0].message.tool_calls
    assert {(call.function.name, call.function.arguments) for call in calls} == {("clock", "{}")}
    with pytest.raises(openai.BadRequestError, match="'nope' is not among the tools"):
        choose("nope")


def test_the_stream_helper_sees_calls_and_parsed_models(client):
    with client.chat.completions.stream(
        model="starter-chat", messages=ASKED, tools=TOOLS, tool_choice="required",
        parallel_tool_calls=False, max_tokens=200,
    ) as stream:  # fmt: skip
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion()
    assert isinstance(done[0].parsed_arguments, dict | Forecast)
    assert final.choices[0].message.tool_calls[0].function.name == "forecast"
    with client.chat.completions.stream(
        model="starter-chat", messages=ASKED, response_format=City, max_tokens=300
    ) as stream:
        text = "".join(e.delta for e in stream if e.type == "content.delta")
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, City) and City.model_validate_json(text) == parsed


def test_chances_of_tokens_whole_and_streamed(client):
    asked: dict[str, Any] = {
        "model": "starter-chat", "messages": ASKED, "max_tokens": 8, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    [choice] = client.chat.completions.create(**asked).choices
    content = choice.logprobs.content
    assert b"".join(bytes(one.bytes) for one in content).decode() == choice.message.content
    assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 for one in content)
    assert all(one.top_logprobs[0].token == one.token for one in content)  # it is greedy
    chunks = client.chat.completions.create(**asked, stream=True)
    told = [one for c in chunks if c.choices[0].logprobs for one in c.choices[0].logprobs.content]
    assert [one.token for one in told] == [one.token for one in content]
    plain = client.chat.completions.create(model="starter-chat", messages=ASKED, max_tokens=3)
    assert plain.choices[0].logprobs is None
    with pytest.raises(openai.BadRequestError, match="set logprobs"):
        client.chat.completions.create(model="starter-chat", messages=ASKED, top_logprobs=2)


def test_chances_in_the_older_shape(client):
    answer = client.completions.create(
        model="starter-chat", prompt="Hello", max_tokens=6, logprobs=2, echo=True
    )
    [choice] = answer.choices
    told = choice.logprobs
    assert "Hello" + "".join(told.tokens) == choice.text
    assert told.text_offset[0] == 5 and len(told.top_logprobs[0]) == 2
    assert len(told.token_logprobs) == len(told.tokens)
    chunks = client.completions.create(
        model="starter-chat", prompt="Hello", max_tokens=6, logprobs=2, stream=True
    )
    offsets = [
        o for c in chunks if c.choices[0].logprobs for o in c.choices[0].logprobs.text_offset
    ]
    assert offsets == [offset - 5 for offset in told.text_offset]


def test_three_choices_differ_and_are_the_same_again(client):
    def texts(stream: bool) -> list[str]:
        answer = client.completions.create(
            model="starter-chat", prompt="Zqx", n=3, seed=7, temperature=2, max_tokens=12, stream=stream
        )  # fmt: skip
        if not stream:
            assert answer.usage.completion_tokens > 3 * answer.usage.prompt_tokens
            return [choice.text for choice in answer.choices]
        said = ["", "", ""]
        for chunk in answer:
            for choice in chunk.choices:
                said[choice.index] += choice.text or ""
        return said

    whole = texts(stream=False)
    assert len(set(whole)) == 3 and texts(stream=True) == whole


def test_bias_and_effort_are_read(client):
    tokens = client.chat.completions.create(
        model="starter-chat", messages=ASKED, logit_bias={"50": 100}, max_tokens=2,
        reasoning_effort="low", extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )  # fmt: skip
    assert len(tokens.choices[0].message.content) == 2
    with pytest.raises(openai.BadRequestError, match="reasoning_effort: choose one of none"):
        client.chat.completions.create(
            model="starter-chat", messages=ASKED, reasoning_effort="wild"
        )


def test_embeddings(client):
    texts = ["a text", "another text"]
    answer = client.embeddings.create(model="lengths", input=texts)
    assert [row.embedding for row in answer.data] == [[6.0] * 3, [12.0] * 3]
    assert [row.index for row in answer.data] == [0, 1] and answer.usage.prompt_tokens == 4
    [row] = client.embeddings.create(
        model="lengths", input="one", encoding_format="float", dimensions=2
    ).data
    assert row.embedding == [3.0, 3.0]


def test_embeddings_on_the_wire(starter):
    body = {"model": "lengths", "input": ["abc"], "encoding_format": "base64"}
    with starter.client() as client:
        answer = client.post("/v1/embeddings", json=body).json()
    assert struct.unpack("<3f", base64.b64decode(answer["data"][0]["embedding"])) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [([1, 2], "token ids differ"), ([[1]], "token ids differ"), ("", "empty"), ([], "empty"), (["a", ""], "empty")],
)  # fmt: skip
def test_what_cannot_be_embedded(client, given, words):
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        client.embeddings.create(model="lengths", input=given)
    assert caught.value.param == "input"


def test_a_chat_model_does_not_embed(client):
    with pytest.raises(openai.BadRequestError, match="cannot embed"):
        client.embeddings.create(model="starter-chat", input="x")
