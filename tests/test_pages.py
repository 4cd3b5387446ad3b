"""Documents opened, drawn and asked for their own text."""

from __future__ import annotations

import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from engine import _pdf, pictures
from engine.errors import AtelierError, BadFormat, BadValue, TooLarge
from engine.pages import choose_pages, open_document, page_text
from engine.pictures import encode, measure
from tests.paper import Line, locked, pdf, plain, png_claiming, sheet, tiff, written
from tests.sources import ROOT

TEXTS = ("The quick brown fox", "Où est le garçon ?", "Não há lições", "Съешь ещё булок")
PAGE = [Line(50, 780 - 40 * at, text) for at, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def paper() -> bytes:
    return pdf([PAGE, [Line(50, 700, "Second page")]])


def test_a_pdf(paper: bytes):
    with open_document(paper) as document:
        assert (document.kind, document.count) == ("pdf", 2)
        picture = document.render(1, 100)
        assert picture.mode == "RGB" and picture.size == document.size(1, 100) == (827, 1170)
        lines = document.layer(1, 100)
        assert lines and tuple(line.text for line in lines) == TEXTS
        ink = 255 - np.asarray(picture.convert("L"), dtype=float)
        for line in lines:
            x0, y0, x1, y1 = (round(value) for value in line.box)
            assert ink[y0:y1, x0:x1].sum() > 1000
            ink[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = 0
        assert ink.sum() < 100, "something lies outside the boxes"


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("tilt", [0, 3, -12, 90])
def test_corners_follow_the_ink(turn: int, tilt: float):
    data = pdf([[Line(200, 400, "A line of words", 14, tilt)]], turn=turn)
    with open_document(data) as document:
        (line,) = document.layer(1, 100)
        picture = document.render(1, 100)
    x0, y0, x1, y1, x2, y2, x3, y3 = line.corners or (
        line.box[0], line.box[1], line.box[2], line.box[1],
        line.box[2], line.box[3], line.box[0], line.box[3],
    )  # fmt: skip
    flat = picture.transform(
        (400, 40), Image.Transform.QUAD, (x0, y0, x3, y3, x2, y2, x1, y1), Image.Resampling.BILINEAR
    )
    ink = 255 - np.asarray(flat.convert("L"), dtype=float)
    assert ink[:, :20].sum() > 300 and ink[:, -20:].sum() > 100, "it begins and ends in the frame"
    rest = 255 - np.asarray(picture.convert("L"), dtype=float)
    assert ink.sum() / (400 * 40) * np.hypot(x1 - x0, y1 - y0) * np.hypot(
        x3 - x0, y3 - y0
    ) == pytest.approx(rest.sum(), rel=0.1)
    angle = np.degrees(np.arctan2(y1 - y0, x1 - x0))
    assert (angle - (turn - tilt) + 180) % 360 - 180 == pytest.approx(0, abs=0.5)


def test_a_crop_box():
    data = pdf([[Line(150, 500, "inside")]], crop=(100, 400, 400, 600))
    with open_document(data) as document:
        assert document.size(1, 72) == (300, 200)
        (line,) = document.layer(1, 72)
        assert line.box[0] == pytest.approx(50, abs=3) and 85 < line.box[1] < 100


def test_columns_and_order():
    rows = [Line(50, 700, "left"), Line(350, 700, "right"), Line(50, 650, "below")]
    with open_document(pdf([rows])) as document:
        lines = document.layer(1)
    assert [line.text for line in lines] == ["left", "right", "below"]
    assert page_text(lines) == "left\tright\n\nbelow"


def test_a_page_written_backwards_is_put_in_order():
    rows = [Line(50, 100 + 20 * at, f"line {12 - at}") for at in range(12)]
    with open_document(pdf([rows])) as document:
        assert [line.text for line in document.layer(1)] == [f"line {n}" for n in range(1, 13)]


def test_a_scan_with_a_stamp_has_no_text_of_its_own():
    scan = encode(written("scanned"), "jpeg")
    with open_document(pdf([[Line(50, 20, "Page 1 of 3")]], scan=scan)) as document:
        assert document.layer(1) is None
    with open_document(pdf([[*PAGE, Line(50, 300, "and ten words more")]], scan=scan)) as document:
        assert document.layer(1), "text under a scan that was read before counts"


def test_a_tiff_of_several_sizes():
    frames = [Image.new("RGB", size, "red") for size in ((30, 20), (10, 50), (7, 7))]
    with open_document(tiff(*frames)) as document:
        assert (document.kind, document.count) == ("tiff", 3)
        assert [document.render(n).size for n in (3, 1, 2)] == [(7, 7), (30, 20), (10, 50)]
        assert document.size(2) == (10, 50) and document.layer(2) is None


@pytest.mark.parametrize(("count", "limit"), [(60, 60), (61, 60)])
def test_too_many_frames(count: int, limit: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "FRAMES", limit)
    data = tiff(*[Image.new("1", (3, 3))] * count)
    if count > limit:
        with pytest.raises(TooLarge, match="60 frames"):
            open_document(data)
    else:
        assert open_document(data).count == measure(data).frames == count


def test_a_picture():
    with open_document(plain("JPEG")) as document:
        assert (document.kind, document.count, document.size(1)) == ("picture", 1, (30, 20))
        assert document.render(1, 300).size == (30, 20) and document.layer(1) is None


@pytest.mark.parametrize("data", [plain(), pdf([PAGE]), tiff(*[Image.new("1", (9, 9))] * 2)])
@pytest.mark.parametrize("number", [0, 3, -1])
def test_no_such_page(data: bytes, number: int):
    with open_document(data) as document:
        for ask in (document.render, document.size, document.layer):
            with pytest.raises(BadValue, match="no page"):
                ask(number)


@pytest.mark.parametrize(
    ("password", "said"), [("", "Give its password"), ("wrong", "does not open")]
)
def test_a_locked_pdf(password: str, said: str):
    with pytest.raises(BadValue, match=said) as error:
        open_document(locked("secret"), password)
    assert error.value.param == "password"


def test_the_right_password():
    with open_document(locked("secret"), "secret") as document:
        assert document.count == 1 and document.render(1, 72).size == (200, 100)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadValue),
        (b"%PDF-1.7 and nothing", BadFormat),
        (sheet()[:150], BadFormat),
        (sheet(count=0), BadFormat),
        (plain("GIF"), BadFormat),
        (b"plain text", BadFormat),
        (plain()[:40], BadFormat),
        (png_claiming(20_000, 20_000), TooLarge),
        (sheet("0 0 1000000 1000000"), TooLarge),
        (sheet("0 0 1 1000000"), TooLarge),
    ],
)
def test_what_cannot_be_read(data: bytes, error: type[AtelierError]):
    with pytest.raises(error) as caught, open_document(data, param="file") as document:
        document.render(1)
    assert caught.value.param == "file"


