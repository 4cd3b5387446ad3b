"""The values of a spoken conversation: what a turn asks, and what is told beside the usual events.

A leaf: knows events and requests, no model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from engine.errors import AtelierError
from engine.events import Audio, Event


class VoiceRequest(BaseModel):
    """A turn of a spoken conversation. Text, a recording or both are given.

    Args:
        text: what was typed; it follows what was said.
        audio: an encoded recording.
        model, listener, speaker: who answers, who hears, who speaks; None: as settings and session have it.
        voice: one of the speaker's voices; "": as the settings have it.
        language: that is spoken ("fr", "French"); "" or "auto": found out.
        system: how to answer; "": as the settings have it.
        aloud: whether the answer is spoken.
        played: of the answer before this turn, how many seconds of sound were heard; the rest counts as not said.
            None: all of it, or, where this turn cuts it short, what fits into the time.
        keep: keep the conversation in the database too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field("", max_length=100_000)
    audio: bytes = Field(b"", repr=False)
    model: str | None = Field(None, max_length=512)
    listener: str | None = Field(None, max_length=512)
    speaker: str | None = Field(None, max_length=512)
    voice: str = Field("", max_length=200)
    language: str = Field("", max_length=100)
    system: str = Field("", max_length=100_000)
    speed: float = Field(1.0, ge=0.25, le=4)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    aloud: bool = True
    played: float | None = Field(None, ge=0)
    keep: bool = False

    @model_validator(mode="after")
    def _something(self) -> VoiceRequest:
        if not self.text.strip() and not self.audio:
            raise ValueError("give text, or audio as a recording in base64")
        return self


@dataclass(frozen=True, slots=True)
class Heard:
    """What the user said, in which language, and how many seconds of sound it was. Empty text: nothing."""

    text: str
    language: str = ""
    duration: float = 0.0


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the spoken answer: the number of its phrase, the phrase as it is written, and its sound."""

    number: int
    text: str
    audio: Audio


@dataclass(frozen=True, slots=True)
class Mishap:
    """A phrase could not be spoken; the text goes on."""

    error: AtelierError


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the request's arrival to the transcript, the first token, the first whole phrase, the first sound
    and the end; None for what has not happened."""

    heard: float | None = None
    first_token: float | None = None
    first_phrase: float | None = None
    first_audio: float | None = None
    total: float | None = None


VoiceEvent = Event | Heard | Said | Mishap | Timings


def seconds_of(audio: Audio) -> float:
    """How long a piece of sound is."""
    return len(audio.data) / 2 / audio.rate


async def gathered(events: AsyncGenerator[Event], hold: float) -> AsyncGenerator[Event]:
    """The same events; sound that comes within `hold` seconds in one piece."""
    loop = asyncio.get_running_loop()
    held: list[Audio] = []
    until = 0.0
    async with aclosing(events):
        step = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                await asyncio.wait((step,), timeout=max(0.0, until - loop.time()) if held else None)
                event = step.result() if step.done() else None
                same = isinstance(event, Audio) and (not held or held[0].rate == event.rate)
                if held and not same:
                    yield Audio(b"".join(piece.data for piece in held), held[0].rate)
                    held = []
                if not step.done():
                    continue
                if event is None:
                    break
                if isinstance(event, Audio):
                    until = until if held else loop.time() + hold
                    held.append(event)
                else:
                    yield event
                step = asyncio.ensure_future(anext(events, None))
        finally:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
