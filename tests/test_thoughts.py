"""Thoughts are counted apart: by a model here, and as another server tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import ChatRequest, Message, ModelSpec, Settings
from engine.families import hf_chat
from tests import tiny
from tests.test_remote_bodies import _openai, event, heard

OPENED = tiny.TEMPLATE + "{# <think></think> #}{% if add_generation_prompt %}<think>\n{% endif %}"


@pytest.mark.parametrize(("template", "thought"), [(OPENED, 7), (tiny.TEMPLATE, 0)])
def test_tokens_before_the_answer_are_thoughts(tmp_path: Path, template: str, thought: int) -> None:
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = template
    folder = tiny.make_checkpoint(tmp_path, tokenizer=tokenizer)
    spec = ModelSpec("tiny", frozenset({"chat"}), "hf_chat", path=str(folder))
    backend = hf_chat.load(spec, Settings(device="cpu", dtype="float32", parallel=2))
    backend._ends = frozenset()
    listener = tiny.Listener()
    backend.join(ChatRequest(messages=(Message.of("user", "hi"),), max_tokens=7), listener)
    while not listener.over:
        backend.step()
    backend.close()
    assert (listener.output, listener.reasoning) == (7, thought)


def test_what_another_server_counts_is_passed_on() -> None:
    usage = '{"prompt_tokens":3,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":4}}'
    emit, _ = heard(
        _openai,
        event('{"content":"a"}', ',"finish_reason":"stop"'),
        f'data: {{"choices":[],"usage":{usage}}}',
        "data: [DONE]",
    )
    assert emit.counted == {"output": 5, "input": 3, "cached": 0, "reasoning": 4}
