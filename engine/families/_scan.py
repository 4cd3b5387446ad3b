"""Reading what a model wrote from left to right: markers, JSON, Python literals, values between tags.

Knows text; nothing of models, tokens or requests. The formats of calls in `_tool_parsers` are written with it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPACE = re.compile(r"\s*")


class Short(Exception):
    """The text ends before the call does: more may come."""


class NotACall(Exception):
    """What began like a call is none: it is text."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call as a model wrote it; `arguments` is JSON text, `id` the model's own, where it gives one."""

    name: str
    arguments: str
    id: str = ""


@dataclass(slots=True)
class Scan:
    """A place in a text, moving right.

    Args:
        tools: the parameters' schema of every tool offered, by its name.
        last: no more text comes, so a missing end is forgiven where the call itself is whole.
        calls: the whole calls found so far; the text up to `whole` is theirs.
    """

    text: str
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    last: bool = False
    at: int = 0
    calls: list[Called] = field(default_factory=list)
    whole: int = 0

    @property
    def over(self) -> bool:
        return self.at >= len(self.text)

    def add(self, name: Any, arguments: Any, id: Any = "") -> None:
        """Take a call down. Raises NotACall where it has no name."""
        if not isinstance(name, str) or not name.strip():
            raise NotACall
        self.calls.append(Called(name.strip(), _written(arguments), str(id or "")))
        self.whole = self.at

    def space(self) -> None:
        """Go past white space."""
        match = SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def meets(self, *words: str) -> str:
        """Go past the first of `words` that stands here (after white space); "" where none does.

        Raises:
            Short: the text ends within what may become one of them.
        """
        start = self.at
        self.space()
        for word in words:
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return word
        rest = self.text[self.at :]
        if not self.last and any(word.startswith(rest) for word in words):
            raise Short
        self.at = start
        return ""

    def need(self, *words: str) -> str:
        """As `meets`; NotACall where none of them stands here, Short where the text is over."""
        word = self.meets(*words)
        if word:
            return word
        self.space()
        raise Short if self.over else NotACall

    def close(self, *words: str) -> None:
        """Go past an end that may be missing once no more text comes."""
        if not self.meets(*words):
            self.space()
            if not (self.over and self.last):
                raise Short if self.over else NotACall
        self.whole = self.at

    def until(self, word: str) -> str:
        """The text up to `word`, and past it. Raises Short where it is not there."""
        end = self.text.find(word, self.at)
        if end < 0:
            raise Short
        found = self.text[self.at : end]
        self.at = end + len(word)
        return found

    def name(self, pattern: str = r"[\w.:/-]+") -> str:
        """A name at this place. Raises NotACall, or Short where it may go on."""
        self.space()
        match = re.compile(pattern).match(self.text, self.at)
        if match is None:
            raise Short if self.over else NotACall
        if match.end() == len(self.text) and not self.last:
            raise Short
        self.at = match.end()
        return match[0]

    def json(self) -> Any:
        """The JSON object or array at this place. Raises Short, or NotACall where it is none."""
        self.space()
        if self.over:
            raise Short
        if self.text[self.at] not in "{[":
            raise NotACall
        end = closing(self.text, self.at)
        if end < 0:
            raise Short
        piece = self.text[self.at : end]
        self.at = end
        return value_of(piece)


def closing(text: str, start: int, quotes: str = '"') -> int:
    """Where the bracket at `start` is closed, one past it; -1 where it is not. Strings are skipped."""
    depth, at, quoted = 0, start, ""
    while at < len(text):
        char = text[at]
        if quoted:
            if char == "\\":
                at += 1
            elif char == quoted:
                quoted = ""
        elif char in quotes:
            quoted = char
        elif char in "{[(":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return -1


def value_of(text: str) -> Any:
    """The value of JSON text, raw line ends in its strings forgiven, or of a Python literal. Raises NotACall."""
    try:
        return json.loads(text, strict=False)
    except ValueError:
        pass
    try:
        value = ast.literal_eval(text)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise NotACall from None
    return value


def typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A value written as plain text between tags, as its schema wants it: text stays text, the rest is JSON."""
    kinds = kinds_of(schema)
    if kinds == {"string"}:
        return text
    plain = text.strip()
    try:
        value = json.loads(plain)
    except ValueError:
        lowered = {"true": True, "false": False, "none": None, "null": None}
        return lowered.get(plain.lower(), text) if kinds & {"boolean", "null"} else text
    if "string" in kinds and not isinstance(value, list | dict | None):
        wanted = {bool: "boolean", int: "integer", float: "number"}.get(type(value), "")
        return value if wanted in kinds or (wanted == "integer" and "number" in kinds) else text
    return value


def kinds_of(schema: Mapping[str, Any]) -> set[str]:
    """The types a schema names, those of its alternatives included; empty: any."""
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or ())
    for word in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(word) or ():
            kinds |= kinds_of(one) if isinstance(one, Mapping) else set()
    for value in schema.get("enum") or ():
        kinds.add("string" if isinstance(value, str) else "other")
    return kinds


def _written(arguments: Any) -> str:
    """Arguments as JSON text; text that is a JSON object already stays as it is."""
    if isinstance(arguments, str):
        try:
            inner = json.loads(arguments or "{}")
        except ValueError:
            raise NotACall from None
        arguments = inner
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise NotACall
    return json.dumps(arguments, ensure_ascii=False)
