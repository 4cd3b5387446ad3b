"""Telling a model's thoughts from its answer while they are being written.

Knows chat templates as evidence and text as it comes; nothing of models, tokens or requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.families._scan import Called, NotACall, Short, closing, value_of
from engine.families._tools import overlap


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of thinking."""

    text: str


Part = str | Thought | Called


@dataclass(frozen=True, slots=True)
class Style:
    """The marks around a model's thoughts; `sign` in a chat template tells them (else `open` does)."""

    open: str
    close: str
    sign: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """All texts that the format is written with."""
        return (self.open, self.close, *(HEADER + ENDS if self is CHANNELS else ()))


CHANNELS = Style("<|channel|>", "<|end|>", "<|channel|>&<|message|>")
# The first whose sign is found counts.
STYLES = (
    CHANNELS,
    Style("<|channel>thought\n", "<channel|>"),
    Style("<|START_THINKING|>", "<|END_THINKING|>"),
    Style("<seed:think>", "</seed:think>"),
    Style("[THINK]", "[/THINK]"),
    Style("<think>", "</think>", "</think>"),
    Style("<think>", "</think>"),
    Style("<thought>", "</thought>"),
    Style("Here is my thought process:", "Here is my response:"),
)
HEADER = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>")
ENDS = ("<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>")
RECIPIENT = re.compile(r"to=([\w.-]+)")


def choose_style(template: str) -> Style | None:
    """The marks that a chat template tells; None for a model that does not think aloud."""
    for style in STYLES:
        if all(part in template for part in (style.sign or style.open).split("&")):
            return style
    return None


def switches(template: str, think: bool | str | None) -> Mapping[str, Any]:
    """The template's own variables for how much to think; empty where nothing was asked."""
    if think is None:
        return {}
    level = think if isinstance(think, str) else "medium" if think else "low"
    values = {"enable_thinking": bool(think), "thinking": bool(think), "reasoning_effort": level}
    if think is True:
        del values["reasoning_effort"]
    return {name: value for name, value in values.items() if re.search(rf"\b{name}\b", template)}


def opens(style: Style | None, prompt: str) -> bool:
    """Whether a prompt ends within the model's thoughts, so that the answer begins with more of them."""
    return style is not None and prompt.rstrip().endswith(style.open.rstrip())


class Whole:
    """For models that do not think aloud: all of it is the answer."""

    answering = True

    def feed(self, text: str) -> list[Part]:
        return [text] if text else []

    def end(self) -> list[Part]:
        return []


class Marked:
    """Thoughts between two marks at the beginning of an answer; white space around them is left out.

    Args:
        inside: the prompt opened them already.
    """

    def __init__(self, style: Style, inside: bool = False) -> None:
        self._style, self._text = style, ""
        self._state = "thoughts" if inside else "start"
        self._told = False

    @property
    def answering(self) -> bool:
        """Whether what comes next is the answer, or may be."""
        return self._state != "thoughts"

    def feed(self, text: str) -> list[Part]:
        """What is sure by now."""
        if self._state == "answer":
            return [text] if text else []
        self._text += text
        parts: list[Part] = []
        if self._state == "start":
            self._begin()
        if self._state == "thoughts":
            parts += self._think()
        if self._state == "gap":
            self._text = self._text.lstrip()
            self._state = "answer" if self._text else "gap"
        if self._state == "answer" and self._text:
            parts.append(self._take())
        return parts

    def end(self) -> list[Part]:
        """The rest, once no more text comes."""
        text = self._take()
        if self._state == "thoughts":
            return [Thought(text.rstrip())] if text.strip() else []
        return [text] if text and self._state != "gap" else []

    def _take(self) -> str:
        text, self._text = self._text, ""
        return text

    def _begin(self) -> None:
        body = self._text.lstrip()
        if body.startswith(self._style.open):
            self._text, self._state = body[len(self._style.open) :], "thoughts"
        elif body and not self._style.open.startswith(body):
            self._state = "answer"

    def _think(self) -> list[Part]:
        if not self._told:
            self._text = self._text.lstrip()
        end = self._text.find(self._style.close)
        if end >= 0:
            thought, self._text = (
                self._text[:end].rstrip(),
                self._text[end + len(self._style.close) :],
            )
            self._state = "gap"
        else:
            keep = overlap(self._text, (self._style.close,))
            thought = self._text[: len(self._text) - keep].rstrip()
            self._text = self._text[len(thought) :]
        self._told = self._told or bool(thought)
        return [Thought(thought)] if thought else []


class Channels:
    """The messages of gpt-oss: each has a header that names its channel and to whom it goes.

    What is thought goes to `analysis`, calls of tools to `commentary` (or wherever a recipient is named),
    the answer to `final`.
    """

    def __init__(self) -> None:
        self._text = self._header = ""
        self._state = "header"

    @property
    def answering(self) -> bool:
        """Whether what comes next is the answer."""
        return self._state == "final"

    def feed(self, text: str) -> list[Part]:
        """What is sure by now."""
        self._text += text
        parts: list[Part] = []
        while self._text:
            before = self._text
            parts += self._head() if self._state == "header" else self._body()
            if self._text == before:
                break
        return parts

    def end(self) -> list[Part]:
        """The rest, once no more text comes; a call that is not whole is text."""
        text, self._text = self._text, ""
        if self._state == "call":
            call = self._call(text)
            return [call] if call else [self._header + text]
        if self._state == "analysis":
            return [Thought(text)] if text else []
        return [text] if text and not text.startswith(HEADER) else []

    def _head(self) -> list[Part]:
        """Read up to the message; text without any header is the answer."""
        end = self._text.find("<|message|>")
        if end < 0:
            known = (*HEADER, "assistant", " to=")
            if not self._text.startswith(known) and not any(
                w.startswith(self._text) for w in known
            ):
                self._state = "final"
            return []
        header = self._text[:end]
        self._header, self._text = header + "<|message|>", self._text[len(header) + 11 :]
        if "to=" in header:
            self._state = "call"
        else:
            self._state = "analysis" if "<|channel|>analysis" in header else "final"
        return []

    def _body(self) -> list[Part]:
        ends = [place for word in ENDS if (place := self._text.find(word)) >= 0]
        if self._state == "call":
            if not ends:
                return []
            body, self._text = self._text[: min(ends)], self._text[min(ends) :]
            call, header = self._call(body), self._header
            self._next()
            return [call] if call else [header + body]
        stop = min(ends) if ends else len(self._text) - overlap(self._text, ENDS)
        text, self._text = self._text[:stop], self._text[stop:]
        thought = self._state == "analysis"
        if ends:
            self._next()
        return ([Thought(text)] if thought else [text]) if text else []

    def _next(self) -> None:
        """Go past the end of a message."""
        for word in ("<|end|>", "<|return|>", "<|call|>"):
            self._text = self._text.removeprefix(word)
        self._state = "header"

    def _call(self, body: str) -> Called | None:
        match = RECIPIENT.search(self._header)
        start = body.find("{")
        try:
            end = closing(body, start) if start >= 0 else -1
            value = value_of(body[start:end]) if end >= 0 else None
        except (NotACall, Short):
            return None
        if match is None or not isinstance(value, dict):
            return None
        return Called(match[1].removeprefix("functions."), json.dumps(value, ensure_ascii=False))


Splitter = Whole | Marked | Channels


def split_by(style: Style | None, prompt: str) -> Splitter:
    """What tells thoughts from the answer to `prompt`, for a model of this style."""
    if style is None:
        return Whole()
    return Channels() if style is CHANNELS else Marked(style, opens(style, prompt))
