"""The OCR tab without a browser: documents, pages, corrections and second readings through its handlers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import Engine, Page, Paper, Segment, Settings
from engine.papers import Reading
from tests import seer
from ui import ocr_diff, ocr_lines, ocr_reads, ocr_views, samples
from ui.ocr_lines import Opened
from ui.words import LANGUAGES

pytestmark = pytest.mark.slow  # engines with pictures and documents
BAD = "\"'><img src=x onerror=alert(1)>\n\n# x"
PLACES = ("docs", "page", "lines", "layout", "sheet", "outcome", "language", "engine")


def someone(rank: str = "user", session: str = "abc") -> Any:
    return SimpleNamespace(
        headers={}, cookies={}, session_hash=session, username=None, query_params={},
        state=SimpleNamespace(rank=rank),
    )  # fmt: skip


@pytest.fixture
async def reads(settings: Settings) -> AsyncIterator[ocr_reads.Reads]:
    engine = Engine.build(settings, families={"seer": seer}, specs=seer.SPECS)
    await engine.start()
    yield ocr_reads.Reads(engine, ocr_reads.Places(*PLACES))  # type: ignore[arg-type]
    await engine.close()


async def press(reads: ocr_reads.Reads, request: Any = None, **given: str) -> dict[Any, Any]:
    """Everything an action painted, the newest of each place."""
    painted: dict[Any, Any] = {}
    async for updates in reads.act(json.dumps(given) + "#1", request or someone()):
        painted |= {k: v for k, v in updates.items() if isinstance(v, str)}
    return painted


async def view(reads: ocr_reads.Reads, **given: str) -> dict[Any, Any]:
    return await reads.view(given, someone(), everything=True)


async def put(reads: ocr_reads.Reads, name: str = "booklet-en.pdf") -> str:
    """A sample that has been read; its id."""
    painted = await press(reads, act="sample", name=name)
    doc = painted["outcome"].split('data-brought="')[1].split('"')[0]
    await settled(reads, doc)
    return doc


async def settled(reads: ocr_reads.Reads, doc: str) -> Paper:
    for _ in range(1000):
        paper = await reads.engine.documents.get(doc)
        if paper.phase not in ocr_lines.GOING:
            return paper
        await asyncio.sleep(0.01)
    raise AssertionError("it is still being read")


async def test_a_document_is_read_page_by_page(reads: ocr_reads.Reads) -> None:
    empty = await view(reads)
    assert "Read documents" in empty["page"] and empty["lines"] == '<div class="reading"></div>'
    doc = await put(reads)
    shown = await view(reads, doc=doc, page="2")
    assert "pages: 3" in shown["docs"] and 'aria-current="true"' in shown["docs"]
    assert "The first line 2" in shown["lines"] and shown["page"].count("<polygon") == 3
    assert shown["page"].count('class="thumb read"') == 3 and "2 / 3" in shown["page"]
    assert f"v1/ocr/documents/{doc}/pages/2/picture?width=1400" in shown["page"]
    assert 'class="line low"' in shown["lines"] and 'class="fair"' in shown["page"]
    again = await reads.look(json.dumps({"doc": doc, "page": "2"}) + "#2", someone())
    assert not any(isinstance(v, str) for v in again.values()), "nothing is sent twice"
    odd = await view(reads, doc=doc, page="99", model="nobody", versus="nobody")
    assert 'data-page="1"' in odd["page"]


async def test_a_line_is_corrected_and_marked(reads: ocr_reads.Reads) -> None:
    doc = await put(reads)
    given = {"doc": doc, "page": "1", "model": "auto", "line": "2"}
    painted = await press(reads, act="correct", text="nothing  that\nsplatters.", **given)
    assert "nothing that splatters." in painted["lines"] and "line mended" in painted["lines"]
    assert 'polygon data-line="2" class="mended"' in painted["page"]
    assert b"splatters" in await reads.engine.documents.export(doc, "text")
    painted = await press(reads, act="correct", text="nothing that matters.", **given)
    assert "mended" not in painted["lines"]


async def test_a_second_reading_stands_beside_the_first(reads: ocr_reads.Reads) -> None:
    doc = await put(reads, "note-en.png")
    await press(reads, act="again", id=doc, value="second", doc=doc)
    await settled(reads, doc)
    shown = await view(reads, doc=doc, versus="second")
    assert "<mark>matters.</mark>" in shown["lines"] and "<mark>mutters.</mark>" in shown["lines"]
    assert "90.9 %" in shown["lines"] and shown["page"].count("<g data-side=") == 2
    assert '<option value="second" selected>Second reader</option>' in shown["page"]
    alone = await view(reads, doc=doc, model="second")
    assert "mutters" in alone["lines"] and "<mark>" not in alone["lines"]


async def test_removing_is_asked_first(reads: ocr_reads.Reads) -> None:
    doc = await put(reads, "note-en.png")
    painted = await press(reads, act="ask_remove", id=doc, doc=doc)
    assert "Remove “note-en.png”?" in painted["sheet"] and f'data-id="{doc}"' in painted["sheet"]
    painted = await press(reads, act="remove", id=doc, doc=doc)
    assert painted["sheet"] == "" and "Read documents" in painted["page"]


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_others_documents_are_not_there(reads: ocr_reads.Reads) -> None:
    doc = await put(reads, "note-en.png")
    other = someone(session="other")
    assert "Read documents" in (await reads.view({"doc": doc}, other, True))["page"]
    for act in ("ask_remove", "remove", "pause", "resume", "again", "correct"):
        painted = await press(reads, other, act=act, id=doc, doc=doc, page="1", line="0", value="x")
        assert not painted.get("sheet"), act
    assert (await reads.engine.documents.get(doc)).phase == "done"
    admin = await reads.view({"doc": doc}, someone("admin", "other"), True)
    assert f'data-doc="{doc}"' in admin["page"]


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_files_are_taken_in_with_their_options(
    reads: ocr_reads.Reads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    good, bad = tmp_path / "a.pdf", tmp_path / "b.txt"
    good.write_bytes(samples.sample("booklet-en.pdf"))
    bad.write_bytes(b"no document")
    files = [{"path": str(bad)}, {"path": str(good), "orig_name": BAD}, {"path": "/etc/hostname"}]
    form = {"pages": "2-3", "dpi": "100", "formatted": False, "text_layer": True, "password": ""}
    painted: dict[Any, Any] = {}
    async for updates in reads.bring(files, someone(), language="en", model="auto", **form):
        painted |= {k: v for k, v in updates.items() if isinstance(v, str)}
    [paper] = await reads.engine.documents.list("abc")
    assert paper.numbers == (2, 3) and paper.language == "en" and paper.options["dpi"] == 100
    assert paper.id in painted["outcome"] and "<img src=x" not in "".join(painted.values())
    async for _ in reads.bring(files, someone(), language=None, model=None, **{**form, "dpi": "x"}):
        pass
    assert len(await reads.engine.documents.list("abc")) == 1, "a wrong resolution is refused"


@pytest.mark.parametrize("told", ["", "#", "[]#1", '{"act": "__init__"}#1', '{"act": ["look"]}#1'])
async def test_what_makes_no_sense_does_nothing(reads: ocr_reads.Reads, told: str) -> None:
    assert len([u async for u in reads.act(told, someone())]) == 1


async def test_the_pickers_know_what_is_here(reads: ocr_reads.Reads) -> None:
    looked = await reads.look('{"all": "1"}#1', someone())
    assert ("Reader", "ocr") in looked["engine"].choices
    assert ("Seer", "seer") in looked["engine"].choices, "who sees can read"
    assert [name for name, _ in looked["language"].choices[:5]] == [
        "Automatic", "English", "Français", "Português", "Русский",
    ]  # fmt: skip


PAPER = Paper(
    "p1", "a.pdf", "abc", "auto", "", 3, 1, 0, "running", "", datetime(2030, 1, 1, tzinfo=UTC), {},
    (Reading("auto", 1),), (1, 2, 3), 3,
)  # fmt: skip
PAGE = Page(
    0, 1, 3, 100, 200, (Segment("a <b>", box=(1, 2, 3, 4), score=0.5), Segment("c")), "a <b>\nc",
    model="ocr",
)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "says", "does"),
    [
        ({}, "Reading · 1 of 3", ["pause", "ask_remove"]),
        ({"phase": "queued", "done": 0}, "0 of 3", ["pause", "ask_remove"]),
        ({"phase": "paused"}, "Paused · 1 of 3", ["resume", "ask_remove"]),
        ({"phase": "done", "done": 3}, ">pages: 3<", ["ask_remove"]),
        ({"phase": "done", "done": 2, "failed": 1}, "failed: 1", ["resume", "ask_remove"]),
        (
            {"phase": "failed", "error": "Not <a> PDF."},
            "Not &lt;a&gt; PDF.",
            ["resume", "ask_remove"],
        ),
    ],
)
def test_a_document_offers_what_can_be_done(values: Any, says: str, does: list[str]) -> None:
    html = ocr_views.papers([replace(PAPER, **values)], "", "en")
    assert says in html
    acts = [part.split('"')[0] for part in html.split('data-act="')[1:]]
    assert [act for act in acts if act != "sample"] == does


@pytest.mark.parametrize(
    ("opened", "says"),
    [
        (Opened(PAPER, 2, "auto"), "about to be read"),
        (Opened(replace(PAPER, phase="paused"), 2, "auto"), "was not read"),
        (Opened(PAPER, 1, "auto", replace(PAGE, lines=(), error="It <broke>.", code="X")), "It &lt;broke&gt;."),
        (Opened(PAPER, 1, "auto", replace(PAGE, lines=(), text="")), "no text on this page"),
        (Opened(PAPER, 1, "auto", replace(PAGE, lines=(), text="a\n\nb")), 'class="plain">a&#10;&#10;b<'),
        (Opened(PAPER, 1, "auto", PAGE), "doubtful: 1"),
        (Opened(PAPER, 1, "auto", replace(PAGE, model="")), "own text"),
        (Opened(PAPER, 1, "auto", replace(PAGE, markdown="# a")), 'data-to="layout"'),
    ],
)  # fmt: skip
def test_a_page_tells_how_it_was_read(opened: Opened, says: str) -> None:
    assert says in ocr_lines.lines(opened, "en")


def test_pages_that_failed_are_marked() -> None:
    html = ocr_views.leaf(Opened(PAPER, 1, "auto", PAGE, {1: "", 2: "BAD_FORMAT"}), [], "en")
    states = [part.split('"')[0] for part in html.split('class="thumb ')[1:]]
    assert states == ["read", "failed", "waiting"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_markup(language: str) -> None:
    paper = replace(
        PAPER, id=BAD, name=BAD, error=BAD, phase="failed", readings=(Reading(BAD), Reading("b"))
    )
    page = replace(
        PAGE, lines=(Segment(BAD, box=(0, 0, 1, 1), score=0.1),), markdown=BAD, model=BAD
    )
    opened = Opened(paper, 1, BAD, page, {}, frozenset({0}), "b", page, {"b": BAD})
    html = ocr_views.papers([paper], BAD, language) + ocr_views.leaf(opened, [(BAD, BAD)], language)
    html += ocr_lines.lines(opened, language) + ocr_lines.lines(
        replace(opened, versus=""), language
    )
    assert "<img src=x" not in html and "\n" not in html


@pytest.mark.parametrize(
    ("left", "right", "marked", "share"),
    [
        (["a b c"], ["a x c"], ["b", "x"], 2 / 3),
        (["a b", "c d"], ["a b c", "d"], [], 1.0),
        ([], [], [], 1.0),
        (["a"], [], ["a"], 0.0),
        (["one two three"], ["two three"], ["one"], 0.8),
    ],
)
def test_differences(left: list[str], right: list[str], marked: list[str], share: float) -> None:
    found = ocr_diff.compare(left, right)
    words = [
        word
        for side in (found.left, found.right)
        for line in side
        for word, same in line
        if not same
    ]
    assert words == marked and found.share == pytest.approx(share)
    assert [" ".join(word for word, _ in line) for line in found.left] == left
