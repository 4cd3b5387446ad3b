"""What is said of a written text: words without Markdown, code, addresses, tags and pictures.

A leaf: text in, text out.
"""

from __future__ import annotations

import re
import unicodedata

_FENCED = re.compile(r"^[ \t]*(```+|~~~+).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE)
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t:|-]*-{2,}[ \t:|-]*$", re.MULTILINE)
_LEAD = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?)+", re.MULTILINE
)
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_LINK = re.compile(r"\[([^\]]+)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)")
_ADDRESS = re.compile(r"<?\bhttps?://(?:www\.)?([^\s/<>)\]]+)[^\s<>)\]]*>?", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_NOTE = re.compile(r"\[\^?\d{1,3}\]")
_EMPHASIS = re.compile(
    r"\*{1,3}(?=\S)|(?<=\S)\*{1,3}|~~|`+|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)"
)
_CELLS = re.compile(r"[ \t]*\|[ \t]*")
_KEPT = frozenset("°©®™№℃℉")  # symbols that have a name people say
_UNSEEN = frozenset({"So", "Sk", "Cs", "Co", "Cn", "Me", "Cc", "Cf"})
_JOINERS = frozenset("\u200c\u200d")  # Persian and Indian scripts write with them


def spoken(text: str) -> str:
    """The words of a text as they are said, on one line; "" where there is nothing to say."""
    text = _FENCED.sub(" ", text)
    for pattern in (_RULE, _TABLE_RULE):
        text = pattern.sub(" ", text)
    text = _LEAD.sub("", text)
    for pattern in (_PICTURE, _LINK):
        text = pattern.sub(r"\1", text)
    text = _ADDRESS.sub(_host, text)
    text = _NOTE.sub("", _TAG.sub(" ", text))
    text = _EMPHASIS.sub("", text)
    if text.count("|") > 1:
        text = ", ".join(cell for cell in _CELLS.split(text.strip().strip("|")) if cell.strip())
    kept = (c for c in text if _said(c))
    line = " ".join("".join(c if c != "\\" else " " for c in kept).split())
    return line if any(map(str.isalnum, line)) else ""


def _host(found: re.Match[str]) -> str:
    """The name of an address's server; the mark that ends a sentence is not part of it."""
    whole = found[0]
    last = whole[-1] if whole[-1] in ".,;:!?" else ""
    return found[1].rstrip(".,;:!?") + last


def _said(character: str) -> bool:
    """Whether a character may be said: letters, marks and figures, not pictures."""
    if character.isspace() or character in _KEPT or character in _JOINERS:
        return True
    selector = "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return not selector and unicodedata.category(character) not in _UNSEEN
