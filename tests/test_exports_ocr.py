"""What was read, as files: each is read back by something that is not ours."""

from __future__ import annotations

import io
import json
import math
import re
import struct
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import pypdfium2
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFont

from engine._glyphless import font_file
from engine._words import find_words
from engine.errors import BadFormat, BadValue
from engine.events import Page, Segment
from engine.exports import EXPORTS, export
from engine.pages import open_document
from engine.pictures import encode
from tests.paper import FONT

DPI = 200
SIZE = (1200, 900)
TEXTS = {
    "en": "The quick brown fox jumps over a lazy dog, illicitly",
    "fr": "Où l’été s’achève — ça déçoit l'élève à Nîmes",
    "pt": "Não há ações além da lição à mão",
    "ru": "Съешь ещё этих мягких французских булок 3",
}
XHTML = "{http://www.w3.org/1999/xhtml}"


@dataclass(frozen=True)
class Drawn:
    """A page, its picture, and where each of its words really stands: text, middle x and y."""

    page: Page
    picture: Image.Image
    words: tuple[tuple[str, float, float], ...]


def drawn(tilt: float) -> Drawn:
    picture = Image.new("RGB", SIZE, "white")
    font = ImageFont.truetype(FONT, 30)
    height = sum(font.getmetrics())
    lines, words = [], []
    for number, text in enumerate(TEXTS.values()):
        x, y = 120, 150 + 180 * number
        ImageDraw.Draw(picture).text((x, y), text, "black", font)
        right = x + font.getlength(text)
        points = [
            turned(*p, tilt) for p in ((x, y), (right, y), (right, y + height), (x, y + height))
        ]
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        corners = tuple(v for point in points for v in point) if tilt else None
        lines.append(Segment(text, box=(min(xs), min(ys), max(xs), max(ys)), score=0.934, corners=corners))  # fmt: skip
        for found in re.finditer(r"\S+", text):
            middle = x + (font.getlength(text[: found.start()]) + font.getlength(text[: found.end()])) / 2  # fmt: skip
            words.append((found[0], *turned(middle, y + height / 2, tilt)))
    picture = picture.rotate(-tilt, Image.Resampling.BICUBIC, fillcolor="white")
    page = Page(0, 1, 1, *SIZE, tuple(lines), "\n\n".join(TEXTS.values()), "", "reader")
    return Drawn(page, picture, tuple(words))


def turned(x: float, y: float, tilt: float) -> tuple[float, float]:
    """Turned clockwise, as seen, about the middle of the page."""
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    x, y = x - SIZE[0] / 2, y - SIZE[1] / 2
    return SIZE[0] / 2 + cos * x - sin * y, SIZE[1] / 2 + sin * x + cos * y


@pytest.fixture(scope="module", params=[0, 3, -10, 90])
def sheet(request: pytest.FixtureRequest) -> Drawn:
    return drawn(request.param)


def searchable(sheet: Drawn) -> bytes:
    return export([sheet.page], "pdf", lambda page: encode(sheet.picture, "jpeg"), "Ещё à", "ru")


def test_every_word_is_found_where_it_stands(sheet: Drawn):
    pdf = pypdfium2.PdfDocument(searchable(sheet))
    text = pdf[0].get_textpage()
    for word, x, y in sheet.words:
        search = text.search(word, match_case=True, match_whole_word=len(word) == 1)
        places = []
        while found := search.get_next():
            boxes = [text.get_charbox(at, loose=True) for at in range(found[0], sum(found))]
            left, right = min(b[0] for b in boxes), max(b[2] for b in boxes)
            low, high = min(b[1] for b in boxes), max(b[3] for b in boxes)
            places.append(((left + right) * DPI / 144, SIZE[1] - (low + high) * DPI / 144))
        assert places, word
        assert min(math.dist(place, (x, y)) for place in places) < 12, (word, places, x, y)
    pdf.close()


def test_lines_come_back(sheet: Drawn):
    with open_document(searchable(sheet)) as document:
        lines = document.layer(1, DPI)
    assert lines and {line.text for line in lines} == set(TEXTS.values())
    wanted = {line.text: line.box for line in sheet.page.lines}
    for line in lines:
        assert np.allclose(line.box, wanted[line.text], atol=10), line


