"""Texts with signs in them that are not words: Markdown and HTML. The words come out, and go back with their signs.

A leaf: knows the signs, no model. A sign that stands inside a sentence is put back at the same share of it, at the
nearest word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Put = Callable[[Sequence[str]], str]
Opened = tuple[list[str], Put, list[str]]

_FENCE = re.compile(
    r"^([ \t]*)(`{3,}|~{3,})[^\n]*\n.*?(?:^[ \t]*\2[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL
)
_FRONT = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MATH = re.compile(r"^\$\$.*?\$\$[ \t]*$", re.MULTILINE | re.DOTALL)
_DEFINED = re.compile(r"^ {0,3}\[[^\]\n]+\]:[ \t]*\S+[^\n]*$", re.MULTILINE)
_RULE = re.compile(
    r"^[ \t]*(?:[-*_=]{3,}|\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)*\|?)[ \t]*$",
    re.MULTILINE,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_LINK_END = re.compile(r"\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\]\[[^\]\n]*\]")
_SIGNS = re.compile(
    r"!?\[(?=[^\]\n]*\](?:\(|\[))|\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\]\[[^\]\n]*\]"
    r"|</?[A-Za-z][^<>\n]{0,500}>|(?<![\w*])\*{1,3}(?=\S)|(?<=\S)\*{1,3}(?![\w*])"
    r"|(?<![\w_])_{1,3}(?=\S)|(?<=\S)_{1,3}(?![\w_])|~~"
)
_TAGS = re.compile(r"</?[A-Za-z][^<>]{0,300}>|\{\\[^{}]{0,60}\}")


@dataclass(frozen=True)
class Signs:
    """A kind of signs that stand among words."""

    pattern: re.Pattern[str]

    def part(self, text: str) -> tuple[str, Callable[[str], str]]:
        """The words of a text, and what puts its signs back into other words."""
        words, places, start = "", [], 0
        for match in self.pattern.finditer(text):
            words += text[start : match.start()]
            places.append((len(words), match[0], _opens(match[0])))
            start = match.end()
        words += text[start:]
        if not places:
            return text, str
        return words, lambda said: _set(said, words, places)


def _opens(sign: str) -> bool:
    """Whether a sign belongs to the word after it."""
    return sign.startswith(("[", "![", "{")) or (sign.startswith("<") and not sign.startswith("</"))


def _set(said: str, words: str, places: Sequence[tuple[int, str, bool]]) -> str:
    """Signs put back at the same share of a text, at words' edges, in their order."""
    if not words.strip():
        return "".join(sign for _, sign, _ in places) + said
    made, done = "", 0
    depth: dict[str, int] = {}
    for place, sign, opens in places:
        key = sign.strip("*_~") or sign
        if key == sign and not sign.startswith(
            ("[", "!", "<", "]", "{")
        ):  # the same sign opens and closes
            depth[sign] = depth.get(sign, 0) + 1
            opens = depth[sign] % 2 == 1
        at = max(done, _edge(said, place, len(words), opens))
        made += said[done:at] + sign
        done = at
    return made + said[done:]


def _edge(said: str, place: int, whole: int, opens: bool) -> int:
    """The edge of a word that is nearest to a place's share of the text."""
    if place <= 0:
        return 0
    if place >= whole:
        return len(said)
    wanted = place * len(said) / whole
    pattern = r"(?<=\s)(?=\S)" if opens else r"(?<=\w)(?!\w)"
    edges = [m.start() for m in re.finditer(pattern, said)]
    return min([0 if opens else len(said), *edges], key=lambda at: abs(at - wanted))


MARKUP = Signs(_TAGS)
INLINE = Signs(_SIGNS)


def open_markdown(text: str) -> Opened:
    """Markdown's words; code, front matter, formulas, rules, link targets and HTML comments stay as they are."""
    kept: list[str] = []
    fixed = _spans(text, (_FRONT, _FENCE, _MATH, _COMMENT, _DEFINED, _RULE))
    frame: list[str | None] = []
    parts: list[tuple[str, Callable[[str], str]]] = []

    def add(block: str) -> None:
        for line in re.split(r"(\n|(?<!\\)\|)", block):
            if not any(letter.isalpha() for letter in line):
                frame.append(line)
                continue
            kept.extend(match[0] for match in _CODE.finditer(line))
            frame.append(None)
            parts.append(INLINE.part(line))

    start = 0
    for begin, end in fixed:
        add(text[start:begin])
        frame.append(text[begin:end])
        start = end
    add(text[start:])

    def put(words: Sequence[str]) -> str:
        made = iter(back(word) for (_, back), word in zip(parts, words, strict=True))
        return "".join(next(made) if part is None else part for part in frame)

    return [words for words, _ in parts], put, [*dict.fromkeys(kept)]


def _spans(text: str, patterns: Sequence[re.Pattern[str]]) -> list[tuple[int, int]]:
    """Where any of the patterns is, in order, none inside another."""
    found = [m.span() for pattern in patterns for m in pattern.finditer(text)]
    found.sort(key=lambda span: (span[0], -span[1]))
    spans: list[tuple[int, int]] = []
    for begin, end in found:
        if end > begin and (not spans or begin >= spans[-1][1]):
            spans.append((begin, end))
    return spans


_SILENT = re.compile(
    r"<(script|style|pre|code|textarea|svg|math|template)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL
)
_DOCTYPE = re.compile(r"<![^>]*>|<\?.*?\?>", re.DOTALL)
_INSIDE = "a|abbr|b|bdi|bdo|big|cite|del|dfn|em|font|i|ins|kbd|label|mark|q|s|small|span|strike|strong|sub|sup|tt|u|var"
_INLINE_TAG = re.compile(rf"</?(?:{_INSIDE})(?:\s[^<>]*)?>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


def open_html(text: str) -> Opened:
    """HTML's words between its tags; scripts, styles, code and attributes stay as they are."""
    from html import escape, unescape

    spans = _spans(text, (_COMMENT, _SILENT, _DOCTYPE))
    blocks = [m.span() for m in _TAG.finditer(text) if not _INLINE_TAG.fullmatch(m[0])]
    for begin, end in blocks:
        if not any(a <= begin < b for a, b in spans):
            spans.append((begin, end))
    inline = Signs(_INLINE_TAG)
    frame: list[str | None] = []
    parts: list[tuple[str, Callable[[str], str]]] = []

    def add(block: str) -> None:
        words, back = inline.part(block)
        if any(letter.isalpha() for letter in words):
            frame.append(None)
            parts.append((unescape(words), lambda said: back(escape(said, quote=False))))
        else:
            frame.append(block)

    start = 0
    for begin, end in sorted(spans):
        if begin > start:
            add(text[start:begin])
        frame.append(text[begin:end])
        start = max(start, end)
    add(text[start:])

    def put(words: Sequence[str]) -> str:
        made = iter(back(word) for (_, back), word in zip(parts, words, strict=True))
        return "".join(next(made) if part is None else part for part in frame)

    return [words for words, _ in parts], put, []
