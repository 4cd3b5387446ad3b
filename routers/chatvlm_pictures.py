"""ChatVLM's work on uploaded pictures: reading one or many, and questions about one.

Knows multipart forms and the engine's requests and events; nothing of how models read or see.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi import Request as HttpRequest
from fastapi.routing import APIRoute
from pydantic import ConfigDict
from starlette.responses import Response

from engine import (
    WAITING,
    AtelierError,
    BadValue,
    ChatRequest,
    Event,
    ImagePart,
    Message,
    OcrRequest,
    Page,
    Result,
    TextPart,
    TooLarge,
    fold,
)
from engine.errors import InferenceFailed
from routers import readings, wire
from routers.bodies import Lenient, build, example, ignored_names

V = TypeVar("V")
BYTES = 10_000_000  # of one file
FILES = 10  # in one batch
AROUND = 1_000_000  # bytes of a body beside its files
SECONDS = 30.0  # of inference for a file; loading the model is not counted
PROMPT = "Describe this image"
# Errors of a batch that are one file's own, unless they name another field.
OWN = frozenset({400, 413, 415})
SHARED = frozenset({"model", "language"})


class Uploads(APIRoute):
    """Refuses a body that announces more than its files may have, before any of it is read."""

    def get_route_handler(self) -> Callable[[HttpRequest], Any]:
        handle = super().get_route_handler()
        most = BYTES * (FILES if self.path.startswith("/batch/") else 1) + AROUND

        async def handler(http: HttpRequest) -> Response:
            if int(http.headers.get("content-length", 0)) > most:
                raise _too_large()
            answer: Response = await handle(http)
            return answer

        return handler


router = APIRouter(route_class=Uploads)

Model = Annotated[str | None, Form(description="A catalog id; absent: the default.")]
Language = Annotated[str | None, Form(description='"Russian", "ru", "rus", "fra+eng", "auto".')]
Prompt = Annotated[str | None, Form(description=f'The question; absent: "{PROMPT}".')]
Temperature = Annotated[float | None, Form(description="0 to 1.")]
MaxTokens = Annotated[int | None, Form(description="New tokens at most.")]


class ReadingQuery(Lenient):
    """The form's fields of a reading once more: the published examples put them here or there."""

    model_config = ConfigDict(strict=False)

    model: str | None = None
    language: str | None = None


class ChatQuery(Lenient):
    """The form's fields of a question once more."""

    model_config = ConfigDict(strict=False)

    prompt: str | None = None
    model: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None


def either(form: V | None, query: V | None) -> V | None:
    """A field that may stand in the form or in the query; the form's counts where both do."""
    return query if form is None or form == "" else form


async def bytes_of(file: UploadFile) -> bytes:
    """What was uploaded.

    Raises:
        TooLarge: it is over the limit of a file. BadValue: it is empty.
    """
    if (file.size or 0) > BYTES:
        raise _too_large()
    data = await file.read()
    if not data:
        raise BadValue("file: it is empty. Send a JPG, PNG, BMP or TIFF picture.", param="file")
    return data


def _too_large() -> TooLarge:
    return TooLarge(
        f"file: a file may have {BYTES // 1_000_000} MB here. Send a smaller picture: 1024 to 2048 pixels on"
        " its longer side are enough.",
        param="file",
    )


async def _ignored(http: HttpRequest, *known: str) -> dict[str, str]:
    """The header that names what nothing reads of form and query."""
    sent = [*(await http.form()), *http.query_params]
    return wire.ignored_header(ignored_names("chatvlm", [n for n in sent if n not in known]))


# Reading one picture ------------------------------------------------------------------------------


@router.post(
    "/ocr",
    summary="The text of a picture",
    responses=example(
        {
            "text": "Dear Sir or Madam, …",
            "model": "ocr",
            "processing_time": 1.234,
            "image_size": [1920, 1080],
            "language": "English",
            "pages": 1,
        }
    ),
)
async def ocr(
    http: HttpRequest,
    query: Annotated[ReadingQuery, Query()],
    file: Annotated[UploadFile, File(description="JPG, PNG, BMP, TIFF or WebP; a PDF too.")],
    model: Model = None,
    language: Language = None,
) -> Response:
    began = time.perf_counter()
    language = either(language, query.language)
    request = build(
        OcrRequest,
        model=either(model, query.model),
        documents=(await bytes_of(file),),
        language=language or "",
        seconds=SECONDS,
    )
    engine = wire.engine_of(http)
    reader = engine.reader_of(request, http.state.session)
    events = engine.read(request, wire.caller_of(http, "chatvlm"))
    result = await wire.whole(http, events, fold)
    readings.check(result.pages)
    answer = {
        "text": readings.text_of(result.pages),
        "model": reader.id,
        "processing_time": round(time.perf_counter() - began, 3),
        "image_size": _size(result),
        "language": language,
        "pages": len(result.pages),
    }
    return wire.json(answer, headers=await _ignored(http, "file", "model", "language"))


def _size(result: Result) -> list[int]:
    """Width and height of the first page that was seen."""
    seen = (page for page in result.pages if page.width)
    return next(([page.width, page.height] for page in seen), [0, 0])


