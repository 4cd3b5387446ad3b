"""A file as an answer: whole, in ranges, or not at all because the client has it. Knows HTTP, not where files lie."""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine.files import Opened
from routers import wire
from routers.bodies import kept_as

PIECE = 256 * 1024
LARGE = 8_000_000  # bytes after which it is looked whether the file changed
MOST = 32  # ranges in one request; more are not served in parts
ZERO_COPY = "http.response.zerocopysend"
SPEC = re.compile(r"(\d{0,19})-(\d{0,19})", re.ASCII)
Span = tuple[int, int]  # first byte, and the one after the last
# What a browser may show as what it is; anything that could carry scripts is shown as text.
SHOWN = re.compile(
    r"(?:image|audio|video)/(?!svg)[\w.+-]+|application/pdf|text/(?:plain|csv|markdown)"
)
SANDBOX = (
    "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'"
)
PDF = "default-src 'self'; object-src 'self'; style-src 'unsafe-inline'"  # a browser's reader needs no sandbox of ours
BEYOND = (
    b'{"detail":"The file has no such bytes. Ask for a range within it.","error":"OUT_OF_RANGE"}'
)
log = logging.getLogger("atelier.files")


class Unsatisfiable(Exception):
    """No byte of what was asked for is there."""


def media_of(name: str) -> str:
    """The content type that a file's name tells."""
    kind, packed = mimetypes.guess_type(name, strict=False)
    if packed or not kind:
        return "application/octet-stream"
    return kind


def headers_of(opened: Opened, inline: bool) -> dict[str, str]:
    """What is said about a file that is to be saved, or shown at once."""
    name = opened.entry.name
    media = media_of(name)
    if not inline:
        return {"content-type": media, "content-disposition": kept_as(name)}
    if media.startswith("text/") or media in {
        "application/json",
        "application/xml",
        "application/javascript",
    }:
        shown = media if SHOWN.fullmatch(media) else "text/plain"
        media = f"{shown}; charset=utf-8"
    elif media != "image/svg+xml" and not SHOWN.fullmatch(media):
        media = "application/octet-stream"
    return {
        "content-type": media,
        "content-disposition": kept_as(name, inline=True),
        "content-security-policy": PDF if media == "application/pdf" else SANDBOX,
    }


def etag_of(opened: Opened) -> str:
    """Changes whenever the file's bytes may have."""
    found = opened.found
    return f'"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"'


def spans_of(text: str, size: int) -> list[Span] | None:
    """The bytes that a Range header asks for, in order and without overlaps; None where it is to be ignored.

    Raises:
        Unsatisfiable: none of them is there.
    """
    unit, sep, given = text.partition("=")
    specs = [spec.strip() for spec in given.split(",") if spec.strip()]
    if unit.strip().lower() != "bytes" or not sep or not specs or len(specs) > MOST:
        return None
    spans = []
    for spec in specs:
        found = SPEC.fullmatch(spec)
        if found is None or spec == "-":
            return None
        first, last = found.groups()
        if first and last and int(first) > int(last):
            return None
        begin = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if begin < end:
            spans.append((begin, end))
    if not spans:
        raise Unsatisfiable
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def has_it(headers: Mapping[str, str], etag: str, modified: datetime) -> bool:
    """Whether the client's copy is still right."""
    if (held := headers.get("if-none-match")) is not None:
        tags = [tag.strip().removeprefix("W/") for tag in held.split(",")]
        return "*" in tags or etag in tags
    return (since := _date(headers.get("if-modified-since"))) is not None and modified <= since


def _same(headers: Mapping[str, str], etag: str, modified: datetime) -> bool:
    """Whether a range may be served: the client's part is of this file, or it does not ask."""
    held = headers.get("if-range")
    if held is None:
        return True
    if held.startswith(('"', "W/")):
        return held == etag
    return _date(held) == modified


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class _Plan:
    status: int
    headers: dict[str, str]
    pieces: Sequence[bytes | Span] = field(default=())

    @property
    def length(self) -> int:
        return sum(len(p) if isinstance(p, bytes) else p[1] - p[0] for p in self.pieces)


