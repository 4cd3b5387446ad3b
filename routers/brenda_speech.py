"""The Brenda dialect's speech: which voices there are, text to speech, speech to text.

Knows its paths and the engine's requests and events; nothing of how models speak or hear.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import (
    Audio,
    BadValue,
    Done,
    Engine,
    Event,
    Progress,
    Result,
    SpeakRequest,
    TooLarge,
    TranscribeRequest,
    Unknown,
    Voice,
    fold,
)
from engine.references import LARGEST, is_recording
from engine.sound_formats import SOUND_FORMATS, SoundWriter, as_pcm, encode, sound_format, wav
from engine.sounds import decode
from routers import wire
from routers.bodies import EVENTS, Body, build, bytes_of, example, shown
from routers.refusals import plain

error = plain
router = APIRouter(tags=["Brenda"])
# What a voice says of itself, by language.
SAMPLES = {
    "en": "Hello! This is how I sound. Give me a text, and I will read it to you.",
    "fr": "Bonjour ! Voici ma voix. Donnez-moi un texte, et je vous le lirai.",
    "pt": "Olá! Esta é a minha voz. Dê-me um texto, e eu leio-o para si.",
    "ru": "Здравствуйте! Вот так я звучу. Дайте мне текст, и я его прочитаю.",
    "es": "¡Hola! Así sueno. Dame un texto y te lo leeré.",
    "de": "Hallo! So klinge ich. Gib mir einen Text, und ich lese ihn dir vor.",
    "it": "Ciao! Questa è la mia voce. Dammi un testo e te lo leggerò.",
    "zh": "你好！这是我的声音。给我一段文字，我来读给你听。",
    "ja": "こんにちは。これが私の声です。文章をください、お読みします。",
}
RATE = 24_000  # Hz of what is converted
NUMBERS = "1, 2, 3, 4, 5."  # said in every language
# A body that is a recording, as OpenAPI describes it.
RECORDING = {
    "schema": {"type": "string", "format": "binary"},
    "example": "a recording's bytes",
}


class SpeakBody(Body):
    """A text to be spoken."""

    model_config = shown(
        {"text": "Bonjour tout le monde.", "voice_path": "Elise", "language": "fr"}
    )

    text: str
    voice_path: str | None = Field(
        None, description="A voice's name, or a recording among the files whose voice is cloned."
    )
    language: str | None = Field(None, description='"fr", "French"; absent: found out.')
    stream: bool = Field(False, description="Each sentence as it is spoken, as server-sent events.")
    model: str | None = Field(
        None, description="A model that speaks; absent: by voice and language."
    )
    speed: float | None = Field(None, description="0.25 to 4; 1 is the voice's own.")
    reference: str | None = Field(None, description="A recording (base64) whose voice is cloned.")


class HearBody(Body):
    """A recording to be written down."""

    model_config = shown({"audio": "UklGRiQAAABXQVZF…", "model_size": "small", "language": "fr"})

    audio: str = Field(description="Base64, or a data: URL, of WAV or whatever ffmpeg reads.")
    model_size: str | None = Field(None, description='"tiny" to "large-v3-turbo", or a model.')
    language: str | None = Field(None, description='"fr", "French"; absent: found out.')


def parse_text(body: SpeakBody, reference: bytes | None) -> SpeakRequest:
    """The request for a text's sound. Raises BadValue."""
    return build(
        SpeakRequest,
        model=body.model,
        text=body.text,
        voice="" if reference is not None else body.voice_path or "",
        reference=reference,
        language=body.language or "",
        speed=1.0 if body.speed is None else body.speed,
    )


async def _reference(body: SpeakBody, engine: Engine) -> bytes | None:
    """The recording whose voice is to speak. Raises Forbidden, Unknown, TooLarge: it cannot be had."""
    if body.reference:
        return bytes_of(body.reference, "reference")
    if not (body.voice_path and is_recording(body.voice_path)):
        return None
    data = await engine.files.read(body.voice_path, LARGEST + 1)
    if len(data) > LARGEST:
        raise TooLarge("The recording is over 50 MB. Ten seconds of a voice are enough.")
    return data


def parse_sound(body: HearBody, engine: Engine) -> TranscribeRequest:
    """The request for a recording's words. Raises BadValue, Unknown."""
    if not body.audio.strip():
        raise BadValue("audio: it is empty. Send a recording as base64.", param="audio")
    return build(
        TranscribeRequest,
        model=_sized(body.model_size or "", engine),
        audio=bytes_of(body.audio, "audio"),
        language=body.language or "",
    )


