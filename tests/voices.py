"""Model families that hear and speak without a model: a character is ten milliseconds of one level, so that what is
spoken can be heard again.

Words steer who speaks: `!slow` takes 0.2 s, `!mute` raises, `!hoarse` says half and then raises. The last line of a
question steers who writes: `!slow` takes 20 ms a word, `!fail` breaks off after six words.
"""

from __future__ import annotations

import io
import time
import wave
from array import array
from dataclasses import dataclass, field, replace

from engine.errors import BadFormat, BadValue
from engine.events import Audio, Done, Progress, Segment, Source, Text
from engine.registry import BatchEmit, Emit, ModelSpec
from engine.requests import ChatRequest, Request, SpeakRequest, TranscribeRequest
from engine.settings import Settings
from engine.voices import Voice

RATE = 16_000
STEP = 160  # samples of a character
VOICES = {"Elise": "fr", "Bob": "en"}
SPECS = (
    ModelSpec("ear", frozenset({"transcribe"}), "voices", memory=100, starter=True),
    ModelSpec("writer", frozenset({"chat"}), "voices", memory=100, starter=True, context=2000),
    ModelSpec("solo", frozenset({"chat"}), "voices", memory=100, options={"alone": True}),
    ModelSpec("mouth", frozenset({"speak"}), "voices", memory=100, starter=True),
)
# Hears real sound: anything loud is these words.
DEAF = replace(SPECS[0], options={"hears": "Hello there. Who are you?"})


def sound(text: str) -> bytes:
    """A text as 16-bit PCM."""
    return array("h", [ord(c) % 30_000 for c in text for _ in range(STEP)]).tobytes()


def words_in(pcm: bytes) -> str:
    """The text of such PCM; silence says nothing."""
    samples = array("h", pcm[: len(pcm) // 2 * 2])
    return "".join(chr(v) for v in samples[STEP // 2 :: STEP] if v > 0)


def record(text: str) -> bytes:
    """A recording (WAV) of somebody who says this."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(sound(text))
    return file.getvalue()


def pcm_of(recording: bytes) -> bytes:
    with wave.open(io.BytesIO(recording)) as file:
        return file.readframes(file.getnframes())


@dataclass
class Voices:
    """Hears and speaks, a request at a time. `asked` holds all requests, `spans` when each was spoken."""

    spec: ModelSpec
    asked: list[Request] = field(default_factory=list)
    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def transcribe(self, request: TranscribeRequest, emit: Emit) -> None:
        self.asked.append(request)
        if request.language == "xx":
            raise BadValue("'xx' is no language. These are: en, fr.", param="language")
        try:
            pcm = pcm_of(request.audio)
        except (wave.Error, EOFError) as error:
            raise BadFormat("audio: this is no recording. Send WAV.") from error
        if told := self.spec.options.get("hears"):
            pcm = sound(str(told)) if max(array("h", pcm), default=0) > 1000 else b""
        seconds = len(pcm) / 2 / RATE
        emit(Source(request.language or "en", None, seconds))
        for word in words_in(pcm).split():
            emit(Segment(f" {word}", 0.0, seconds))
        emit.count(audio_s=seconds)
        emit(Done())

    def speak(self, request: SpeakRequest, emit: Emit) -> None:
        self.asked.append(request)
        began = time.monotonic()
        if request.language not in ("", "auto", "en", "fr"):
            raise BadValue("That is not spoken here.", param="language")
        if "!mute" in request.text:
            raise RuntimeError("no voice in /etc/secret")
        half = len(request.text) // 2
        for n, part in enumerate((request.text[:half], request.text[half:])):
            if n and "!hoarse" in request.text:
                raise RuntimeError("hoarse")
            if "!slow" in request.text:
                time.sleep(0.1)
            emit.count(characters=len(part))
            emit(Audio(sound(part), RATE))
        emit(Progress(len(request.text), len(request.text)))
        self.spans.append((request.text, began, time.monotonic()))
        emit(Done())

    def close(self) -> None: ...


@dataclass
class Solo(Voices):
    """Writes the question's last line again, a word a token, alone."""

    written: list[float] = field(default_factory=list)

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        self.asked.append(request)
        for n, word in enumerate(words_of(request)):
            self._word(n, word, request, emit)
        emit(Done())

    def _word(self, n: int, word: str, request: ChatRequest, emit: Emit) -> None:
        last = request.messages[-1].text
        if "!slow" in last:
            time.sleep(0.02)
        if "!fail" in last and n == 6:
            raise RuntimeError("the writer broke its pen in /etc/secret")
        emit.count(output=1)
        self.written.append(time.monotonic())
        emit(Text(word))


@dataclass
class Writer(Solo):
    """Writes several answers at once, a word each per step. Over its context it refuses, as real ones do."""

    parallel: int = 4
    rows: dict[int, tuple[ChatRequest, BatchEmit, list[str], int]] = field(default_factory=dict)

    def join(self, request: Request, emit: BatchEmit) -> None:
        assert isinstance(request, ChatRequest)
        self.asked.append(request)
        if len(request.messages) > 1 and sum(len(m.text) for m in request.messages) > 1200:
            raise BadValue("The prompt is too long.")
        self.rows[id(emit)] = (request, emit, words_of(request), 0)

    def step(self) -> None:
        for key, (request, emit, words, n) in list(self.rows.items()):
            self.rows.pop(key)
            if n == len(words):
                emit(Done())
                continue
            try:
                self._word(n, words[n], request, emit)
            except RuntimeError as error:
                emit.fail(error)
                continue
            self.rows[key] = (request, emit, words, n + 1)

    def drop(self, emit: BatchEmit) -> None:
        self.rows.pop(id(emit), None)


def words_of(request: ChatRequest) -> list[str]:
    """The words of the answer with the space before each."""
    words = request.messages[-1].text.split("\n")[-1].split(" ")
    return [word if n == 0 else f" {word}" for n, word in enumerate(words)]


class Family:
    """The family; `made` holds its backends by model."""

    def voices(self, spec: ModelSpec) -> tuple[Voice, ...]:
        return tuple(Voice(name, spec.id, code) for name, code in VOICES.items())

    def __init__(self) -> None:
        self.made: dict[str, Voices] = {}

    def load(self, spec: ModelSpec, settings: Settings) -> Voices:
        kind = Solo if spec.options.get("alone") else Writer if "chat" in spec.does else Voices
        made = self.made[spec.id] = kind(spec)
        return made
