"""Answers that must be JSON: whatever the model, whatever the schema, and whatever the tokenizer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from engine.errors import BadValue
from engine.families._decoding import Bytes
from engine.families._grammar import Grammars, Guide
from engine.families._masks import Place, allowed
from engine.families._scan import Called
from engine.families._tools import FORMATS, CallReader, schemas
from engine.requests import Tool
from tests import tiny
from tests.test_decoding import metaspace  # noqa: F401

STARTER = Path(__file__).parent.parent / "assets" / "starters" / "starter-chat"
NODE = {
    "type": "object",
    "properties": {"v": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}},
    "required": ["v", "next"],
    "additionalProperties": False,
}  # fmt: skip
SCHEMAS: dict[str, Any] = {
    "an object": True,
    "anything": {},
    "a string": {"type": "string"},
    "a number": {"type": "number"},
    "a date": {"type": "string", "format": "date-time"},
    "a pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    "one of": {"enum": ["red", 5, None]},
    "twenty numbers": {"type": "array", "items": {"type": "integer"}, "minItems": 20, "maxItems": 20},
    "a map": {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 3},
    "nested": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "address": {
                "type": "object",
                "properties": {
                    "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
                    "note": {"type": ["string", "null"]},
                },
                "required": ["zip", "note"],
                "additionalProperties": False,
            },
        },
        "required": ["name", "age", "tags", "address"],
        "additionalProperties": False,
    },
    "itself again": {"$defs": {"n": NODE}, "$ref": "#/$defs/n"},
}  # fmt: skip


def grammars(tokenizer: Any, size: int = 0) -> Grammars:
    return Grammars(tokenizer, size or len(tokenizer), frozenset({tokenizer.eos_token_id}))


@pytest.fixture(scope="module")
def starter() -> Grammars:
    return grammars(AutoTokenizer.from_pretrained(STARTER))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.make_tokenizer()


def write(
    guide: Guide, tokenizer: Any, limit: int, seed: int, *, wishes_end: bool = False
) -> bytes:
    """What a model without any sense writes: any token that may come next."""
    source, pieces, text = random.Random(seed), Bytes(tokenizer), b""
    for _ in range(limit):
        mask = torch.zeros((1, guide.words), dtype=torch.int32)
        end = tokenizer.eos_token_id
        guide.mask(mask[0], end if wishes_end else source.randrange(len(tokenizer)))
        may = allowed(mask, len(tokenizer))[0].nonzero()[:, 0].tolist()
        token = source.choice(may)
        if token == end:
            return text
        guide.take(token)
        text += pieces.of(token)
        if guide.over:
            return text
    raise AssertionError(f"no end: {text[-80:]!r}")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SCHEMAS)
def test_any_model_writes_valid_json_within_its_limit(starter, tokenizer, name, seed):
    kind = grammars(tokenizer) if seed else starter
    own = tokenizer if seed else starter._tokenizer
    guide = kind.for_schema(SCHEMAS[name], limit=600)
    json.loads(write(guide, own, 600, seed))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_model_that_wants_to_stop_stops_soon(tokenizer, name):
    guide = grammars(tokenizer).for_schema(SCHEMAS[name], limit=4000)
    text = write(guide, tokenizer, 250, 1, wishes_end=True)
    json.loads(text)
    assert not guide.hurried


def test_the_limit_is_told_where_it_cut_something_short(tokenizer):
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    guide = grammars(tokenizer).for_schema(schema, limit=60)
    json.loads(write(guide, tokenizer, 60, 5))
    assert guide.hurried


def test_sentencepiece_and_slow_tokenizers(metaspace):  # noqa: F811
    metaspace.eos_token = "<unk>"
    schema = {"type": "object", "properties": {"Hi": {"type": "integer"}}, "required": ["Hi"]}
    schema["additionalProperties"] = False
    text = '{"Hi": 12}'
    for slow in (False, True):
        own: Any = Slow(metaspace) if slow else metaspace
        guide = grammars(own).for_schema(schema, limit=50)
        known = own.get_vocab()
        for token in [known.get(c.replace(" ", "▁"), ord(c) + 1) for c in text]:
            mask = torch.zeros((1, guide.words), dtype=torch.int32)
            guide.mask(mask[0], token)
            assert allowed(mask, len(own))[0, token], (slow, token)
            guide.take(token)
        assert guide.over


class Slow:
    """A tokenizer that the `tokenizers` library does not know."""

    is_fast = False

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)

    def __call__(self, text: str, **how: Any) -> Any:
        return self._inner(text, **how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def test_logits_past_the_vocabulary_are_never_drawn(tokenizer):
    size = len(tokenizer) + 77
    guide = grammars(tokenizer, size).for_schema({"type": "string"}, limit=50)
    mask = torch.zeros((1, guide.words), dtype=torch.int32)
    guide.mask(mask[0], 0)
    fits = allowed(mask, size + 500)
    assert fits.shape[1] == size + 500 and not fits[0, len(tokenizer) :].any()


def test_thoughts_are_not_constrained(tokenizer):
    opener = tokenizer.convert_tokens_to_ids("<|im_start|>")
    guide = grammars(tokenizer).for_schema(True, limit=50, openers=frozenset({opener}))
    mask = torch.zeros((1, guide.words), dtype=torch.int32)
    guide.mask(mask[0], 0)
    may = allowed(mask, len(tokenizer))[0]
    assert may[opener] and 0 < int(may.sum()) < 20
    guide.take(opener)
    guide.mask(mask[0], 0)
    assert allowed(mask, len(tokenizer)).all()
    guide.take(7)
    guide.awake = True
    guide.mask(mask[0], 0)
    assert not allowed(mask, len(tokenizer))[0, opener]


BAD: list[tuple[Any, str]] = [
    ({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "int"}}}}},
     r"at properties\.a\.properties\.b: Invalid type: int"),
    ({"type": "array", "items": {"type": "string", "pattern": "["}}, r"at items: unclosed character class"),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, r"Nothing can satisfy .*: incompatible types"),
    ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 3}}, "required": ["a"]},
     r"Nothing can satisfy .* at properties\.a: minimum"),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, r"obey 'uniqueItems'"),
    ({"$ref": "#/$defs/x"}, r"Pointer .* does not exist"),
    ({"type": "object", "properties": []}, r"properties must be an object"),
    ({"type": "object", "properties": {"a": 3}}, r"must be an object or boolean"),
    ({"type": "string", "pattern": "(?=a)b"}, r"look-around"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "why"), BAD, ids=[why for _, why in BAD])
def test_a_schema_at_fault_is_refused_with_its_place(starter, schema, why):
    with pytest.raises(BadValue, match=why) as caught:
        starter.for_schema(schema, limit=100)
    assert caught.value.param == "json_schema" and caught.value.message.endswith(".")


def test_a_schema_too_large_is_refused(starter):
    with pytest.raises(BadValue, match="characters"):
        starter.for_schema({"enum": ["x" * 1000] * 600}, limit=100)


TOOLS = (
    Tool(
        name="forecast",
        parameters={
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
                "units": {"type": "string", "enum": ["metric", "us"]},
                "parts": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            },
            "required": ["city", "days", "units", "parts"],
            "additionalProperties": False,
        },
    ),
    Tool(name="clock"),
)


@pytest.mark.parametrize("style", FORMATS, ids=[style.name for style in FORMATS])
def test_a_forced_call_can_be_read(tokenizer, style):
    """What the grammar of a format lets through is what its parser reads."""
    made = grammars(tokenizer)
    for seed in range(2):
        guide = made.for_calls(TOOLS, style.shape, 1500, single=not seed)
        try:
            text = write(guide, tokenizer, 1500, seed, wishes_end=True).decode("utf-8", "replace")
        except AssertionError:
            assert style.shape.raw, (
                style.name
            )  # plain text between tags has no end that can be hurried
            continue
        reader = CallReader(style, schemas(TOOLS))
        parts = reader.feed(text) + reader.end()
        assert parts and all(isinstance(part, Called) for part in parts), text
        for call in parts:
            assert isinstance(call, Called) and call.name in ("forecast", "clock")
            given = json.loads(call.arguments)
            assert set(given) == (
                {"city", "days", "units", "parts"} if call.name == "forecast" else set()
            )


def test_special_tokens_are_written_as_themselves(tokenizer):
    from engine.families._tools import Shape

    shape = Shape("<|im_start|>{name}:", "<|im_end|>")
    guide = grammars(tokenizer).for_calls((Tool(name="f"),), shape, 50, single=True)
    ids = [*tokenizer("<|im_start|>f:")["input_ids"], *tokenizer("{}")["input_ids"]]
    for token in [*ids, tokenizer.convert_tokens_to_ids("<|im_end|>")]:
        guide.take(token)
    assert guide.over


def test_a_tool_whose_parameters_are_no_schema_is_named(starter):
    tools = (
        TOOLS[0],
        Tool(name="odd", parameters={"type": "object", "properties": {"x": {"type": "int"}}}),
    )
    with pytest.raises(
        BadValue, match=r"tool 'odd' are no valid JSON schema: Invalid type: int"
    ) as caught:
        starter.for_calls(tools, FORMATS[0].shape, 100, single=True)
    assert caught.value.param == "tools"


def test_a_grammar_is_made_once(starter, monkeypatch):
    starter.for_schema(SCHEMAS["nested"], limit=50)
    monkeypatch.setattr(starter, "_vocabulary", None)  # what a second making would call
    first, second = (starter.for_schema(SCHEMAS["nested"], limit=90) for _ in range(2))
    first.take(starter._tokenizer("{")["input_ids"][0])
    row = torch.zeros(second.words, dtype=torch.int32)
    second.mask(row, 9)
    assert allowed(row[None], 300)[0].any()  # the one that began is not the other
    with pytest.raises(TypeError):
        starter.for_schema({"type": "null"}, limit=90)


def test_where_json_text_stands():
    place = Place()
    place.read(b'{"a\\"b": 12')
    assert (place.quoted, place.digits) == (False, 2)
    place.read(b'3, "\\\\')
    assert (place.quoted, place.digits) == (True, 0)
    place.read(b'"')
    assert not place.quoted
