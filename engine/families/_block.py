"""The keys and values of several texts in one block of memory, laid out as a cache of transformers.

Knows rows and positions; nothing of tokens, models or requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BLOCK = 64  # tokens by which rows grow at least


def rounded(tokens: int) -> int:
    """`tokens` rounded up to whole blocks."""
    return -(-tokens // BLOCK) * BLOCK


@dataclass(slots=True)
class Window:
    """What the pass in progress writes and sees: rows 0..rows, tokens start..stop of each.

    `places` holds one position per row instead of one span for all, where rows differ in length.
    """

    rows: int = 1
    start: int = 0
    stop: int = 0
    places: torch.Tensor | None = None
    index: torch.Tensor | None = None


@dataclass(slots=True)
class Layer:
    """One layer's keys and values, each `[rows, heads, length, width]`, as a cache of transformers.

    It grows where a pass needs more room and answers the questions that mask makers ask.
    """

    window: Window
    capacity: tuple[int, int]
    keys: torch.Tensor | None = None
    values: torch.Tensor | None = None
    is_compileable: bool = False
    is_croppable: bool = False
    is_sliding: bool = False
    supports_early_init: bool = False
    is_initialized: bool = True

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the pass's new keys and values; all of its rows' so far come back."""
        window = self.window
        if self.keys is None or self.values is None:
            self.keys, self.values = self._room(keys), self._room(values)
        for whole, new in ((self.keys, keys), (self.values, values)):
            if window.places is None:
                whole[: window.rows, :, window.start : window.stop] = new
            else:
                whole[window.index, :, window.places] = new[:, :, 0]
        return self.keys[: window.rows, :, : window.stop], self.values[
            : window.rows, :, : window.stop
        ]

    def _room(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not garbage: a masked NaN would still spoil the row it is multiplied into.
        return like.new_zeros((self.capacity[0], like.shape[1], self.capacity[1], like.shape[3]))

    def grow(self, rows: int, length: int, used: tuple[int, int]) -> None:
        """Make room for `rows` x `length`, keeping the `used` part."""
        self.capacity = (rows, length)
        if self.keys is None or self.values is None or self.keys.shape[0::2] == (rows, length):
            return
        grown = [self._room(self.keys), self._room(self.values)]
        for new, old in zip(grown, (self.keys, self.values), strict=True):
            new[: used[0], :, : used[1]] = old[: used[0], :, : used[1]]
        self.keys, self.values = grown

    def get_seq_length(self, *_: Any) -> int:
        return self.window.start

    def get_mask_sizes(self, *_: Any) -> tuple[int, int]:
        return self.window.stop, 0

    def get_max_length(self) -> int:
        return -1


class Block:
    """Keys and values of up to `rows` texts of up to `length` tokens, all layers."""

    def __init__(self, layers: int, rows: int, length: int) -> None:
        from transformers.cache_utils import Cache, CacheLayerMixin

        CacheLayerMixin.register(Layer)  # so that the cache counts our layers as attention layers
        self.rows, self.length = rows, rounded(length)
        self.window = Window()
        self.layers = [Layer(self.window, (self.rows, self.length)) for _ in range(layers)]
        self.cache = Cache(layers=self.layers)

    def reserve(self, rows: int, length: int, used: tuple[int, int]) -> None:
        """Room for `rows` x `length`; what is there already (`used`) stays. Can be repeated after a failure."""
        if rows <= self.rows and length <= self.length:
            return
        if rows > self.rows:
            rows = max(rows, 2 * self.rows)
        if length > self.length:
            length = rounded(max(length, self.length + self.length // 4))
        rows, length = max(rows, self.rows), max(length, self.length)
        for layer in self.layers:
            layer.grow(rows, length, used)
        self.rows, self.length = rows, length

    def copy(self, row: int, other: Block, source: int, length: int) -> None:
        """Row `row` becomes row `source` of `other`, its first `length` tokens."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            if theirs.keys is None or theirs.values is None:
                continue
            if mine.keys is None or mine.values is None:
                mine.keys, mine.values = mine._room(theirs.keys), mine._room(theirs.values)
            mine.keys[row, :, :length] = theirs.keys[source, :, :length]
            mine.values[row, :, :length] = theirs.values[source, :, :length]

    def memory(self) -> int:
        """Bytes held."""
        tensors = (t for layer in self.layers for t in (layer.keys, layer.values) if t is not None)
        return sum(t.numel() * t.element_size() for t in tensors)
