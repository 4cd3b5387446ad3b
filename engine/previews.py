"""Pictures of files, for those who look through them: a page of a PDF or TIFF, or a picture, at most so wide."""

from __future__ import annotations

from engine.errors import BadValue, TooLarge
from engine.files import Files

MOST = 100_000_000  # bytes of a file that is drawn
WIDEST = 2400


async def picture(files: Files, path: str, number: int = 1, width: int = 1200) -> bytes:
    """A JPEG of a page; a picture has one.

    Raises:
        Unknown: there is no such file. BadValue: no such page, or too wide.
        BadFormat: it cannot be drawn. TooLarge: it, or its page, is too large for that.
    """
    if not 16 <= width <= WIDEST:
        raise BadValue(f"A picture is 16 to {WIDEST} pixels wide.", param="width")
    return await files.run(_drawn, await _read(files, path), number, width)


async def pages(files: Files, path: str) -> int:
    """How many pages a file has. Raises as `picture` does."""
    return await files.run(_count, await _read(files, path))


async def _read(files: Files, path: str) -> bytes:
    entry = await files.look(path)
    if entry.size > MOST:
        raise TooLarge(
            f"Files of more than {MOST:,} bytes are not drawn. Download it.", param="path"
        )
    return await files.read(path, MOST)


def _count(data: bytes) -> int:
    from engine.pages import open_document

    with open_document(data, param="path") as document:
        return document.count


def _drawn(data: bytes, number: int, width: int) -> bytes:
    from engine.pages import open_document
    from engine.pictures import encode

    with open_document(data, param="path") as document:
        dpi = 72.0
        if document.kind == "pdf":
            dpi = min(300.0, max(20.0, 72.0 * width / max(1, document.size(number, 72.0)[0])))
        page = document.render(number, dpi)
    if page.width > width:
        page = page.resize(
            (width, max(1, round(page.height * width / page.width))), reducing_gap=2.0
        )
    return encode(page, "jpeg", 85)
