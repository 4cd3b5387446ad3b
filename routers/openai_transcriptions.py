"""OpenAI's transcriptions and translations: a recording in, its words out, whole, streamed or as subtitles."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from engine import (
    BadValue,
    Done,
    Engine,
    Event,
    Result,
    Segment,
    TranscribeRequest,
    Usage,
)
from engine.languages import NAMES
from engine.subtitles import cues_of, write_srt, write_vtt
from routers import wire
from routers.bodies import EVENTS, Body, build, example, seconds_of
from routers.openai_parts import error

router = APIRouter(tags=["OpenAI"])
Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
WHISPER = "whisper-1"  # OpenAI's own name; here it stands for the default
LISTS = ("timestamp_granularities", "include")
SUBTITLES = {"srt": write_srt, "vtt": write_vtt}
FIELDS = 50
HOURS = 12 * 3600.0  # seconds that a stream may take: its reader sees how far it is, and can leave


class SpeechBody(Body):
    """The fields beside the file, as a form sends them."""

    model: str | None = Field(
        None, description='A model that transcribes; "whisper-1" or absent: the default.'
    )
    prompt: str = Field("", description="Words and names that are likely, or what was said before.")
    response_format: Format = Field("json", description="How the answer is written.")
    temperature: float | None = Field(
        None, description="0 to 1; 0 or absent: the surest words, warmer only where they repeat."
    )
    stream: bool = Field(False, description="Words as they are heard, as server-sent events.")
    timestamp_granularities: list[Literal["word", "segment"]] = Field(
        default_factory=list,
        description="With verbose_json or stream: the times of words, of segments.",
    )
    include: list[str] = Field(
        default_factory=list, description='Beside a stream\'s last text: "srt", "vtt".'
    )
    keep_alive: float | str | None = Field(
        None, description='Seconds ("5m" too) the model stays loaded afterwards; -1 for good.'
    )


class TranscriptionBody(SpeechBody):
    """What a transcription has besides."""

    language: str = Field("", description='"fr", "French"; absent or "auto": found out.')


def parse(body: SpeechBody, audio: bytes, translate: bool, engine: Engine) -> TranscribeRequest:
    """The request that a form makes. Raises BadValue for what does not go together."""
    model = None if body.model == WHISPER and not engine.registry.knows(WHISPER) else body.model
    words = "word" in body.timestamp_granularities
    if words and body.response_format in ("json", "text") and not body.stream:
        raise BadValue(
            "timestamp_granularities: times of words come with response_format=verbose_json, srt or vtt.",
            param="timestamp_granularities",
        )
    if body.stream and body.response_format not in ("json", "text"):
        raise BadValue("stream: leave response_format out, or do not stream.", param="stream")
    return build(
        TranscribeRequest,
        model=model or None,
        audio=audio,
        language=getattr(body, "language", ""),
        translate=translate,
        prompt=body.prompt,
        temperature=body.temperature,
        words=words,
        keep_alive=seconds_of(body.keep_alive),
        seconds=HOURS if body.stream else None,
    )


async def received(http: HttpRequest, kind: type[SpeechBody]) -> tuple[SpeechBody, bytes]:
    """The form's fields and its file.

    Raises:
        BadValue: there is no file. RequestValidationError: a field has the wrong shape.
    """
    if not http.headers.get("content-type", "").lower().startswith("multipart/"):
        raise BadValue(
            "Send a form (multipart/form-data) with the recording as file.", param="file"
        )
    fields: dict[str, Any] = {}
    audio: bytes | None = None
    async with http.form(max_files=1, max_fields=FIELDS) as form:
        for key, value in form.multi_items():
            name = key.removesuffix("[]")
            if isinstance(value, UploadFile):
                audio = await value.read() if name == "file" else audio
            elif name in LISTS:
                fields.setdefault(name, []).append(value)
            elif value != "":
                fields[name] = value
    if audio is None:
        raise BadValue("file: there is no recording in the form.", param="file")
    try:
        return kind.model_validate(fields, strict=False), audio
    except ValidationError as wrong:
        raise RequestValidationError(wrong.errors(include_url=False)) from None


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Deltas as they are heard, with their times; then the whole text. Progress comes as comments."""
    heard = Result()
    async for event in events:
        heard.add(event)
        match event:
            case Segment(said, start, end):
                said = said if len(heard.segments) > 1 else said.lstrip()
                delta = {"type": "transcript.text.delta", "delta": said, "start": start, "end": end}
                words = {"words": _words([event])} if event.words else {}
                yield _frame(delta | words)
            case Done():
                yield _frame(_whole(heard, meta))
            case _:
                yield wire.waiting(event)
    yield wire.DONE


