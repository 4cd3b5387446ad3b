"""An upload as it comes in: the form is read from the request itself, and its files go to the disk piece by piece.

At most a few pieces are in memory at once, however large the files are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request as HttpRequest
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from engine import BadFormat, BadValue, TooLarge
from engine.files import Upload
from routers import wire
from routers.refusals import Misshapen

HELD = 2_000_000  # bytes of a file that are written at once
FILES = 1000
FIELD = 20_000  # bytes of a field, and of all fields' names


@dataclass(slots=True)
class _Part:
    """One part of the form: its headers, then a field's text or a file's pieces."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    file: str | None = None
    text: bytearray = field(default_factory=bytearray)
    pieces: list[memoryview] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Form:
    """What the parser's callbacks collect: steps that are then done in order."""

    steps: list[tuple[str, Any]] = field(default_factory=list)
    part: _Part = field(default_factory=_Part)
    ended: bool = False
    _field: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda d, a, b: self._field.extend(d[a:b]),
            "on_header_value": lambda d, a, b: self._value.extend(d[a:b]),
            "on_header_end": self._header,
            "on_headers_finished": lambda: self.steps.append(("begin", self.part)),
            "on_part_data": lambda d, a, b: self.steps.append(("data", memoryview(d)[a:b])),
            "on_part_end": lambda: self.steps.append(("end", None)),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self.part = _Part()

    def _header(self) -> None:
        self.part.headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        self.ended = True


async def receive_form(http: HttpRequest, upload: Upload) -> dict[str, str]:
    """Read the whole form: its files into `upload`, its fields as the answer.

    Raises:
        BadFormat: it is no multipart form. Misshapen: no file is in it, or it ends too early.
        NoRoom: the disk is full. Gone: the client hung up.
    """
    kind, options = parse_options_header(http.headers.get("content-type"))
    mark = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not mark:
        raise BadFormat("Send the files as a form (multipart/form-data).")
    form = _Form()
    try:
        parser = MultipartParser(mark, form.callbacks())
    except FormParserError as error:
        raise Misshapen("The form's boundary cannot be used.") from error
    taker = _Taker(upload)
    try:
        while True:
            message = await http.receive()
            if message["type"] == "http.disconnect":
                raise wire.Gone
            try:
                parser.write(message.get("body", b""))
            except FormParserError as error:
                raise Misshapen("The form is broken: it is no multipart/form-data.") from error
            steps, form.steps = form.steps, []
            for step, value in steps:
                await taker.take(step, value)
            if not message.get("more_body"):
                break
    finally:
        await taker.settle()
    if not form.ended:
        raise Misshapen("The form ends too early. Send it again.")
    if not upload.steps:
        raise Misshapen("files: no file is in the form. Send files under this name.", param="files")
    return taker.fields


@dataclass(slots=True)
class _Taker:
    """Does the steps of a form. While a piece is written to the disk, the next one is received."""

    upload: Upload
    fields: dict[str, str] = field(default_factory=dict)
    part: _Part = field(default_factory=_Part)
    _writing: asyncio.Task[None] | None = None

    async def take(self, step: str, value: Any) -> None:
        if step == "begin":
            await self._begin(value)
        elif step == "data":
            await self._data(value)
        elif self.part.file:
            await self._flush()
            await self._written()
            await self.upload.end()
        elif self.part.file is None:
            self.fields[self.part.name] = _decoded(bytes(self.part.text), self.part.name)

    async def _begin(self, part: _Part) -> None:
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        part.name = _decoded(options.get(b"name", b""), "the form")
        if len(part.name) > 100 or len(self.fields) >= 20:
            raise Misshapen("The form has too many fields. Send path and files.")
        self.part = part
        if (given := options.get(b"filename")) is not None:
            part.file = _decoded(given, "files")
            if len(self.upload.steps) >= FILES:
                raise TooLarge(
                    f"At most {FILES:,} files in one upload. Send them in turn.", param="files"
                )
            if part.file:  # a browser sends a nameless part where no file was chosen
                await self.upload.begin(part.file)

    async def _data(self, data: memoryview) -> None:
        part = self.part
        if part.file is None:
            part.text += data
            if len(part.text) > FIELD:
                raise Misshapen(f"{part.name}: too long.", param=part.name)
        elif part.file:
            part.pieces.append(data)
            part.size += len(data)
            if part.size >= HELD:
                await self._flush()

    async def _flush(self) -> None:
        await self._written()
        if self.part.pieces:
            pieces, self.part.pieces, self.part.size = self.part.pieces, [], 0
            self._writing = asyncio.create_task(self.upload.write(pieces))

    async def _written(self) -> None:
        if self._writing is not None:
            task, self._writing = self._writing, None
            await task

    async def settle(self) -> None:
        """Wait for what is being written, whatever becomes of it: the file may not be closed meanwhile."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
            if not self._writing.cancelled():
                self._writing.exception()


def _decoded(text: bytes, param: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise BadValue(f"{param}: names and fields must be UTF-8.", param=param) from error
