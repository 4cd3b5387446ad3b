"""OpenAI's speech: a text spoken as one stream of sound, or as events that carry it.

Knows OpenAI's words and the engine's events; nothing of voices, models or access.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from functools import cache
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import Audio, Done, Event, Result, SpeakRequest
from engine.sound_formats import SOUND_FORMATS, SoundWriter, sound_format
from routers import wire
from routers.bodies import Body, Lenient, build, bytes_of, example, seconds_of, shown
from routers.openai_parts import error

# What OpenAI calls its own models; they mean whichever model speaks here.
THEIRS = frozenset({"tts-1", "tts-1-hd", "gpt-4o-mini-tts"})
router = APIRouter(tags=["OpenAI"])


class Named(Lenient):
    """A voice as an object."""

    id: str


class SpeechBody(Body):
    """A text to be spoken."""

    model_config = shown(
        {"model": "tts-1", "input": "Hello there.", "voice": "alloy", "response_format": "mp3"}
    )

    model: str | None = Field(
        None, description="A model that speaks; absent, or OpenAI's names: by the voice."
    )
    input: str
    voice: str | Named | None = Field(
        None, description="A voice's name, OpenAI's too; absent: the language's own."
    )
    response_format: str | None = Field(
        None, description="mp3 (absent), opus, aac, flac, wav, pcm."
    )
    speed: float | None = Field(None, description="0.25 to 4; 1 is the voice's own.")
    stream_format: Literal["audio", "sse"] | None = None
    instructions: str | None = Field(None, description="No model here follows any.")
    language: str | None = Field(None, description='"fr", "French"; absent: found out.')
    reference: str | None = Field(
        None,
        description="A recording (base64) of the voice that is to speak, with models that clone.",
    )
    keep_alive: float | str | None = Field(
        None, description='Seconds ("5m" too) the model stays loaded afterwards; -1 for good.'
    )


def parse(body: SpeechBody) -> SpeakRequest:
    """The request for a text's sound. Raises BadValue."""
    voice = body.voice.id if isinstance(body.voice, Named) else body.voice
    return build(
        SpeakRequest,
        model=None if body.model in THEIRS else body.model,
        text=body.input,
        voice=voice or "",
        language=body.language or "",
        reference=bytes_of(body.reference, "reference") if body.reference else None,
        speed=1.0 if body.speed is None else body.speed,
        keep_alive=seconds_of(body.keep_alive),
    )


async def _sounds(events: AsyncIterator[Event], format: str) -> AsyncGenerator[bytes | Done]:
    """Encoded pieces as they come, the end of the file, then Done."""
    writer: SoundWriter | None = None
    async for event in events:
        match event:
            case Audio(data, rate):
                writer = writer or SoundWriter(format, rate)
                yield await asyncio.to_thread(writer.write, data)
            case Done():
                if writer is not None:
                    yield await asyncio.to_thread(writer.end)
                yield event
            case _:
                yield b""


@cache
def _raw(format: str) -> wire.Dialect:
    """Sound and nothing else. What fails in the middle breaks it off."""

    async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
        async for piece in _sounds(events, format):
            if isinstance(piece, bytes):
                yield piece

    return wire.Dialect(
        "openai", stream, _never, error,
        frame=lambda value: b"", end=b"", pulse=b"", media=SOUND_FORMATS[format].media, cut=True,
    )  # fmt: skip


@cache
def _told(format: str) -> wire.Dialect:
    """The same as events."""

    async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
        async for piece in _sounds(events, format):
            if isinstance(piece, Done):
                yield _frame({"type": "speech.audio.done", "usage": _usage(piece)})
            elif piece:
                yield _frame({"type": "speech.audio.delta", "audio": b64encode(piece).decode()})
        yield wire.DONE

    return wire.Dialect("openai", stream, _never, error)


def _never(result: Result, meta: wire.Meta) -> Any:
    raise AssertionError("speech is always streamed")


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _usage(done: Done) -> dict[str, Any]:
    """OpenAI counts tokens; ours are characters in and none out, with the seconds that were made."""
    characters = done.usage.characters
    return {
        "input_tokens": characters,
        "output_tokens": 0,
        "total_tokens": characters,
        "audio_seconds": round(done.usage.audio_s, 3),
    }


@router.post(
    "/v1/audio/speech",
    summary="Speak a text; the sound streams while it is made",
    responses={
        200: {
            "description": "Done",
            "content": {
                **{kind.media: {"schema": {"type": "string", "format": "binary"}} for kind in SOUND_FORMATS.values()},
                **example({"type": "speech.audio.delta", "audio": "…"}, "text/event-stream")[200]["content"],
            },
        }
    },
)  # fmt: skip
async def speech(body: SpeechBody, http: HttpRequest) -> Response:
    kind = sound_format(body.response_format or "mp3")
    request = parse(body)
    unread = ("instructions",) if body.instructions else ()
    meta = wire.meta_of(http, request, body.ignored("openai", *unread))
    events = wire.engine_of(http).run(request, wire.caller_of(http, "openai"))
    spoken = _told(kind) if body.stream_format == "sse" else _raw(kind)
    return await wire.respond(http, events, spoken, meta, stream=True)
