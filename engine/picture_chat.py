"""Asking a chat model about a picture so that it answers the same every time, and whole.

Knows requests and their streams; not what is asked, nor what the answer means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from math import exp
from typing import TYPE_CHECKING

from engine.callers import Caller
from engine.events import Done, Event, Loading, Queued, Text, Usage
from engine.ocr_prompts import run_away
from engine.registry import ModelSpec
from engine.requests import ChatRequest, ImagePart, Message, OcrRequest, Part, TextPart

if TYPE_CHECKING:
    from engine.engine import Engine

TOKENS = 4096  # of an answer: a dense page of small print in any of the usual languages
LOOK = 200  # characters between two looks whether an answer repeats itself


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat model's answer about a picture. `whole` False: it was cut short by a limit, or by us."""

    text: str
    usage: Usage = field(default_factory=Usage)
    whole: bool = True
    stopped: bool = False
    chance: float | None = None  # the mean chance of its tokens, where they were told


async def ask(
    engine: Engine, request: ChatRequest, caller: Caller, tell: Callable[[Event], None]
) -> Reply:
    """One answer; states go to `tell`. An answer that repeats itself without end is ended."""
    said, looked, done = "", 0, Done()
    logs: list[float] = []
    async with aclosing(engine.run(request, caller)) as events:
        async for event in events:
            match event:
                case Text(delta, told):
                    said += delta
                    logs += [token.logprob for token in told]
                    if len(said) - looked >= LOOK:
                        looked = len(said)
                        if run_away(said) < len(said):
                            return Reply(said)
                case Done():
                    done = event
                case Queued() | Loading():
                    tell(event)
    return Reply(said, done.usage, done.finish != "length", done.stopped, _mean_chance(logs))


def _mean_chance(logs: Sequence[float]) -> float | None:
    return exp(sum(logs) / len(logs)) if logs else None


def question(
    spec: ModelSpec,
    picture: bytes,
    prompt: str,
    request: OcrRequest,
    tokens: int = TOKENS,
    chances: bool = False,
) -> ChatRequest:
    """The chat request that asks a model about a picture.

    Args:
        request: the reading it belongs to.
        tokens: the longest answer.
        chances: have the tokens' chances told.
    """
    parts: tuple[Part, ...] = (ImagePart(data=picture),)
    if prompt:
        parts = (*parts, TextPart(text=prompt))
    return ChatRequest(
        model=spec.id,
        messages=(Message(role="user", parts=parts),),
        temperature=0,
        max_tokens=min(tokens, spec.context // 2) if spec.context else tokens,
        logprobs=0 if chances else None,
        think=False if "reasoning" in spec.accepts else None,
        keep_alive=request.keep_alive,
        seconds=request.seconds,
    )


def added(one: Usage, other: Usage) -> Usage:
    """Two runs' usage as that of one; the time to the first word is the first run's."""
    both = {f.name: getattr(one, f.name) + getattr(other, f.name) for f in fields(Usage)}
    return Usage(**{**both, "first_s": one.first_s or other.first_s})
