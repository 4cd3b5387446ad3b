"""Read pages as hOCR: XHTML whose classes and titles tell where pages, lines and words stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from engine._words import Word, corners_of, find_words, slope_of
from engine.events import Corners, Page, Segment

STEEP = 45.0  # degrees: beyond, a line is turned and not just tilted
SYSTEM = "atelier"
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


def write_hocr(pages: Sequence[Page], title: str = "", language: str = "") -> str:
    """The pages as one hOCR document; what stands for a document that did not open is left out."""
    body = "\n".join(_page(number, page) for number, page in enumerate(pages, 1) if page.number)
    lang = f' xml:lang="{_flat(language)}" lang="{_flat(language)}"' if language else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" '
        '"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
        f'<html xmlns="http://www.w3.org/1999/xhtml"{lang}>\n<head>\n'
        f"<title>{_flat(title)}</title>\n"
        '<meta http-equiv="Content-Type" content="text/html; charset=utf-8" />\n'
        f'<meta name="ocr-system" content="{SYSTEM}" />\n'
        '<meta name="ocr-capabilities" content="ocr_page ocr_line ocrx_word ocrp_wconf" />\n'
        f'<meta name="ocr-number-of-pages" content="{sum(1 for page in pages if page.number)}" />\n'
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _page(number: int, page: Page) -> str:
    lines = "\n".join(
        _line(f"{number}_{at}", line) for at, line in enumerate(page.lines, 1) if line.box
    )
    if not lines and page.text:  # a reader that tells no places
        lines = f"<p>{_flat(page.text)}</p>"
    title = f"bbox 0 0 {page.width} {page.height}; ppageno {page.number - 1}"
    return f'<div class="ocr_page" id="page_{number}" title="{title}">\n{lines}\n</div>'


def _line(name: str, line: Segment) -> str:
    x0, y0, x1, y1 = line.box or (0.0, 0.0, 0.0, 0.0)
    title = f"bbox {x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f}; {_lie(line)}"
    if line.score is not None:
        title += f"; x_wconf {round(100 * line.score)}"
    words = " ".join(
        _word(f"{name}_{at}", word, line) for at, word in enumerate(find_words(line), 1)
    )
    return f'<span class="ocr_line" id="line_{name}" title="{title}">{words}</span>'


def _lie(line: Segment) -> str:
    """How the line runs: its baseline, measured from the lower left of its box, or its angle."""
    angle = slope_of(line)
    if abs(angle) > STEEP:
        return f"textangle {-angle % 360:.2f}"  # counted against the clock
    x0, y0, x1, y1, _, _, x3, y3 = corners_of(line)
    left, _, _, bottom = line.box or (0.0, 0.0, 0.0, 0.0)
    slope = (y1 - y0) / max(x1 - x0, 1e-6)
    return f"baseline {slope:.4f} {y3 - bottom - slope * (x3 - left):.1f}"


def _word(name: str, word: Word, line: Segment) -> str:
    x0, y0, x1, y1 = _box(word, corners_of(line))
    title = f"bbox {x0:.0f} {y0:.0f} {x1:.0f} {y1:.0f}"
    if line.score is not None:
        title += f"; x_wconf {round(100 * line.score)}"
    return f'<span class="ocrx_word" id="word_{name}" title="{title}">{_flat(word.text)}</span>'


def _box(word: Word, corners: Corners) -> tuple[float, float, float, float]:
    ax, ay, bx, by, cx, cy, dx, dy = corners
    xs = [ax + (bx - ax) * share for share in (word.start, word.end)]
    xs += [dx + (cx - dx) * share for share in (word.start, word.end)]
    ys = [ay + (by - ay) * share for share in (word.start, word.end)]
    ys += [dy + (cy - dy) * share for share in (word.start, word.end)]
    return min(xs), min(ys), max(xs), max(ys)


def _flat(text: str) -> str:
    return escape(_CONTROL.sub("", text))
