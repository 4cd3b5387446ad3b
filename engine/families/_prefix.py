"""Keys and values of texts that were read, kept so that a text beginning alike is read from there on only.

Knows tokens, owners and blocks; nothing of models or requests. What was kept for one owner speeds up everybody
who sends the same beginning; an answer is made of the asker's own tokens alone, and how much was found is told
only as far as the asker's own texts go. What stays to be seen of others is time.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.devices import find_device
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.families._block import Block

log = logging.getLogger("atelier.hf_chat")

LEAST = 32  # tokens below which reading again costs no more than looking after them
SHARE = 0.05  # of the device's memory, where the setting leaves it open
WIDTH = array("i").itemsize
MOVING = frozenset({"dynamic", "longrope"})  # positions that change with the length of the text


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Tokens whose keys and values are in row `row` of a block."""

    owner: str
    tokens: bytes
    block: Block
    row: int = 0
    size: int = 0

    @classmethod
    def of(cls, owner: str, ids: Sequence[int], block: Block, row: int = 0) -> Known:
        return cls(owner, packed(ids), block, row, block.memory())


@dataclass(frozen=True, slots=True)
class Found:
    """The text that shares the longest beginning, of `length` tokens; `told` of them are the asker's own."""

    text: Known | None = None
    length: int = 0
    told: int = 0


class Prefixes:
    """Finished texts, at most `limit` bytes of them; the one unused for longest goes first."""

    def __init__(self, limit: int, least: int = LEAST) -> None:
        self.limit, self._least = limit, least
        self._texts: dict[Known, None] = {}  # in the order of their last use

    def find(self, owner: str, ids: Sequence[int], running: Iterable[Known] = ()) -> Found:
        """What is known of the beginning of `ids`, all but its last token at most.

        Texts in progress count too: many questions below one long instruction often come at once.
        """
        if not self.limit or len(ids) <= self._least:
            return Found()
        wanted = packed(ids[:-1])
        best, length, told = None, 0, 0
        for text in [*running, *self._texts]:
            shared = common(text.tokens, wanted)
            if shared > length:
                best, length = text, shared
            if text.owner == owner:
                told = max(told, shared)
        if best is None or length < self._least:
            return Found()
        if best in self._texts:
            self._texts[best] = self._texts.pop(best)
        return Found(best, length, told)

    def keep(self, text: Known) -> None:
        """Take a text in, in place of its owner's own texts that it continues."""
        if text.size > self.limit or len(text.tokens) < self._least * WIDTH:
            return
        for other in list(self._texts):
            if other.owner != text.owner:  # that theirs went or stayed would tell what others wrote
                continue
            if other.tokens.startswith(text.tokens):
                self._texts[other] = self._texts.pop(other)
                return
            if text.tokens.startswith(other.tokens):
                del self._texts[other]
        self._texts[text] = None
        while self.memory() > self.limit:
            del self._texts[next(iter(self._texts))]

    def worth(self, tokens: int) -> bool:
        """Whether a text of so many tokens would be kept at all, so that it need not be copied in vain."""
        return bool(self.limit) and tokens >= self._least

    def memory(self) -> int:
        """Bytes held."""
        return sum(text.size for text in self._texts)

    def shed(self) -> int:
        """Forget everything; the bytes that came free."""
        freed = self.memory()
        self._texts.clear()
        return freed


def packed(ids: Sequence[int]) -> bytes:
    """The ids as bytes, which compare fast."""
    return array("i", ids).tobytes()


def common(one: bytes, other: bytes) -> int:
    """How many tokens two packed texts share from the start."""
    low, high = 0, min(len(one), len(other)) // WIDTH
    if one[: high * WIDTH] == other[: high * WIDTH]:
        return high
    while high - low > 1:  # the first `low` are the same, the first `high` are not
        middle = (low + high) // 2
        if one[low * WIDTH : middle * WIDTH] == other[low * WIDTH : middle * WIDTH]:
            low = middle
        else:
            high = middle
    return low


def limit_of(settings: Settings) -> int:
    """Bytes that one model may keep."""
    if settings.prefix_memory >= 0:
        return settings.prefix_memory
    return int(SHARE * (settings.memory_budget or find_device(settings).total))


def has_fixed_positions(config: Any) -> bool:
    """False where a token's keys depend on how long the text became: those cannot be used again."""
    told = getattr(config, "rope_parameters", None) or {}
    kinds = [told, *(part for part in told.values() if isinstance(part, dict))]
    return not any(kind.get("rope_type") in MOVING for kind in kinds)
