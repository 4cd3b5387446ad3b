"""Two readings of a page, word by word: which words of each the other has not. Values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

Word = tuple[str, bool]  # a word, and whether the other reading has it in its place


@dataclass(frozen=True, slots=True)
class Difference:
    """Both readings as lines of words; `share` of the words, 0..1, is the same in both."""

    left: tuple[tuple[Word, ...], ...]
    right: tuple[tuple[Word, ...], ...]
    share: float


def compare(left: Sequence[str], right: Sequence[str]) -> Difference:
    """The difference between two readings given as lines."""
    one, two = _words(left), _words(right)
    matcher = SequenceMatcher(None, one, two, autojunk=False)
    common = [block for block in matcher.get_matching_blocks() if block.size]
    same_one = {at for block in common for at in range(block.a, block.a + block.size)}
    same_two = {at for block in common for at in range(block.b, block.b + block.size)}
    whole = len(one) + len(two)
    return Difference(
        _marked(left, same_one),
        _marked(right, same_two),
        2 * len(same_one) / whole if whole else 1.0,
    )


def _words(lines: Sequence[str]) -> list[str]:
    return [word for line in lines for word in line.split()]


def _marked(lines: Sequence[str], same: set[int]) -> tuple[tuple[Word, ...], ...]:
    found: list[tuple[Word, ...]] = []
    at = 0
    for line in lines:
        words = line.split()
        found.append(tuple((word, at + n in same) for n, word in enumerate(words)))
        at += len(words)
    return tuple(found)
