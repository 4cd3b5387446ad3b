"""A font without ink: every character is half as wide as it is tall, and says which it is.

So text can lie over a picture, be found and selected, and not be seen. The glyph is two single points at the
corners of its box: readers pass over characters whose box is empty. The tables are those of TrueType that PDF
asks for.
"""

from __future__ import annotations

import struct

UNITS = 1000  # of the font's size
ADVANCE = 500
ASCENT, DESCENT = 800, -200
CODES = 0x10000  # UTF-16 units, each a character of the font


def font_file() -> bytes:
    """The TrueType file: an empty glyph, and the one for every character."""
    glyphs = 2
    box = struct.pack(
        ">hhhhhHHHBBhhhh",
        2, 0, DESCENT, ADVANCE, ASCENT, 0, 1, 0, 1, 1, 0, ADVANCE, DESCENT, ASCENT - DESCENT,
    )  # fmt: skip
    head = struct.pack(
        ">IIIIHHqqhhhhHHhhh",
        0x00010000, 0x00010000, 0, 0x5F0F3CF5, 0, UNITS, 0, 0,
        0, DESCENT, ADVANCE, ASCENT, 0, 8, 2, 0, 0,
    )  # fmt: skip
    hhea = struct.pack(
        ">IhhhHhhhhhhhhhhhH", 0x00010000, ASCENT, DESCENT, 0, ADVANCE, *[0] * 3, 1, *[0] * 7, glyphs
    )
    maxp = struct.pack(">IH13H", 0x00010000, glyphs, 2, 2, *[0] * 2, 1, *[0] * 8)
    tables = {
        b"glyf": box,
        b"head": head,
        b"hhea": hhea,
        b"hmtx": struct.pack(">HhHh", ADVANCE, 0, ADVANCE, 0),
        b"loca": struct.pack(">HHH", 0, 0, len(box) // 2),
        b"maxp": maxp,
    }
    return _sfnt(tables)


def _sfnt(tables: dict[bytes, bytes]) -> bytes:
    count = len(tables)
    power = 1 << count.bit_length() - 1
    offset = 12 + 16 * count
    head = struct.pack(
        ">IHHHH", 0x00010000, count, 16 * power, power.bit_length() - 1, 16 * (count - power)
    )
    body = b""
    for name, table in sorted(tables.items()):
        padded = table + b"\0" * (-len(table) % 4)
        head += struct.pack(">4sIII", name, _checksum(padded), offset + len(body), len(table))
        body += padded
    whole = bytearray(head + body)
    place = whole.index(struct.pack(">I", 0x5F0F3CF5)) - 4
    struct.pack_into(">I", whole, place, (0xB1B0AFBA - _checksum(bytes(whole))) & 0xFFFFFFFF)
    return bytes(whole)


def _checksum(table: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f">{len(table) // 4}I", table)
    return sum(words) & 0xFFFFFFFF


def glyph_map() -> bytes:
    """For every character the number of its glyph, two bytes each."""
    return b"\0\1" * CODES


def unicode_map() -> bytes:
    """The CMap that gives every code itself as its meaning. A range may not leave its first byte."""
    ranges = [f"<{high:02X}00> <{high:02X}FF> <{high:02X}00>" for high in range(256)]
    blocks = [ranges[at : at + 100] for at in range(0, 256, 100)]
    listed = "\n".join(
        f"{len(block)} beginbfrange\n" + "\n".join(block) + "\nendbfrange" for block in blocks
    )
    return (
        "/CIDInit /ProcSet findresource begin\n12 dict begin\nbegincmap\n"
        "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def\n"
        "/CMapName /Adobe-Identity-UCS def\n/CMapType 2 def\n"
        "1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
        f"{listed}\nendcmap\nCMapName currentdict /CMap defineresource pop\nend\nend\n"
    ).encode()
