"""A PDF of pictures with their text over them, unseen: it can be searched, selected and copied."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine._glyphless import ADVANCE, ASCENT, DESCENT, UNITS, font_file, glyph_map, unicode_map
from engine._words import corners_of, find_words, leftward
from engine.errors import AtelierError
from engine.events import Page, Segment
from engine.pictures import encode, measure, media_type, open_picture

if TYPE_CHECKING:
    from PIL import Image

POINTS = 72.0
LARGEST = 14_400.0  # points of a page's side
A4 = (595.0, 842.0)  # of a page that cannot be shown
# Lines that rise less (of their length) have each word level, in its own place: some readers cut words whose letters
# stand at different heights.
STAIRS = 0.1
QUALITY = 80  # of pictures that do not come as JPEG


def write_pdf(
    pages: Sequence[Page],
    source: Callable[[Page], bytes],
    title: str = "",
    language: str = "",
    dpi: float = 200,
) -> bytes:
    """The pages as a PDF; what stands for a whole document that did not open is left out.

    Args:
        source: a page's picture, encoded. One that it cannot give (AtelierError) becomes an empty page.
        language: of the text, as BCP 47; "" unknown.
        dpi: pixels of the pictures that make an inch.
    """
    out = _File()
    catalog, tree = out.reserve(), out.reserve()
    font = _write_font(out)
    kids = [
        _write_page(out, page, source, tree, font, POINTS / dpi) for page in pages if page.number
    ]
    out.put(tree, _dict(Type="/Pages", Count=len(kids), Kids=_list(f"{kid} 0 R" for kid in kids)))
    shown = {"Lang": _string(language)} if language else {}
    out.put(
        catalog,
        _dict(
            Type="/Catalog",
            Pages=f"{tree} 0 R",
            ViewerPreferences="<< /DisplayDocTitle true >>",
            **shown,
        ),
    )
    info = out.add(_dict(Title=_string(title), Producer=_string("Atelier")))
    return out.whole(catalog, info)


@dataclass
class _File:
    """Objects of a PDF as they are written, and where each begins."""

    parts: list[bytes] = field(default_factory=lambda: [b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"])
    size: int = 15
    places: list[int] = field(default_factory=list)

    def reserve(self) -> int:
        """The number of an object that is written later."""
        self.places.append(0)
        return len(self.places)

    def put(self, number: int, body: str, stream: bytes | None = None) -> None:
        self.places[number - 1] = self.size
        self._write(f"{number} 0 obj\n{body}\n".encode())
        if stream is not None:
            self._write(b"stream\n")
            self._write(stream)
            self._write(b"\nendstream\n")
        self._write(b"endobj\n")

    def add(self, body: str, stream: bytes | None = None) -> int:
        number = self.reserve()
        self.put(number, body, stream)
        return number

    def add_packed(self, data: bytes, **entries: object) -> int:
        packed = zlib.compress(data, 9)
        return self.add(_dict(Filter="/FlateDecode", Length=len(packed), **entries), packed)

    def whole(self, catalog: int, info: int) -> bytes:
        start, count = self.size, len(self.places) + 1
        rows = "".join(f"{place:010d} 00000 n \n" for place in self.places)
        trailer = _dict(Size=count, Root=f"{catalog} 0 R", Info=f"{info} 0 R")
        self._write(f"xref\n0 {count}\n0000000000 65535 f \n{rows}trailer\n{trailer}\n".encode())
        self._write(f"startxref\n{start}\n%%EOF\n".encode())
        return b"".join(self.parts)

    def _write(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)


def _write_font(out: _File) -> int:
    name = "/AAAAAA+AtelierUnseen"
    file = font_file()
    descriptor = out.add(
        _dict(
            Type="/FontDescriptor", FontName=name, Flags=5, ItalicAngle=0, StemV=80,
            FontBBox=f"[0 {DESCENT} {ADVANCE} {ASCENT}]", Ascent=ASCENT, Descent=DESCENT,
            CapHeight=ASCENT, FontFile2=f"{out.add_packed(file, Length1=len(file))} 0 R",
        )
    )  # fmt: skip
    glyphs = out.add(
        _dict(
            Type="/Font", Subtype="/CIDFontType2", BaseFont=name, DW=ADVANCE,
            CIDSystemInfo="<< /Registry (Adobe) /Ordering (Identity) /Supplement 0 >>",
            FontDescriptor=f"{descriptor} 0 R", CIDToGIDMap=f"{out.add_packed(glyph_map())} 0 R",
        )
    )  # fmt: skip
    return out.add(
        _dict(
            Type="/Font", Subtype="/Type0", BaseFont=name, Encoding="/Identity-H",
            DescendantFonts=f"[{glyphs} 0 R]", ToUnicode=f"{out.add_packed(unicode_map())} 0 R",
        )
    )  # fmt: skip


def _write_page(
    out: _File, page: Page, source: Callable[[Page], bytes], tree: int, font: int, point: float
) -> int:
    try:
        data, picture = _picture(source(page))
    except AtelierError:
        return out.add(_dict(Type="/Page", Parent=f"{tree} 0 R", MediaBox=f"[0 0 {A4[0]} {A4[1]}]"))
    scale = min(point, LARGEST / max(picture.size))
    width, height = picture.width * scale, picture.height * scale
    drawn = out.add(
        _dict(
            Type="/XObject", Subtype="/Image", Width=picture.width, Height=picture.height,
            ColorSpace="/DeviceGray" if picture.mode == "L" else "/DeviceRGB",
            BitsPerComponent=8, Filter="/DCTDecode", Length=len(data),
        ),
        data,
    )  # fmt: skip
    # Boxes are told in pixels of the page as it was read.
    ratio = picture.width / (page.width or picture.width)
    words = _text(page.lines, picture, ratio, scale, height)
    content = out.add_packed(f"q {width:.3f} 0 0 {height:.3f} 0 0 cm /P Do Q\n{words}".encode())
    return out.add(
        _dict(
            Type="/Page",
            Parent=f"{tree} 0 R",
            MediaBox=f"[0 0 {width:.3f} {height:.3f}]",
            Contents=f"{content} 0 R",
            Resources=f"<< /Font << /F {font} 0 R >> /XObject << /P {drawn} 0 R >> >>",
        )
    )


def _picture(data: bytes) -> tuple[bytes, Image.Image]:
    """A JPEG that a PDF can hold as it is, and its pixels."""
    picture = open_picture(data)
    size = measure(data)
    if media_type(data) == "image/jpeg" and _plain_jpeg(data, (size.width, size.height)):
        return data, picture
    return encode(picture, "jpeg", QUALITY), picture


def _plain_jpeg(data: bytes, size: tuple[int, int]) -> bool:
    """Whether a JPEG holds RGB and lies upright."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
        return picture.mode == "RGB" and picture.size == size and picture.getexif().get(274, 1) == 1


