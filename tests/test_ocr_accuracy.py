"""One drawn page of each language and condition: the figures that the reader must keep."""

from __future__ import annotations

import pytest

from bench.ocr import batch, family, png
from bench.pages import LANGUAGES, distance, errors, few, paragraphs, plain, sheets
from engine.languages import installed_packs

pytestmark = pytest.mark.slow


def test_error_rates():
    readable = tuple(x for x in LANGUAGES if x != "ru" or "rus" in installed_packs())
    chosen = list(few(readable))
    reader = family()
    pages = batch(reader, [png(sheet) for sheet in chosen])
    reader.close()
    rates = {
        sheet.name: errors(page.text, sheet.text) / len(plain(sheet.text))
        for sheet, page in zip(chosen, pages, strict=True)
    }
    worst = {name: 0.004 if "clean" in name else 0.01 for name in rates}
    assert {name: rate for name, rate in rates.items() if rate > worst[name]} == {}
    for sheet, page in zip(chosen, pages, strict=True):
        parts = page.text.count("\n\n") + 1
        assert abs(parts - len(paragraphs(sheet.language))) <= 2, sheet.name


def test_pages_are_forty_and_always_the_same():
    found = sheets()
    assert len(found) == 40 == len({sheet.name for sheet in found})
    assert found[5].draw().tobytes() == sheets()[5].draw().tobytes()


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0), ("abc", "", 3), ("ab", "ba", 2)],
)
def test_distance(first: str, second: str, apart: int):
    assert distance(first, second) == apart
