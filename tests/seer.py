"""A model family that sees without a model: it tells a picture's size and colours, and reads what it is told to.

`!slow` in a question takes 20 ms a word. A page's "text" is what `LINES` says, placed in rows; its scores fall from
line to line. The second reader misreads one word.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Any

from engine.events import Done, Page, Progress, Segment, Text
from engine.registry import Emit, ModelSpec
from engine.requests import ChatRequest, DetectRequest, ImagePart, LabelRequest, OcrRequest
from engine.settings import Settings

LINES = ("The first line", "of this page says", "nothing that matters.")
SCORES = (0.99, 0.8, 0.41)
SPECS = (
    ModelSpec(
        "seer", frozenset({"chat"}), "seer", title="Seer", memory=100,
        accepts=frozenset({"image"}), starter=True,
    ),
    ModelSpec("finder", frozenset({"detect"}), "seer", title="Finder", memory=100),
    ModelSpec("labeller", frozenset({"label"}), "seer", title="Labeller", memory=100),
    ModelSpec("ocr", frozenset({"ocr"}), "seer", title="Reader", memory=100, starter=True),
    ModelSpec("second", frozenset({"ocr"}), "seer", title="Second reader", memory=100),
)  # fmt: skip


def size_of(data: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


@dataclass
class Seer:
    """Serves one request at a time."""

    spec: ModelSpec

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        parts = [part for message in request.messages for part in message.parts]
        pictures = [part for part in parts if isinstance(part, ImagePart)]
        seen = "x".join(map(str, size_of(pictures[0].data))) if pictures else "nothing"
        asked = request.messages[-1].text
        turns = sum(message.role == "user" for message in request.messages)
        if "!fail" in asked:
            raise ValueError("blind")
        words = f"I see {seen} in turn {turns}: {asked}".split(" ")
        for n, word in enumerate(words):
            if "!slow" in asked:
                time.sleep(0.02)
            emit.count(output=1)
            emit(Text(word if n == 0 else f" {word}"))
        emit(Done())

    def detect(self, request: DetectRequest, emit: Emit) -> None:
        wide, high = size_of(request.image)
        names = request.words or ("ball", "box", "ball")
        for n, name in enumerate(names):
            box = (
                wide * 0.2 * n,
                high * 0.2 * n,
                wide * 0.2 * n + wide * 0.3,
                high * (0.2 * n + 0.3),
            )
            score = 0.9 - 0.25 * n
            if score >= (request.threshold or 0.3):
                emit(Segment(name, box=box, score=score))
        emit(Done())

    def label(self, request: LabelRequest, emit: Emit) -> None:
        labels = request.labels or ("a thing", "nothing")
        whole = sum(len(label) for label in labels)
        for label in labels:
            emit(Segment(label, score=len(label) / whole))
        emit(Done())

    def ocr(self, request: OcrRequest, emit: Emit) -> None:
        from engine.pages import choose_pages, open_document

        for at, data in enumerate(request.documents):
            with open_document(data, request.password) as document:
                numbers = choose_pages(request.pages, document.count)
                for done, number in enumerate(numbers):
                    emit(self._page(document, at, number, request.dpi))
                    emit(Progress(done + 1, len(numbers)))
        emit(Done())

    def _page(self, document: Any, at: int, number: int, dpi: int) -> Page:
        wide, high = document.render(number, dpi).size
        lines = tuple(
            Segment(text, box=(wide * 0.1, high * (0.1 + 0.1 * n), wide * 0.7, high * (0.16 + 0.1 * n)), score=score)
            for n, (text, score) in enumerate(zip(self._texts(number), SCORES, strict=True))
        )  # fmt: skip
        text = "\n".join(line.text for line in lines)
        return Page(at, number, document.count, wide, high, lines, text, model=self.spec.id)

    def _texts(self, number: int) -> list[str]:
        first, *rest = LINES
        wrong = [line.replace("matters", "mutters") for line in rest]
        return [f"{first} {number}", *(wrong if self.spec.id == "second" else rest)]

    def close(self) -> None:
        pass


def load(spec: ModelSpec, settings: Settings) -> Seer:
    return Seer(spec)
