"""The Brenda dialect's translation: which languages there are, a text, and a whole file.

Knows its paths and the engine's requests and events; nothing of how models translate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.responses import Response

from engine import (
    BadValue,
    Done,
    Event,
    Progress,
    Result,
    Source,
    Text,
    TranslateRequest,
)
from engine.tongues import english_name, own_name, parse_name
from engine.translated_files import Translatable, open_file
from routers import wire
from routers.bodies import EVENTS, Body, build, example, ignored_names, seconds_of, shown
from routers.refusals import plain

PATHS = ("/v1/translate/",)
error = plain
router = APIRouter(tags=["Brenda"])
FIELDS = ("from_lang", "to_lang", "model", "glossary", "keep_alive")


class TranslateBody(Body):
    """A text to be translated."""

    model_config = shown({"text": "Where is the station?", "from_lang": "en", "to_lang": "fr"})

    text: str
    from_lang: str = Field("auto", description='"fr", "French", "fra_Latn"; "auto": found out.')
    to_lang: str = Field(description="The language wanted, in any of these ways.")
    model: str | None = Field(
        None, description="A translation model or a chat model; absent: by the languages."
    )
    glossary: dict[str, str] | None = Field(
        None, description="How words are to be translated; an empty text keeps a word as it is."
    )
    stream: bool = Field(False, description="Sentences as they are ready, as server-sent events.")
    keep_alive: float | str | None = Field(
        None, description='Seconds ("5m" too) the model stays loaded afterwards; -1 for good.'
    )


def parse(body: TranslateBody, text: str | None = None) -> TranslateRequest:
    """The request of a body, or of another text with the same wishes. Raises BadValue."""
    return build(
        TranslateRequest,
        model=body.model,
        text=body.text if text is None else text,
        source=body.from_lang,
        target=body.to_lang,
        glossary=body.glossary or {},
        keep_alive=seconds_of(body.keep_alive),
    )


def _meta(http: HttpRequest, body: TranslateBody, request: TranslateRequest) -> wire.Meta:
    return wire.Meta(
        id=http.state.request_id,
        model=wire.engine_of(http).translator_of(request, http.state.session).id,
        ignored=body.ignored("brenda"),
        extra={"from": body.from_lang, "to": parse_name(body.to_lang)},
    )


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The whole answer. `untranslated`: sentences that the model did not know and left as they are."""
    found = result.source
    return {
        "text": result.text,
        "from_lang": found.language if found else meta.extra["from"],
        "to_lang": meta.extra["to"],
        "model": meta.model,
        "detected": _detected(found),
        "untranslated": [each.text for each in result.segments],
        "processing_time": round(meta.seconds, 3),
        "usage": asdict(result.usage),
        "stopped": bool(result.done and result.done.stopped),
    }


def _detected(found: Source | None) -> float | None:
    return found.probability if found else None


def _frame(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """The language, the text as it comes, how far it is, then everything once more without the text."""
    result = Result()
    async for event in events:
        result.add(event)
        match event:
            case Source(language, probability):
                yield _frame({"type": "source", "from_lang": language, "detected": probability})
            case Text(delta):
                yield _frame({"type": "text", "content": delta})
            case Progress(done, total):
                yield _frame({"type": "progress", "done": done, "total": total})
            case Done():
                whole = reply(result, meta)
                del whole["text"]
                yield _frame({"type": "done", **whole})
            case _:
                yield wire.waiting(event)
    yield wire.DONE


BRENDA = wire.Dialect("brenda", stream, reply, error)


@router.get(
    "/v1/ai/translation/languages",
    summary="The languages that can be translated between",
    responses=example({"languages": ["fr", "en", "pt", "ru"]}),
)
async def languages(http: HttpRequest, model: str | None = None) -> Response:
    codes = await asyncio.to_thread(wire.engine_of(http).tongues, model or "")
    names = {code: {"name": english_name(code), "own": own_name(code)} for code in codes}
    return wire.json({"languages": list(codes), "names": names})


@router.post(
    "/v1/ai/translation/translate",
    summary="Translate a text; paragraphs, lists and spaces stay as they are",
    responses=example(
        {
            "text": "Où est la gare ?",
            "from_lang": "en",
            "to_lang": "fr",
            "model": "starter-translate",
            "detected": None,
            "untranslated": [],
            "processing_time": 0.02,
        },
        also=(EVENTS,),
    ),
)
async def translate(body: TranslateBody, http: HttpRequest) -> Response:
    request = parse(body)
    meta = _meta(http, body, request)
    events = wire.engine_of(http).translate(request, wire.caller_of(http, "brenda"))
    return await wire.respond(http, events, BRENDA, meta, stream=body.stream)


FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "to_lang"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "to_lang": {"type": "string"},
                        "from_lang": {"type": "string", "default": "auto"},
                        "model": {"type": "string"},
                        "glossary": {"type": "string", "description": "JSON: word to word."},
                    },
                }
            }
        },
    }
}


