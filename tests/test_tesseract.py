"""Tesseract's command line: what is asked of it, what its table says, and its end."""

from __future__ import annotations

import subprocess
import threading
import time

import numpy as np
import pytest

from engine.errors import InferenceFailed, Unavailable
from engine.families import _cleaning, _tesseract
from engine.families._tesseract import Word, check_packs, look, read_page
from engine.languages import installed_packs
from tests.drawn import ENGLISH, RUSSIAN, draw

HEAD = (
    "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext"
)
needs = pytest.mark.skipif(not installed_packs(), reason="Tesseract is not installed")


def always() -> bool:
    return True


def grey(lines: tuple[str, ...], **how: object) -> np.ndarray:
    return np.asarray(draw(lines, **how).convert("L")).copy()


def word(line: int, left: int, top: int, width: int, height: int, conf: float, text: str) -> str:
    return f"5\t1\t1\t1\t{line}\t1\t{left}\t{top}\t{width}\t{height}\t{conf}\t{text}"


def test_the_table_becomes_lines():
    table = "\n".join([
        HEAD, "4\t1\t1\t1\t1\t0\t10\t10\t300\t30\t-1\t",
        word(1, 10, 10, 100, 30, 90, "Hello,"), word(1, 120, 12, 90, 28, 60, "world"),
        word(2, 10, 60, 50, 30, 96.5, "Bye"), word(3, 10, 90, 50, 30, 95, " "), "cut\toff",
    ])  # fmt: skip
    first, second = _tesseract._rows(table)
    assert (first.text, first.box) == ("Hello, world", (10, 10, 210, 40))
    assert first.score == pytest.approx((6 * 0.9 + 5 * 0.6) / 11)
    assert second.text == "Bye"


@pytest.mark.parametrize(
    ("width", "top", "told", "meant"),
    [
        (9, 24, "–", "-"),
        (15, 24, "-", "–"),
        (15, 24, "--", "–"),
        (30, 24, "-", "—"),
        (15, 42, "_", "_"),
        (15, 24, "a", "a"),
    ],
)
def test_a_lone_stroke_is_what_its_length_says(width: int, top: int, told: str, meant: str):
    table = "\n".join(
        [HEAD, word(1, 10, 10, 200, 33, 90, "Ёлочка"), word(1, 230, top, width, 3, 90, told)]
    )
    (row,) = _tesseract._mended(_tesseract._rows(table))
    assert row.words[1].text == meant


def test_letters_that_need_no_blanks_have_none():
    row = _tesseract.Row(
        (1, 1), [Word(c, (n, 0, n + 1, 1), 1.0) for n, c in enumerate("日本語 OCR")]
    )
    assert row.text.startswith("日本語")


@needs
def test_a_page_is_read():
    rows = read_page(grey(ENGLISH), ["eng"], always)
    assert [row.text for row in rows] == list(ENGLISH)
    assert all(0.8 < row.score <= 1 for row in rows)
    assert rows[0].box[1] < rows[1].box[1] < rows[2].box[1]


@needs
def test_an_empty_page_has_no_rows_and_no_script():
    blank = np.full((400, 300), 255, np.uint8)
    assert read_page(blank, ["eng"], always) == []
    assert look(blank, always).script == ""


@needs
@pytest.mark.skipif("rus" not in installed_packs(), reason="no Russian pack")
def test_a_page_tells_its_script_and_turn():
    lie = look(np.ascontiguousarray(np.rot90(grey(RUSSIAN * 3), 2)), always)
    assert (lie.script, lie.turn) == ("Cyrillic", 180)


@needs
def test_it_is_killed_when_nobody_waits(monkeypatch: pytest.MonkeyPatch):
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: object, **how: object) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **how))
        return started[-1]

    monkeypatch.setattr(_tesseract.subprocess, "Popen", start)
    gone = threading.Event()
    threading.Timer(0.1, gone.set).start()
    page = np.tile(grey(ENGLISH * 10), (4, 3))
    began = time.monotonic()
    read_page(page, ["eng"], lambda: not gone.is_set())
    assert time.monotonic() - began < 3
    assert started[0].returncode == -9


@needs
def test_what_it_cannot_read_is_a_failure_without_paths():
    with pytest.raises(InferenceFailed) as caught:
        read_page(np.zeros((0, 0), np.uint8), ["eng"], always)
    assert "/" not in str(caught.value)


def test_missing_packs_and_a_missing_program_name_the_package(monkeypatch: pytest.MonkeyPatch):
    if installed_packs():
        check_packs(["eng"])
        with pytest.raises(Unavailable, match="apt-get install tesseract-ocr-kat-old"):
            check_packs(["eng", "kat_old"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match=r"apt-get install tesseract-ocr\.$"):
        check_packs(["eng"])


@pytest.mark.parametrize("degrees", [-3.0, -1.0, 2.0, 5.0])
def test_tilts_are_found_and_boxes_placed_back(degrees: float):
    picture = draw(ENGLISH * 5, width=900)
    tilted = picture.rotate(degrees, fillcolor="white")
    cleaned = _cleaning.clean(np.asarray(tilted))
    assert _cleaning.tilt(np.asarray(tilted.convert("L"))) == pytest.approx(-degrees, abs=0.25)
    middle = np.array(picture.size) / 2
    assert np.allclose(cleaned.place(*middle, *middle)[0], middle, atol=1.5)
    assert abs(_cleaning.tilt(cleaned.picture)) < 0.3


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_pages_are_turned_back(turn: int):
    page = np.zeros((40, 60, 3), np.uint8)
    page[5, 7] = 255
    cleaned = _cleaning.clean(page, turn, level=False)
    y, x = np.argwhere(cleaned.picture != cleaned.picture[0, 0])[0]
    assert np.allclose(cleaned.place(x + 0.5, y + 0.5, x + 1, y + 1)[0], (7.5, 5.5))


def test_grain_is_told_from_print():
    clean, chance = grey(ENGLISH * 5), np.random.default_rng(1)
    noisy = np.clip(clean + chance.normal(0, 30, clean.shape), 0, 255).astype(np.uint8)
    assert _cleaning.grain(clean) < 1
    assert _cleaning.grain(noisy) > _cleaning.GRAINY
