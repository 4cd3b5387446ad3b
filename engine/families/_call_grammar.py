"""The grammars of forced calls: what a model must write so that a call of one of these tools comes out.

Knows the shapes of calls, JSON schemas and llguidance's grammar language; nothing of tokens' masks or requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.families._tools import Shape
from engine.requests import Tool

# Written tight: a weak model left free to put blanks between values may never stop doing so.
TIGHT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def calls_grammar(
    tools: Sequence[Tool], shape: Shape, single: bool, specials: Mapping[str, int]
) -> str:
    """The grammar, in llguidance's Lark, of calls written in this shape."""
    from llguidance import LLMatcher

    def word(text: str) -> str:
        return " ".join(_words(text, specials))

    several = "" if single or not (shape.gap or shape.open) else f" ({word(shape.gap)} call)*"
    rules = [f"start: {word(shape.open)} call{several} {word(shape.close)}"]
    rules.append("call: " + " | ".join(f"call{n}" for n in range(len(tools))))
    for n, tool in enumerate(tools):
        head, tail = word(shape.head.replace("{name}", tool.name)), word(shape.tail)
        rules.append(f"call{n}: {head} args{n} {tail}")
        rules += _arguments(n, tool.parameters, shape, word)
    made: str = LLMatcher.grammar_from_lark("\n".join(rules))
    return made


def _arguments(n: int, schema: Mapping[str, Any], shape: Shape, word: Any) -> list[str]:
    if shape.field is None:
        exact = {"type": "object", "properties": {}, "additionalProperties": False}
        return [f"args{n}: %json {_loose({**exact, **schema})}"]
    named = schema.get("properties")
    fields = dict(named) if isinstance(named, Mapping) else {}
    needed = schema.get("required") or ()
    rules: list[str] = []
    parts: list[str] = []
    for m, (key, inner) in enumerate(fields.items()):
        value = f"v{n}_{m}"
        before, after = (text.replace("{key}", key) for text in shape.field)
        plain = shape.raw and isinstance(inner, Mapping) and inner.get("type") == "string"
        if plain and not inner.get("enum"):
            rules.append(f"{value}: {value.upper()}\n{value.upper()}: /{_up_to(after)}/")
            part = f"{word(before)} {value}"
        elif plain:
            rules.append(f"{value}: " + " | ".join(json.dumps(one) for one in inner["enum"]))
            part = f"{word(before)} {value} {word(after)}"
        else:
            shared = {k: schema[k] for k in ("$defs", "definitions") if k in schema}
            rules.append(f"{value}: %json {_loose({**shared, **(inner if inner else {})})}")
            part = f"{word(before)} {value} {word(after)}"
        # With something between values an optional one would need it told on which side: it is left out.
        if key in needed:
            parts.append(f"{word(shape.between)} {part}" if shape.between and parts else part)
        elif not shape.between:
            parts.append(f"({part})?")
    return [f"args{n}: " + (" ".join(parts) or '""'), *rules]


def _loose(schema: Mapping[str, Any]) -> str:
    return json.dumps({**schema, "x-guidance": {**TIGHT, "lenient": True}})


def _up_to(end: str) -> str:
    """A regular expression for anything up to and with `end`, which begins with a tag."""
    tag = end.strip()
    escaped = re.sub(r"([\\/.*+?|()\[\]{}^$])", r"\\\1", tag)
    after = end[len(end.rstrip()) :].replace("\n", "\\n")
    return rf"([^<]|<[^\/]|<\/[^{tag[2]}])*{escaped}{after}"


def _words(text: str, specials: Mapping[str, int]) -> Iterator[str]:
    """Text as terms of a grammar: strings, and special tokens by their ids."""
    places = [(text.find(name), -len(name), name) for name in specials if name and name in text]
    if not places:
        if text:
            yield json.dumps(text, ensure_ascii=False)
        return
    start, _, name = min(places)
    if start:
        yield json.dumps(text[:start], ensure_ascii=False)
    yield f"<[{specials[name]}]>"
    yield from _words(text[start + len(name) :], specials)