def test_a_phrase_over_words_and_the_title():
    pdf = pypdfium2.PdfDocument(searchable(drawn(0)))
    text = pdf[0].get_textpage()
    assert text.search("мягких французских").get_next()
    assert text.search("quick brown fox").get_next()
    assert pdf.get_metadata_value("Title") == "Ещё à"
    pdf.close()


def test_the_text_is_not_seen(sheet: Drawn):
    with open_document(searchable(sheet)) as document:
        shown = document.render(1, DPI)
    source = Image.open(io.BytesIO(encode(sheet.picture, "jpeg"))).convert("RGB")
    difference = np.asarray(ImageChops.difference(shown, source.resize(shown.size)))
    assert difference.mean() < 2


def test_a_jpeg_is_kept_as_it_is():
    sheet = drawn(0)
    data = encode(sheet.picture, "jpeg", 70)
    assert data in export([sheet.page], "pdf", lambda page: data)
    png = export([sheet.page], "pdf", lambda page: encode(sheet.picture, "png"))
    assert b"/DCTDecode" in png and len(png) < 2 * len(data) + 20_000


def test_what_cannot_be_shown_is_an_empty_page():
    def source(page: Page) -> bytes:
        if page.number == 2:
            raise BadFormat("Page 2 is broken.")
        return encode(Image.new("RGB", (20, 20)), "png")

    pages = [
        Page(0, 0, 0, error="No document.", code="BAD_FORMAT"),
        Page(0, 1, 2, 40, 40, (Segment("twice as large", box=(0, 0, 40, 20)),), "twice as large"),
        Page(0, 2, 2, error="Page 2 is broken.", code="BAD_FORMAT"),
    ]
    with open_document(export(pages, "pdf", source)) as document:
        assert document.count == 2 and document.layer(2) is None
        assert document.size(1, DPI) == (20, 20)
        assert document.render(2, 72).getcolors() == [(595 * 842, (255, 255, 255))]


def test_from_right_to_left():
    line = Segment("שלום עולם", box=(10, 10, 200, 40))
    page = Page(0, 1, 1, 220, 60, (line,), line.text)
    data = export([page], "pdf", lambda page: encode(Image.new("RGB", (220, 60), "white"), "jpeg"))
    pdf = pypdfium2.PdfDocument(data)
    assert sorted(pdf[0].get_textpage().get_text_range().split()) == sorted(line.text.split())
    pdf.close()
    first, last = find_words(line)
    assert first.start > last.end, "it is read from the right"


@pytest.mark.parametrize(
    "text", ["smile 😀", "\x00\x07", "\ud800 half", "e\u0301", "汉字 한국어", " "]
)
def test_odd_letters_break_nothing(text: str):
    page = Page(0, 1, 1, 220, 60, (Segment(text, box=(10, 10, 200, 40)),), "odd")
    picture = encode(Image.new("RGB", (220, 60), "white"), "jpeg")
    with open_document(export([page], "pdf", lambda page: picture)) as document:
        document.layer(1)
    for kind in ("hocr", "json", "text", "markdown"):
        export([page], kind).decode()


def test_the_font_is_one_that_others_read():
    font = ImageFont.truetype(io.BytesIO(font_file()), 100)
    assert font.getmetrics() == (80, 20)
    data = font_file()
    assert sum(struct.unpack(f">{len(data) // 4}I", data)) & 0xFFFFFFFF == 0xB1B0AFBA


def test_words_move_to_the_gaps_one_sees():
    picture = Image.new("RGB", (400, 40), "white")
    for left, right in ((0, 40), (80, 240), (270, 400)):
        picture.paste("black", (left, 15, right, 25))
    line = Segment("aa bb cc", box=(0, 0, 400, 40))
    seen = [(word.start * 400, word.end * 400) for word in find_words(line, picture)]
    assert np.allclose(seen, [(0, 40), (80, 240), (270, 400)], atol=3)
    guessed = [word.start for word in find_words(line)]
    assert guessed == pytest.approx([0, 0.36, 0.72], abs=0.03)


