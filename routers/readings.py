"""What the dialects that read documents share: pages as text, and the error a page stands for.

Knows the engine's pages and errors, no dialect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine import AtelierError, Page
from engine.errors import InferenceFailed


def _kinds(kind: type[AtelierError]) -> Iterator[type[AtelierError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def refusal(page: Page, param: str = "file") -> AtelierError:
    """The error that a page which could not be read stands for."""
    kinds = (kind for kind in _kinds(AtelierError) if kind.code == page.code)
    return next(kinds, InferenceFailed)(page.error, param=param)


def check(pages: Sequence[Page], param: str = "file") -> None:
    """Raises the first page's error where no page at all could be read."""
    if pages and all(page.error for page in pages):
        raise refusal(pages[0], param)


def text_of(pages: Sequence[Page]) -> str:
    """The text of the pages in their order, parted by empty lines."""
    ordered = sorted(pages, key=lambda page: page.number)
    return "\n\n".join(page.text for page in ordered if page.text)
