"""A spoken turn: from the end of speech to the first sound, against its three models called one after another.

`python -m bench.voice [--repeats 7]`
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.report import median, table
from bench.servers import Server, atelier
from engine import ChatRequest, Message, ModelSpec, Settings
from engine.devices import calm_threads
from engine.events import Audio, Done, Event, Segment, Text
from engine.phrases import Cutter, spoken
from engine.registry import Batcher, Registry, discover, read_catalog
from engine.requests import Request, SpeakRequest, TranscribeRequest

QUESTIONS = ("Hello! Who are you?", "Count to five.", "What can you do?", "Tell me a joke.")
EARS = "starter-stt"


class Enough(BaseException):
    """What was wanted has come."""


@dataclass(eq=False)
class Direct:
    """An `emit` without a lane: keeps what is told, and ends the work where `enough` says so."""

    owner: str = "bench"
    events: list[Event] = field(default_factory=list)
    cutter: Cutter = field(default_factory=Cutter)
    phrase: str = ""
    over: bool = False
    failed: Exception | None = None

    def __call__(self, event: Event | None) -> None:
        if event is None:
            return
        self.events.append(event)
        if isinstance(event, Text) and (found := self.cutter.feed(event.delta)):
            self.phrase = found[0]
            raise Enough
        if isinstance(event, Audio):
            raise Enough
        self.over = isinstance(event, Done)

    def count(self, **units: Any) -> None:
        """Nothing is billed."""

    def fail(self, error: Exception) -> None:
        self.failed, self.over = error, True


class Models:
    """The three models, loaded here and called directly."""

    def __init__(self, specs: dict[str, ModelSpec], families: dict[str, ModuleType]) -> None:
        settings = Settings(offline=True)
        self.loaded = {
            does: families[spec.family].load(spec, settings) for does, spec in specs.items()
        }

    def call(self, does: str, request: Request) -> tuple[float, Direct]:
        """Seconds until it has what is wanted: all of a transcript, a first phrase, a first piece of sound."""
        backend, emit = self.loaded[does], Direct()
        began = time.perf_counter()
        try:
            if isinstance(backend, Batcher):
                backend.join(request, emit)
                while not emit.over:
                    backend.step()
            else:
                getattr(backend, does)(request, emit)
        except Enough:
            pass
        took = time.perf_counter() - began
        if isinstance(backend, Batcher):
            backend.drop(emit)
        if emit.failed is not None:
            raise emit.failed
        return took, emit

    def turn(self, audio: bytes) -> tuple[tuple[float, float, float], str]:
        """Seconds of hearing, of writing the first phrase and of speaking it; what was heard."""
        heard_s, heard = self.call("transcribe", TranscribeRequest(audio=audio))
        text = "".join(e.text for e in heard.events if isinstance(e, Segment))
        text = " ".join(text.split()) or "?"
        question = ChatRequest(messages=(Message.of("user", text),))
        written_s, written = self.call("chat", question)
        rest = "".join(e.delta for e in written.events if isinstance(e, Text))
        phrase = spoken(written.phrase or rest) or "?"
        spoken_s, _ = self.call("speak", SpeakRequest(text=phrase, language="en"))
        return (heard_s, written_s, spoken_s), text


def through_server(server: Server, audio: bytes) -> tuple[float, str]:
    """Seconds from the end of speech to the first sound at the client; what was heard."""
    body = {"audio": base64.b64encode(audio).decode(), "stt_model": EARS}
    began = time.perf_counter()
    asked = urllib.request.Request(
        f"{server.url}/v1/ai/chaining/chat", json.dumps(body).encode(), {"content-type": "application/json"}
    )  # fmt: skip
    heard, first = "", 0.0
    try:
        opened = urllib.request.urlopen(asked, timeout=600)
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from error
    with opened as answer:
        for line in answer:
            frame = json.loads(line[6:]) if line.startswith(b"data: {") else {}
            heard = frame.get("content", heard) if frame.get("type") == "heard" else heard
            if frame.get("type") == "audio" and not first:
                first = time.perf_counter() - began
            if frame.get("type") == "error":
                raise RuntimeError(frame["detail"])
    return first, heard


def recording(text: str) -> bytes:
    """A WAV of espeak-ng saying it."""
    command = ["espeak-ng", "-v", "en-us", "--stdout", text]
    return subprocess.run(command, capture_output=True, check=True).stdout


def ears_of(catalog: Registry, folder: Path) -> tuple[str, str]:
    """The catalog row of who hears, "" where it is the starter; and what to say of it."""
    if catalog.knows(EARS) and Path(catalog.find(EARS).path).is_dir():
        return "", "starter-stt"
    from tests.tiny_whisper import make_whisper

    make_whisper(folder / "whisper", width=128, layers=2)
    row = (
        f'[[model]]\nid = "{EARS}"\nfamily = "whisper"\ndoes = ["transcribe"]\npath = "{folder / "whisper"}"\n'
        "options = { beams = 1, max_new_tokens = 8 }\n"
    )
    return (
        row,
        "a tiny Whisper of random weights (its transcripts mean nothing), because starter-stt is not here",
    )


def measure(
    repeats: int, folder: Path
) -> tuple[list[tuple[float, tuple[float, float, float]]], str]:
    """Rounds of (through the server, each model by itself), after one of each question unmeasured."""
    calm_threads()  # on both sides
    families = discover()
    catalog = Registry.build(Settings(data_dir=folder), families)
    rows, told = ears_of(catalog, folder)
    (folder / "rows.toml").write_text(rows, "utf-8")
    found = {spec.id: spec for spec in (*catalog.models(), *read_catalog(folder / "rows.toml"))}
    names = {"transcribe": EARS, "chat": "starter-chat", "speak": "espeak-ng"}
    models = Models({does: found[name] for does, name in names.items()}, families)
    recordings = [recording(text) for text in QUESTIONS]
    rounds = []
    with atelier(rows=rows) as server:
        server.wait("/health")
        for number in range(-len(recordings), repeats * len(recordings)):
            audio = recordings[number % len(recordings)]
            bare, _ = models.turn(audio)
            first, _ = through_server(server, audio)
            if number >= 0 and first:
                rounds.append((first, bare))
    return rounds, told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds, told = measure(given.repeats, Path(folder))
    first = median(a for a, _ in rounds)
    heard, written, said = (median(bare[n] for _, bare in rounds) for n in range(3))
    ratio = median(a / sum(bare) for a, bare in rounds)
    table(
        "A spoken turn",
        [
            "end of speech to first sound",
            "STT",
            "first phrase of the LLM",
            "TTS of it",
            "over their sum",
        ],
        [
            [
                f"{first:.3f} s",
                f"{heard:.3f} s",
                f"{written:.3f} s",
                f"{said:.3f} s",
                f"{ratio:.2f}×",
            ]
        ],
        f"Hearing: {told}. Writing: starter-chat. Speaking: eSpeak NG. Medians of {len(rounds)} turns of "
        f"{len(QUESTIONS)} questions, said by eSpeak NG; each turn through a server over HTTP, and its three models "
        "called directly, one after another, in this process. The ratio is the median of each round's own.",
    )


if __name__ == "__main__":
    main()
