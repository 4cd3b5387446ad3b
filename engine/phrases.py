"""Cuts an answer that is still being written into phrases to be spoken. Joined, the phrases are the text.

Beyond the sentences of `engine.sentences` it knows what a stream needs: lines, blocks of code, an early first phrase.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.sentences import plain, said, take

FIRST = 30  # width from which a first sentence is cut at a comma, so that its sound comes early
LEAST = 16  # width that stands before such a comma at least
LONG = 220  # width from which any sentence is cut at a comma
LONGEST = 340  # width from which it is cut between words
WIDE = 3  # what a Chinese, Japanese or Korean character counts: it takes about as long to say

_FENCE = re.compile(r"\s*(```+|~~~+)")
_LINE = re.compile(r"\S[^\n]*(\n)")
_WIDE_ENDS = "。！？｡．"  # like any mark, they are looked at once it is seen what follows
_COMMA = re.compile(r"(?:[,;:،؛](?=\s)|[、，；：]|\s[–—-](?=\s))")


def width(text: str) -> int:
    """How long a text is to say, in Latin characters."""
    return sum(WIDE if "\u2e80" <= character < "\ufb00" else 1 for character in text)


def spoken(phrase: str) -> str:
    """What is said of a phrase; "" for code, pictures and marks alone."""
    text = "" if _FENCE.match(phrase) else " ".join(plain(phrase).split())
    return text if said(text) else ""


def pauses(phrase: str) -> bool:
    """Whether a phrase ends its sentence, so that a pause follows; one that was cut at a comma does not."""
    return phrase.rstrip()[-1:] not in {",", ";", "،", "؛", "、", "，", "；", "–", "—", "-"}


@dataclass(slots=True)
class Cutter:
    """Takes a growing text in and gives whole phrases out.

    Sentences end at their marks and at ends of lines. A fenced block of code is one phrase. Only the first
    sentence is cut at a comma when it is merely long-ish.
    """

    _rest: str = ""
    _begun: bool = False

    def feed(self, delta: str) -> list[str]:
        """The phrases that this piece of the text completes; most pieces complete none."""
        self._rest += delta
        phrases = []
        while at := self._cut():
            phrase, self._rest = self._rest[:at], self._rest[at:]
            self._begun = self._begun or said(phrase)
            phrases.append(phrase)
        return phrases

    def end(self) -> list[str]:
        """The rest, once the text is complete."""
        phrases = self.feed("\n")
        whole = "".join(phrases) + self._rest
        if not self._rest and phrases:
            phrases[-1] = phrases[-1][:-1]
        rest, self._rest = self._rest[:-1], ""
        assert whole.endswith("\n")
        return [phrase for phrase in (*phrases, rest) if phrase]

    def _cut(self) -> int:
        """Where the first phrase ends; 0 where that is not known yet."""
        text = self._rest
        if fence := _FENCE.match(text):
            return _after_fence(text, fence)
        line = _LINE.search(text)
        end = line.end() if line else 0
        sentences, _ = take(text[:end] if end else text.rstrip().rstrip(_WIDE_ENDS))
        at = len(sentences[0]) if sentences else end
        phrase = text[:at] if at else text
        if not self._begun and width(phrase.strip()) >= FIRST and (early := _comma(phrase, LEAST)):
            return early
        if width(phrase) < LONG:
            return at
        return _comma(phrase, LONG // 2) or _between_words(phrase) or at


def _after_fence(text: str, fence: re.Match[str]) -> int:
    """Behind the line that closes a block of code; 0 while it is open."""
    close = text.find("\n" + fence[1], fence.end())
    end = text.find("\n", close + 1) if close >= 0 else -1
    return end + 1


def _comma(text: str, least: int) -> int:
    """Behind the first comma with enough before it and something after it; 0: there is none."""
    for comma in _COMMA.finditer(text):
        if width(text[: comma.start()].strip()) >= least and text[comma.end() :].strip():
            return comma.end()
    return 0


def _between_words(text: str) -> int:
    """Between two words of a text without any marks, once it is far too long."""
    if width(text) < LONGEST:
        return 0
    most = LONG * len(text) // width(text)
    place = text.rstrip().rfind(" ", 1, most)
    return place if place > 0 else most
