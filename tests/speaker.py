"""A model family that says every kind of thing, and remembers what it was asked.

Words in the last message steer it: `!think` thinks first, `!call` calls the first tool it was offered,
`!cut` calls it with half an argument. Everything else it repeats, a word a token, with log probabilities
where they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.events import Done, Reasoning, Text, TokenLogprob, ToolCall, Vector
from engine.registry import Emit, ModelSpec
from engine.requests import ChatRequest, EmbedRequest, Request
from engine.settings import ROOT, Settings

STARTER = ROOT / "assets/starters/starter-chat"


def spec(name: str = "starter-chat", does: str = "chat", path: Path | str = STARTER) -> ModelSpec:
    """A row of this family; its files, which only its card reads, are the starter's."""
    return ModelSpec(id=name, does=frozenset({does}), family="speaker", path=str(path), memory=100)  # type: ignore[arg-type]


EYES = replace(spec("eyes"), accepts=frozenset({"image"}))
SPECS = (spec(), spec("vectors", "embed"), EYES)


@dataclass
class Speaker:
    """Serves one request at a time; `heard` holds them all."""

    heard: list[Request] = field(default_factory=list)

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        self.heard.append(request)
        asked = request.prompt or request.messages[-1].text
        words = asked.split()
        emit.count(input=len(words))
        if "!think" in words:
            emit(Reasoning("Let me "))
            emit(Reasoning("see."))
        if "!call" in words or "!cut" in words:
            emit.count(output=1)
            emit(
                ToolCall(
                    "call_1",
                    request.tools[0].name,
                    '{"city": "Par' if "!cut" in words else '{"city":"Paris"}',
                )
            )
            emit(Done("tool_calls"))
            return
        for n, word in enumerate(words[: request.max_tokens]):
            emit.count(output=1)
            emit(Text(word if n == 0 else f" {word}", _told(word, request.logprobs)))
        emit(Done("length" if request.max_tokens and len(words) > request.max_tokens else "stop"))

    def embed(self, request: EmbedRequest, emit: Emit) -> None:
        self.heard.append(request)
        for n, text in enumerate(request.texts):
            emit.count(input=len(text.split()))
            emit(Vector(n, (float(len(text)), 0.0, 1.0)))
        emit(Done())

    def close(self) -> None: ...


def _told(word: str, most: int | None) -> tuple[TokenLogprob, ...]:
    if most is None:
        return ()
    one = TokenLogprob(word, -0.5, word.encode())
    return (TokenLogprob(word, -0.5, word.encode(), (one,) * most),)


class Family:
    """The family, with the one backend that all its models share."""

    def __init__(self) -> None:
        self.speaker = Speaker()

    def load(self, spec: ModelSpec, settings: Settings) -> Speaker:
        return self.speaker