def test_hocr(sheet: Drawn):
    unplaced = Page(0, 2, 2, 10, 10, (), "no places <&>\x07")
    data = export([sheet.page, unplaced], "hocr", None, "A & <b>", "fr")
    root = ElementTree.fromstring(data)
    assert root.get("lang") == "fr" and root.findtext(f".//{XHTML}title") == "A & <b>"
    first, second = (e for e in root.iter() if e.get("class") == "ocr_page")
    assert "bbox 0 0 1200 900" in first.get("title", "") and "ppageno 1" in second.get("title", "")
    assert "no places <&>" in "".join(second.itertext())
    for line, element in zip(
        sheet.page.lines, (e for e in first if e.get("class") == "ocr_line"), strict=True
    ):
        title = dict(part.strip().split(" ", 1) for part in element.get("title", "").split(";"))
        assert np.allclose([float(v) for v in title["bbox"].split()], line.box, atol=1)
        assert title["x_wconf"] == "93"
        assert " ".join("".join(element.itertext()).split()) == line.text
        x2, y2, x3, y3 = (line.corners or (*line.box, *line.box[2:], line.box[0], line.box[3]))[4:]
        if "textangle" in title:
            assert float(title["textangle"]) == pytest.approx(270)
        else:
            slope, offset = (float(value) for value in title["baseline"].split())
            for x, y in ((x2, y2), (x3, y3)):
                assert line.box[3] + offset + slope * (x - line.box[0]) == pytest.approx(y, abs=1)
        words = [e for e in element if e.get("class") == "ocrx_word"]
        assert [word.text for word in words] == line.text.split()


def test_json():
    sheet = drawn(3)
    broken = Page(1, 0, 0, error="It is locked.", code="BAD_VALUE")
    whole = json.loads(export([sheet.page, broken], "json", None, "T", "pt"))
    assert (whole["version"], whole["title"], whole["language"]) == (1, "T", "pt")
    page, failed = whole["pages"]
    assert set(page) == {
        "document", "number", "count", "width", "height", "text", "markdown", "model", "error", "lines"
    }  # fmt: skip
    line = page["lines"][0]
    assert line["text"] == TEXTS["en"] and line["score"] == 0.934
    assert np.allclose(line["box"], sheet.page.lines[0].box, atol=0.01)
    assert np.allclose(np.ravel(line["corners"]), sheet.page.lines[0].corners, atol=0.01)
    assert failed["error"] == {"code": "BAD_VALUE", "message": "It is locked."}


PAGES = (
    Page(0, 1, 3, text="One *star*\n1. two\n\n# three"),
    Page(0, 2, 3, error="It is broken.", code="BAD_FORMAT"),
    Page(0, 3, 3, text="plain", markdown="# Title\n\n|a|\n|-|"),
)


def test_text():
    whole = export(PAGES, "text").decode()
    assert whole.split("\f") == [
        "One *star*\n1. two\n\n# three\n", "[Page 2: It is broken.]\n", "plain\n"
    ]  # fmt: skip


def test_markdown():
    one, two, three = export(PAGES, "markdown").decode().split("\n\n---\n\n")
    assert one == "One \\*star\\*  \n1\\. two\n\n\\# three"
    assert two == "> Page 2: It is broken." and three == "# Title\n\n|a|\n|-|\n"


@pytest.mark.parametrize("kind", EXPORTS)
def test_nothing_and_all_kinds(kind: str):
    assert isinstance(export([], kind, lambda page: b""), bytes)


@pytest.mark.parametrize("kind", ["docx", "", "PDF"])
def test_no_such_kind(kind: str):
    with pytest.raises(BadValue, match="text, markdown, json, hocr, pdf"):
        export(PAGES, kind)


def test_a_pdf_needs_pictures():
    with pytest.raises(BadValue, match="pictures"):
        export(PAGES, "pdf")


def test_languages_that_are_no_code_are_left_out():
    assert b"lang=" not in export(PAGES, "hocr", None, "", 'x" onload="')
