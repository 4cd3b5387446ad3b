"""The pages of stored documents as the database keeps them. Knows only its table and the number of a document."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine.events import Page
from engine.papers import StoredPage, page_of

if TYPE_CHECKING:
    from sqlalchemy import Connection


def count_pages(
    connection: Connection, documents: Collection[int]
) -> dict[int, dict[str, tuple[int, int]]]:
    """Pages read and pages failed, by document and model."""
    from sqlalchemy import case, func, select

    from engine.tables import document_pages as pages

    failed = func.sum(case((pages.c.code != "", 1), else_=0))
    found = (
        select(pages.c.document, pages.c.model, func.count(), failed)
        .where(pages.c.document.in_(documents))
        .group_by(pages.c.document, pages.c.model)
    )
    counts: dict[int, dict[str, tuple[int, int]]] = {}
    for document, model, count, bad in connection.execute(found):
        counts.setdefault(document, {})[model] = (count - int(bad), int(bad))
    return counts


def page_codes(connection: Connection, document: int, model: str) -> dict[int, str]:
    """The numbers of the pages that are there, each with its error's code, "" where it was read."""
    from sqlalchemy import select

    from engine.tables import document_pages as pages

    here = (pages.c.document == document) & (pages.c.model == model)
    found = select(pages.c.number, pages.c.code).where(here)
    return {row.number: row.code for row in connection.execute(found)}


def put_page(connection: Connection, document: int, model: str, page: Page) -> None:
    """Insert a page, in place of what was there."""
    from sqlalchemy import delete, insert

    from engine.tables import document_pages as pages

    here = (pages.c.document == document) & (pages.c.model == model)
    connection.execute(delete(pages).where(here, pages.c.number == page.number))
    values: dict[str, Any] = {"document": document, "model": model, "number": page.number}
    values |= {"code": page.code, "page": asdict(page), "corrections": {}}
    connection.execute(insert(pages).values(**values))


def drop_failed(connection: Connection, document: int) -> None:
    """Forget the pages that could not be read."""
    from sqlalchemy import delete

    from engine.tables import document_pages as pages

    connection.execute(delete(pages).where(pages.c.document == document, pages.c.code != ""))


def read_pages(
    connection: Connection, document: int, model: str, number: int = 0
) -> list[StoredPage]:
    """What a model read, in the order of pages; one page alone where its number is given."""
    from sqlalchemy import select

    from engine.tables import document_pages as pages

    here = (pages.c.document == document) & (pages.c.model == model)
    if number:
        here &= pages.c.number == number
    found = select(pages.c.page, pages.c.corrections).where(here).order_by(pages.c.number)
    return [
        StoredPage(page_of(page), {int(line): text for line, text in corrections.items()})
        for page, corrections in connection.execute(found)
    ]


def put_corrections(connection: Connection, document: int, model: str, stored: StoredPage) -> None:
    """Keep a page's corrections as they are now."""
    from sqlalchemy import update

    from engine.tables import document_pages as pages

    here = (pages.c.document == document) & (pages.c.model == model)
    value = {str(line): text for line, text in stored.corrections.items()}
    page = here & (pages.c.number == stored.page.number)
    connection.execute(update(pages).where(page).values(corrections=value))