def _whole(heard: Result, meta: wire.Meta) -> dict[str, Any]:
    """A stream's last word."""
    source = heard.source
    cues = cues_of(heard.segments)
    wanted = [kind for kind in SUBTITLES if kind in meta.extra["include"]]
    return {
        "type": "transcript.text.done",
        "text": heard.text.strip(),
        "usage": _tokens(heard.usage),
        "language": source.language if source else "",
        "language_probability": source.probability if source else None,
        "duration": source.duration if source else 0.0,
        "model": meta.model,
        "stopped": bool(heard.done and heard.done.stopped),
        **{kind: SUBTITLES[kind](cues) for kind in wanted},
    }


def _words(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    return [
        {"word": word.text, "start": word.start, "end": word.end}
        for segment in segments
        for word in segment.words
    ]


def _tokens(usage: Usage) -> dict[str, Any]:
    given, made = usage.input_tokens, usage.output_tokens
    return {
        "type": "tokens",
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": given + made,
    }


def reply(result: Result, meta: wire.Meta) -> dict[str, Any] | str:
    """The whole answer in the format that was asked for."""
    text = result.text.strip()
    seconds = {"type": "duration", "seconds": round(result.usage.audio_s, 2)}
    match meta.extra["format"]:
        case "text":
            return text + "\n"
        case "srt" | "vtt" as kind:
            return SUBTITLES[kind](cues_of(result.segments))
        case "verbose_json":
            return _verbose(result, text, meta) | {"usage": seconds}
    return {"text": text, "usage": seconds}


def _verbose(result: Result, text: str, meta: wire.Meta) -> dict[str, Any]:
    source, wanted = result.source, meta.extra["granularities"]
    code = source.language if source else ""
    answer: dict[str, Any] = {
        "task": meta.extra["task"],
        "language": NAMES.get(code, code).lower(),
        "duration": source.duration if source else 0.0,
        "text": text,
    }
    if "word" in wanted:
        answer["words"] = _words(result.segments)
    if "segment" in wanted or not wanted:
        warm = meta.extra["temperature"]
        answer["segments"] = [_segment(n, each, warm) for n, each in enumerate(result.segments)]
    return answer


def _segment(number: int, segment: Segment, temperature: float) -> dict[str, Any]:
    said = segment.text.encode()
    return {
        "id": number,
        "seek": round((segment.start or 0.0) * 100),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": temperature,
        "avg_logprob": round(math.log(max(segment.score or 1.0, 1e-9)), 4),
        "compression_ratio": round(len(said) / max(1, len(zlib.compress(said))), 4),
        "no_speech_prob": 0.0,  # what the model takes for silence is left out
    }


SPEECH = wire.Dialect("openai", stream, reply, error)


async def answer(http: HttpRequest, kind: type[SpeechBody], task: str) -> Response:
    """The answer to a form; `task` is "transcribe" or "translate"."""
    body, audio = await received(http, kind)
    engine = wire.engine_of(http)
    request = parse(body, audio, task == "translate", engine)
    unread = [f"include.{name}" for name in body.include if name not in SUBTITLES]
    meta = wire.meta_of(
        http, request, body.ignored("openai", *unread), format=body.response_format, task=task,
        granularities=body.timestamp_granularities,
        include=body.include,
        temperature=body.temperature or 0.0,
    )  # fmt: skip
    events = engine.run(request, wire.caller_of(http, "openai"))
    return await wire.respond(http, events, SPEECH, meta, stream=body.stream)


def described(kind: type[SpeechBody]) -> dict[str, Any]:
    """The documentation of a form with a file."""
    fields = kind.model_json_schema()["properties"]
    file = {"type": "string", "format": "binary", "description": "A recording, or a film."}
    schema = {"type": "object", "properties": {"file": file, **fields}, "required": ["file"]}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


@router.post(
    "/v1/audio/transcriptions",
    summary="Write down what is said in a recording",
    responses=example(
        {"text": "Hello there.", "usage": {"type": "duration", "seconds": 1.4}},
        also=("text/plain", EVENTS),
    ),
    openapi_extra=described(TranscriptionBody),
)
async def transcriptions(http: HttpRequest) -> Response:
    return await answer(http, TranscriptionBody, "transcribe")


@router.post(
    "/v1/audio/translations",
    summary="Write down in English what is said in another language",
    responses=example(
        {"text": "Hello there.", "usage": {"type": "duration", "seconds": 1.4}},
        also=("text/plain", EVENTS),
    ),
    openapi_extra=described(SpeechBody),
)
async def translations(http: HttpRequest) -> Response:
    return await answer(http, SpeechBody, "translate")
