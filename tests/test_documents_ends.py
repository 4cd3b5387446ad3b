"""Stored documents and all else: Stop, restarts, several processes, chats that are answered meanwhile."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from engine import Caller, ChatRequest, Engine, Message, OcrRequest, Page, Settings
from engine.callers import Priority
from engine.errors import Conflict
from engine.events import Done, Text
from engine.pages import open_document
from engine.settings import ROOT
from tests.documenting import add, ended, folders, make_engine

pytestmark = pytest.mark.slow  # an engine with a database for each


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    engine = make_engine(settings)
    await engine.start()
    yield engine
    await engine.close()


async def test_stop_of_the_session_leaves_its_documents(engine: Engine):
    paper = await add(engine, 20, model="slow")
    await asyncio.sleep(0.2)
    engine.stop("s")
    assert (await ended(engine, paper.id)).phase == "done"


async def test_a_new_start_goes_on_and_clears_away(settings: Settings):
    engine = make_engine(settings)
    await engine.start()
    paper = await add(engine, 30, model="slow")
    paused = await add(engine, 5)
    await engine.documents.pause(paused.id)
    await asyncio.sleep(0.5)
    await engine.close()
    lost = settings.data_dir / "documents" / "nobodys"
    lost.mkdir()
    (lost / "file").write_bytes(b"x")
    long_ago = time.time() - 7200
    os.utime(lost, (long_ago, long_ago))
    engine = make_engine(settings)
    await engine.start()
    before = (await engine.documents.get(paper.id)).done
    assert before > 0
    after = await ended(engine, paper.id)
    assert (after.phase, after.done) == ("done", 30)
    backend = engine.lane._models._residents["slow"].backend  # type: ignore[attr-defined]
    assert len(backend.read) == 30 - before
    assert (await engine.documents.get(paused.id)).phase == "paused"
    assert sorted(folders(settings)) == sorted([paper.id, paused.id])
    await engine.documents.resume(paused.id)
    assert (await ended(engine, paused.id)).done == 5
    await engine.close()


async def test_another_process_s_document_is_left_to_it(settings: Settings):
    """Two engines on one database: what the first holds, the second only stops."""
    first, second = make_engine(settings), make_engine(settings)
    await first.start()
    await second.start()
    await asyncio.to_thread(second.database.read, lambda c: None)
    second.documents._rows._server = "elsewhere/1/1"
    paper = await add(first, 60, model="slow")
    assert await second.documents._rows.claim() == []
    await asyncio.sleep(0.2)
    with pytest.raises(Conflict):
        await second.documents.resume(paper.id)
    assert (await second.documents.pause(paper.id)).phase == "paused"
    async with asyncio.timeout(5):
        while first.jobs.get(paper.id).phase == "running":
            await asyncio.sleep(0.01)
    at = (await first.documents.get(paper.id)).done
    assert at < 60
    await second.documents.resume(paper.id)
    assert (await ended(second, paper.id)).done == 60
    await first.close()
    await second.close()


async def test_a_chat_is_answered_while_a_long_document_is_read(engine: Engine):
    await engine.load("echo-batch")
    paper = await add(engine, 200, model="slow")  # 50 ms a page
    await asyncio.sleep(0.3)
    waits = []
    for _ in range(5):
        request = ChatRequest(model="echo-batch", messages=(Message.of("user", "hello there"),))
        began = time.monotonic()
        async for event in engine.run(request, Caller(priority=Priority.CHAT, session="s")):
            if isinstance(event, Text):
                waits.append(time.monotonic() - began)
                break
        await asyncio.sleep(0.1)
    reading = await engine.documents.get(paper.id)
    assert reading.phase == "running" and 0 < reading.done < 200
    assert sorted(waits)[2] < 0.05 + 0.1, waits  # a page, and what a busy machine adds
    await engine.documents.cancel(paper.id)


async def test_the_real_reader_reads_a_booklet(settings: Settings):
    from engine.families import ocr

    file = ROOT / "assets" / "samples" / "booklet-en.pdf"
    engine = Engine.build(settings, families={"ocr": ocr}, specs=ocr.SPECS)
    await engine.start()
    paper = await engine.documents.add(
        file.name, file.read_bytes(), session="s", language="English", text_layer=False
    )
    async with asyncio.timeout(120):
        events = [event async for _, event in engine.jobs.follow(paper.id)]
    assert isinstance(events[-1], Done)
    pages = await engine.documents.pages(paper.id)
    assert [page.number for page in pages] == list(range(1, paper.total + 1))
    assert all(page.text and page.lines[0].box and not page.error for page in pages)
    own = await collect(engine, OcrRequest(documents=(file.read_bytes(),)))
    words = {word for page in own for word in page.text.split()}
    seen = {word for page in pages for word in page.text.split()}
    assert len(words & seen) > 0.8 * len(words)  # against the words that the file itself holds
    pdf = await engine.documents.export(paper.id, "pdf")
    with open_document(pdf) as made:
        assert made.layer(1) is not None
    await engine.close()


async def collect(engine: Engine, request: OcrRequest) -> list[Page]:
    async with aclosing(engine.read(request, Caller())) as events:
        return [event async for event in events if isinstance(event, Page)]