def test_ten_thousand_pages():
    with open_document(sheet(count=10_000)) as document:
        assert document.count == 10_000
        with pytest.raises(TooLarge, match="for example 1-200"):
            choose_pages("", document.count)
        assert choose_pages("9998-", document.count) == [9998, 9999, 10_000]
        assert document.render(9_999, 36).size == (100, 50)


def test_huge_pages_are_drawn_coarser():
    with open_document(sheet("0 0 14400 14400")) as document:
        width, height = document.size(1, 600)
        assert 7_800 < width == height and width * height <= 64_000_000


@pytest.mark.parametrize("box", ["0 0 0 0", "0 0 0.001 0.001", "200 100 0 0", "0 0 1e99 nan", "x"])
def test_odd_boxes(box: str):
    with open_document(sheet(box)) as document:
        assert document.render(1, 72).size == document.size(1, 72)


@pytest.mark.slow
def test_bombs_take_their_own_process_along(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_pdf, "MEMORY", 300 << 20)
    content = zlib.compress(zlib.compress(b"q " * 50_000_000, 9), 9)
    bomb = sheet(content=content, filters=b"/Filter [/FlateDecode /FlateDecode]", count=2)
    with open_document(bomb) as document:
        for _ in range(2):
            with pytest.raises(BadFormat, match="Page 1 makes the reader fail"):
                document.render(1)
        assert document.size(2, 72) == (200, 100), "the document goes on"


def test_a_page_that_takes_too_long(monkeypatch: pytest.MonkeyPatch):
    content = zlib.compress(b"0 0 m 200 100 l S " * 400_000, 9)
    with open_document(sheet(content=content, filters=b"/Filter /FlateDecode")) as document:
        monkeypatch.setattr(_pdf, "SECONDS", 0.2)
        with pytest.raises(BadFormat, match="takes more than"):
            document.render(1, 600)


def test_many_threads_one_document(paper: bytes):
    sizes: list[tuple[int, int]] = []
    with open_document(paper) as document:
        threads = [
            threading.Thread(target=lambda: sizes.append(document.render(1, 50).size))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sizes == [(414, 585)] * 8


def test_closed_twice_and_used_after(paper: bytes):
    document = open_document(paper)
    document.close()
    document.close()
    with pytest.raises(ValueError, match="closed"):
        document.render(1)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", [1, 2, 3, 4, 5]), ("all", [1, 2, 3, 4, 5]), ("3", [3]), ("4-", [4, 5]), ("-2", [1, 2]),
        ("5,1-2, 2", [1, 2, 5]), (" 2 - 3 ", [2, 3]), ("4-999", [4, 5]),
    ],
)  # fmt: skip
def test_choose_pages(text: str, chosen: list[int]):
    assert choose_pages(text, 5) == chosen


@pytest.mark.parametrize(
    "text", ["x", "1;2", "0", "0-3", "3-1", "6", "6-9", "6-", "-", "1,,2", "1-2-3", "9" * 20, "１", "-0"]
)  # fmt: skip
def test_pages_that_cannot_be_chosen(text: str):
    with pytest.raises(BadValue) as error:
        choose_pages(text, 5)
    assert error.value.param == "pages"


def test_too_many_pages():
    with pytest.raises(TooLarge, match="201 pages, and 200"):
        choose_pages("1-201", 1000)
    assert len(choose_pages("1-200", 1000)) == 200


PEAK = """
import resource, sys
from engine.pages import open_document
from tests.paper import Line, pdf
count = int(sys.argv[1])
lines = [Line(50, 800 - 14 * row, "A line of many words that fills the page quite well") for row in range(50)]
with open_document(pdf([lines] * count)) as document:
    for number in range(1, document.count + 1):
        assert document.layer(number) and document.render(number).size == (1653, 2339)
print(sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


@pytest.mark.slow
def test_two_hundred_pages_take_the_memory_of_twenty():
    def peak(count: int) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(count)], cwd=ROOT, capture_output=True, timeout=110
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return int(done.stdout)

    few, many = peak(20), peak(200)
    assert many <= 1.2 * few, (few, many)
