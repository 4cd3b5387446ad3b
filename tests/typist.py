"""A family that reads documents without looking: line by line, page by page, always the same.

Documents are really opened, so that what cannot be opened fails as it would. Options of a row: `pause` seconds a
page, `scores` of the lines in turn, `fail` the page that makes the whole run fail, `bad` the one that cannot be
read (0: all), `journal` a file that gets a line for each page.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field

from engine.errors import InferenceFailed
from engine.events import Done, Page, Progress, Segment
from engine.pages import choose_pages, open_document, page_text
from engine.registry import Emit, ModelSpec
from engine.requests import OcrRequest
from engine.settings import Settings

LINES = 5
READS = frozenset({"ocr"})
SPECS = (
    ModelSpec(id="ocr", does=READS, family="typist", memory=100, starter=True),
    ModelSpec(id="typist", does=READS, family="typist", memory=100, aliases=("typewriter",)),
    ModelSpec(id="slow", does=READS, family="typist", memory=100, options={"pause": 0.05}),
    ModelSpec(id="unsure", does=READS, family="typist", memory=100, options={"scores": (0.9, 0.3)}),
    ModelSpec(id="breaks", does=READS, family="typist", memory=100, options={"fail": 3}),
    ModelSpec(id="skips", does=READS, family="typist", memory=100, options={"bad": 2}),
    ModelSpec(id="never", does=READS, family="typist", memory=100, options={"bad": 0}),
)


def text_of(number: int, line: int) -> str:
    """What line `line` (from 0) of a page says."""
    return f"Page {number}, line {line}"


def tiff(pages: int, side: int = 40) -> bytes:
    """A TIFF of small pages; page n is n grey levels darker."""
    from PIL import Image

    sheets = [Image.new("L", (side, side * 2), 255 - n % 200) for n in range(pages)]
    out = io.BytesIO()
    sheets[0].save(out, "TIFF", save_all=True, append_images=sheets[1:])
    return out.getvalue()


def pdf(text: str) -> bytes:
    """A PDF of one page with a line of text of its own."""
    shown = f"BT /F1 18 Tf 40 700 Td ({text}) Tj ET".encode()
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources 6 0 R >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(shown), shown),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Font << /F1 5 0 R >> >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(parts) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        len(parts) + 1, start,
    )  # fmt: skip


@dataclass
class Typist:
    """Reads one document after another and remembers which pages it was at."""

    spec: ModelSpec
    read: list[tuple[int, int]] = field(default_factory=list)
    closed: bool = False

    def ocr(self, request: OcrRequest, emit: Emit) -> None:
        options = self.spec.options
        for place, data in enumerate(request.documents):
            with open_document(data, request.password) as document:
                numbers = choose_pages(request.pages, document.count)
                for done, number in enumerate(numbers):
                    emit(None)
                    if options.get("fail") == number:
                        raise InferenceFailed("The ribbon tore. Try again.")
                    self._note(place, number)
                    time.sleep(options.get("pause", 0.0))
                    size = document.size(number, request.dpi)
                    emit(self._page(place, number, document.count, size))
                    emit(Progress(done + 1, len(numbers)))
        emit(Done())

    def _note(self, place: int, number: int) -> None:
        self.read.append((place, number))
        if journal := self.spec.options.get("journal"):
            with open(journal, "a", encoding="utf-8") as file:
                file.write(f"{number}\n")

    def _page(self, place: int, number: int, count: int, size: tuple[int, int]) -> Page:
        if self.spec.options.get("bad") in (number, 0):
            return Page(
                place, number, count, error="The ink is gone. Scan it again.", code="BAD_FORMAT"
            )
        width, height = size
        scores = self.spec.options.get("scores", (0.9,))
        lines = tuple(
            Segment(
                text_of(number, n),
                box=(0.0, n * height / LINES, float(width), (n + 0.8) * height / LINES),
                score=scores[n % len(scores)],
            )
            for n in range(LINES)
        )
        return Page(
            place, number, count, width, height, lines, page_text(lines), model=self.spec.id
        )

    def close(self) -> None:
        self.closed = True


def load(spec: ModelSpec, settings: Settings) -> Typist:
    return Typist(spec)
