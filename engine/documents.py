"""Documents that are kept and read in the background: added, followed, corrected, exported, removed.

The face of stored documents: brings rows, files and the background reader together. Knows no HTTP and no page.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.binding import bind
from engine.database import Database
from engine.document_reader import DocumentReader, Read
from engine.document_rows import WORKING, DocumentRows
from engine.errors import AtelierError, BadValue, Conflict, TooLarge, Unknown
from engine.events import Page
from engine.jobs import Jobs
from engine.languages import parse_languages
from engine.papers import DocumentRow, Paper, Quota
from engine.requests import OcrRequest
from engine.settings import Settings
from engine.shelf import Shelf

PAGES = 200  # of one document, at most
THUMBNAIL = 400  # pixels: pictures up to this width are made from one that is kept
WIDEST = 4000
TEXT_LIMIT = 20_000  # characters of a corrected line
NAME_LIMIT = 200
log = logging.getLogger("atelier.documents")

Choose = Callable[[str, str], tuple[str, bool]]


class Documents:
    """All stored documents. An id that is not there, or is another session's, raises `Unknown`.

    `session` None stands for whoever may see everything.

    Args:
        choose: (model, session) to who reads, an id or "auto", and whether that takes languages known here alone;
            raises for what cannot.
        read: `Engine.read`.
    """

    def __init__(
        self, settings: Settings, database: Database, jobs: Jobs, choose: Choose, read: Read
    ) -> None:
        self._settings = settings
        self._rows = DocumentRows(database)
        self._shelf = Shelf(settings.data_dir / "documents")
        self._choose = choose
        self._reader = DocumentReader(self._rows, self._shelf, jobs, read)
        self._chores: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Once the database is open: go on with what was being read, clear away what a crash left."""
        for row in await self._rows.claim():
            self._take(row)
        known = await self._rows.ids()
        if gone := await asyncio.to_thread(self._shelf.sweep, known):
            log.info("%d files of no document were removed", gone)

    async def close(self) -> None:
        """End the reading at once; it goes on at the next start."""
        await self._reader.close()

    async def add(
        self,
        name: str,
        data: bytes,
        *,
        session: str,
        model: str = "",
        language: str = "",
        pages: str = "",
        dpi: int = 200,
        text_layer: bool = True,
        formatted: bool = False,
        password: str = "",
    ) -> Paper:
        """Keep a document and have it read; returns when it is on the disk.

        Args:
            name: what it is called; folders are left out.
            data: a PDF, a TIFF or a picture.
            model: who reads it; "" or "auto": the session's or the default reader.
            language, pages, dpi, text_layer, formatted, password: as in `OcrRequest`.

        Raises:
            BadValue, BadFormat, TooLarge: it cannot be opened, its password is wrong, it has more than 200 pages.
            Unknown: no such model. Conflict: too much is stored. Unavailable: the disk is full.
        """
        options = {
            "language": language, "dpi": dpi, "text_layer": text_layer, "formatted": formatted,
        }  # fmt: skip
        _check(options, data, pages, password, self._settings.body_limit)
        model, strict = self._choose(model, session)
        await self._rows.check(len(data), self._quota)
        kind, total, numbers = await asyncio.to_thread(
            _look, data, password, pages, language if strict else ""
        )
        row = DocumentRow(
            id=secrets.token_hex(12),
            session=session,
            name=_plain_name(name),
            kind=kind,
            size=len(data),
            total=total,
            numbers=numbers,
            models=[model],
            options={**options, "pages": pages},
            password=password,
        )
        await asyncio.to_thread(self._shelf.put, row.id, data)
        try:
            paper = await self._rows.add(row, self._quota)
        except BaseException:
            await asyncio.to_thread(self._shelf.remove, row.id)
            raise
        self._take(row)
        return paper

    async def list(self, session: str | None) -> Sequence[Paper]:
        """A session's documents, newest first."""
        return await self._rows.list(session)

    async def get(self, id: str, session: str | None = None) -> Paper:
        return await self._rows.get(id, session)

    async def pages(
        self,
        id: str,
        model: str = "",
        *,
        number: int = 0,
        original: bool = False,
        session: str | None = None,
    ) -> Sequence[Page]:
        """What was read so far, in the order of pages; pages that failed say why.

        Args:
            model: whose reading; "": the first one's.
            number: this page alone.
            original: without corrections.
        """
        await self._rows.row(id, session)
        stored = await self._rows.pages(id, model, number)
        return [one.page if original else one.corrected for one in stored]

    async def picture(
        self, id: str, number: int, width: int | None = None, *, session: str | None = None
    ) -> bytes:
        """A page as JPEG: as it was read, or so many pixels wide. Raises BadValue: no such page."""
        row = await self._rows.row(id, session)
        return await asyncio.to_thread(_picture, self._shelf, row, number, width)

    async def correct(
        self,
        id: str,
        number: int,
        line: int,
        text: str,
        model: str = "",
        *,
        session: str | None = None,
    ) -> Page:
        """Put another text for a line, counted from 0; its own text again takes the correction back.

        Raises:
            Unknown: that page is not read. BadValue: no such line, or too long a text.
        """
        await self._rows.row(id, session)
        if len(text) > TEXT_LIMIT:
            raise BadValue(f"A line holds at most {TEXT_LIMIT} characters.", param="text")
        return (await self._rows.correct(id, model, number, line, text)).corrected

    async def pause(self, id: str, *, session: str | None = None) -> Paper:
        """Stop reading for now. Raises Conflict when it is not being read."""
        return await self._end(id, "paused", session)

    async def cancel(self, id: str, *, session: str | None = None) -> Paper:
        """Stop reading; what was read stays. Raises Conflict when there is nothing to stop."""
        return await self._end(id, "cancelled", session)

    async def resume(self, id: str, *, session: str | None = None) -> Paper:
        """Read what is missing, and what failed once more. Raises Conflict: it is being read."""
        await self._rows.row(id, session)
        row, more = await self._rows.go_on(id)
        if more:
            self._take(row)
        return await self._rows.get(id)

    async def again(self, id: str, model: str, *, session: str | None = None) -> Paper:
        """Have another model read it too; what was read before stays beside it.

        Raises:
            Conflict: that model reads it already. Unknown, BadValue: no model that can.
        """
        row = await self._rows.row(id, session)
        model, strict = self._choose(model, row.session)
        if strict:
            await asyncio.to_thread(parse_languages, row.options["language"])
        row, ours = await self._rows.add_model(id, model)
        if ours:
            self._take(row)
        return await self._rows.get(id)

    async def remove(self, id: str, *, session: str | None = None) -> None:
        """Delete the document, what was read of it and what was corrected."""
        await self._rows.row(id, session)
        await self._rows.remove(id)
        self._reader.drop(id, "cancelled")
        await asyncio.to_thread(self._shelf.remove, id)

    async def export(
        self, id: str, kind: str, model: str = "", *, session: str | None = None
    ) -> bytes:
        """What was read so far as one file; the kinds are `engine.exports.EXPORTS`.

        Raises:
            BadValue: no such kind. Conflict: nothing was read yet.
        """
        row = await self._rows.row(id, session)
        pages = [one.corrected for one in await self._rows.pages(id, model)]
        if not pages:
            raise Conflict("Nothing of this document was read yet. Wait for its first page.")
        return await asyncio.to_thread(
            bind, pages, kind, lambda _: self._shelf.read(id), password=row.password,
            dpi=row.options["dpi"], title=Path(row.name).stem, language=row.options["language"],
        )  # fmt: skip

    async def prune(self, now: datetime) -> int:
        """Remove what ended long ago, as the setting says; how many went."""
        if not self._settings.documents_days:
            return 0
        old = await self._rows.outdated(now - timedelta(days=self._settings.documents_days))
        for name in old:
            try:
                await self.remove(name)
            except Unknown:  # somebody was quicker
                continue
        return len(old)

    @property
    def _quota(self) -> Quota:
        return Quota(self._settings.documents_kept, self._settings.documents_bytes)

    def _take(self, row: DocumentRow) -> None:
        self._reader.take(row, lambda: self._cancel_soon(row.id))

    def _cancel_soon(self, id: str) -> bool:
        """What cancelling the ticket does; the row follows in a moment."""

        async def cancel() -> None:
            try:
                await self._end(id, "cancelled", None)
            except AtelierError as error:
                log.info("document %s: %s", id, error)

        task = asyncio.create_task(cancel())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
        return True

    async def _end(self, id: str, phase: Any, session: str | None) -> Paper:
        paper = await self._rows.get(id, session)
        among = (*WORKING, "paused") if phase == "cancelled" else WORKING
        if not await self._rows.set(id, phase, among):
            raise Conflict(f"This document is {paper.phase}, so there is nothing to stop.")
        self._reader.drop(id, phase)
        return await self._rows.get(id)