def _sized(size: str, engine: Engine) -> str | None:
    """The model of a size, as Whisper's are called; a catalog id as it is."""
    if not size:
        return None
    names = (size, f"whisper-{size}", f"faster-whisper-{size}")
    return next((name for name in names if engine.registry.knows(name)), size)


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """A WAV for each sentence with how far it is, then the end."""
    seconds = 0.0
    async for event in events:
        match event:
            case Audio(data, rate):
                length = len(data) / 2 / rate
                seconds += length
                yield _frame(
                    {
                        "type": "audio",
                        "content": b64encode(wav(data, rate)).decode(),
                        "sample_rate": rate,
                        "duration": round(length, 3),
                    }
                )
            case Progress(done, total):
                yield _frame({"type": "progress", "done": done, "total": total})
            case Done(_, usage, stopped):
                end = {"model": meta.model, "duration": round(seconds, 3), "stopped": stopped}
                yield _frame({"type": "done", **end, "usage": asdict(usage)})
            case _:
                yield wire.waiting(event)
    yield wire.DONE


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The whole sound as one WAV."""
    rate = result.audio[0].rate if result.audio else 24_000
    data = b"".join(piece.data for piece in result.audio)
    return {
        "audio": b64encode(wav(data, rate)).decode(),
        "sample_rate": rate,
        "duration": round(len(data) / 2 / rate, 3),
        "model": meta.model,
        "processing_time": round(meta.seconds, 3),
    }


def heard(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """What was said, and when."""
    source = result.source
    spans = [
        {"start": s.start, "end": s.end, "text": s.text.strip()}
        for s in result.segments
        if s.start is not None
    ]
    return {
        "text": result.text.strip(),
        "language": source.language if source else "",
        "duration": round(source.duration, 3) if source else 0.0,
        "segments": spans,
        "model": meta.model,
        "processing_time": round(meta.seconds, 3),
    }


SPEAKING = wire.Dialect("brenda", stream, reply, error)


@router.get(
    "/v1/ai/speech/models",
    summary="The models that speak and hear, and the voices",
    responses=example(
        {
            "models": ["espeak-ng"],
            "voices": [
                {
                    "name": "Elise",
                    "model": "espeak-ng",
                    "language": "fr",
                    "locale": "fr-FR",
                    "title": "Elise · French (France)",
                    "gender": "female",
                    "licence": "GPL-3.0",
                    "sample": "/v1/ai/speech/sample?voice=Elise&model=espeak-ng",
                }
            ],
        }
    ),
)
async def models(http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    voices = await asyncio.to_thread(engine.voices)
    licences = {spec.id: spec.licence for spec in engine.models("speak")}
    ids = [spec.id for task in ("speak", "transcribe") for spec in engine.models(task)]
    return wire.json(
        {
            "models": list(dict.fromkeys(ids)),
            "voices": [_voice(voice, licences.get(voice.model, "")) for voice in voices],
        }
    )


def _voice(voice: Voice, licence: str) -> dict[str, Any]:
    asked = urlencode({"voice": voice.name, "model": voice.model})
    return {
        "name": voice.name,
        "model": voice.model,
        "language": voice.language or "any",
        "locale": voice.locale,
        "title": voice.title,
        "gender": voice.gender,
        "licence": voice.licence or licence,
        "sample": f"/v1/ai/speech/sample?{asked}",
    }


@router.get(
    "/v1/ai/speech/sample",
    summary="A voice says how it sounds",
    responses={
        200: {"description": "Done", "content": {"audio/mpeg": {"example": "the sound's bytes"}}}
    },
)
async def sample(
    http: HttpRequest, voice: str, model: str = "", language: str = "", format: str = "mp3"
) -> Response:
    engine = wire.engine_of(http)
    kind = sound_format(format)
    found = await asyncio.to_thread(engine.voices)
    known = next((v for v in found if v.goes_by(voice) and model in ("", v.model)), None)
    if known is None:
        raise Unknown(f"'{voice[:60]}' is no voice here. See /v1/ai/speech/models.", param="voice")
    spoken = language or known.language or "en"
    request = build(
        SpeakRequest,
        model=known.model, voice=known.name, text=SAMPLES.get(spoken, NUMBERS), language=spoken,
    )  # fmt: skip
    wire.meta_of(http, request)
    result = await wire.whole(http, engine.run(request, wire.caller_of(http, "brenda")), fold)
    data = b"".join(piece.data for piece in result.audio)
    rate = result.audio[0].rate
    media = SOUND_FORMATS[kind].media
    headers = {"cache-control": "private, max-age=3600"}
    return Response(await asyncio.to_thread(encode, data, rate, kind), 200, headers, media)


@router.post(
    "/v1/ai/speech/text-to-speech",
    summary="Speak a text, whole or sentence by sentence",
    responses=example(
        {
            "audio": "UklGRiQAAABXQVZF…",
            "sample_rate": 24000,
            "duration": 1.62,
            "model": "espeak-ng",
            "processing_time": 0.05,
        },
        also=(EVENTS,),
    ),
)
async def text_to_speech(body: SpeakBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    request = parse_text(body, await _reference(body, engine))
    meta = wire.meta_of(http, request, body.ignored("brenda"))
    events = engine.run(request, wire.caller_of(http, "brenda"))
    return await wire.respond(http, events, SPEAKING, meta, stream=body.stream)


@router.post(
    "/v1/ai/speech/convert",
    summary="A recording in another format of sound",
    responses={
        200: {"description": "Done", "content": {"audio/mpeg": {"example": "the sound's bytes"}}}
    },
    openapi_extra={"requestBody": {"content": {"audio/wav": RECORDING}, "required": True}},
)
async def convert(http: HttpRequest, format: str = "mp3") -> Response:
    kind = sound_format(format)
    data = await http.body()
    work = asyncio.to_thread(_converted, data, kind)
    file = await wire.until_gone(http.receive, work)
    return Response(file, media_type=SOUND_FORMATS[kind].media)


def _converted(data: bytes, kind: str) -> bytes:
    writer = SoundWriter(kind, RATE)
    parts = [writer.write(as_pcm(piece)) for piece in decode(data, RATE)]
    return b"".join([*parts, writer.end()])


HEARING = wire.Dialect("brenda", stream, heard, error)


@router.post(
    "/v1/ai/speech/speech-to-text",
    summary="Write down what is said in a recording",
    responses=example(
        {
            "text": "Bonjour tout le monde.",
            "language": "fr",
            "duration": 1.62,
            "segments": [{"start": 0.0, "end": 1.6, "text": "Bonjour tout le monde."}],
            "model": "whisper-small",
            "processing_time": 0.4,
        }
    ),
)
async def speech_to_text(body: HearBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    request = parse_sound(body, engine)
    meta = wire.meta_of(http, request, body.ignored("brenda"))
    events = engine.run(request, wire.caller_of(http, "brenda"))
    return await wire.respond(http, events, HEARING, meta, stream=False)
