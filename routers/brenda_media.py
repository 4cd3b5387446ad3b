"""The Brenda dialect's media calls: what lies at an address of the web, taking it, and passing its bytes on.

Knows HTTP and the engine's `media`; nothing of how pages are read or films are fetched.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine import TimedOut, Unknown
from routers import wire
from routers.bodies import Body, example, shown

router = APIRouter(tags=["Brenda"])
SHOWN_HERE = re.compile(r"(?:video|audio)/[\w.+-]+|image/(?:png|jpeg|webp|gif|avif|bmp)", re.ASCII)
SECRET = ("url", "referer")  # of a format: where it lies is this server's affair
FOUND = {
    "url": "https://example.org/watch", "link": "https://example.org/watch", "type": "video",
    "content_type": "text/html", "title": "Three hills", "duration": 61.5, "size": 8400000, "width": 1280,
    "height": 720, "author": "", "date": "2026-05-04", "description": "", "site": "example.org",
    "thumbnail": "https://example.org/hills.jpg", "live": False,
    "formats": [{"id": "22", "ext": "mp4", "video": True, "audio": True, "width": 1280, "height": 720,
                 "fps": 30.0, "bitrate": 1100.0, "size": 8400000, "note": "720p", "protocol": "https"}],
}  # fmt: skip
TAKEN = {
    "url": "https://example.org/watch", "type": "video", "title": "Three hills",
    "path": "videos/Three hills.mp4", "content_type": "video/mp4", "size": 8400000, "duration": 61.5, "text": "",
    "codecs": ["h264", "aac"], "job": "media-5f2c9b1e7a304d68",
}  # fmt: skip


class UrlBody(Body):
    """An address on the web."""

    model_config = shown({"url": "https://example.org/watch"})

    url: str = Field(max_length=8000, description="http or https, on the open internet.")


class ExtractBody(UrlBody):
    """What to take from where, and how."""

    model_config = shown({"url": "https://example.org/watch", "path": "videos"})

    format: str = Field(
        "", max_length=100, description='A format\'s id of `analyze`, "audio"; empty: the best.'
    )
    path: str = Field("", max_length=1000, description="The folder to put it in, in the files.")
    save: bool = Field(True, description="Also keep a page's text as a file.")
    wait: bool = Field(True, description="Answer when it is there; else at once, with a job.")


class StreamBody(UrlBody):
    """Whose bytes to pass on."""

    format: str = Field(
        "", max_length=100, description='Of a page with a film: a format\'s id, or "best".'
    )


def _found(found: Any) -> dict[str, Any]:
    value = asdict(found)
    del value["by_site"]
    for one in value["formats"]:
        for name in SECRET:
            del one[name]
    return value


def _taken(taken: Any, job: str) -> dict[str, Any]:
    value = asdict(taken)
    found = value.pop("found")
    same = (
        "url", "link", "type", "title", "duration", "author", "date", "description", "site", "thumbnail",
        "width", "height",
    )  # fmt: skip
    return {**{name: found[name] for name in same}, **value, "job": job}


@router.post(
    "/v1/ai/media/url/analyze",
    summary="What lies at an address: page, film, sound, picture or file",
    responses=example(FOUND),
)
async def analyze(body: UrlBody, http: HttpRequest) -> Response:
    media = wire.engine_of(http).media
    found = await wire.until_gone(http.receive, media.analyze(body.url))
    return wire.json(_found(found), headers=wire.ignored_header(body.ignored("brenda")))


@router.post(
    "/v1/ai/media/url/extract",
    summary="A page's text, or a film, sound or file taken into the files",
    responses={**example(TAKEN), 202: {"description": "Begun: its job (with `wait: false`)"}},
)
async def extract(body: ExtractBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    ignored = wire.ignored_header(body.ignored("brenda"))
    ticket = engine.media.begin(
        body.url, session=http.state.session, format=body.format, folder=body.path, keep=body.save
    )
    if not body.wait:
        value = {"job": ticket.id, "events": f"/v1/jobs/{ticket.id}/events"}
        return wire.json(value, 202, headers=ignored)
    try:
        work = engine.media.finished(ticket.id)
        taken = await wire.until_gone(
            http.receive, asyncio.wait_for(work, engine.settings.time_limit)
        )
    except TimeoutError:
        engine.jobs.cancel(ticket.id)
        raise TimedOut("This takes too long. Send wait: false and follow its job.") from None
    except BaseException:
        engine.jobs.cancel(ticket.id)
        raise
    return wire.json(_taken(taken, ticket.id), headers=ignored)


@router.get(
    "/v1/ai/media/url/extract/{job}",
    summary="What a job took",
    responses=example(TAKEN),
)
async def extracted(job: str, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    ticket = engine.jobs.get(job)
    if http.state.rank != "admin" and ticket.session != http.state.session:
        raise Unknown("There is no such job. It may have ended a while ago.", param="job")
    return wire.json(_taken(engine.media.result(job), job))


@router.post(
    "/v1/ai/media/url/stream",
    summary="The bytes at an address; Range is honoured",
    responses={
        **example("", "application/octet-stream"),
        206: {"description": "The range that was asked for"},
        416: {"description": "There is no such range"},
    },
)
async def stream(body: StreamBody, http: HttpRequest) -> Response:
    stack = contextlib.AsyncExitStack()
    media = wire.engine_of(http).media
    opening = stack.enter_async_context(
        media.stream(body.url, http.headers.get("range", ""), body.format)
    )
    try:
        passing = await wire.until_gone(http.receive, opening)
    except BaseException:
        await stack.aclose()
        raise
    return Passed(passing, body.url, stack)


class Passed(Response):
    """Foreign bytes, passed on as they come; nothing in them runs as a page of ours."""

    def __init__(self, passing: Any, url: str, stack: contextlib.AsyncExitStack) -> None:
        self.status_code = passing.status
        self.background = None
        self.body = b""
        kind = passing.headers["content-type"]
        name = quote(
            re.split(r"[?#]", url)[0].rstrip("/").rpartition("/")[2][:200] or "file", safe=""
        )
        how = "inline" if SHOWN_HERE.fullmatch(kind) else "attachment"
        self.init_headers({
            **passing.headers, "cache-control": "no-store", "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox; default-src 'none'",
            "content-disposition": f"{how}; filename*=UTF-8''{name}",
        })  # fmt: skip
        if "content-length" not in passing.headers:
            self.raw_headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        self._passing, self._stack = passing, stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}  # fmt: skip
            await send(head)
            with contextlib.suppress(wire.Gone):
                await wire.until_gone(receive, self._write(self._passing.pieces, send))

    async def _write(self, pieces: AsyncIterator[bytes], send: Send) -> None:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