def _check(options: dict[str, Any], data: bytes, pages: str, password: str, most: int) -> None:
    """Refuse what no request may be. Raises BadValue, TooLarge."""
    if len(data) > most:
        raise TooLarge(
            f"A document may have {most / 1e6:,.0f} MB. Send a smaller one.", param="file"
        )
    try:
        OcrRequest(documents=(data,), pages=pages, password=password, **options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadValue(f"{where}: {first['msg']}.", param=where or None) from None


def _plain_name(name: str) -> str:
    """The name without folders and control characters."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable()).strip()[:NAME_LIMIT] or "document"


def _look(data: bytes, password: str, pages: str, language: str) -> tuple[str, int, list[int]]:
    """The kind of a document, how many pages it has, and those to be read. Refuses a language too."""
    from engine.pages import choose_pages, open_document

    parse_languages(language)
    with open_document(data, password) as document:
        return document.kind, document.count, choose_pages(pages, document.count, PAGES)


def _picture(shelf: Shelf, row: DocumentRow, number: int, width: int | None) -> bytes:
    """A page's picture. Narrow ones come from a thumbnail that is kept beside the file."""
    from engine.pictures import encode, open_picture

    if not 1 <= number <= row.total:
        raise BadValue(f"There is no page {number}: the document has {row.total}.", param="number")
    if width is not None and not 16 <= width <= WIDEST:
        raise BadValue(f"A picture is 16 to {WIDEST} pixels wide.", param="width")
    name = f"{number}.jpg"
    small = shelf.kept(row.id, name) if width is not None and width <= THUMBNAIL else None
    if small is not None and width == THUMBNAIL:
        return small
    page = open_picture(small) if small is not None else _drawn(shelf, row, number)
    if width is None:
        return encode(page, "jpeg")
    if small is None and width <= THUMBNAIL:
        page = _narrowed(page, THUMBNAIL)
        small = encode(page, "jpeg", 80)
        shelf.keep(row.id, name, small)
        if width == THUMBNAIL:
            return small
    return encode(_narrowed(page, width), "jpeg", 85)


def _narrowed(page: Any, width: int) -> Any:
    """The picture at most so wide."""
    if page.width <= width:
        return page
    return page.resize((width, max(1, round(page.height * width / page.width))), reducing_gap=2.0)


def _drawn(shelf: Shelf, row: DocumentRow, number: int) -> Any:
    from engine.pages import open_document

    with open_document(shelf.read(row.id), row.password) as document:
        return document.render(number, row.options["dpi"])