def plan(opened: Opened, asked: Mapping[str, str], told: dict[str, str]) -> _Plan:
    """Which parts of a file are sent, under which headers."""
    size, etag = opened.found.st_size, etag_of(opened)
    modified = opened.entry.modified.replace(microsecond=0)
    common = {
        **told, "etag": etag, "last-modified": format_datetime(modified, usegmt=True),
        "accept-ranges": "bytes", "cache-control": "private, no-cache",
    }  # fmt: skip
    if has_it(asked, etag, modified):
        return _Plan(
            304,
            {k: v for k, v in common.items() if k not in {"content-type", "content-disposition"}},
        )
    spans = None
    if "range" in asked and _same(asked, etag, modified):
        try:
            spans = spans_of(asked["range"], size)
        except Unsatisfiable:
            return _Plan(
                416,
                {"content-range": f"bytes */{size}", "content-type": "application/json"},
                [BEYOND],
            )
    if spans is None:
        return _Plan(200, common, [(0, size)] if size else [])
    if len(spans) == 1:
        [(begin, end)] = spans
        return _Plan(206, {**common, "content-range": f"bytes {begin}-{end - 1}/{size}"}, spans)
    mark = secrets.token_hex(12)
    pieces: list[bytes | Span] = []
    for begin, end in spans:
        lines = (
            f"--{mark}", f"Content-Type: {told['content-type']}",
            f"Content-Range: bytes {begin}-{end - 1}/{size}", "", "",
        )  # fmt: skip
        pieces += [(b"\r\n" if pieces else b"") + "\r\n".join(lines).encode(), (begin, end)]
    pieces.append(f"\r\n--{mark}--\r\n".encode())
    return _Plan(206, {**common, "content-type": f"multipart/byteranges; boundary={mark}"}, pieces)


class FileAnswer(Response):
    """Sends a file and closes it.

    The end is held back until it is certain that nobody wrote to the file meanwhile; else the connection is cut,
    so that no client takes a mixture for the whole.
    """

    def __init__(self, opened: Opened, asked: Mapping[str, str], inline: bool) -> None:
        self._opened = opened
        self._plan = plan(opened, asked, headers_of(opened, inline))
        self.status_code = self._plan.status
        self.background = None
        self.body = b""
        headers = dict(self._plan.headers)
        if self.status_code != 304:
            headers["content-length"] = str(self._plan.length)
        self.raw_headers = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            start = {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
            await send(start)
            whole = True
            if scope["method"] != "HEAD":
                zero = ZERO_COPY in scope.get("extensions", ())
                whole = await wire.until_gone(receive, self._write(send, zero))
            if whole:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except wire.Gone:
            pass
        finally:
            self._opened.close()

    async def _write(self, send: Send, zero_copy: bool) -> bool:
        """Send all pieces. False: the file changed, and the rest was not sent."""
        for piece in self._plan.pieces:
            if isinstance(piece, bytes):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                continue
            at, end = piece
            while at < end:
                last = end - at <= PIECE
                count = (
                    min(end - at, PIECE) if last or not zero_copy else min(end - at - PIECE, LARGE)
                )
                data = b""
                if last or not zero_copy:
                    data = await asyncio.to_thread(os.pread, self._opened.fd, count, at)
                if self._opened.changed or (data and len(data) < count):
                    log.warning("A file was written to while it was sent: the answer is cut.")
                    return False
                if data:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                else:
                    await self._copy(send, at, count)
                at += count
        return True

    async def _copy(self, send: Send, offset: int, count: int) -> None:
        await send(
            {
                "type": ZERO_COPY,
                "file": self._opened.fd,
                "offset": offset,
                "count": count,
                "more_body": True,
            }
        )
