"""What a child process runs to read one PDF: PDFium, which a crafted file can make crash, hang or swell.

It imports nothing of ours. The document comes first on standard input: one line of JSON (`bytes`, `password`,
`memory`, `pixels`), then its bytes. Then one question a line, and to each an answer of one line and `bytes` of
payload. Pixels go another way, for they are many: into the file whose number is `pixels`.

    {"ask": "size",   "page": 0}                → {"width", "height"} in points, as the page is shown
    {"ask": "render", "page": 0, "scale": 2.0}  → {"width", "height"}, rows of RGB in the file
    {"ask": "glyphs", "page": 0}                → {"place", "covered"}, FIELDS doubles for each character

An answer with `error` says why there is none: "password", "security", "broken".
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
from array import array
from typing import Any, BinaryIO

# unicode, kind (0 drawn, 1 made up by PDFium, 2 a hyphen at a line's end, 3 drawn and of unknown meaning),
# left, bottom, right, top, x and y of its origin, x and y of the way its line runs, height of its font
FIELDS = 11
MOST_GLYPHS = 200_000  # of a page; more is nothing that anybody reads
CPU_SECONDS = 120  # for one answer, should nobody be there any more to end it


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Open the document, then answer until the questions end."""
    opening = json.loads(source.readline())
    limit_memory(opening["memory"])
    data = source.read(opening["bytes"])

    from pypdfium2 import PdfDocument, PdfiumError

    try:
        pdf = PdfDocument(data, password=opening["password"] or None)
        pdf.init_forms()
        pixels = opening["pixels"]
        answer(sink, {"count": len(pdf)})
    except PdfiumError as error:
        answer(sink, {"error": reason(error)})
        return
    for line in source:
        limit_time()
        question = json.loads(line)
        try:
            header, payload = ANSWERS[question["ask"]](pdf, {**question, "pixels": pixels})
        except (PdfiumError, ValueError, MemoryError, OverflowError, ctypes.ArgumentError) as error:
            header, payload = {"error": reason(error)}, b""
        answer(sink, header, payload)
        del payload


def answer(sink: BinaryIO, header: dict[str, Any], payload: Any = b"") -> None:
    """Write one answer; `payload` is anything that lies in memory in one piece."""
    size = memoryview(payload).nbytes
    sink.write(json.dumps({**header, "bytes": size}).encode() + b"\n")
    if size:
        sink.write(memoryview(payload).cast("B"))
    sink.flush()


def reason(error: Exception) -> str:
    """Why there is no answer: "password", "security" or "broken"."""
    from pypdfium2.raw import FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY

    kinds = {FPDF_ERR_PASSWORD: "password", FPDF_ERR_SECURITY: "security"}
    return kinds.get(getattr(error, "err_code", None), "broken")


def limit_memory(most: int) -> None:
    """Die of a bomb instead of taking the machine's memory; leave no picture of it on the disk."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def limit_time() -> None:
    """Let the next answer take CPU_SECONDS, and the system end the process after them."""
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        most = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def size(pdf: Any, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A page's width and height in points, found without reading the page."""
    width, height = pdf.get_page_size(question["page"])
    return {"width": width, "height": height}, b""


def render(pdf: Any, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A page as rows of RGB, forms and notes included."""
    from pypdfium2 import PdfBitmap

    def in_file(width: int, height: int, format: int, rev_byteorder: bool) -> Any:
        size = 3 * width * height
        os.ftruncate(question["pixels"], size)
        shared = mmap.mmap(question["pixels"], size)
        buffer = (ctypes.c_ubyte * size).from_buffer(shared)
        return PdfBitmap.new_native(width, height, format, rev_byteorder, buffer)

    page = pdf[question["page"]]
    try:
        bitmap = page.render(scale=question["scale"], rev_byteorder=True, bitmap_maker=in_file)
        return {"width": bitmap.width, "height": bitmap.height}, b""
    finally:
        page.close()


def glyphs(pdf: Any, question: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """The characters of a page's own text, and how the page lies."""
    page = pdf[question["page"]]
    try:
        text = page.get_textpage()
        try:
            found = read_glyphs(text)
        finally:
            text.close()
        return {"place": place(page), "covered": covered(page) if found else 0.0}, found
    finally:
        page.close()


def read_glyphs(text: Any) -> array[float]:
    """FIELDS doubles for each character, in the order PDFium gives them."""
    from pypdfium2 import raw

    found: array[float] = array("d")
    box, matrix = raw.FS_RECTF(), raw.FS_MATRIX()
    x, y = ctypes.c_double(), ctypes.c_double()
    for index in range(min(raw.FPDFText_CountChars(text), MOST_GLYPHS)):
        kind = 1 if raw.FPDFText_IsGenerated(text, index) == 1 else 0
        if raw.FPDFText_IsHyphen(text, index) == 1:
            kind = 2
        elif raw.FPDFText_HasUnicodeMapError(text, index) == 1:
            kind = 3
        raw.FPDFText_GetLooseCharBox(text, index, box)
        raw.FPDFText_GetCharOrigin(text, index, x, y)
        raw.FPDFText_GetMatrix(text, index, matrix)
        tall = raw.FPDFText_GetFontSize(text, index) * (matrix.c**2 + matrix.d**2) ** 0.5
        found.extend((
            raw.FPDFText_GetUnicode(text, index), kind,
            box.left, box.bottom, box.right, box.top, x.value, y.value, matrix.a, matrix.b, tall,
        ))  # fmt: skip
    return found


def place(page: Any) -> list[float]:
    """How a page lies in its picture, cut to its crop box and turned: a..f of x' = a x + c y + e, y' = b x + d y + f.

    In points, downwards.
    """
    from pypdfium2 import raw

    side = 10_000
    corners = []
    for right, down in ((0, 0), (side, 0), (0, side)):
        x, y = ctypes.c_double(), ctypes.c_double()
        raw.FPDF_DeviceToPage(page, 0, 0, side, side, 0, right, down, x, y)
        corners.append((x.value, y.value))
    (ox, oy), (rx, ry), (dx, dy) = corners
    width, height = page.get_size()
    a, b = (rx - ox) / width, (ry - oy) / width
    c, d = (dx - ox) / height, (dy - oy) / height
    det = a * d - b * c
    return [
        d / det, -b / det, -c / det, a / det, (c * oy - d * ox) / det, (b * ox - a * oy) / det,
    ]  # fmt: skip


def covered(page: Any) -> float:
    """The share of the page under its largest picture."""
    from pypdfium2 import raw

    width, height = page.get_size()
    largest = 0.0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        left, bottom, right, top = item.get_bounds()
        largest = max(largest, min(right - left, width) * min(top - bottom, height))
    return float(largest / (width * height))


ANSWERS = {"size": size, "render": render, "glyphs": glyphs}

if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
