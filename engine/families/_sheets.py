"""The documents of a request page by page: opened, a PDF's own text taken, what cannot be read told as such.

Knows no model: who reads a page's picture is handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import AtelierError, BadFormat, BadValue, TooLarge
from engine.events import Page, Progress
from engine.pages import Document, choose_pages, open_document, page_text
from engine.registry import Emit
from engine.requests import OcrRequest

if TYPE_CHECKING:
    from PIL import Image

OF_A_PAGE = (BadFormat, BadValue, TooLarge)  # what is wrong with a page and not with the model


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which pages of a document are read, or why it cannot be opened."""

    numbers: tuple[int, ...] = ()
    error: AtelierError | None = None


def read_sheets(
    request: OcrRequest, model: str, emit: Emit, read: Callable[[Image.Image, Page], Page]
) -> None:
    """Emit one Page for each page of each document, in order, and Progress after each.

    Args:
        model: the id that pages name as their reader.
        read: takes a page's picture (RGB, upright) and the page without its text, and gives it with its text.

    Raises:
        BadValue, BadFormat, TooLarge: the only document cannot be opened, or has no such pages.
    """
    plans = [_plan(data, request) for data in request.documents]
    if len(plans) == 1 and plans[0].error:
        raise plans[0].error
    total = sum(len(plan.numbers) or 1 for plan in plans)
    done = 0
    for index, (data, plan) in enumerate(zip(request.documents, plans, strict=True)):
        if plan.error:
            done += 1
            emit(_failed(Page(index, 0, 0, model=model), plan.error))
            emit(Progress(done, total))
            continue
        with open_document(data, request.password, "documents") as document:
            for number in plan.numbers:
                done += 1
                blank = Page(index, number, document.count, model=model)
                page = _read(document, blank, request, read)
                emit.count(pages=int(not page.error))
                emit(page)
                emit(Progress(done, total))


def _plan(data: bytes, request: OcrRequest) -> _Plan:
    try:
        with open_document(data, request.password, "documents") as document:
            return _Plan(tuple(choose_pages(request.pages, document.count)))
    except OF_A_PAGE as error:
        return _Plan(error=error)


def _read(
    document: Document,
    page: Page,
    request: OcrRequest,
    read: Callable[[Image.Image, Page], Page],
) -> Page:
    try:
        own = document.layer(page.number, request.dpi) if request.text_layer else None
        if own:
            width, height = document.size(page.number, request.dpi)
            text = page_text(own)
            return replace(page, width=width, height=height, lines=own, text=text, model="")
        picture = document.render(page.number, request.dpi)
        return read(picture, replace(page, width=picture.width, height=picture.height))
    except OF_A_PAGE as error:
        return _failed(page, error)


def _failed(page: Page, error: AtelierError) -> Page:
    return replace(page, error=error.message, code=error.code)
