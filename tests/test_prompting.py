"""Prompts with tools, thoughts and their switches, for templates of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from engine.families._prompting import Prompter
from engine.requests import Call, ChatRequest, Message, Tool
from tests import tiny

TOOLS = (Tool(name="forecast", description="The weather", parameters={"type": "object"}),)
CALL = Call(id="call_1", name="forecast", arguments='{"city": "Porto"}')
TALK = (
    Message.of("user", "Rain?"),
    Message(role="assistant", calls=(CALL,), reasoning="Look."),
    Message(role="tool", parts=Message.of("tool", "wet").parts, call_id="call_1"),
)
OBJECTS = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
    "{% for m in messages %}[{{ m.role }}{% if m.name %} {{ m.name }}{% endif %}]"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments | tojson }}"
    " {{ c.id }}{% endfor %}{% if m.tool_call_id %}#{{ m.tool_call_id }}{% endif %}{% endfor %}"
)
TEXTS = OBJECTS.replace("c.function.arguments | tojson", "'' + c.function.arguments")
THINKS = (
    "{% for m in messages %}{{ m.content }}{% endfor %}assistant\n<think>\n"
    "{% if enable_thinking is defined and not enable_thinking %}\n</think>\n\n{% endif %}"
)
ALWAYS = "{% for m in messages %}{{ m.content }}{% endfor %}assistant\n<think>\n{# </think> #}"
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}{% endfor %}"
)


def prompter(template: str | None, wish: str = "") -> Prompter:
    return Prompter(tiny.make_tokenizer(template=template), "tiny", wish)


def asked(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=messages or (Message.of("user", "Rain?"),), **fields)


@pytest.mark.parametrize("template", [OBJECTS, TEXTS], ids=["objects", "texts"])
def test_a_template_gets_tools_calls_and_results_its_own_way(template):
    text = prompter(template).render(asked(*TALK, tools=TOOLS))
    assert '"name": "forecast"' in text and '"description": "The weather"' in text
    assert '<tool_call>forecast {"city": "Porto"} call_1' in text
    assert "[tool forecast]wet#call_1" in text
    assert "(Look.)" in text


def test_without_tools_a_template_is_not_given_any():
    assert "forecast" not in prompter(OBJECTS).render(asked())


def test_the_ids_of_mistral_have_nine_letters():
    template = OBJECTS.replace("<tool_call>", "[TOOL_CALLS]")
    text = prompter(template).render(asked(*TALK, tools=TOOLS))
    ids = [
        piece.split("[")[0].split("#")[0].strip()
        for piece in text.replace('"} ', "#").split("#")[1:]
    ]
    assert len(set(ids)) == 1 and len(ids[0]) == 9 and ids[0].isalnum()


def test_a_template_that_knows_no_tools_is_told_of_them_in_words():
    own = prompter(tiny.TEMPLATE)
    text = own.render(asked(Message.of("system", "Be kind."), *TALK, tools=TOOLS))
    assert text.startswith("<|im_start|>system\nBe kind.\n\nYou can call these tools")
    assert '{"name": "forecast", "description": "The weather", "parameters"' in text
    assert (
        '<|im_start|>assistant\n<tool_call>\n{"name": "forecast", "arguments": {"city": "Porto"}}'
        in text
    )
    assert "<|im_start|>user\n<tool_response>\nwet\n</tool_response>" in text
    assert own.format.name == "hermes"


def test_results_of_one_turn_come_in_one_message():
    more = Message(role="tool", parts=Message.of("tool", "cold").parts, call_id="call_2")
    text = prompter(tiny.TEMPLATE).render(asked(*TALK, more))
    assert text.count("<|im_start|>user") == 2
    assert "wet\n</tool_response>\n<tool_response>\ncold" in text


def test_without_a_system_role_tools_are_told_to_the_user():
    text = prompter(NO_SYSTEM).render(asked(tools=TOOLS))
    assert text.startswith("[user]You can call these tools") and text.endswith("\n\nRain?")


def test_without_a_template_tools_are_told_too():
    assert prompter(None).render(asked(tools=TOOLS)).startswith("system: You can call these tools")


def test_the_format_can_be_wished_for():
    assert prompter(tiny.TEMPLATE, "llama4").format.name == "llama4"


@pytest.mark.parametrize(
    ("template", "think", "end"),
    [
        (THINKS, None, "<think>\n"),
        (THINKS, True, "<think>\n"),
        (THINKS, False, "<think>\n</think>\n\n"),
        (ALWAYS, None, "<think>\n"),
        (ALWAYS, "high", "<think>\n"),
        (ALWAYS, False, "<think>\n</think>\n\n"),
    ],
)
def test_thinking_is_switched_where_it_can_be(template, think, end):
    assert prompter(template).render(asked(think=think)).endswith("assistant\n" + end)
