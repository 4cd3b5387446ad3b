"""What other servers are sent, word by word, and what of their odd answers is understood."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import pytest
from PIL import Image

from engine.errors import BadFormat, BadValue
from engine.events import Done, Event, Reasoning, Text, TokenLogprob, ToolCall
from engine.families import _ollama, _openai
from engine.pictures import media_type, portable
from engine.requests import AudioPart, Call, ChatRequest, ImagePart, Message, TextPart, Tool
from tests.conftest import asking

TOOL = Tool(name="weather", description="Now", parameters={"type": "object"})
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(out, kind)
    return out.getvalue()


JPEG = picture("JPEG")
TALK = (
    Message.of("system", "Be brief."),
    Message(role="user", parts=(TextPart(text="Look"), ImagePart(data=JPEG))),
    Message(
        role="assistant",
        reasoning="Hm.",
        calls=(Call(id="c7", name="weather", arguments='{"city":"Porto"}'),),
    ),
    Message(role="tool", parts=(TextPart(text="sunny"),), call_id="c7"),
)
FUNCTION = {
    "type": "function",
    "function": {"name": "weather", "description": "Now", "parameters": {"type": "object"}},
}
# What is asked: what OpenAI's dialect says beside model, messages and stream, and what Ollama's does.
WORDS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {}),
    (
        {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 3},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 3},
        {"options": {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 3}},
    ),
    (
        {"max_tokens": 9, "repetition_penalty": 1.1, "presence_penalty": 1, "stop": ("END",)},
        {"max_tokens": 9, "repetition_penalty": 1.1, "presence_penalty": 1, "stop": ["END"]},
        {
            "options": {
                "num_predict": 9,
                "repeat_penalty": 1.1,
                "presence_penalty": 1,
                "stop": ["END"],
            }
        },
    ),
    ({"logit_bias": {7: -1}}, {"logit_bias": {"7": -1}}, {}),
    ({"logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
    (
        {"tools": (TOOL,), "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [FUNCTION], "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": [FUNCTION]},
    ),
    ({"json_schema": True}, {"response_format": {"type": "json_object"}}, {"format": "json"}),
    (
        {"json_schema": SCHEMA},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": SCHEMA},
            }
        },
        {"format": SCHEMA},
    ),
    ({"think": "high"}, {"reasoning_effort": "high"}, {"think": "high"}),
    (
        {"think": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"think": False},
    ),
    ({"keep_alive": 90.0}, {}, {"keep_alive": 90.0}),
]


@pytest.mark.parametrize(("asked", "openai", "ollama"), WORDS)
def test_a_request_in_both_dialects(
    asked: dict[str, Any], openai: dict[str, Any], ollama: dict[str, Any]
) -> None:
    request = asking("hello", **asked)
    messages = [{"role": "user", "content": "hello"}]
    theirs = {"model": "m", "stream": True, "messages": messages}
    usage = {"stream_options": {"include_usage": True}}
    assert _openai.body_of(request, "m") == theirs | usage | openai
    assert _ollama.body_of(request, "m", {}) == theirs | {"truncate": False} | ollama


def test_the_options_of_a_row_give_way_to_the_request() -> None:
    body = _ollama.body_of(asking("x", seed=3), "m", {"num_ctx": 8192, "seed": 1})
    assert body["options"] == {"num_ctx": 8192, "seed": 3}


def test_a_conversation_with_a_picture_and_a_tool() -> None:
    request = ChatRequest(messages=TALK)
    data = base64.b64encode(JPEG).decode()
    function = {"name": "weather", "arguments": '{"city":"Porto"}'}
    assert _openai.body_of(request, "m")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
            ],
        },
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [{"id": "c7", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c7"},
    ]
    function = {"name": "weather", "arguments": {"city": "Porto"}}  # type: ignore[dict-item]
    assert _ollama.body_of(request, "m", {})["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look", "images": [data]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm.",
            "tool_calls": [{"id": "c7", "function": function}],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c7", "tool_name": "weather"},
    ]


@pytest.mark.parametrize(
    "message",
    [
        Message(role="user", parts=(AudioPart(data=b"RIFF"),)),
        Message(role="assistant", calls=(Call(id="c", name="f", arguments="[1]"),)),
        Message(role="assistant", calls=(Call(id="c", name="f", arguments="{"),)),
    ],
)
def test_what_ollama_cannot_be_told(message: Message) -> None:
    with pytest.raises(BadValue):
        _ollama.body_of(ChatRequest(messages=(message,)), "m", {})


@pytest.mark.parametrize(
    ("kind", "sent"),
    [("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp"), ("BMP", "png"), ("TIFF", "png")],
)
async def test_pictures_go_out_in_a_format_that_all_read(kind: str, sent: str) -> None:
    message = Message(role="user", parts=(ImagePart(data=picture(kind)),))
    (part,) = (await portable(ChatRequest(messages=(message,)))).messages[0].parts
    assert isinstance(part, ImagePart) and media_type(part.data) == f"image/{sent}"


async def test_what_is_no_picture_is_refused() -> None:
    message = Message(role="user", parts=(ImagePart(data=b"no picture"),))
    with pytest.raises(BadFormat):
        await portable(ChatRequest(messages=(message,)))


@dataclass
class Heard:
    """An emit that remembers; stands in for the upstream as well."""

    events: list[Event] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)

    def __call__(self, event: Event | None) -> None:
        if event is not None:
            self.events.append(event)

    def count(self, **tokens: int) -> None:
        for name, number in tokens.items():
            self.counted[name] = self.counted.get(name, 0) + number


def heard(dialect: Any, *lines: str) -> tuple[Heard, bool]:
    """What an answer of these lines says, and whether it is whole."""
    emit = Heard()
    answer = dialect.Answer(emit, emit)
    for line in lines:
        answer.take(line.encode())
    return emit, answer.over or answer.end()


def event(delta: str, rest: str = "") -> str:
    return f'data: {{"choices":[{{"delta":{delta}{rest}}}]}}'


A, B = '{"function":{"name":"f","arguments":"{}"}', '{"function":{"name":"g","arguments":"{}"}'
ODD: dict[str, tuple[tuple[str, ...], list[Event]]] = {
    "no [DONE]": ((event('{"content":"a"}', ',"finish_reason":"stop"'),), [Text("a"), Done()]),
    "a whole answer in place of a stream": (
        ('{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}',),
        [Text("a"), Done("length")],
    ),
    "comments and names of events": (
        (": waiting", "event: x", "", event('{"content":"a"}'), "data: [DONE]"),
        [Text("a"), Done()],
    ),
    "thinking under another name": (
        (event('{"reasoning":"hm"}'), "data: [DONE]"),
        [Reasoning("hm"), Done()],
    ),
    "calls without numbers": (
        (
            event(f'{{"tool_calls":[{A},"id":"1"}}]}}'),
            event(f'{{"tool_calls":[{B},"id":"2"}}]}}'),
            "data: [DONE]",
        ),
        [ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"), Done("tool_calls")],
    ),
    "calls that are all number 0": (
        (
            event(f'{{"tool_calls":[{A},"index":0,"id":"1"}}]}}'),
            event(f'{{"tool_calls":[{B},"index":0,"id":"2"}}]}}', ',"finish_reason":"stop"'),
            "data: [DONE]",
        ),
        [ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"), Done("tool_calls")],
    ),
    "a call that the limit cut off": (
        (
            event('{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{\\"a\\":"}}]}'),
            event("{}", ',"finish_reason":"length"'),
            "data: [DONE]",
        ),
        [Done("length")],
    ),
    "log probabilities": (
        (
            event(
                '{"content":"a"}',
                ',"logprobs":{"content":[{"token":"a","logprob":-0.5,"bytes":[97],'
                '"top_logprobs":[{"token":"b","logprob":-2}]}]}',
            ),
            "data: [DONE]",
        ),
        [
            Text("a", (TokenLogprob("a", -0.5, b"a", (TokenLogprob("b", -2.0, b"b"),)),)),
            Done(),
        ],
    ),
    "log probabilities of a completion": (
        (
            (
                'data: {"choices":[{"text":"a","logprobs":{"tokens":["a"],"token_logprobs":[-0.5],'
                '"top_logprobs":[{"b":-2.0}]}}]}'
            ),
            "data: [DONE]",
        ),
        [
            Text("a", (TokenLogprob("a", -0.5, b"a", (TokenLogprob("b", -2.0, b"b"),)),)),
            Done(),
        ],
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_answers_are_understood(case: str) -> None:
    lines, expected = ODD[case]
    emit, whole = heard(_openai, *lines)
    assert whole and emit.events == expected


@pytest.mark.parametrize("dialect", [_openai, _ollama])
def test_an_answer_that_just_ends_is_not_whole(dialect: Any) -> None:
    line = event('{"content":"a"}') if dialect is _openai else '{"message":{"content":"a"}}'
    emit, whole = heard(dialect, line)
    assert emit.events == [Text("a")] and not whole


def test_ollamas_last_line_may_hold_text_and_says_why_it_ended() -> None:
    last = (
        '{"response":"b","done":true,"done_reason":"length","eval_count":2,"prompt_eval_count":3}'
    )
    emit, whole = heard(_ollama, '{"response":"a"}', last)
    assert whole and emit.events == [Text("a"), Text("b"), Done("length")]
    assert emit.counted == {"input": 3, "output": 2}
