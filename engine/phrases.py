"""Cuts a text that is still being written into phrases to be spoken. Joined, the phrases are the text.

A leaf: knows how sentences end in many scripts, nothing of who writes or speaks them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FIRST = 48  # width from which a first sentence is cut at a comma, so that its sound comes early
LEAST = 16  # width that stands before such a comma at least
LONG = 220  # width from which any sentence is cut at a comma
LONGEST = 340  # width from which it is cut between words
WIDE = 3  # what a Chinese, Japanese or Korean character counts: it takes about as long to say

_STOP = re.compile(r"\n|[.!?…؟۔।॥։።]+|[。！？｡．]+")
_FENCE = re.compile(r"[ \t]*(```+|~~~+)")
_CLOSING = re.compile(
    r"""["'”’)\]}*_`」』）】》»]*(?:[ \u00a0\u202f]»)?"""
)  # French sets a space before its own
_COMMA = re.compile(r"(?:[,;:،؛](?=\s)|[、，；：]|\s[–—-](?=\s))")
_LISTED = re.compile(r"(?:^|\n)[ \t]*\d{1,3}$")
_WORD = re.compile(r"[^\s(\[«“\"']+$")
# Words after which a full stop ends nothing, whatever follows.
_NEVER = frozenset(
    re.split(
        " ",
        "mr mrs ms dr prof st sr jr vs cf e.g i.e mt ft gen col sgt capt lt rev hon"
        " m mm mme mmes mlle mlles me pr ste env ex bd av sra dra srta exmo exma prof.ª"
        " ул д кв им г-н г-жа т.е т.к напр проф акад z.b d.h bzw ca hr fr",
    )
)
# … and these where a number follows. After all others it does where no small letter follows.
_NUMBERED = frozenset(re.split(" ", "no nos nr fig vol p pp ch art chap cap núm стр рис гл см"))


def width(text: str) -> int:
    """How long a text is to say, in Latin characters."""
    return sum(WIDE if "\u2e80" <= character < "\ufb00" else 1 for character in text)


@dataclass(slots=True)
class Cutter:
    """Takes a growing text in and gives whole phrases out, each with the white space after it.

    Sentences end at their marks, at ends of lines, never inside "3.5", "e.g." or "J. Smith". A fenced block
    of code is one phrase. Only the first sentence is cut at a comma when it is merely long-ish.
    """

    _rest: str = ""
    _begun: bool = False

    def feed(self, delta: str) -> list[str]:
        """The phrases that this piece of the text completes; most pieces complete none."""
        self._rest += delta
        phrases = []
        while at := self._cut():
            phrase, self._rest = self._rest[:at], self._rest[at:]
            self._begun = self._begun or any(map(str.isalnum, phrase))
            phrases.append(phrase)
        return phrases

    def end(self) -> list[str]:
        """The rest, once the text is complete."""
        phrases = self.feed("\n")
        if phrases and phrases[-1].endswith("\n") and not self._rest:
            phrases[-1] = phrases[-1][:-1]
        rest = self._rest[:-1]
        self._rest = ""
        return [phrase for phrase in (*phrases, rest) if phrase]

    def _cut(self) -> int:
        """Where the first phrase ends; 0 where that is not known yet."""
        text = self._rest
        lead = len(text) - len(text.lstrip("\n"))
        if fence := _FENCE.match(text, lead):
            return _after_fence(text, fence)
        at = next((end for stop in _STOP.finditer(text) if (end := _after(text, stop))), 0)
        phrase = text[:at] if at else text
        if not self._begun and width(phrase.strip()) >= FIRST and (early := _comma(phrase, LEAST)):
            return early
        if width(phrase) < LONG:
            return at
        return _comma(phrase, LONG // 2) or _between_words(phrase) or at


def _after_fence(text: str, fence: re.Match[str]) -> int:
    """Behind the line that closes a block of code."""
    close = text.find("\n" + fence[1], fence.end())
    end = text.find("\n", close + 1) if close >= 0 else -1
    return end + 1


def _after(text: str, stop: re.Match[str]) -> int:
    """Where the phrase ends that this mark closes; 0 where it closes none, or what follows must be seen first."""
    begin, end = stop.span()
    if stop[0] == "\n":
        return end if text[:begin].strip() else 0
    end = _CLOSING.match(text, end).end()  # type: ignore[union-attr]
    if end == len(text):
        return 0
    if stop[0][0] in "。！？｡．":
        return end
    if not text[end].isspace():
        return 0
    after = end
    while after < len(text) and text[after].isspace():
        after += 1
        if text[after - 1] == "\n":
            return after
    asks = stop[0][-1] in "!?؟"
    if after == len(text):
        return after if asks else 0
    if asks or stop[0][0] in "۔।॥։።":
        return after
    if text[after].islower() or (stop[0] == "." and _abbreviates(text[:begin], text[after])):
        return 0
    return after


def _abbreviates(before: str, following: str) -> bool:
    """Whether the full stop after this text belongs to its last word."""
    found = _WORD.search(before)
    word = found[0] if found else ""
    initial = len(word) == 1 and word.isalpha() and word.isupper()
    counted = following.isdigit() and word.casefold() in _NUMBERED
    return initial or counted or word.casefold() in _NEVER or bool(_LISTED.search(before))


def _comma(text: str, least: int) -> int:
    """Behind the first comma with enough before it and something after it; 0: there is none."""
    for comma in _COMMA.finditer(text):
        rest = text[comma.end() :]
        if width(text[: comma.start()].strip()) >= least and rest.strip():
            return comma.end() + len(rest) - len(rest.lstrip())
    return 0


def _between_words(text: str) -> int:
    """Between two words of a text without any marks, once it is far too long."""
    if width(text) < LONGEST:
        return 0
    most = LONG * len(text) // width(text)
    place = text.rstrip().rfind(" ", 0, most)
    return place + 1 if place > 0 else most