@router.post(
    "/v1/translate/file",
    summary="Translate a file: text, Markdown, HTML, SRT, WebVTT or Word; the answer is the file",
    response_class=Response,
    responses={
        200: {
            "description": "The file, in its own format",
            "content": {"*/*": {"example": "the translated file"}},
        }
    },
    openapi_extra=FORM,
)
async def translate_file(http: HttpRequest) -> Response:
    name, data, body = await _received(http)
    opened = await asyncio.to_thread(open_file, data, name)
    request = parse(body, opened.text)
    kept = {word: "" for word in opened.kept if 0 < len(word) <= 200}
    if kept:
        glossary = dict(list((kept | request.glossary).items())[:1000])
        request = request.model_copy(update={"glossary": glossary})
    engine = wire.engine_of(http)
    meta = _meta(http, body, request)
    events = engine.translate(request, wire.caller_of(http, "translate"))
    result = await wire.whole(http, events, BRENDA.fold)
    made = await wire.until_gone(http.receive, asyncio.to_thread(opened.put, result.text))
    return _file(opened, made, result, meta)


async def _received(http: HttpRequest) -> tuple[str, bytes, TranslateBody]:
    """The file and what is wanted of it. Raises BadValue: a field is lacking or wrong."""
    if not http.headers.get("content-type", "").lower().startswith("multipart/"):
        raise BadValue("Send the file in a form (multipart/form-data), as `file`.", param="file")
    fields: dict[str, Any] = {}
    name, data = "", b""
    async with http.form(max_files=1, max_fields=50) as form:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                name, data = value.filename or "text.txt", await value.read()
            elif value != "":
                fields[key] = value
    if not name:
        raise BadValue("There is no file. Send one in the form, as `file`.", param="file")
    if "to_lang" not in fields:
        raise BadValue("to_lang: say which language the file is to be in.", param="to_lang")
    if "glossary" in fields:
        fields["glossary"] = _glossary(fields["glossary"])
    ignored_names("translate", (key for key in fields if key not in FIELDS))
    known = {key: value for key, value in fields.items() if key in FIELDS}
    return name, data, build(TranslateBody, text="", **known)


def _glossary(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadValue('glossary: write it as JSON, {"word": "word"}.', param="glossary") from None


def _file(opened: Translatable, made: bytes, result: Result, meta: wire.Meta) -> Response:
    """The file, with what there is to say of it in headers."""
    name = opened.named(meta.extra["to"][:20])
    plain_name = "".join(
        c if c.isascii() and c.isprintable() and c not in '"\\;/' else "_" for c in name
    )
    kept = f"attachment; filename=\"{plain_name}\"; filename*=UTF-8''{quote(name, safe='')}"
    headers = {
        **wire.ignored_header(meta.ignored),
        "content-disposition": kept,
        "x-model": quote(meta.model, safe="/:.@-_"),
        "x-source-language": result.source.language if result.source else "",
        "x-untranslated": str(len(result.segments)),
    }
    return Response(made, headers=headers, media_type=opened.media)