def _text(
    lines: Sequence[Segment], picture: Image.Image, ratio: float, scale: float, height: float
) -> str:
    placed = [_scaled(line, ratio) for line in lines if line.box and line.text.strip()]
    words = [f"{word}\n" for line in placed for word in _line(line, picture, scale, height)]
    return f"BT 3 Tr\n{''.join(words)}ET\n" if words else ""


def _scaled(line: Segment, ratio: float) -> Segment:
    corners = corners_of(line)
    box = line.box or (0.0, 0.0, 0.0, 0.0)
    return Segment(
        line.text,
        box=(box[0] * ratio, box[1] * ratio, box[2] * ratio, box[3] * ratio),
        corners=tuple(value * ratio for value in corners),  # type: ignore[arg-type]
    )


def _line(line: Segment, picture: Image.Image, scale: float, height: float) -> list[str]:
    """The words of a line, and the spaces between them, each stretched over its own place."""
    x0, y0, x1, y1, _, _, x3, y3 = corners_of(line)
    length, tall = math.hypot(x1 - x0, y1 - y0) * scale, math.hypot(x3 - x0, y3 - y0) * scale
    if not (0.1 < length < LARGEST * 2 and 0.1 < tall < LARGEST * 2):
        return []
    right, up = (x1 - x0) * scale / length, (y0 - y1) * scale / length
    level = right > 0 and abs(up) < STAIRS * right
    below = -DESCENT / UNITS
    base_x = (x3 + (x0 - x3) * below) * scale
    base_y = height - (y3 + (y0 - y3) * below) * scale

    def written(text: str, start: float, end: float) -> str:
        # Readers expect letters in the order they are seen, and turn what runs to the left.
        code = (text[::-1] if leftward(text) else text).encode("utf-16-be", "replace")
        stretch = 100 * (end - start) * length / (len(code) / 2 * ADVANCE / UNITS * tall)
        along = (start + end) / 2 if level else start
        x, y = base_x + right * start * length, base_y + up * along * length
        turn = "1 0 0 1" if level else f"{right:.5f} {up:.5f} {-up:.5f} {right:.5f}"
        return (
            f"/F {tall:.3f} Tf {max(stretch, 0.1):.3f} Tz "
            f"{turn} {x:.3f} {y:.3f} Tm <{code.hex()}> Tj"
        )

    words = sorted(find_words(line, picture), key=lambda word: word.start)
    out = []
    for number, word in enumerate(words):
        out.append(written(word.text, word.start, word.end))
        if number + 1 < len(words) and words[number + 1].start > word.end:
            out.append(written(" ", word.end, words[number + 1].start))
    return out


def _dict(**entries: object) -> str:
    return "<< " + " ".join(f"/{name} {value}" for name, value in entries.items()) + " >>"


def _list(items: Iterable[str]) -> str:
    return f"[{' '.join(items)}]"


def _string(text: str) -> str:
    return f"<feff{text.encode('utf-16-be', 'replace').hex()}>"
