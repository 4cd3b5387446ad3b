"""Stored documents: added, read in the background, stopped, gone on with, corrected, read again, removed."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Page, Settings
from engine.errors import (
    AtelierError,
    BadFormat,
    BadValue,
    Conflict,
    TooLarge,
    Unavailable,
    Unknown,
)
from engine.events import Done, Progress
from tests import typist
from tests.documenting import add, ended, folders, make_engine

pytestmark = pytest.mark.slow  # an engine with a database for each


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    engine = make_engine(settings)
    await engine.start()
    yield engine
    await engine.close()


async def test_a_document_is_read_and_followed(engine: Engine):
    paper = await add(
        engine, 5, name="C:\\scans\\..\\a/b\u0000 c.tiff", model="slow", language="en"
    )
    assert (paper.name, paper.count, paper.total, paper.model) == ("b c.tiff", 5, 5, "slow")
    assert paper.phase == "queued" and paper.kind == "tiff" and paper.numbers == (1, 2, 3, 4, 5)
    assert paper.options == {"pages": "", "dpi": 200, "text_layer": True, "formatted": False}
    events = [event async for _, event in engine.jobs.follow(paper.id)]
    assert [e.number for e in events if isinstance(e, Page)] == [1, 2, 3, 4, 5]
    assert [e for e in events if isinstance(e, Progress)][-1] == Progress(5, 5)
    assert isinstance(events[-1], Done)
    paper = await engine.documents.get(paper.id)
    assert (paper.phase, paper.done, paper.failed, paper.error) == ("done", 5, 0, "")
    pages = await engine.documents.pages(paper.id)
    assert [page.number for page in pages] == [1, 2, 3, 4, 5]
    assert pages[2].lines[1].text == "Page 3, line 1" and pages[2].lines[1].box is not None
    ticket = engine.jobs.get(paper.id)
    assert (ticket.kind, ticket.title, ticket.phase, ticket.session) == (
        "document", "b c.tiff", "done", "s",
    )  # fmt: skip
    assert (ticket.done, ticket.total) == (5, 5)


async def test_some_pages_alone(engine: Engine):
    paper = await add(engine, 9, pages="2-3,7")
    assert (paper.count, paper.total, paper.numbers) == (3, 9, (2, 3, 7))
    await ended(engine, paper.id)
    assert [page.number for page in await engine.documents.pages(paper.id)] == [2, 3, 7]


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"pages": "4"}, BadValue, "no page 4"),
        ({"pages": "x"}, BadValue, "pages"),
        ({"dpi": 9000}, BadValue, "dpi"),
        ({"model": "nobody"}, Unknown, "not in the catalog"),
        ({"model": "echo"}, BadValue, "cannot read"),
        ({"language": "Klingonese"}, BadValue, "language"),
        ({"data": b""}, BadValue, "empty"),
        ({"data": b"%PDF-1.4 broken"}, BadFormat, "PDF"),
        ({"data": b"GIF89a"}, BadFormat, "GIF"),
    ],
)
async def test_what_cannot_be_read_is_refused_at_once(
    engine: Engine, settings: Settings, fields: dict[str, Any], kind: type[AtelierError], words: str
):
    data = fields.pop("data", typist.tiff(3))
    with pytest.raises(kind, match=words):
        await engine.documents.add("a", data, session="s", **fields)
    assert await engine.documents.list("s") == [] and folders(settings) == []


async def test_two_hundred_pages_are_the_most(engine: Engine):
    with pytest.raises(TooLarge, match="1-200"):
        await add(engine, 201)
    paper = await add(engine, 201, pages="1-200")
    assert paper.count == 200
    await engine.documents.remove(paper.id)


async def test_too_many_documents_and_too_many_bytes(settings: Settings):
    engine = make_engine(settings, documents_kept=2)
    await engine.start()
    for _ in range(2):
        await add(engine)
    with pytest.raises(Conflict, match="Remove some"):
        await add(engine, session="another")
    await engine.close()
    engine = make_engine(settings, documents_bytes=30_000)
    await engine.start()
    with pytest.raises(Conflict, match="MB"):
        await add(engine, 20)
    assert len(folders(settings)) == 2
    await engine.close()


async def test_a_full_disk_is_said_and_leaves_nothing(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine.shelf.os.fsync", full)
    with pytest.raises(Unavailable, match="disk is full"):
        await add(engine)
    assert folders(settings) == [] and await engine.documents.list("s") == []


async def test_sessions_do_not_see_each_other(engine: Engine):
    mine = await add(engine, session="mine")
    await ended(engine, mine.id)
    documents = engine.documents
    assert [p.id for p in await documents.list("mine")] == [mine.id]
    assert await documents.list("other") == []
    calls = (
        documents.get(mine.id, "other"), documents.pages(mine.id, session="other"),
        documents.picture(mine.id, 1, session="other"), documents.cancel(mine.id, session="other"),
        documents.pause(mine.id, session="other"), documents.resume(mine.id, session="other"),
        documents.correct(mine.id, 1, 0, "x", session="other"), documents.again(mine.id, "typist", session="other"),
        documents.export(mine.id, "text", session="other"), documents.remove(mine.id, session="other"),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(Unknown):
            await call
    assert (await documents.get(mine.id, "mine")).phase == "done"


async def test_pause_resume_cancel(engine: Engine):
    paper = await add(engine, 40, model="slow")
    async for _, event in engine.jobs.follow(paper.id):
        if isinstance(event, Page) and event.number == 3:
            break
    paused = await engine.documents.pause(paper.id)
    assert paused.phase == "paused" and 3 <= paused.done < 10
    assert engine.jobs.get(paper.id).phase == "paused"
    with pytest.raises(Conflict):
        await engine.documents.pause(paper.id)
    await asyncio.sleep(0.2)
    held = (await engine.documents.get(paper.id)).done
    assert paused.done <= held <= paused.done + 1  # the page that was under way is kept
    assert (await engine.documents.resume(paper.id)).phase in ("queued", "running")
    with pytest.raises(Conflict, match="being read"):
        await engine.documents.resume(paper.id)
    await asyncio.sleep(0.3)
    cancelled = await engine.documents.cancel(paper.id)
    assert cancelled.phase == "cancelled" and cancelled.done > held
    assert [t.phase for t in engine.jobs.list() if t.id == paper.id] == ["cancelled"]
    with pytest.raises(Conflict):
        await engine.documents.cancel(paper.id)
    await engine.documents.resume(paper.id)  # goes on where it was
    assert (await ended(engine, paper.id)).done == 40
    read = engine.lane._models._residents["slow"].backend.read  # type: ignore[attr-defined]
    assert len(read) <= 40 + 2  # no page twice but those that were under way


async def test_cancelling_its_ticket_cancels_it(engine: Engine):
    paper = await add(engine, 40, model="slow")
    assert engine.jobs.cancel(paper.id)
    assert (await ended(engine, paper.id)).phase == "cancelled"


async def test_a_page_that_breaks_the_model_is_left_out_and_tried_again(engine: Engine):
    paper = await add(engine, 6, model="breaks")
    paper = await ended(engine, paper.id)
    assert (paper.phase, paper.done, paper.failed) == ("done", 5, 1)
    pages = await engine.documents.pages(paper.id)
    assert [page.number for page in pages if page.error] == [3]
    assert pages[2].code == "INFERENCE_FAILED" and pages[2].error
    backend = engine.lane._models._residents["breaks"].backend  # type: ignore[attr-defined]
    object.__setattr__(backend.spec, "options", {})
    await engine.documents.resume(paper.id)
    paper = await ended(engine, paper.id)
    assert (paper.phase, paper.done, paper.failed) == ("done", 6, 0)
    assert sorted(number for _, number in backend.read) == [1, 2, 3, 4, 5, 6]
    assert (await engine.documents.resume(paper.id)).phase == "done"  # nothing is left


async def test_pages_that_say_they_failed(engine: Engine):
    paper = await ended(engine, (await add(engine, 3, model="skips")).id)
    assert (paper.phase, paper.done, paper.failed) == ("done", 2, 1)
    paper = await ended(engine, (await add(engine, 3, model="never")).id)
    assert (paper.phase, paper.done, paper.failed) == ("failed", 0, 3)
    assert paper.error == "The ink is gone. Scan it again." and paper.code == "BAD_FORMAT"


async def test_a_model_that_is_gone_is_waited_for_and_then_given_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("engine.document_reader.RESTS", (0.01, 0.01))
    paper = await ended(engine, (await add(engine, 3, model="gone")).id)
    assert paper.phase == "failed" and paper.code == "BACKEND_DIED" and paper.done == 0
    with pytest.raises(AtelierError, match=paper.error):
        async for _ in engine.jobs.follow(paper.id):
            pass


async def test_a_model_that_comes_back_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.document_reader.RESTS", (0.01, 0.01, 0.01))
    away = replace(engine.registry.find("looker"), id="away", options={"dies": [1] * 5})
    engine.registry.add(away)
    paper = await ended(engine, (await add(engine, 3, model="away")).id)
    assert (paper.phase, paper.done) == ("done", 3) and away.options["dies"] == []


async def test_sessions_take_turns(engine: Engine):
    long = await add(engine, 60, model="slow", session="a")
    await asyncio.sleep(0.2)
    short = await add(engine, 2, model="slow", session="b")
    await ended(engine, short.id)
    assert 0 < (await engine.documents.get(long.id)).done < 50
    await engine.documents.cancel(long.id)


async def test_a_second_reading_stands_beside_the_first(engine: Engine):
    paper = await ended(engine, (await add(engine, 3, model="typist")).id)
    with pytest.raises(Conflict):
        await engine.documents.again(paper.id, "typewriter")  # the same by another name
    await engine.documents.again(paper.id, "looker")
    paper = await ended(engine, paper.id)
    assert [(r.model, r.done, r.failed) for r in paper.readings] == [
        ("typist", 3, 0), ("looker", 3, 0),
    ]  # fmt: skip
    assert paper.model == "typist"
    assert (await engine.documents.pages(paper.id))[0].text.startswith("Page 1, line 0")
    assert (await engine.documents.pages(paper.id, "looker"))[0].text.startswith("First line")
    with pytest.raises(Unknown, match="typist, looker"):
        await engine.documents.pages(paper.id, "auto")


async def test_corrections_stand_beside_what_was_read(engine: Engine):
    paper = await ended(engine, (await add(engine, 2)).id)
    documents = engine.documents
    page = await documents.correct(paper.id, 2, 1, "Wörter\u0000 & more")
    assert page.lines[1].text == "Wörter & more" and page.lines[1].score == 1.0
    assert page.text.splitlines()[:3] == ["Page 2, line 0", "Wörter & more", "Page 2, line 2"]
    assert (await documents.pages(paper.id))[1] == page
    (original,) = await documents.pages(paper.id, number=2, original=True)
    assert original.lines[1].text == "Page 2, line 1" and original.lines[1].score == 0.9
    back = await documents.correct(paper.id, 2, 1, "Page 2, line 1")
    assert back == original
    for number, line, text, kind in (
        (3, 0, "x", Unknown), (0, 0, "x", Unknown), (1, 99, "x", BadValue), (1, -1, "x", BadValue),
        (1, 0, "x" * 20_001, BadValue),
    ):  # fmt: skip
        with pytest.raises(kind):
            await documents.correct(paper.id, number, line, text)


async def test_pictures_and_thumbnails(engine: Engine, settings: Settings):
    from engine.pictures import measure

    paper = await add(engine, 2)
    whole = await engine.documents.picture(paper.id, 1)
    assert (measure(whole).width, measure(whole).format) == (40, "JPEG")
    small = await engine.documents.picture(paper.id, 1, 20)
    assert (measure(small).width, measure(small).height) == (20, 40)
    kept = settings.data_dir / "documents" / paper.id
    assert sorted(os.listdir(kept)) == ["1.jpg", "file"]
    assert await engine.documents.picture(paper.id, 1, 20) == small
    for number, width in ((0, None), (3, None), (1, 5), (1, 100_000)):
        with pytest.raises(BadValue):
            await engine.documents.picture(paper.id, number, width)


async def test_exports(engine: Engine):
    paper = await ended(engine, (await add(engine, 2)).id)
    await engine.documents.correct(paper.id, 1, 0, "Corrected")
    text = (await engine.documents.export(paper.id, "text")).decode()
    assert text.startswith("Corrected\nPage 1, line 1")
    assert (await engine.documents.export(paper.id, "pdf")).startswith(b"%PDF")
    with pytest.raises(BadValue):
        await engine.documents.export(paper.id, "docx")
    waiting = await add(engine, 200, model="slow")
    await engine.documents.pause(waiting.id)
    if not (await engine.documents.get(waiting.id)).done:
        with pytest.raises(Conflict):
            await engine.documents.export(waiting.id, "text")


async def test_removing_leaves_nothing(engine: Engine, settings: Settings):
    from sqlalchemy import func, select

    from engine.tables import document_pages, documents

    paper = await add(engine, 40, model="slow")
    await asyncio.sleep(0.3)
    await engine.documents.remove(paper.id)
    with pytest.raises(Unknown):
        await engine.documents.get(paper.id)
    await asyncio.sleep(0.2)
    assert folders(settings) == [] and engine.jobs.get(paper.id).phase == "cancelled"
    for table in (documents, document_pages):
        count = await engine.database.aread(
            lambda c, t=table: c.scalar(select(func.count()).select_from(t))
        )
        assert count == 0
    done = await ended(engine, (await add(engine, 1)).id)
    assert await engine.documents.prune(datetime.now(UTC)) == 0
    assert await engine.documents.prune(datetime.now(UTC) + timedelta(days=31)) == 1
    with pytest.raises(Unknown):
        await engine.documents.get(done.id)


def test_files_are_private(tmp_path: Path):
    from engine.shelf import Shelf

    shelf = Shelf(tmp_path / "documents")
    shelf.put("a", b"x")
    assert (tmp_path / "documents" / "a").stat().st_mode & 0o77 == 0
    assert shelf.read("a") == b"x" and shelf.kept("a", "1.jpg") is None
    with pytest.raises(Unknown):
        shelf.read("b")
