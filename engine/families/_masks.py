"""Sets of tokens as bit masks, and which tokens bring JSON text nearer its end.

Knows bits and bytes; nothing of grammars, models or requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

NUMBER = frozenset(b"0123456789.eE+-")


@dataclass(frozen=True, slots=True)
class Closers:
    """Tokens that bring JSON text nearer its end, as bit masks `[words]`, the nearest first.

    `quoted` are those within a string, `plain` those outside; `pieces` are the bytes of all tokens, `letters`
    the tokens of one byte.
    """

    pieces: Sequence[bytes]
    quoted: tuple[torch.Tensor, ...]
    plain: tuple[torch.Tensor, ...]
    letters: tuple[int, ...]

    @classmethod
    def of(cls, pieces: Sequence[bytes], words: int) -> Closers:
        """From the bytes of each token."""
        tiers: dict[str, list[int]] = {"quote": [], "end": [], "empty": [], "next": [], "null": []}
        for token, piece in enumerate(pieces):
            text = piece.strip()
            if text[:1] == b'"' and not text[1:].strip(b"]}"):
                tiers["quote"].append(token)
            if text and not text.strip(b"]}"):
                tiers["end"].append(token)
            for kind, wanted in (("empty", b'""'), ("next", b","), ("null", b"null")):
                if text == wanted:
                    tiers[kind].append(token)
        masks = {kind: bits_of(tokens, words) for kind, tokens in tiers.items()}
        outside = tuple(masks[kind] for kind in ("end", "null", "empty", "next", "quote"))
        letters = tuple(token for token, piece in enumerate(pieces) if len(piece) == 1)
        return cls(pieces, (masks["quote"],), outside, letters)


@dataclass(slots=True)
class Place:
    """Where JSON text, read byte by byte, stands: within a string, and how far into a number."""

    quoted: bool = False
    digits: int = 0
    escaped: bool = False

    def read(self, piece: bytes) -> None:
        """Go on by these bytes."""
        for byte in piece:
            if self.escaped:
                self.escaped = False
            elif self.quoted and byte == 0x5C:
                self.escaped = True
            elif byte == 0x22:
                self.quoted = not self.quoted
            self.digits = self.digits + 1 if not self.quoted and byte in NUMBER else 0


def bits_of(ids: Sequence[int], words: int) -> torch.Tensor:
    """The bit mask `[words]` (int32) of these tokens."""
    import torch

    flags = torch.zeros(words * 32, dtype=torch.int64)
    flags[list(ids)] = 1
    packed = (flags.view(words, 32) << torch.arange(32)).sum(-1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


def is_set(row: torch.Tensor, token: int) -> bool:
    """Whether a token is in a bit mask."""
    return bool(row[token // 32] & word_of(token))


def word_of(token: int) -> int:
    """The word in which only the bit of a token is set, as a signed number."""
    bit = 1 << (token % 32)
    return bit - 2**32 if bit >= 2**31 else bit


def allowed(masks: torch.Tensor, size: int, device: torch.device | None = None) -> torch.Tensor:
    """Bit masks `[rows, words]`, on the processor, as truth values `[rows, size]` on `device`."""
    import torch

    if device is None or device.type == "cpu":
        import numpy

        flags = numpy.unpackbits(masks.numpy().view(numpy.uint8), axis=1, bitorder="little")
        flat = torch.from_numpy(flags).bool()
    else:
        shifts = torch.arange(32, device=device, dtype=torch.int32)
        flat = ((masks.to(device)[:, :, None] >> shifts) & 1).bool().flatten(1)
    if flat.shape[1] < size:
        flat = torch.nn.functional.pad(flat, (0, size - flat.shape[1]))
    return flat[:, :size]
