"""A model family that sees without a model: a picture's size and colour decide every answer.

`eyes` chats about pictures, `reader` reads documents, `labeller` labels, `finder` finds; the files of
`far-eyes` are nowhere. Words in a
question steer `eyes`: `!slow` takes 20 ms a word and `!long` says 200 of them. A document of a colour in
`TROUBLE` fails as that says; `wait` makes the reader take so many seconds for each page.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from PIL import Image

from engine import Engine, Settings
from engine.errors import AtelierError, InferenceFailed
from engine.events import Done, Page, Progress, Segment, Text
from engine.families import hf_chat
from engine.pages import open_document
from engine.pictures import measure, open_picture
from engine.registry import Emit, ModelSpec
from engine.requests import ChatRequest, DetectRequest, LabelRequest, OcrRequest, Request
from tests import echo
from tests.serving import Served, serve

COLOURS = {
    "red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "black": (0, 0, 0),
    "white": (255, 255, 255), "yellow": (240, 220, 30),
}  # fmt: skip
TROUBLE = {"black": InferenceFailed("It is too dark to read. Send a lighter picture.")}


def row(id: str, does: str, *accepts: str, **more: Any) -> ModelSpec:
    """A row of this family."""
    return ModelSpec(
        id=id,
        does=frozenset({does}),  # type: ignore[arg-type]
        family="seer",
        accepts=frozenset(accepts),
        memory=100,
        **more,
    )


FAR = replace(row("far-eyes", "chat", "image", repo="nobody/far-eyes"), family="hf_chat")
EYES = row("eyes", "chat", "image", starter=True, size=4_700_000_000)
SPECS = (
    EYES,
    row("eyes-too", "chat", "image", size=900_000_000),
    FAR,
    row("reader", "ocr", starter=True),
    row("labeller", "label", starter=True),
    row("finder", "detect", starter=True),
)


def picture(colour: str = "red", size: tuple[int, int] = (40, 30), format: str = "PNG") -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(out, format)
    return out.getvalue()


def seen(image: Image.Image) -> str:
    """What a picture shows, in words: the nearest of our colours, and its size."""
    middle: Any = image.getpixel((image.width // 2, image.height // 2))

    def distance(name: str) -> int:
        return sum((a - b) ** 2 for a, b in zip(middle, COLOURS[name], strict=True))

    return f"{min(COLOURS, key=distance)} {image.width}x{image.height}"


@dataclass
class Seer:
    """Serves one request at a time; `asked` holds them all."""

    asked: list[Request] = field(default_factory=list)
    wait: float = 0.0

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        self.asked.append(request)
        emit.count(input=3)
        shown = [seen(open_picture(data, "messages")) for data in request.pictures]
        asked = request.messages[-1].text
        words = [", ".join(shown) + ":", *asked.split(), *["la"] * (200 * ("!long" in asked))]
        for n, word in enumerate(words):
            if "!slow" in asked:
                time.sleep(0.02)
            emit.count(output=1)
            emit(Text(f" {word}" if n else word))
        emit(Done())

    def ocr(self, request: OcrRequest, emit: Emit) -> None:
        self.asked.append(request)
        for n, document in enumerate(request.documents):
            try:
                self._read(n, document, request, emit)
            except AtelierError as error:
                if len(request.documents) == 1:
                    raise
                emit(Page(n, 0, 0, error=error.message, code=error.code))
            emit(Progress(n + 1, len(request.documents)))
        emit(Done())

    def _read(self, n: int, document: bytes, request: OcrRequest, emit: Emit) -> None:
        with open_document(document, request.password) as opened:
            for number in range(1, opened.count + 1):
                until = time.monotonic() + self.wait
                while time.monotonic() < until:
                    emit(None)
                    time.sleep(0.01)
                image = opened.render(number, request.dpi)
                text = seen(image)
                if error := TROUBLE.get(text.partition(" ")[0]):
                    page = Page(n, number, opened.count, error=error.message, code=error.code)
                else:
                    box = (0.0, 0.0, float(image.width), float(image.height))
                    line = Segment(text, box=box, score=0.9)
                    page = Page(
                        n, number, opened.count, image.width, image.height, (line,), text,
                        model="reader",
                    )  # fmt: skip
                emit(page)

    def label(self, request: LabelRequest, emit: Emit) -> None:
        self.asked.append(request)
        colour = seen(open_picture(request.image)).partition(" ")[0]
        labels = request.labels or tuple(COLOURS)
        rest = 0.1 / max(1, len(labels) - 1)
        for label in labels:
            emit(Segment(label, score=0.9 if label == colour else rest))
        emit(Done())

    def detect(self, request: DetectRequest, emit: Emit) -> None:
        self.asked.append(request)
        size = measure(request.image)
        box = (0.0, 0.0, float(size.width), float(size.height))
        emit(Segment(seen(open_picture(request.image)).split()[0], box=box, score=0.8))
        emit(Done())

    def close(self) -> None:
        self.asked.clear()


@dataclass
class Family:
    """Loads one seer for all rows; `seer.asked` holds what reached it."""

    seer: Seer = field(default_factory=Seer)

    def load(self, spec: ModelSpec, settings: Settings) -> Seer:
        return self.seer


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Seer]]:
    """One server for a whole test module whose models see, and what they are."""
    folder = tmp_path_factory.mktemp("seeing")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    with serve_seer(settings) as both:
        yield both


@contextmanager
def serve_seer(
    settings: Settings, specs: tuple[ModelSpec, ...] = SPECS
) -> Iterator[tuple[Served, Seer]]:
    """A server whose models see, and what they are."""
    family = Family()
    families = {"seer": family, "echo": echo, "hf_chat": hf_chat}
    engine = Engine.build(settings, families=families, specs=(*specs, *echo.SPECS))
    with serve(settings, engine=engine) as running:
        yield running, family.seer
