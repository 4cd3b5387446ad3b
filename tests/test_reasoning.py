"""Thoughts and answers told apart, in pieces of any size; templates' own switches."""

from __future__ import annotations

from typing import Any

import pytest

from engine.families._reasoning import (
    CHANNELS,
    STYLES,
    Channels,
    Marked,
    Part,
    Style,
    Thought,
    Whole,
    choose_style,
    opens,
    split_by,
    switches,
)
from engine.families._scan import Called

THINK = next(style for style in STYLES if style.open == "<think>")
CALL = "<|channel|>commentary to=functions.forecast <|constrain|>json<|message|>"
HM = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
TO = "<|start|>assistant to=functions.forecast"
RAIN = Called("forecast", '{"city": "Porto"}')

# (style, whether the prompt opened the thoughts, what the model wrote, its parts)
WRITTEN: list[tuple[Style | None, bool, str, list[Part]]] = [
    (None, False, "Hello", ["Hello"]),
    (THINK, False, "Hello, <think> is a tag", ["Hello, <think> is a tag"]),
    (THINK, False, "<think>\nWell,\nso.\n</think>\n\nHello", [Thought("Well,\nso."), "Hello"]),
    (THINK, False, "\n\n<think>a</think>b", [Thought("a"), "b"]),
    (THINK, False, "<think>\n\n</think>\n\nHello", ["Hello"]),
    (THINK, False, "<think>\nIt breaks o", [Thought("It breaks o")]),
    (THINK, True, "Well </thin k>\n</think>\n\n Hi </think>", [Thought("Well </thin k>"), "Hi </think>"]),
    (THINK, True, "All thought", [Thought("All thought")]),
    (THINK, False, "<thin", ["<thin"]),
    (CHANNELS, False, f"{HM}<|channel|>final<|message|>Hi!<|return|>", [Thought("Hm."), "Hi!"]),
    (CHANNELS, False, f'{HM}{CALL}{{"city": "Porto"}}<|call|>', [Thought("Hm."), RAIN]),
    (CHANNELS, False, f'{CALL}{{"city": "Porto"}}', [RAIN]),
    (CHANNELS, False, f'{TO}<|channel|>commentary json<|message|>{{"city": "Porto"}}<|call|>', [RAIN]),
    (CHANNELS, False, "<|channel|>commentary<|message|>I look.<|end|>", ["I look."]),
    (CHANNELS, False, f'{CALL}{{"city": "Por', [f'{CALL}{{"city": "Por']),
    (CHANNELS, False, "plain words", ["plain words"]),
]  # fmt: skip


def merged(parts: list[Part]) -> list[Part]:
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        if isinstance(part, str) and isinstance(last, str):
            out[-1] = last + part
        elif isinstance(part, Thought) and isinstance(last, Thought):
            out[-1] = Thought(last.text + part.text)
        else:
            out.append(part)
    return out


def made(style: Style | None, inside: bool) -> Any:
    return split_by(style, style.open if style and inside else "user: hi\n")


@pytest.mark.parametrize("size", [1, 4, 9999])
@pytest.mark.parametrize(("style", "inside", "text", "parts"), WRITTEN)
def test_thoughts_and_answers(style, inside, text, parts, size):
    splitter = made(style, inside)
    found = [p for n in range(0, len(text), size) for p in splitter.feed(text[n : n + size])]
    assert merged(found + splitter.end()) == parts


def test_what_splits():
    assert isinstance(split_by(None, ""), Whole) and isinstance(split_by(CHANNELS, ""), Channels)
    assert isinstance(split_by(THINK, ""), Marked)


def test_whether_the_answer_has_begun_is_known_at_every_moment():
    opened = made(THINK, True)
    assert not opened.answering
    opened.feed("so </think>")
    assert opened.answering
    closed = made(THINK, False)
    assert closed.answering and closed.feed("<think>") == [] and not closed.answering
    channels = Channels()
    channels.feed("<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final")
    assert not channels.answering
    channels.feed("<|message|>")
    assert channels.answering


@pytest.mark.parametrize(
    ("template", "opening"),
    [
        ("{{ content.split('</think>')[-1] }} {{ '<think>\\n' }}", "<think>"),
        ("{% if x %}[THINK]{% endif %}", "[THINK]"),
        ("<|channel|>analysis<|message|>", "<|channel|>"),
        ("<seed:think>", "<seed:think>"),
        ("<|START_THINKING|>", "<|START_THINKING|>"),
        ("Here is my thought process: and Here is my response:", "Here is my thought process:"),
        ("<|im_start|>assistant", None),
    ],
)
def test_the_style_is_told_by_the_template(template, opening):
    style = choose_style(template)
    assert (style and style.open) == opening


def test_prompts_that_open_the_thoughts():
    assert opens(THINK, "<|im_start|>assistant\n<think>\n")
    assert not opens(THINK, "<|im_start|>assistant\n<think>\n\n</think>\n\n") and not opens(
        None, "<think>"
    )


@pytest.mark.parametrize(
    ("think", "values"),
    [
        (None, {}),
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False, "reasoning_effort": "low"}),
        ("high", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
def test_switches_are_those_the_template_has(think, values):
    template = "{% if enable_thinking %}{{ reasoning_effort }}{% endif %}"
    assert switches(template, think) == values
    assert switches("{{ messages }}", think) == {}
