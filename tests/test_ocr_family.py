"""Documents read by the real engines: small drawn pages, right and wrong."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image

from engine.errors import BadFormat, BadValue, Cancelled, Unavailable
from engine.events import Done, Event, Page
from engine.exports import export
from engine.families import _networks, _tesseract, ocr
from engine.languages import installed_packs
from engine.requests import OcrRequest
from engine.settings import Settings
from tests.drawn import ENGLISH, RUSSIAN, Listener, beside, cancel_at_page, draw, png, tiff

pytestmark = pytest.mark.slow
russian = pytest.mark.skipif("rus" not in installed_packs(), reason="Tesseract has no Russian pack")


@pytest.fixture(scope="module")
def readers() -> Iterator[dict[str, ocr.Ocr]]:
    settings = Settings(ocr_workers=2)
    loaded = {spec.id: ocr.load(spec, settings) for spec in ocr.SPECS}
    yield loaded
    for reader in loaded.values():
        reader.close()


def listen(reader: ocr.Ocr, *documents: bytes, **fields: object) -> Listener:
    listener = Listener()
    reader.ocr(OcrRequest(documents=documents, **fields), listener)
    assert isinstance(listener.events[-1], Done)
    return listener


def read(reader: ocr.Ocr, picture: Image.Image, **fields: object) -> Page:
    (page,) = listen(reader, png(picture), **fields).pages
    assert not page.error
    return page


def test_lines_have_text_boxes_corners_and_scores(readers: dict[str, ocr.Ocr]):
    page = read(readers["ocr"], draw(ENGLISH))
    assert page.text == "\n".join(ENGLISH)
    assert [line.text for line in page.lines] == list(ENGLISH)
    assert (page.document, page.number, page.count) == (0, 1, 1)
    assert (page.width, page.height, page.model) == (1000, 204, "rapidocr")
    for n, line in enumerate(page.lines):
        x0, y0, x1, y1 = line.box
        assert 30 <= x0 <= 45 and 560 < x1 < 900
        assert abs((y0 + y1) / 2 - (48 + n * 48)) < 12
        assert 0.9 < line.score <= 1
        assert len(line.corners) == 8 and line.corners[0] < line.corners[2]


@russian
@pytest.mark.parametrize("hint", ["", "auto", "Russian", "ru", "rus+eng"])
def test_cyrillic_is_read_whatever_the_hint(readers: dict[str, ocr.Ocr], hint: str):
    page = read(readers["ocr"], draw(RUSSIAN), language=hint)
    assert page.text.replace("На", "на") == "\n".join(RUSSIAN)
    assert page.model in {"tesseract", "ocr"}


@russian
def test_lines_of_two_scripts_are_each_read_by_who_can(readers: dict[str, ocr.Ocr]):
    mixed = [line for both in zip(ENGLISH, RUSSIAN, strict=True) for line in both]
    page = read(readers["ocr"], draw(mixed))
    assert page.text.split("\n") == mixed
    assert page.model == "ocr"


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_pages_are_read_upright(readers: dict[str, ocr.Ocr], degrees: int):
    picture = draw(ENGLISH).rotate(degrees, expand=True)
    page = read(readers["ocr"], picture)
    assert page.text == "\n".join(ENGLISH)
    assert (page.width, page.height) == picture.size
    x, y = page.lines[0].corners[:2]  # where the text begins, seen on the page as it lies
    corner = {90: (0, page.height), 180: (page.width, page.height), 270: (page.width, 0)}[degrees]
    assert abs(x - corner[0]) < 80 and abs(y - corner[1]) < 80


@russian
@pytest.mark.parametrize("model", ["ocr", "tesseract"])
def test_cyrillic_on_its_head(readers: dict[str, ocr.Ocr], model: str):
    picture = draw(RUSSIAN).rotate(180)
    assert read(readers[model], picture, language="ru").text == "\n".join(RUSSIAN)


def test_tilted_lines_keep_their_corners(readers: dict[str, ocr.Ocr]):
    picture = draw(ENGLISH * 4).rotate(4, Image.Resampling.BICUBIC, fillcolor="white")
    page = read(readers["ocr"], picture)
    assert page.text.split("\n") == [*ENGLISH] * 4
    corners = page.lines[5].corners
    assert corners[1] - corners[3] > 20  # the end of a line lies higher than its beginning


def test_columns_are_read_one_after_the_other(readers: dict[str, ocr.Ocr]):
    left = ["The first column", "begins on the left", "and ends at its foot", "before the other."]
    right = ["Then the second", "column is read from", "its head to its foot", "like the first."]
    page = read(readers["ocr"], beside(draw(left, width=460), draw(right, width=460)))
    assert page.text.split("\n") == [*left, *right]


@pytest.mark.parametrize("model", ["ocr", "rapidocr", "tesseract"])
@pytest.mark.parametrize("size", [(600, 800), (1, 1), (1, 3000)])
def test_an_empty_page_has_no_lines_and_no_error(
    readers: dict[str, ocr.Ocr], model: str, size: tuple[int, int]
):
    page = read(readers[model], Image.new("RGB", size, "white"))
    assert (page.lines, page.text) == ((), "")


def test_white_on_black_small_and_large(readers: dict[str, ocr.Ocr]):
    dark = read(readers["ocr"], draw(ENGLISH, ink="white", paper="#202030"))
    assert dark.text == "\n".join(ENGLISH)
    word = draw(["Hello"], size=14).crop((30, 22, 90, 56))
    assert read(readers["ocr"], word).text == "Hello"
    assert read(readers["ocr"], draw(["Hello"], size=200, step=260)).text == "Hello"


def test_a_long_screenshot_is_read_whole(readers: dict[str, ocr.Ocr]):
    lines = [f"Line {n} of a long conversation" for n in range(100)]
    page = read(readers["rapidocr"], draw(lines, size=22, width=480, left=20))
    assert page.text.split() == " ".join(lines).split()


@pytest.mark.parametrize(
    ("model", "hint", "named"),
    [
        ("ocr", "Klingon", "English"),
        ("tesseract", "xx", "Portuguese"),
        ("rapidocr", "ru", "English"),
        ("rapidocr", "Arabic", "Chinese"),
    ],
)
def test_unsupported_languages_list_what_is_there(
    readers: dict[str, ocr.Ocr], model: str, hint: str, named: str
):
    with pytest.raises(BadValue, match=named):
        listen(readers[model], png(draw(ENGLISH)), language=hint)


def test_a_missing_pack_names_its_package(
    readers: dict[str, ocr.Ocr], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_tesseract, "installed_packs", lambda: frozenset({"eng"}))
    with pytest.raises(Unavailable, match="tesseract-ocr-ell"):
        listen(readers["ocr"], png(draw(ENGLISH)), language="Greek")


def test_frames_are_pages_and_pages_can_be_chosen(readers: dict[str, ocr.Ocr]):
    data = tiff(*(draw([f"This is page number {n}"]) for n in range(1, 6)))
    heard = listen(readers["ocr"], data, pages="2-4")
    assert [page.text for page in heard.pages] == [f"This is page number {n}" for n in (2, 3, 4)]
    assert [(page.number, page.count) for page in heard.pages] == [(2, 5), (3, 5), (4, 5)]
    assert heard.progress == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(BadValue):
        listen(readers["ocr"], data, pages="9")


def pdf(*pictures: Image.Image) -> bytes:
    """A PDF of scanned pages, without any text."""
    out = io.BytesIO()
    pictures[0].save(out, "PDF", save_all=True, append_images=pictures[1:], resolution=100)
    return out.getvalue()


def test_a_text_layer_is_taken_unless_it_is_not_wanted(readers: dict[str, ocr.Ocr]):
    shown = draw(ENGLISH)
    (page,) = listen(readers["ocr"], pdf(shown), dpi=150).pages
    assert (page.model, len(page.lines)) == ("rapidocr", 3)
    own = read(readers["ocr"], shown)
    told = replace(own, lines=tuple(replace(line, text=line.text.upper()) for line in own.lines))
    layered = export([told], "pdf", lambda page: png(shown), "", "en")
    (page,) = listen(readers["ocr"], layered, dpi=150).pages
    assert (page.model, page.text) == ("", "\n".join(ENGLISH).upper())
    (page,) = listen(readers["ocr"], layered, dpi=150, text_layer=False).pages
    assert (page.model, page.lines[1].text) == ("rapidocr", ENGLISH[1])
    assert page.width > 200 and page.lines[0].box[2] < page.width


def test_one_bad_document_among_good_ones(readers: dict[str, ocr.Ocr]):
    good = png(draw(ENGLISH[:1]))
    heard = listen(readers["ocr"], good, b"GIF89a no", good[:300], good)
    assert [page.document for page in heard.pages] == [0, 1, 2, 3]
    assert [page.text for page in heard.pages] == [ENGLISH[0], "", "", ENGLISH[0]]
    assert [page.code for page in heard.pages] == ["", "BAD_FORMAT", "BAD_FORMAT", ""]
    assert heard.pages[1].number == 0 and "GIF" in heard.pages[1].error
    assert heard.progress[-1] == (4, 4)


@pytest.mark.parametrize("data", [b"GIF89a no", png(draw(ENGLISH[:1]))[:300], b"<svg></svg>"])
def test_the_only_document_fails_with_its_own_error(readers: dict[str, ocr.Ocr], data: bytes):
    with pytest.raises(BadFormat):
        listen(readers["ocr"], data)


def test_a_page_that_breaks_the_engine_leaves_the_others(
    readers: dict[str, ocr.Ocr], monkeypatch: pytest.MonkeyPatch
):
    whole = ocr.Ocr.read

    def breaks(self: ocr.Ocr, picture: Image.Image, *rest: object) -> Page:
        if picture.width == 700:
            raise RuntimeError("/srv/secret broke")
        return whole(self, picture, *rest)

    monkeypatch.setattr(ocr.Ocr, "read", breaks)
    data = tiff(draw(ENGLISH[:1]), draw(ENGLISH[:1], width=700), draw(ENGLISH[:1]))
    pages = listen(readers["ocr"], data).pages
    assert [page.code for page in pages] == ["", "INFERENCE_FAILED", ""]
    assert [page.number for page in pages] == [1, 2, 3]
    assert "secret" not in pages[1].error


def test_cancelling_frees_everything_and_begins_no_page(readers: dict[str, ocr.Ocr]):
    begun: list[int] = []
    reader = readers["ocr"]
    data = tiff(*(draw([f"Page {n}"]) for n in range(30)))
    whole = ocr._Run._read

    class Counting(ocr._Run):
        def _read(self, job: ocr._Job) -> Page:
            begun.append(job.number)
            return whole(self, job)

    run = Counting(reader, OcrRequest(documents=(data,)), (), Listener(cancel_at_page(2)))
    with pytest.raises(Cancelled):
        run.go()
    run.end()
    count = len(begun)
    assert 2 <= count <= 2 + 2 * reader.workers
    assert all(source.document is None for source in run._sources)
    time.sleep(0.2)
    assert len(begun) == count


def test_no_page_begins_before_emit_returned(readers: dict[str, ocr.Ocr]):
    """While an emit lasts, as when a chat is served, only what was under way goes on."""
    reader = readers["ocr"]
    begun: list[float] = []
    emitting = threading.Event()
    during: list[int] = []
    whole = ocr.Ocr.read

    def after(event: Event | None) -> None:
        if isinstance(event, Page):
            emitting.set()
            before = len(begun)
            time.sleep(0.3)
            during.append(len(begun) - before)
            emitting.clear()

    class Watched(ocr.Ocr):
        def read(self, *arguments: object) -> Page:
            begun.append(time.monotonic())
            return whole(self, *arguments)

    watched = Watched(reader.spec, reader._networks, 2)
    data = tiff(*(draw([f"Page {n}"]) for n in range(8)))
    watched.ocr(OcrRequest(documents=(data,)), Listener(after))
    watched.pages.shutdown()
    assert len(during) == 8
    assert all(count <= 1 for count in during)  # a thread may just have been about to start
    assert sum(during) <= 2


def test_without_openvino_onnxruntime_reads(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    spec = next(spec for spec in ocr.SPECS if spec.id == "rapidocr")
    reader = ocr.load(spec, Settings(ocr_workers=1))
    assert reader._networks is not None and reader._networks.engine == "onnxruntime"
    assert read(reader, draw(ENGLISH)).text == "\n".join(ENGLISH)
    reader.close()


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch):
    import socket

    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    networks = _networks.open_networks(1)
    assert len(networks.letters) > 18_000
