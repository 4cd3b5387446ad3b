"""A model family with behaviour and no model: it answers with the words it was asked.

Words in the last user message steer it: `!slow` takes 20 ms a word, `!long` answers 500 words,
`!fail` raises after two words, `!oom` runs out of memory once per backend, `!die` kills the backend once.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from engine.errors import BackendDied, Cancelled
from engine.events import Done, Text
from engine.registry import BatchEmit, Emit, ModelSpec
from engine.requests import ChatRequest, Request
from engine.settings import Settings

SPECS = (
    ModelSpec(
        id="echo",
        does=frozenset({"chat"}),
        family="echo",
        aliases=("parrot",),
        memory=100,
        starter=True,
    ),
    ModelSpec(
        id="echo-batch",
        does=frozenset({"chat"}),
        family="echo",
        memory=100,
        options={"parallel": 4},
    ),
)


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


def words_of(request: ChatRequest) -> list[str]:
    """The answer's words; each but the first carries its leading space."""
    asked = request.prompt if request.prompt is not None else request.messages[-1].text
    words = ["echo:", *asked.split()]
    if "!long" in words:
        words = [f"w{n}" for n in range(500)]
    return [word if n == 0 else f" {word}" for n, word in enumerate(words)]


def tokens_in(request: ChatRequest) -> int:
    texts = [request.prompt] if request.prompt is not None else [m.text for m in request.messages]
    return sum(len(text.split()) for text in texts)


@dataclass
class Speech:
    """One answer being spoken; `speak` says the next word."""

    request: ChatRequest
    emit: Emit
    words: list[str]
    said: int = 0
    text: str = ""

    def speak(self) -> bool:
        """Say one word; False when the answer is over (Done was emitted)."""
        asked = " ".join(m.text for m in self.request.messages[-1:])
        limit = self.request.max_tokens or len(self.words)
        if self.said >= min(limit, len(self.words)):
            self.emit(Done("length" if limit < len(self.words) else "stop"))
            return False
        if "!slow" in asked:
            time.sleep(0.02)
        if "!fail" in asked and self.said == 2:
            raise ValueError("the parrot choked on /etc/secret")
        word = self.words[self.said]
        grown = self.text + word
        cut = min((grown.find(s) for s in self.request.stop if s in grown), default=-1)
        self.said += 1
        self.emit.count(output=1)
        if cut >= 0:
            if cut > len(self.text):
                self.emit(Text(grown[len(self.text) : cut]))
            self.emit(Done("stop"))
            return False
        self.text = grown
        self.emit(Text(word))
        return True


@dataclass
class Echo:
    """Serves one request at a time."""

    spec: ModelSpec
    threads: set[int] = field(default_factory=set)
    spoken: int = 0
    closed: bool = False
    tripped: bool = False

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        self.threads.add(threading.get_ident())
        self._trip(request)
        emit.count(input=tokens_in(request))
        speech = Speech(request, emit, words_of(request))
        while speech.speak():
            self.spoken += 1

    def _trip(self, request: ChatRequest) -> None:
        text = request.messages[-1].text if request.messages else ""
        if not self.tripped and "!oom" in text:
            self.tripped = True
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB at 0x7f")
        if not self.tripped and "!die" in text:
            self.tripped = True
            raise BackendDied("The echo lost its voice.")

    def close(self) -> None:
        self.closed = True


@dataclass
class EchoBatch(Echo):
    """Serves several requests, a word each per step."""

    parallel: int = 4
    speeches: dict[int, Speech] = field(default_factory=dict)
    steps: int = 0

    def join(self, request: Request, emit: BatchEmit) -> None:
        assert isinstance(request, ChatRequest)
        self._trip(request)
        emit.count(input=tokens_in(request))
        self.speeches[id(emit)] = Speech(request, emit, words_of(request))

    def step(self) -> None:
        self.threads.add(threading.get_ident())
        self.steps += 1
        for key, speech in list(self.speeches.items()):
            going = False
            try:
                going = speech.speak()
            except ValueError as error:
                speech.emit.fail(error)  # type: ignore[attr-defined]
            except Cancelled:
                going = False
            finally:
                if not going:
                    self.speeches.pop(key, None)

    def drop(self, emit: BatchEmit) -> None:
        self.speeches.pop(id(emit), None)


def load(spec: ModelSpec, settings: Settings) -> Echo:
    parallel = spec.options.get("parallel")
    return EchoBatch(spec, parallel=parallel) if parallel else Echo(spec)
