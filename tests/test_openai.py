"""The OpenAI dialect, driven by the `openai` package itself."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import openai
import pytest

from engine.events import Done, Reasoning, Result, Text, ToolCall, Usage
from routers import wire
from routers.openai_bodies import ChatBody, parse
from routers.openai_chat import CHAT, reply, stream
from routers.openai_parts import total
from routers.runs import merge
from tests.serving import Served
from tests.test_wire import speak

PNG = base64.b64encode(b"\x89PNG").decode()


@pytest.fixture
def client(server: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def test_models(client: openai.OpenAI):
    assert [model.id for model in client.models.list()] == ["echo", "echo-batch"]
    assert client.models.retrieve("parrot").id == "echo"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("a/b:c")
    assert caught.value.code == "model_not_found" and "echo" in caught.value.message


def test_a_whole_answer(client: openai.OpenAI):
    answer = client.chat.completions.create(model="parrot", messages=user("hello there"))
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    assert answer.model == "echo" and answer.created > 1e9 and answer.system_fingerprint
    [choice] = answer.choices
    assert (choice.message.content, choice.message.role) == ("echo: hello there", "assistant")
    assert choice.finish_reason == "stop"
    assert answer.usage and answer.usage.prompt_tokens == 2
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 5)
    assert answer.usage.prompt_tokens_details and answer.usage.completion_tokens_details
    assert answer._request_id and answer._request_id in answer.id


def test_a_stream(client: openai.OpenAI):
    chunks = list(
        client.chat.completions.create(
            model="echo",
            messages=user("a b c"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(said) == "echo: a b c"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-1].usage.total_tokens == 7
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_without_usage(client: openai.OpenAI):
    chunks = client.chat.completions.create(model="echo", messages=user("a"), stream=True)
    assert all(chunk.choices for chunk in chunks)


async def test_the_async_client(server: Served):
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        async with client.chat.completions.stream(model="echo", messages=user("a b")) as answer:
            final = await answer.get_final_completion()
    assert final.choices[0].message.content == "echo: a b"


def test_several_choices(client: openai.OpenAI, server: Served):
    answer = client.chat.completions.create(model="echo-batch", messages=user("x y"), n=3)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    assert {c.message.content for c in answer.choices} == {"echo: x y"}
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 9)
    said = ["", "", ""]
    ended = []
    for chunk in client.chat.completions.create(
        model="echo-batch", messages=user("x y"), n=3, stream=True
    ):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
            ended += [choice.index] if choice.finish_reason else []
    assert said == ["echo: x y"] * 3 and sorted(ended) == [0, 1, 2]


def test_limits_and_stops(client: openai.OpenAI):
    def create(**more: Any) -> Any:
        answer = client.chat.completions.create(model="echo", messages=user("a b c"), **more)
        return answer.choices[0].message.content, answer.choices[0].finish_reason

    assert create(max_tokens=2) == ("echo: a", "length")
    assert create(max_completion_tokens=1, max_tokens=3) == ("echo:", "length")
    assert create(stop="b") == ("echo: a ", "stop")
    assert create(stop=["x", " c"]) == ("echo: a b", "stop")
    assert create(stop=[]) == ("echo: a b c", "stop")


def test_completions(client: openai.OpenAI):
    answer = client.completions.create(model="echo", prompt="a b")
    assert answer.choices[0].text == "echo: a b" and answer.object == "text_completion"
    assert answer.usage and answer.usage.total_tokens == 5
    several = client.completions.create(model="echo", prompt=["a", "b c"], n=2, echo=True)
    assert [c.text for c in several.choices] == ["aecho: a"] * 2 + ["b cecho: b c"] * 2
    assert several.usage and several.usage.prompt_tokens == 3
    chunks = client.completions.create(model="echo", prompt="a b", stream=True, echo=True)
    assert "".join(c.choices[0].text for c in chunks) == "a becho: a b"


@pytest.mark.parametrize("prompt", [[1, 2], [[1], [2]], [], "", [""], ["a", ""]])
def test_prompts_that_are_none(client: openai.OpenAI, prompt: Any):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="echo", prompt=prompt)
    assert caught.value.param == "prompt"


BAD: list[tuple[dict[str, Any], int, str | None]] = [
    ({"model": "nope"}, 404, "model"),
    ({"messages": []}, 400, None),
    ({"messages": "hello"}, 400, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, 400, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, 400, None),
    ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, 400, None),
    ({"messages": [{"content": "x"}]}, 400, "messages.0.role"),
    ({"temperature": 3}, 400, "temperature"),
    ({"temperature": "hot"}, 400, "temperature"),
    ({"top_p": 2}, 400, "top_p"),
    ({"max_tokens": 0}, 400, "max_tokens"),
    ({"max_tokens": -5}, 400, "max_tokens"),
    ({"n": 0}, 400, "n"),
    ({"n": 1000}, 400, "n"),
    ({"stop": [""]}, 400, None),
    ({"seed": "x"}, 400, "seed"),
    ({"stream": "perhaps"}, 400, "stream"),
    ({"keep_alive": "soon"}, 400, "keep_alive"),
    ({"tools": [{"type": "function"}]}, 400, "tools.0.function"),
    ({"response_format": {"type": "xml"}}, 400, "response_format.type"),
    ({"model": 5}, 400, "model"),
    ({"model": "x" * 600}, 400, "model"),
]


@pytest.mark.parametrize(("wrong", "status", "param"), BAD, ids=[str(b[0])[:50] for b in BAD])
def test_bad_input(server: Served, wrong: dict[str, Any], status: int, param: str | None):
    body = {"model": "echo", "messages": user("x"), **wrong}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error" and error["message"]
    if param:
        assert error["param"] == param


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"{", "application/json"), (b"[]", "application/json"), (b"", "application/json"),
     (b"null", "application/json"), (b'"x"', "application/json"), (b"\xff\xfe", "application/json"),
     (b"[" * 100_000, "application/json"), (b"a=b", "application/x-www-form-urlencoded")],
)  # fmt: skip
def test_bodies_that_are_none(server: Served, content: bytes, kind: str):
    answer = httpx.post(
        f"{server.url}/v1/chat/completions", content=content, headers={"content-type": kind}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_urls_are_not_fetched(client: openai.OpenAI):
    part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/x.png"}}
    with pytest.raises(openai.BadRequestError, match="fetches no URLs"):
        client.chat.completions.create(model="echo", messages=user([part]))


def test_unread_fields_are_named(server: Served):
    body = {
        "model": "echo", "messages": user("x"), "service_tier": "auto", "frequency_penalty": 0,
        "store": False, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "keep_alive": "5m",
    }  # fmt: skip
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.headers["x-ignored-params"] == "service_tier, store"
    body = {"model": "echo", "prompt": "x", "suffix": "y", "best_of": 1}
    answer = httpx.post(f"{server.url}/v1/completions", json=body)
    assert answer.headers["x-ignored-params"] == "suffix, best_of"


# Without a server ---------------------------------------------------------------------------------


def test_every_part_is_understood():
    body = ChatBody.model_validate(
        {
            "model": "m",
            "messages": [
                {"role": "developer", "content": "be short"},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what"},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
                        {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ],
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
            ],
            "tool_choice": "auto",
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
            "keep_alive": "10m",
        }
    )  # fmt: skip
    request = parse(body)
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "tool"]
    assert [p.kind for p in request.messages[1].parts] == ["text", "image", "audio"]
    assert request.messages[1].parts[1].data == b"\x89PNG"  # type: ignore[union-attr]
    assert request.messages[2].calls[0].name == "f" and request.messages[3].call_id == "c1"
    assert request.tools[0].parameters == {"type": "object"}
    assert request.json_schema == {"type": "object"} and request.keep_alive == 600
    none = parse(body.model_copy(update={"tool_choice": "none"}))
    assert none.tools == ()


@pytest.mark.parametrize(
    ("form", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, True),
        ({"type": "json_schema"}, True),
    ],
)
def test_response_formats(form: Any, schema: Any):
    body = {"messages": user("x"), "response_format": form}
    assert parse(ChatBody.model_validate(body)).json_schema == schema


def meta() -> wire.Meta:
    extra = {"id": "chatcmpl-1", "choices": 1, "each": 1, "usage": True, "logprobs": False}
    return wire.Meta(id="1", model="m", created=0, extra=extra)


async def test_tools_and_thoughts():
    events = (
        Reasoning("hm"), ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g", "{}"),
        Done("tool_calls", Usage(3, 4)),
    )  # fmt: skip
    frames = b"".join([f async for f in stream(merge([speak(*events)]), meta())])
    assert b'"delta":{"reasoning_content":"hm"}' in frames
    assert b'"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"g"' in frames
    assert b'"finish_reason":"tool_calls"' in frames and frames.endswith(wire.DONE)
    result = Result()
    for event in events:
        result.add(event)
    [choice] = reply([result], meta())["choices"]
    assert choice["message"]["content"] is None and choice["message"]["reasoning_content"] == "hm"
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["c1", "c2"]


async def test_one_failing_choice_ends_them_all():
    from engine.errors import InferenceFailed

    closed = []

    async def endless() -> Any:
        try:
            while True:
                yield Text("x")
                await asyncio.sleep(0.001)
        finally:
            closed.append(True)

    failing = speak(Text("y"), InferenceFailed("It broke."), pause=0.01)
    with pytest.raises(InferenceFailed):
        await CHAT.fold(merge([endless(), failing]))
    assert closed == [True]


def test_a_prompt_counts_once():
    usages = [Usage(5, 1), Usage(5, 2), Usage(7, 3, 2, reasoning_tokens=1), Usage(7, 4, 0, 2)]
    sums = total(usages, 2)
    assert (sums["prompt_tokens"], sums["completion_tokens"]) == (12, 10)
    assert sums["prompt_tokens_details"]["cached_tokens"] == 2
    assert sums["completion_tokens_details"]["reasoning_tokens"] == 3
