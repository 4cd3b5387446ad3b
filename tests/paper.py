"""Documents to read, made by the tests: pictures in every format, PDFs with text, bare and locked PDFs."""

from __future__ import annotations

import ctypes
import hashlib
import io
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pypdfium2
from PIL import Image, ImageDraw, ImageFont
from pypdfium2 import raw

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
# The padding of passwords that PDF's first encryption prescribes.
PADDING = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


@dataclass(frozen=True, slots=True)
class Line:
    """Text of a PDF's page: where its baseline begins (points from below), its size and tilt (degrees up)."""

    x: float
    y: float
    text: str
    size: float = 12
    tilt: float = 0


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def plain(kind: str = "PNG", size: tuple[int, int] = (30, 20), colour: str = "red") -> bytes:
    """A picture of one colour."""
    return encoded(Image.new("RGB", size, colour), kind)


def written(text: str, size: tuple[int, int] = (600, 200), height: int = 32) -> Image.Image:
    """A white picture with dark text."""
    picture = Image.new("RGB", size, "white")
    ImageDraw.Draw(picture).text((20, 20), text, "black", ImageFont.truetype(FONT, height))
    return picture


def tiff(*pictures: Image.Image) -> bytes:
    return encoded(pictures[0], "TIFF", save_all=True, append_images=pictures[1:])


def pdf(
    pages: Iterable[Sequence[Line]],
    size: tuple[float, float] = (595, 842),
    turn: int = 0,
    crop: tuple[float, float, float, float] | None = None,
    scan: bytes = b"",
) -> bytes:
    """A PDF with text in all four languages; `scan`: a JPEG over each page, under the text."""
    document = pypdfium2.PdfDocument.new()
    with open(FONT, "rb") as file:
        font_data = file.read()
    buffer = (ctypes.c_ubyte * len(font_data)).from_buffer_copy(font_data)
    font = raw.FPDFText_LoadFont(document, buffer, len(font_data), raw.FPDF_FONT_TRUETYPE, 1)
    for lines in pages:
        page = document.new_page(*size)
        page.set_rotation(turn)
        if crop:
            page.set_cropbox(*crop)
        if scan:
            picture = pypdfium2.PdfImage.new(document)
            picture.load_jpeg(io.BytesIO(scan), inline=True)
            picture.set_matrix(pypdfium2.PdfMatrix().scale(*size))
            page.insert_obj(picture)
        for line in lines:
            item = raw.FPDFPageObj_CreateTextObj(document, font, line.size)
            code = (line.text + "\0").encode("utf-16-le")
            raw.FPDFText_SetText(item, (ctypes.c_ushort * (len(code) // 2)).from_buffer_copy(code))
            cos, sin = math.cos(math.radians(line.tilt)), math.sin(math.radians(line.tilt))
            raw.FPDFPageObj_Transform(item, cos, sin, -sin, cos, line.x, line.y)
            raw.FPDFPage_InsertObject(page, item)
        page.gen_content()
        page.close()
    raw.FPDFFont_Close(font)
    out = io.BytesIO()
    document.save(out)
    document.close()
    return out.getvalue()


def bare(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects, numbered from 1; the first is its catalog."""
    out = bytearray(b"%PDF-1.5\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R %b >>\n" % (len(objects) + 1, trailer)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(data), entries, data)


def sheet(
    box: str = "0 0 200 100", content: bytes = b"", filters: bytes = b"", count: int = 1
) -> bytes:
    """A PDF whose pages have this media box and share this content."""
    kids = b" ".join(b"%d 0 R" % (4 + n) for n in range(count))
    page = (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [%b] /Contents 3 0 R /Resources << /Font << /F "
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>" % box.encode()
    )
    return bare([
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, count),
        stream(content, filters),
        *[page] * count,
    ])  # fmt: skip


def locked(password: str) -> bytes:
    """A PDF of one empty page that opens with a password (RC4 of 40 bits, PDF's oldest)."""
    rights, name = -44, b"0123456789abcdef"
    padded = (password.encode("latin-1") + PADDING)[:32]
    owner = rc4(hashlib.md5(padded).digest()[:5], padded)
    key = hashlib.md5(padded + owner + struct.pack("<i", rights) + name).digest()[:5]
    user = rc4(key, PADDING)
    return bare(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] >>",
            b"<< /Filter /Standard /V 1 /R 2 /O <%b> /U <%b> /P %d >>"
            % (owner.hex().encode(), user.hex().encode(), rights),
        ],
        b"/Encrypt 4 0 R /ID [<%b> <%b>]" % (name.hex().encode(), name.hex().encode()),
    )


def rc4(key: bytes, data: bytes) -> bytes:
    box = list(range(256))
    j = 0
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) % 256
        box[i], box[j] = box[j], box[i]
    out, i, j = bytearray(), 0, 0
    for value in data:
        i = (i + 1) % 256
        j = (j + box[i]) % 256
        box[i], box[j] = box[j], box[i]
        out.append(value ^ box[(box[i] + box[j]) % 256])
    return bytes(out)


def png_claiming(width: int, height: int, kind: int = 2) -> bytes:
    """A PNG of a few bytes whose header claims this size."""
    out = b"\x89PNG\r\n\x1a\n"
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + name + body
        out += struct.pack(">I", zlib.crc32(name + body))
    return out
