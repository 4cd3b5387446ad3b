"""The Brenda dialect's chaining: text or speech in; text and speech out, while both are being made.

Knows its paths and the engine's requests and events; nothing of how models hear, write or speak.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict, replace
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import (
    WAITING,
    AtelierError,
    Done,
    Heard,
    Mishap,
    Priority,
    Reasoning,
    Said,
    Segment,
    Text,
    Timings,
    VoiceEvent,
    VoiceRequest,
)
from engine.sound_formats import wav
from routers import wire
from routers.bodies import Body, build, bytes_of, example, shown
from routers.refusals import plain

PATHS = ("/v1/ai/chaining/",)
MEDIA = "text/event-stream"
router = APIRouter(tags=["Brenda"])


class WarmBody(Body):
    """Who takes part."""

    model_config = shown({"language": "fr"})

    model: str | None = Field(None, description="Who answers; absent: the session's, the default.")
    stt_model: str | None = Field(
        None, description='Who hears: "small", or a model; absent: as the settings have it.'
    )
    tts_model: str | None = Field(
        None, description="Who speaks; absent: by voice and language, as the settings have it."
    )
    voice: str | None = Field(
        None, description='"Elise"; absent: as the settings have it, by language.'
    )
    language: str | None = Field(None, description='"fr", "French"; absent: found out.')


class ChatBody(WarmBody):
    """What is said to it: text, a recording or both."""

    model_config = shown({"text": "Bonjour, comment vas-tu ?"})

    text: str | None = Field(None, description="What was typed; it follows what was recorded.")
    audio: str | None = Field(
        None, description="Base64, or a data: URL, of WAV or whatever ffmpeg reads."
    )
    system: str | None = Field(None, description="How to answer.")
    speed: float | None = Field(None, description="0.25 to 4; 1 is the voice's own.")
    max_tokens: int | None = None
    temperature: float | None = None
    speak: bool = Field(True, description="False: the answer as text alone.")
    played: float | None = Field(
        None, description="Seconds of the answer before that were played; the rest is forgotten."
    )
    keep: bool = Field(False, description="Keep the conversation on the server, for its page too.")


def parse(body: WarmBody, http: HttpRequest) -> VoiceRequest:
    """The turn that a body asks for. Raises BadValue; without text and audio too."""
    given: dict[str, Any] = {"text": "?"}
    if isinstance(body, ChatBody):
        given = {
            "text": body.text or "",
            "audio": bytes_of(body.audio, "audio") if body.audio else b"",
            "system": body.system or "",
            "speed": 1.0 if body.speed is None else body.speed,
            "max_tokens": body.max_tokens,
            "temperature": body.temperature,
            "aloud": body.speak,
            "played": body.played,
            "keep": body.keep,
        }
    else:
        given |= {"audio": b"?"}
    return build(
        VoiceRequest,
        model=body.model,
        listener=_sized(body.stt_model, http),
        speaker=body.tts_model,
        voice=body.voice or "",
        language=body.language or "",
        **given,
    )


def _sized(name: str | None, http: HttpRequest) -> str | None:
    """Whisper's models go by their sizes too."""
    sized = f"whisper-{name}"
    return sized if name and wire.engine_of(http).registry.knows(sized) else name


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _times(timings: Timings) -> dict[str, Any]:
    return {k: None if v is None else round(v, 3) for k, v in asdict(timings).items()}


async def stream(events: AsyncIterator[VoiceEvent], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """What was heard, text, sound and times as they come, then the end."""
    async for event in events:
        match event:
            case Text(delta):
                yield b'data: {"type":"text","content":' + orjson.dumps(delta) + b"}\n\n"
            case Said(number, phrase, audio):
                yield _frame(
                    {
                        "type": "audio",
                        "content": b64encode(wav(audio.data, audio.rate)).decode(),
                        "phrase": number,
                        "text": phrase,
                        "sample_rate": audio.rate,
                        "duration": round(len(audio.data) / 2 / audio.rate, 3),
                    }
                )
            case Segment(text):
                yield _frame({"type": "hearing", "content": text})
            case Heard(text, language, duration):
                yield _frame(
                    {
                        "type": "heard",
                        "content": text,
                        "language": language,
                        "duration": round(duration, 3),
                    }
                )
            case Reasoning(delta):
                yield _frame({"type": "reasoning", "content": delta})
            case Mishap(failed):
                yield _frame(error(failed))
            case Timings():
                yield _frame({"type": "timings", **_times(event)})
            case Done(finish, usage, stopped):
                end = {"model": meta.model, "finish": finish, "stopped": stopped}
                yield _frame({"type": "done", **end, "usage": asdict(usage)})
            case _:
                yield wire.waiting(event)
    yield wire.DONE


def error(failed: AtelierError) -> dict[str, Any]:
    """An error as a frame; the stream ends properly after it, or goes on where only the voice failed."""
    return {"type": "error", **plain(failed)}


def reply(result: Any, meta: wire.Meta) -> Any:
    """There is no answer but the stream."""
    raise NotImplementedError


CHAINING = wire.Dialect(
    "brenda", stream, reply, error, waits=lambda event: isinstance(event, WAITING)
)


@router.post(
    "/v1/ai/chaining/chat",
    summary="Talk: text or speech in; text and speech out as they are made",
    responses={
        200: {
            "description": "Server-sent events, the last of them [DONE]",
            "content": {
                MEDIA: {
                    "example": 'data: {"type":"text","content":"Bonjour !"}\n\n'
                    'data: {"type":"audio","content":"UklGRiQAAABXQVZF…"}\n\ndata: [DONE]\n\n'
                }
            },
        }
    },
)
async def chat(body: ChatBody, http: HttpRequest) -> Response:
    request = parse(body, http)
    engine = wire.engine_of(http)
    model = engine.talkers(request, http.state.session)["chat"].id
    meta = wire.Meta(id=http.state.request_id, model=model, ignored=body.ignored("brenda"))
    caller = replace(wire.caller_of(http, "brenda"), priority=Priority.VOICE)
    events = engine.converse(request, caller)
    return await wire.respond(http, events, CHAINING, meta, stream=True)


@router.post(
    "/v1/ai/chaining/warm",
    summary="Load all who take part in a spoken conversation",
    responses=example({"models": {"whisper-small": 1.2, "starter-chat": 0.4, "espeak-ng": 0.0}}),
)
async def warm(body: WarmBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    work = engine.warm_up(parse(body, http), http.state.session)
    took = await wire.until_gone(http.receive, work)
    return wire.json({"models": {model: round(seconds, 3) for model, seconds in took.items()}})


@router.get(
    "/v1/ai/chaining/chat",
    summary="What was said in this session",
    responses=example(
        {
            "session_id": "abc",
            "messages": [{"role": "user", "content": "Bonjour"}],
            "conversation": "",
        }
    ),
)
async def history(http: HttpRequest) -> Response:
    dialogues = wire.engine_of(http).dialogues
    said = dialogues.entries(http.state.session)
    return wire.json(
        {
            "session_id": http.state.session,
            "messages": [
                {"role": e.role, "content": e.text, "finish": e.finish, "model": e.model}
                for e in said
            ],
            "conversation": dialogues.kept(http.state.session),
        }
    )


@router.delete(
    "/v1/ai/chaining/chat",
    summary="Forget what was said in this session",
    responses=example({"forgotten": True}),
)
async def forget(http: HttpRequest) -> Response:
    return wire.json({"forgotten": wire.engine_of(http).dialogues.forget(http.state.session)})
