"""Words that must be translated one way: hidden from a translator behind marks, put in place of them afterwards.

A translator may lose a mark. Then other marks are tried, and in the end the sentence is translated in parts, with
the word between them: so it is always kept. A leaf: knows texts, no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

# Marks that translators copy: capitals with a digit look like a name, brackets like a reference.
STYLES = ("ZQ{}", "[{}]")
_BARE = re.compile(
    r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)


@dataclass(frozen=True)
class Glossary:
    """How words are to be translated; "" keeps a word as it is. Case does not matter in the text."""

    terms: Mapping[str, str]

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        listed = sorted((t.strip() for t in self.terms if t.strip()), key=len, reverse=True)
        if not listed:
            return None
        return re.compile("|".join(map(_bounded, listed)), re.IGNORECASE)

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {term.strip().casefold(): put for term, put in self.terms.items()}

    def find(self, text: str) -> list[tuple[int, int, str]]:
        """Where its words stand in a text, and what is to stand there."""
        if self._pattern is None:
            return []
        found = []
        for match in self._pattern.finditer(text):
            put = self._folded.get(match[0].casefold(), "") or match[0]
            found.append((match.start(), match.end(), _cased(match, put)))
        return found

    def apply(self, text: str) -> str:
        """The text with its words put in place of the others, nothing else changed."""
        parts, start = [], 0
        for begin, end, word in self.find(text):
            parts += [text[start:begin], word]
            start = end
        return "".join([*parts, text[start:]])


def _bounded(term: str) -> str:
    """A pattern of a whole word, where its script parts words by spaces."""
    inside = re.escape(term)
    start = "" if _BARE.match(term[0]) or not term[0].isalnum() else r"(?<!\w)"
    end = "" if _BARE.match(term[-1]) or not term[-1].isalnum() else r"(?!\w)"
    return f"{start}{inside}{end}"


def _cased(match: re.Match[str], put: str) -> str:
    """A capital where the text has one at its beginning and the glossary's word has none."""
    first = match.start() == 0 and match[0][:1].isupper()
    return put[:1].upper() + put[1:] if first else put


@dataclass(frozen=True)
class Try:
    """One way to have a sentence translated: what is asked, and how the whole is made of the answers.

    Args:
        texts: what is to be translated, each by itself.
        frame: the sentence with None in the place of each text.
        marks: what stands for the glossary's words, and those words; empty where nothing is hidden.
    """

    texts: tuple[str, ...]
    frame: tuple[str | None, ...] = (None,)
    marks: tuple[tuple[str, str], ...] = ()

    def read(self, answers: Sequence[str]) -> str | None:
        """The sentence made of the answers; None where a mark was lost."""
        given = iter(answers)
        text = "".join(next(given) if part is None else part for part in self.frame)
        for mark, word in self.marks:
            pattern = _mark_pattern(mark)
            if len(pattern.findall(text)) != 1:
                return None
            text = pattern.sub(lambda _, word=word: word, text)  # type: ignore[misc]
        return text


def _mark_pattern(mark: str) -> re.Pattern[str]:
    """A mark as translators give it back: in any case, with spaces inside."""
    parts = re.findall(r"[A-Za-z]+|\d+|.", mark)
    inside = r"\s?".join(map(re.escape, parts))
    edges = (r"(?<![^\W_])", r"(?![^\W_])") if mark[0].isalnum() else ("", "")
    return re.compile(edges[0] + inside + edges[1], re.IGNORECASE)


def tries(text: str, glossary: Glossary, styles: Sequence[str] = STYLES) -> Iterator[Try]:
    """The ways to have a sentence translated, to be tried in order; the last one never fails."""
    found = glossary.find(text)
    if not found:
        yield Try((text,))
        return
    if found[0][:2] != (0, len(text)):
        for style in styles:
            yield _hidden(text, found, style)
    yield _parted(text, found)


def _hidden(text: str, found: Sequence[tuple[int, int, str]], style: str) -> Try:
    marks, parts, start = [], [], 0
    number = 1
    for begin, end, word in found:
        while (mark := style.format(number)) in text:
            number += 1
        parts += [text[start:begin], mark]
        marks.append((mark, word))
        start, number = end, number + 1
    return Try(("".join([*parts, text[start:]]),), marks=tuple(marks))


def _parted(text: str, found: Sequence[tuple[int, int, str]]) -> Try:
    texts: list[str] = []
    frame: list[str | None] = []

    def add(part: str) -> None:
        core = part.strip()
        if not any(letter.isalpha() for letter in core):
            frame.append(part)
            return
        at = part.find(core)
        frame.extend((part[:at], None, part[at + len(core) :]))
        texts.append(core)

    start = 0
    for begin, end, word in found:
        add(text[start:begin])
        frame.append(word)
        start = end
    add(text[start:])
    return Try(tuple(texts), tuple(frame))
