"""Calls in the formats of the model families: whole, in pieces of any size, cut off anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import LoadFailed
from engine.families._scan import Called
from engine.families._tools import FORMATS, CallReader, choose_format

TOOLS: dict[str, dict[str, Any]] = {
    "forecast": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "units": {"type": ["string", "null"]},
            "parts": {"type": "array", "items": {"type": "string"}},
            "deep": {"type": "boolean"},
        },
    },
    "clock": {"type": "object", "properties": {}},
    "python": {"type": "object", "properties": {"code": {"type": "string"}}},
}
INNER = '{"name": "forecast", "arguments": {"city": "Porto"}}'
# Each: the format, what a model wrote, the calls in it, the text beside them.
WRITTEN = json.loads((Path(__file__).parent / "golden" / "tool_calls.json").read_text("utf-8"))
SAMPLES = pytest.mark.parametrize(
    "sample", WRITTEN, ids=[f"{n}-{one['format']}" for n, one in enumerate(WRITTEN)]
)
NAMED = {one.name: one for one in FORMATS}


def read(name: str, text: str, size: int = 1, **how: Any) -> tuple[list[Called], str, list[str]]:
    """The calls, the whole text, and its pieces, of an answer that comes `size` characters at a time."""
    reader = CallReader(NAMED[name], TOOLS, **how)
    parts = [p for n in range(0, len(text), size) for p in reader.feed(text[n : n + size])]
    parts += reader.end()
    texts = [part for part in parts if isinstance(part, str)]
    return [part for part in parts if isinstance(part, Called)], "".join(texts), texts


def plain(calls: list[Called]) -> list[Any]:
    return [[call.name, json.loads(call.arguments)] for call in calls]


def test_every_format_has_samples():
    assert {one["format"] for one in WRITTEN} == set(NAMED)


@pytest.mark.parametrize("size", [1, 3, 17, 10_000])
@SAMPLES
def test_calls_are_read(sample, size):
    found, rest, _ = read(sample["format"], sample["text"], size)
    assert plain(found) == sample["calls"]
    assert rest == sample["beside"]


@SAMPLES
def test_a_call_that_is_cut_off_is_text_and_no_call(sample):
    name, text = sample["format"], sample["text"]
    if not sample["calls"] or ("python_tag" in text and "{" not in text):
        pytest.skip("no call, or one that is whole at any length: code")
    for end in range(len(text)):
        found, rest, _ = read(name, text[:end], 4)
        assert plain(found) == sample["calls"][: len(found)]
        if not found:
            assert rest.rstrip() == text[:end].rstrip()


def test_text_is_not_held_back_longer_than_it_must_be():
    _, _, pieces = read("hermes", "one two <b> three <tool_cab> four")
    assert len(pieces) == 19  # a space waits for the next letter, "<tool_ca" for what it becomes


def test_only_the_first_call_counts_where_one_is_wanted():
    reader = CallReader(NAMED["hermes"], TOOLS, single=True)
    text = f"<tool_call>{INNER}</tool_call>\n"
    parts = reader.feed(text * 2) + reader.end()
    assert [type(part) for part in parts] == [Called] and reader.met


def test_the_models_own_ids_are_kept():
    [call], _, _ = read("kimi", next(one["text"] for one in WRITTEN if one["format"] == "kimi"))
    assert call.id == "functions.forecast:0"


TEMPLATES = {
    "hermes": '<tools>{{ tool | tojson }}</tools> {{- \'<tool_call>\\n{"name": "\' }}',
    "xml": "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>",
    "glm": "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>",
    "llama": "{{- 'Environment: ipython\\n' }} Respond in the format {\"name\": function name",
    "llama4": "[func_name1(params_name1=params_value1)] <|python_start|>",
    "mistral-list": "{{- '[TOOL_CALLS] [' }}",
    "mistral": "{{- '[TOOL_CALLS]' + name + '[ARGS]' }}",
    "deepseek": "{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' + tool['type'] + '\\n' + '```json'}}",
    "deepseek-v3.1": "{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'+ tool['function']['name']}}",
    "granite": "<|start_of_role|>assistant<|tool_call|>",
    "kimi": "<|tool_calls_section_begin|>",
    "gemma": "<start_function_call>call:",
    "phi4": "<|tool|>{{ tools }}<|/tool|> <|tool_call|> <|/tool_call|>",
    "minimax": "<minimax:tool_call>",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_format_is_told_by_the_template(name):
    assert choose_format(TEMPLATES[name], ["<tool_call>", "<s>"]).name == name


def test_the_format_is_told_by_the_vocabulary_or_by_hand():
    assert choose_format("", ["<s>", "｜DSML｜"]).name == "deepseek-v3.2"
    assert choose_format("", ["<s>"]).name == "hermes"
    assert choose_format(TEMPLATES["glm"], [], "xml").name == "xml"
    with pytest.raises(LoadFailed, match=r"no tool format 'nope'.*hermes"):
        choose_format("", [], "nope")
