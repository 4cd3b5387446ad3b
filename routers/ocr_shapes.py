"""What our OCR paths share: bodies as form or JSON, pages and documents as JSON, files as answers.

Knows HTTP and the engine's values; not how anything is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, TypeVar

import orjson
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import Response

from engine import BadValue, Page, Paper
from engine.exports import export
from routers.addresses import fetched
from routers.bodies import Body, bytes_of, kept_as, shown

B = TypeVar("B", bound="DocumentsBody")
File = tuple[str, bytes]  # a name and what is in it
FILES = 100  # in one call
PDF = "JVBERi0xLjQK…"
Format = Literal["json", "text", "markdown", "hocr", "pdf"]

PAGE = {
    "document": 0, "number": 1, "count": 2, "width": 1654, "height": 2339,
    "text": "Dear Sir or Madam,", "markdown": "", "model": "ocr", "error": None,
    "lines": [{"text": "Dear Sir or Madam,", "score": 0.98, "box": [210.0, 300.0, 640.0, 338.0],
               "corners": None}],
}  # fmt: skip
PAPER = {
    "id": "8d67e9520bcce50852d71792", "name": "letter.pdf", "session": "my-session", "model": "auto",
    "language": "fr", "count": 12, "done": 5, "failed": 0, "phase": "running", "error": "", "code": "",
    "created_at": "2026-01-01T12:00:00+00:00", "updated_at": "2026-01-01T12:00:04+00:00",
    "options": {"pages": "", "dpi": 200, "text_layer": True, "formatted": False},
    "readings": [{"model": "auto", "done": 5, "failed": 0}], "numbers": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    "total": 12, "kind": "pdf", "size": 812345,
}  # fmt: skip


class DocumentsBody(Body):
    """Documents as base64 in JSON, and how they are read; in a form, the files are parts of it."""

    model_config = shown({"documents": [PDF], "language": "fr", "pages": "1-3"})

    documents: list[str] = Field(
        default_factory=list, max_length=FILES, description="PDFs, TIFFs or pictures as base64."
    )
    model: str | None = Field(
        None, description='A reader or a model that sees pictures; absent or "auto": the default.'
    )
    language: str = Field("", description='A hint: "Russian", "ru", "rus", "fra+eng"; "auto".')
    pages: str = Field("", description='Which pages of each document: "1-3,7"; empty: all.')
    dpi: int = Field(200, ge=50, le=600, description="At which a PDF's pages are drawn.")
    formatted: bool = Field(False, description="Markdown, where the model can write it.")
    text_layer: bool = Field(True, description="Take a PDF's own text where it has some.")
    password: str = Field("", max_length=200, description="Opens a protected PDF.")

    def options(self) -> dict[str, Any]:
        """What says how documents are read, for the engine."""
        names = ("language", "pages", "dpi", "formatted", "text_layer", "password")
        return {name: getattr(self, name) for name in names}


def described(kind: type[DocumentsBody]) -> dict[str, Any]:
    """The documentation of a body that comes as a form or as JSON."""
    schema = kind.model_json_schema()
    fields = {name: value for name, value in schema["properties"].items() if name != "documents"}
    file = {"type": "string", "format": "binary"}
    form = {"files": {"type": "array", "items": file}, **fields}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": form, "required": ["files"]}
                },
                "application/json": {
                    "schema": {"type": "object", "properties": schema["properties"]},
                    "example": schema["examples"][0],
                },
            },
        }
    }


async def received(http: HttpRequest, kind: type[B]) -> tuple[B, list[File]]:
    """The body and its files, from a form or from JSON.

    Raises:
        BadValue: there is no file, or one is not base64.
        RequestValidationError: a field has the wrong shape.
    """
    if http.headers.get("content-type", "").lower().startswith("multipart/"):
        body, files = await _form(http, kind)
    else:
        body, files = await _json(http, kind)
    if not files:
        raise BadValue(
            "There is no document. Send files in a form, or base64 under documents.", param="files"
        )
    return body, files


async def _form(http: HttpRequest, kind: type[B]) -> tuple[B, list[File]]:
    files: list[File] = []
    fields: dict[str, Any] = {}
    async with http.form(max_files=FILES, max_fields=100) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append((value.filename or "document", await value.read()))
            elif value != "":
                fields[name] = value
    fields.pop("documents", None)  # a list of base64 is JSON's
    return _checked(kind, fields, strict=False), files


async def _json(http: HttpRequest, kind: type[B]) -> tuple[B, list[File]]:
    raw = await http.body()
    try:
        value = await asyncio.to_thread(orjson.loads, raw)
    except orjson.JSONDecodeError as error:
        wrong = {"type": "json_invalid", "loc": ("body",), "msg": "", "ctx": {"error": str(error)}}
        raise RequestValidationError([wrong]) from None
    body = await fetched(http, _checked(kind, value))
    datas = await asyncio.to_thread(_decoded, body.documents)
    names = body.names() if isinstance(body, NamedBody) else []
    names += [f"document-{n + 1}" for n in range(len(names), len(datas))]
    return body, list(zip(names, datas, strict=False))


class NamedBody(DocumentsBody):
    """Documents that are kept, with names of their own."""

    model_config = shown({"documents": [PDF], "name": "letter.pdf", "language": "fr"})

    name: str = Field("", max_length=300, description="What the document is called.")

    def names(self) -> list[str]:
        return [self.name] if self.name else []


def _checked(kind: type[B], value: Any, strict: bool = True) -> B:
    try:
        return kind.model_validate(value, strict=strict)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None


def _decoded(texts: Sequence[str]) -> list[bytes]:
    return [bytes_of(text, f"documents.{n}") for n, text in enumerate(texts)]


def page_values(pages: Sequence[Page]) -> list[dict[str, Any]]:
    """Pages as JSON: the shape that they have in an exported file."""
    values: list[dict[str, Any]] = orjson.loads(export(pages, "json"))["pages"]
    return values


def paper_value(paper: Paper) -> dict[str, Any]:
    """A stored document as JSON."""
    value = asdict(paper)
    value["created_at"] = paper.created_at.isoformat()
    value["updated_at"] = paper.updated_at.isoformat() if paper.updated_at else None
    return value


def file_answer(
    data: bytes, media: str, name: str, headers: dict[str, str] | None = None
) -> Response:
    """A file to be saved under a name, whatever letters it has."""
    kept = {**(headers or {}), "content-disposition": kept_as(name)}
    return Response(data, headers=kept, media_type=media)
