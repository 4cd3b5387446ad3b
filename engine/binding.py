"""Pages that were read, bound into one file together with their pictures. Knows documents and kinds of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from engine.events import Page

QUALITY = 80  # of the JPEG pictures in a PDF


def bind(
    pages: Sequence[Page],
    kind: str,
    source: Callable[[int], bytes],
    *,
    password: str = "",
    dpi: int = 200,
    title: str = "",
    language: str = "",
) -> bytes:
    """The pages as one file of a kind in `engine.exports.EXPORTS`. Blocks.

    Args:
        source: gives the file of a document by its number; asked only where its pictures are wanted.
        password, dpi: as they were when the document was read.

    Raises:
        BadValue: no such kind.
    """
    from engine.exports import export
    from engine.pages import open_document
    from engine.pictures import encode

    with ExitStack() as stack:
        opened: dict[int, Any] = {}

        def picture(page: Page) -> bytes:
            if page.document not in opened:
                document = open_document(source(page.document), password)
                opened[page.document] = stack.enter_context(document)
            drawn = opened[page.document].render(page.number, dpi)
            return encode(drawn, "jpeg", QUALITY)

        return export(pages, kind, picture, title=title, language=language, dpi=dpi)
