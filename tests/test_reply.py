"""One answer on its way out: stop strings, thoughts, calls and chances together, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadValue
from engine.events import Done, Reasoning, Text, ToolCall
from engine.families import hf_chat
from engine.families._prompting import Prompter
from engine.families._reply import Replies
from engine.families._sampling import Chances, Sampling
from engine.registry import ModelSpec
from engine.requests import ChatRequest, Message, Tool
from engine.settings import Settings
from tests import tiny
from tests.tiny import Listener

TOOLS = (Tool(name="forecast"), Tool(name="clock"))
THINKS = tiny.TEMPLATE + "{# <think></think> <tool_call> #}{{ tools | tojson if tools }}"
CALL = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'


def replies(template: str = THINKS, specials: tuple[str, ...] = ()) -> tuple[Any, Replies]:
    tokenizer = tiny.make_tokenizer(template=template)
    tokenizer.add_special_tokens({"additional_special_tokens": list(specials)})
    ends = frozenset({tokenizer.eos_token_id})
    return tokenizer, Replies(tokenizer, Prompter(tokenizer, "tiny"), len(tokenizer), ends)


def said(
    text: str, made: tuple[Any, Replies] | None = None, **fields: Any
) -> tuple[list[Any], str]:
    """The events of an answer that is `text`, neighbours of a kind joined, and how it ended."""
    tokenizer, begin = made or replies()
    request = ChatRequest(messages=(Message.of("user", "?"),), **fields)
    _, reply = begin.begin(request, "user: ?\n", [], Sampling(), 100)
    events: list[Any] = []
    for token in tokenizer(text)["input_ids"]:
        events += reply.add(token)
        if reply.over:
            break
    events += reply.end()
    joined: list[Any] = []
    for event in events:
        if joined and type(joined[-1]) is type(event) and not isinstance(event, ToolCall):
            event = type(event)(joined.pop().delta + event.delta)
        joined.append(event)
    return joined, reply.finish


def names(events: list[Any]) -> list[Any]:
    return [e.name if isinstance(e, ToolCall) else e for e in events]


def test_thoughts_text_and_calls_come_apart():
    events, finish = said(f"<think>\nHm.\n</think>\n\nI look.\n{CALL}\n{CALL}", tools=TOOLS)
    assert names(events) == [Reasoning("Hm."), Text("I look."), "clock", "clock"]
    assert finish == "tool_calls"
    assert len({e.id for e in events if isinstance(e, ToolCall)}) == 2


def test_without_tools_a_call_is_text():
    events, finish = said(CALL)
    assert events == [Text(CALL)] and finish == "stop"


def test_one_call_only_where_one_is_wanted():
    events, _ = said(f"{CALL}\n{CALL} and more", tools=TOOLS, parallel_tool_calls=False)
    assert names(events) == ["clock"]


def test_stop_strings_are_looked_for_in_the_answer_only():
    events, finish = said("<think>STOP</think>go on STOP here", stop=("STOP",))
    assert events == [Reasoning("STOP"), Text("go on ")] and finish == "stop"


def test_what_was_held_back_comes_at_the_end():
    assert said("a <tool", tools=TOOLS)[0] == [Text("a <tool")]
    assert said("a STO", stop=("STOP",))[0] == [Text("a STO")]
    assert said("a STO", stop=("STOP",), tools=TOOLS)[0] == [Text("a STO")]


def test_special_tokens_of_the_format_are_seen_and_no_others():
    made = replies(
        tiny.TEMPLATE + "{# [TOOL_CALLS] #}{{ tools | tojson if tools }}",
        ("[TOOL_CALLS]", "[OTHER]"),
    )
    text = '[OTHER]Hm[TOOL_CALLS][{"name": "clock", "arguments": {}}]'
    assert names(said(text, made, tools=TOOLS)[0]) == [Text("Hm"), "clock"]
    assert said("[OTHER]Hm[TOOL_CALLS]x", made)[0] == [Text("Hmx")]


def test_chances_belong_to_the_text_they_made():
    tokenizer, begin = replies()
    request = ChatRequest(messages=(Message.of("user", "?"),), logprobs=1, stop=("quick!",))
    draw, reply = begin.begin(request, "", [], Sampling(), 100)
    assert draw.tells == 1
    ids = tokenizer("The quick fox é")["input_ids"]
    events = [e for n in ids for e in reply.add(n, Chances(n, -0.5, ((n, -0.5),)))]
    events += reply.end()
    told = [one for event in events for one in event.logprobs]
    assert b"".join(one.bytes for one in told).decode() == "The quick fox é"
    assert all(one.logprob == -0.5 and one.top[0].token == one.token for one in told)


# Through the batch --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tiny.make_tokenizer(template=THINKS)
    return tiny.make_checkpoint(tmp_path_factory.mktemp("tools"), tokenizer=tokenizer)


@pytest.fixture
def backend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> hf_chat.HfChat:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)
    spec = ModelSpec(
        id="tiny", does=frozenset({"chat"}), family="hf_chat", path=str(folder),
        options={"dtype": "float32"},
    )  # fmt: skip
    return hf_chat.load(spec, Settings(device="cpu", parallel=4))


def answers(backend: hf_chat.HfChat, *requests: ChatRequest) -> list[Listener]:
    listeners = [Listener() for _ in requests]
    for request, listener in zip(requests, listeners, strict=True):
        backend.join(request, listener)
    for _ in range(2000):
        if all(listener.over for listener in listeners):
            return listeners
        backend.step()
    raise AssertionError("an answer did not end")


def ask(**fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message.of("user", "hello"),), **fields)


def test_constrained_and_free_answers_share_a_batch(backend):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    free = answers(backend, ask(max_tokens=20))[0].text
    mixed = answers(
        backend,
        ask(max_tokens=20),
        ask(json_schema=schema, max_tokens=60),
        ask(json_schema=True, max_tokens=60, temperature=1.5, seed=3),
        ask(tools=TOOLS, tool_choice="required", max_tokens=90),
    )
    assert mixed[0].text == free
    assert isinstance(json.loads(mixed[1].text)["a"], int)
    assert isinstance(json.loads(mixed[2].text), dict)
    calls = [e for e in mixed[3].events if isinstance(e, ToolCall)]
    assert calls and calls[0].name in ("forecast", "clock") and mixed[3].text == ""


def test_a_limit_too_small_for_the_json_is_told(backend):
    name = "a long name"
    schema = {"type": "object", "properties": {name: {"type": "integer"}}, "required": [name]}
    [cut] = answers(backend, ask(json_schema=schema, max_tokens=4))
    assert cut.finish == "length" and cut.output == 4 and cut.text.startswith('{"')


def test_a_forced_call_that_is_cut_off_is_told_as_it_is(backend):
    [cut] = answers(backend, ask(tools=TOOLS, tool_choice="required", max_tokens=6))
    assert cut.finish == "length" and "<tool" in cut.text
    assert not [e for e in cut.events if isinstance(e, ToolCall)]


def test_bias_and_penalties_change_what_is_drawn(backend):
    plain = answers(backend, ask(max_tokens=12, logprobs=0))[0]
    first = next(e for e in plain.events if isinstance(e, Text)).logprobs[0]
    token = backend._tokenizer.convert_tokens_to_ids("quick"[:1])
    [biased] = answers(backend, ask(max_tokens=3, logit_bias={token: 100}))
    assert biased.text == "qqq"
    calmed = ask(max_tokens=20, logit_bias={token: 7}, frequency_penalty=2, presence_penalty=2)
    [calm], [eager] = (
        answers(backend, request)
        for request in (calmed, calmed.model_copy(update={"frequency_penalty": None}))
    )
    assert calm.text.count("q") < eager.text.count("q")
    assert first.logprob <= 0


def test_chances_are_those_of_the_model_itself(backend):
    import torch

    request = ask(max_tokens=1, logprobs=3, temperature=1.7, top_k=1, seed=1)
    [told] = answers(backend, request)
    ids, _ = backend._prompter.ids(request, 512)
    with torch.inference_mode():
        own = backend._model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
    best = own.topk(3)
    [one] = next(e for e in told.events if isinstance(e, Text)).logprobs
    assert one.logprob == pytest.approx(float(best.values[0]), abs=1e-4)
    assert [round(t.logprob, 3) for t in one.top] == [round(float(v), 3) for v in best.values]


def test_a_schema_at_fault_takes_no_place(backend):
    with pytest.raises(BadValue):
        backend.join(ask(json_schema={"type": "int"}), Listener())
    assert not list(backend._everyone())


def test_a_grammar_that_fails_ends_its_answer_alone(backend, monkeypatch):
    from engine.families._grammar import Guide

    bad, good = Listener(), Listener()
    backend.join(ask(json_schema=True, max_tokens=20), bad)
    backend.join(ask(max_tokens=5), good)
    guide = backend._waiting[0].draw.guide
    assert isinstance(guide, Guide)
    monkeypatch.setattr(guide, "_matcher", Broken())
    for _ in range(50):
        if bad.over and good.over:
            break
        backend.step()
    assert bad.error is not None and "too complex" in str(bad.error)
    assert isinstance(good.events[-1], Done)


class Broken:
    """A grammar at its end."""

    def unsafe_compute_mask_ptr(self, *_: Any) -> None: ...

    def consume_token(self, _: int) -> bool:
        return False

    def validate_tokens(self, tokens: list[int]) -> int:
        return 0

    def get_error(self) -> str:
        return "lexer too complex"


async def test_texts_that_come_merged_keep_their_chances():
    import asyncio

    from engine.callers import Caller
    from engine.events import TokenLogprob
    from engine.job import Job

    spec = ModelSpec(id="tiny", does=frozenset({"chat"}), family="hf_chat")
    job = Job(spec, ask(), Caller(), lambda: 0.0, asyncio.get_running_loop())
    tokens = [TokenLogprob(letter, -1.0, letter.encode()) for letter in "abc"]
    for token in tokens:
        job.put(Text(token.token, (token,)))
    job.finish(Done())
    assert await anext(aiter(job)) == Text("abc", tuple(tokens))
