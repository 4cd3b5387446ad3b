"""Read pages as files to keep: text, Markdown, JSON with boxes, hOCR, searchable PDF. Knows no store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from engine._hocr import write_hocr
from engine._searchable import write_pdf
from engine.errors import BadValue
from engine.events import Page, Segment

ExportKind = Literal["text", "markdown", "json", "hocr", "pdf"]
# kind -> (media type, suffix of a file's name)
EXPORTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "text": ("text/plain; charset=utf-8", ".txt"),
        "markdown": ("text/markdown; charset=utf-8", ".md"),
        "json": ("application/json", ".json"),
        "hocr": ("text/html; charset=utf-8", ".hocr"),
        "pdf": ("application/pdf", ".pdf"),
    }
)
VERSION = 1  # of the JSON's shape; fields may be added to it without a new number


def export(
    pages: Sequence[Page],
    kind: str,
    source: Callable[[Page], bytes] | None = None,
    title: str = "",
    language: str = "",
    dpi: float = 200,
) -> bytes:
    """The pages, in the order given, as one file.

    Args:
        kind: one of EXPORTS. In text a form feed parts pages, in Markdown a rule; JSON is
            {version, title, language, pages: [{document, number, count, width, height, text, markdown, model,
            error: null | {code, message}, lines: [{text, box: [x0, y0, x1, y1] | null,
            corners: [[x, y] * 4] | null, score: 0..1 | null}]}]} with places in pixels of the page.
        source: gives the encoded picture that a page was read from; "pdf" needs it. A page whose
            picture it cannot give (AtelierError) is left empty.
        title, language: of the document; the language as "en" or "fr".
        dpi: pixels of those pictures that make an inch: the size of the PDF's pages.

    Raises:
        BadValue: no such kind, or a PDF without its pictures.
    """
    language = language if re.fullmatch(r"[a-zA-Z]{2,3}(-[a-zA-Z0-9]{2,8})*", language) else ""
    match kind:
        case "text":
            return "\f".join(_text(page) for page in pages).encode("utf-8", "replace")
        case "markdown":
            return ("\n\n---\n\n".join(_markdown(page) for page in pages) + "\n").encode(
                "utf-8", "replace"
            )
        case "json":
            return _json(pages, title, language)
        case "hocr":
            return write_hocr(pages, title, language).encode("utf-8", "replace")
        case "pdf":
            if source is None:
                raise BadValue("A searchable PDF needs the pictures of its pages.", param="kind")
            return write_pdf(pages, source, title, language, dpi)
    raise BadValue(
        f"There is no export as '{kind[:40]}'. Choose {', '.join(EXPORTS)}.", param="kind"
    )


def _text(page: Page) -> str:
    if page.error:
        return f"[{_name(page)}: {page.error}]\n"
    return page.text.rstrip() + "\n"


def _markdown(page: Page) -> str:
    if page.error:
        return f"> {_name(page)}: {_escaped(page.error)}"
    return page.markdown.strip() or _escaped(page.text.strip())


def _name(page: Page) -> str:
    return f"Page {page.number}" if page.number else f"Document {page.document + 1}"


def _escaped(text: str) -> str:
    """Plain text as Markdown that shows it as it is."""
    text = re.sub(r"([\\`*_\[\]<>|~])", r"\\\1", text)
    text = re.sub(r"^(\s*)([#+-]|=+$)", r"\1\\\2", text, flags=re.M)
    text = re.sub(r"^(\s*\d+)([.)]\s)", r"\1\\\2", text, flags=re.M)
    return re.sub(r"(?<=\S)\n(?=\S)", "  \n", text)


def _json(pages: Sequence[Page], title: str, language: str) -> bytes:
    whole = {
        "version": VERSION,
        "title": title,
        "language": language,
        "pages": [_page(page) for page in pages],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1).encode("utf-8", "replace")


def _page(page: Page) -> dict[str, Any]:
    error = {"code": page.code, "message": page.error} if page.error else None
    return {
        "document": page.document,
        "number": page.number,
        "count": page.count,
        "width": page.width,
        "height": page.height,
        "text": page.text,
        "markdown": page.markdown,
        "model": page.model,
        "error": error,
        "lines": [_line(line) for line in page.lines],
    }


def _line(line: Segment) -> dict[str, Any]:
    corners = [round(value, 2) for value in line.corners or ()]
    return {
        "text": line.text,
        "box": [round(value, 2) for value in line.box] if line.box else None,
        "corners": [corners[at : at + 2] for at in range(0, 8, 2)] if corners else None,
        "score": None if line.score is None else round(line.score, 4),
    }
