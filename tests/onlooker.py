"""A family that looks at pictures and says what its row tells it to, whatever they show.

Options of a row: `says` the answer, its pieces parted by "~"; `pause` seconds before each; `sure` the logarithm of each
piece's chance; `fails`: every answer fails; `dies`: a list, of which each death takes one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from engine.errors import BackendDied
from engine.events import Done, Page, Text, TokenLogprob
from engine.registry import Emit, ModelSpec
from engine.requests import ChatRequest, ImagePart, OcrRequest
from engine.settings import Settings

SPECS = ()


@dataclass
class Onlooker:
    """Keeps what it was asked."""

    spec: ModelSpec
    asked: list[ChatRequest] = field(default_factory=list)

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        self.asked.append(request)
        assert any(isinstance(p, ImagePart) for m in request.messages for p in m.parts), "blind"
        options = self.spec.options
        if options.get("fails"):
            raise ValueError("dazzled")
        if options.get("dies"):
            options["dies"].pop()
            raise BackendDied("The onlooker went blind.")
        emit.count(input=100)
        for piece in options.get("says", "Seen.").split("~"):
            time.sleep(options.get("pause", 0.0))
            told = (TokenLogprob(piece, options.get("sure", -0.1), piece.encode()),)
            emit.count(output=1)
            emit(Text(piece, told if request.logprobs is not None else ()))
        emit(Done())

    def ocr(self, request: OcrRequest, emit: Emit) -> None:
        text = self.spec.options["says"]
        emit(Page(0, 1, 1, text=text, model=self.spec.id))
        emit(Done())

    def memory(self) -> int:
        """Much, so that it counts as the larger one."""
        return self.spec.memory

    def close(self) -> None:
        pass


def load(spec: ModelSpec, settings: Settings) -> Onlooker:
    return Onlooker(spec)
