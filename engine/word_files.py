"""Word documents: their paragraphs' words out, other words in, with headings, tables, lists, headers and pictures kept.

The file is looked at before it is opened, so that a small one cannot become gigabytes. Knows the format, no model.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from engine.errors import BadFormat, TooLarge

EXPANDED = 300_000_000  # bytes of all parts together
ONE = 60_000_000  # bytes of one XML part
RATIO = 200  # a part may be so many times its packed size, above a megabyte
MEMBERS = 5000


def open_word(data: bytes) -> tuple[list[str], Callable[[Sequence[str]], bytes]]:
    """The words of each paragraph, and what writes the document with others in their place.

    Raises:
        BadFormat: it is no Word document, or broken. TooLarge: it would become too large.
    """
    check_zip(data)
    document = _opened(data)
    paragraphs = [p for p in _paragraphs(document) if _words(p)]

    def write(words: Sequence[str]) -> bytes:
        for paragraph, said in zip(paragraphs, words, strict=True):
            _put(paragraph, said)
        out = io.BytesIO()
        document.save(out)
        return out.getvalue()

    return [_words(paragraph) for paragraph in paragraphs], write


def check_zip(data: bytes) -> None:
    """Refuse an archive that would become too large, by what its list says and by what its parts really hold."""
    broken = BadFormat(
        "The Word document is broken. Save it again, and send it then.", param="file"
    )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS or sum(m.file_size for m in members) > EXPANDED:
                raise TooLarge("The Word document would become too large.", param="file")
            total = 0
            for member in members:
                packed = max(1, member.compress_size)
                if member.file_size > 1_000_000 and member.file_size / packed > RATIO:
                    raise TooLarge(
                        "A part of the Word document is packed beyond measure.", param="file"
                    )
                with archive.open(member) as stream:
                    while piece := stream.read(1 << 20):
                        total += len(piece)
                        if total > EXPANDED:
                            raise TooLarge(
                                "The Word document would become too large.", param="file"
                            )
            names = set(archive.namelist())
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        OSError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise broken from error
    if "word/document.xml" not in names:
        raise BadFormat(
            "The file is a ZIP archive and no Word document. Send a .docx file.", param="file"
        )


def _opened(data: bytes) -> Any:
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError

    try:
        return docx.Document(io.BytesIO(data))
    except (
        OpcError,
        LxmlError,
        KeyError,
        ValueError,
        AttributeError,
        IndexError,
        zipfile.BadZipFile,
    ) as error:
        raise BadFormat(
            "The Word document is broken. Save it again, and send it then.", param="file"
        ) from error


def _paragraphs(document: Any) -> Iterator[Any]:
    """Every paragraph, wherever it stands: body, tables, text boxes, headers, footers, notes and comments."""
    from docx.oxml.ns import qn
    from docx.text.paragraph import Paragraph

    roots = [document.element.body]
    for rel in document.part.rels.values():
        kind = rel.reltype.rpartition("/")[2]
        if (
            kind in {"header", "footer", "footnotes", "endnotes", "comments"}
            and not rel.is_external
        ):
            part = rel.target_part
            element = getattr(part, "element", None)
            if element is not None:
                roots.append(element)
    for root in roots:
        for element in root.iter(qn("w:p")):
            yield Paragraph(element, document)


def _runs(paragraph: Any) -> list[Any]:
    """The text elements of a paragraph in order, those of its links too, those of boxes inside it not."""
    from docx.oxml.ns import qn

    own = paragraph._p
    found = []
    for text in own.iter(qn("w:t")):
        above = text.getparent()
        while above is not None and above.tag != qn("w:p"):
            above = above.getparent()
        if above is own:
            found.append(text)
    return found


def _words(paragraph: Any) -> str:
    words = "".join(text.text or "" for text in _runs(paragraph))
    return words.replace("\x1e", " ") if any(letter.isalpha() for letter in words) else ""


def _look(text: Any) -> bytes:
    """What says how a run looks, as bytes to compare."""
    from docx.oxml.ns import qn
    from lxml import etree

    run = text.getparent()
    properties = run.find(qn("w:rPr"))
    link = run.getparent().tag == qn("w:hyperlink")
    shown = b"" if properties is None else etree.tostring(properties)
    if link:
        siblings = run.getparent().getparent()
        shown += str(siblings.index(run.getparent())).encode()
    return shown


def _put(paragraph: Any, said: str) -> None:
    """Put a translation into a paragraph's runs: all of it where it looks alike, else by each run's share of the words.

    Where a run of another look begins in the translation cannot be known; the nearest word's edge is taken.
    """
    texts = _runs(paragraph)
    groups: list[list[Any]] = []
    for text in texts:
        if groups and _look(groups[-1][-1]) == _look(text):
            groups[-1].append(text)
        else:
            groups.append([text])
    lengths = [sum(len(text.text or "") for text in group) for group in groups]
    whole = sum(lengths) or 1
    start = used = 0
    for number, (group, length) in enumerate(zip(groups, lengths, strict=True)):
        used += length
        last = number == len(groups) - 1
        end = len(said) if last else max(start, _edge(said, used / whole)) if length else start
        _set(group, said[start:end])
        start = end


def _edge(text: str, share: float) -> int:
    """The place behind a space that is nearest to a share of the text."""
    wanted = share * len(text)
    places = [0, len(text), *(n + 1 for n, letter in enumerate(text) if letter == " ")]
    return min(places, key=lambda at: abs(at - wanted))


def _set(group: Sequence[Any], words: str) -> None:
    for text in group:
        text.text = ""
    if group:
        group[0].text = words
        group[0].set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