# Reading many -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Reading:
    """One file of a batch, and what came of it."""

    name: str
    pages: list[Page] = field(default_factory=list)
    seconds: float = 0.0
    error: AtelierError | None = None

    def add(self, page: Page, seconds: float) -> None:
        """Take in a page and the time it took."""
        self.pages.append(page)
        self.seconds += seconds

    @property
    def is_over(self) -> bool:
        """All that there is of it came."""
        return self.error is not None or any(
            not page.number or len(self.pages) >= page.count for page in self.pages
        )

    def told(self) -> dict[str, Any]:
        """As the answer says it."""
        failed = next((page for page in self.pages if page.error), None)
        error = self.error.message if self.error else failed.error if failed else ""
        read = self.error is None and any(not page.error for page in self.pages)
        told: dict[str, Any] = {
            "filename": self.name,
            "text": readings.text_of(self.pages),
            "processing_time": round(self.seconds, 3),
            "status": "success" if read else "error",
        }
        return {**told, "error": error} if error else told


@router.post(
    "/batch/ocr",
    summary=f"The texts of up to {FILES} pictures; one that is bad does not fail the others",
    responses=example(
        {
            "results": [
                {
                    "filename": "doc1.jpg",
                    "text": "The text of the first …",
                    "processing_time": 1.2,
                    "status": "success",
                },
                {
                    "filename": "doc2.svg",
                    "text": "",
                    "processing_time": 0.0,
                    "status": "error",
                    "error": "This is an SVG drawing, which is not read here.",
                },
            ],
            "total": 2,
            "successful": 1,
            "failed": 1,
        }
    ),
)
async def batch_ocr(
    http: HttpRequest,
    query: Annotated[ReadingQuery, Query()],
    files: Annotated[list[UploadFile], File(description=f"Up to {FILES} pictures.")],
    model: Model = None,
    language: Language = None,
) -> Response:
    if len(files) > FILES:
        raise BadValue(
            f"files: {len(files)} files are too many, {FILES} at once. Send them in several batches.",
            param="files",
        )
    readings_, documents = await _taken(files)
    chosen = {
        "model": either(model, query.model),
        "language": either(language, query.language) or "",
    }
    if documents:
        request = build(
            OcrRequest,
            documents=tuple(documents.values()),
            seconds=SECONDS * len(documents),
            **chosen,
        )
        engine = wire.engine_of(http)
        engine.reader_of(request, http.state.session)  # what no file can be read by fails them all
        events = engine.read(request, wire.caller_of(http, "chatvlm"))
        meant = [readings_[n] for n in documents]
        await wire.whole(http, events, lambda stream: _follow(stream, meant))
    results = [reading.told() for reading in readings_]
    good = sum(result["status"] == "success" for result in results)
    answer = {
        "results": results,
        "total": len(results),
        "successful": good,
        "failed": len(results) - good,
    }
    return wire.json(answer, headers=await _ignored(http, "files", "model", "language"))


async def _taken(files: list[UploadFile]) -> tuple[list[Reading], dict[int, bytes]]:
    """The files' readings, and the bytes of those that can be tried by their place."""
    taken: list[Reading] = []
    documents: dict[int, bytes] = {}
    for n, file in enumerate(files):
        taken.append(Reading(file.filename or ""))
        try:
            documents[n] = await bytes_of(file)
        except AtelierError as error:
            taken[n].error = error
    return taken, documents


async def _follow(events: AsyncIterator[Event], meant: list[Reading]) -> None:
    """Give every page to its file, with the time since the page before it.

    Raises:
        AtelierError: it is about the whole batch, and nothing was read yet.
    """
    last = time.perf_counter()
    broken: AtelierError = InferenceFailed("It was not read: the batch was stopped. Send it again.")
    try:
        async for event in events:
            now = time.perf_counter()
            if isinstance(event, Page):
                meant[event.document].add(event, now - last)
            if isinstance(event, (Page, *WAITING)):
                last = now
    except AtelierError as error:
        own = len(meant) == 1 and error.status in OWN and error.param not in SHARED
        if not own and not any(reading.pages for reading in meant):
            raise
        broken = error
    for reading in meant:
        if not reading.is_over:
            reading.error = broken


# Questions ----------------------------------------------------------------------------------------


@router.post(
    "/chat",
    summary="A question about a picture",
    responses=example(
        {
            "response": "Two red circles on a white ground.",
            "model": "starter-vision",
            "processing_time": 2.567,
            "prompt": "What is in the picture?",
        }
    ),
)
async def chat(
    http: HttpRequest,
    query: Annotated[ChatQuery, Query()],
    file: Annotated[UploadFile, File(description="JPG, PNG, BMP, TIFF or WebP.")],
    prompt: Prompt = None,
    model: Model = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
) -> Response:
    asked = either(prompt, query.prompt) or PROMPT
    heat = either(temperature, query.temperature)
    if heat is not None and not 0 <= heat <= 1:
        raise BadValue("temperature: choose between 0 and 1.", param="temperature")
    picture = ImagePart(data=await bytes_of(file))
    request = build(
        ChatRequest,
        model=either(model, query.model),
        messages=(Message(role="user", parts=(picture, TextPart(text=asked))),),
        temperature=heat,
        max_tokens=either(max_tokens, query.max_tokens),
        seconds=SECONDS,
    )
    meta = wire.meta_of(http, request)
    events = wire.engine_of(http).run(request, wire.caller_of(http, "chatvlm"))
    result = await wire.whole(http, events, fold)
    answer = {
        "response": result.text,
        "model": meta.model,
        "processing_time": round(meta.seconds, 3),
        "prompt": asked,
    }
    known = ("file", "prompt", "model", "temperature", "max_tokens")
    return wire.json(answer, headers=await _ignored(http, *known))
