"""Pictures made ready for a model, by its own processor: opened, resized, and their places in the prompt.

Knows processors and encoded pictures; nothing of models' passes, requests or rows. Works in a thread of its own,
so that a large picture does not hold up the answers that are being written.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any

from engine.errors import BadValue, Cancelled, InferenceFailed, TooLarge
from engine.pictures import PIXELS, encode, measure, open_picture

MOST = 4 * PIXELS  # of all pictures of one request together
TEXTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})  # of a processor's answer
REMEMBERED = 100_000  # pictures whose numbers are known
GRID = "image_grid_thw"  # patches of all pictures in one row, and how many belong to each


@dataclass(frozen=True, slots=True)
class Portion:
    """Pictures that go through the tower together.

    Args:
        inputs: what the model's `get_image_features` takes.
        first, last: which of the prompt's places for pictures they fill.
    """

    inputs: dict[str, Any]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Sight:
    """A prompt with pictures.

    Args:
        ids: its tokens; a picture takes as many as the model sees of it, all with the same id.
        keys: the same, but every picture's are numbers of its own below zero, so that two prompts only
            begin alike as far as their pictures do.
        spots: where the tokens of pictures are.
        counts: how many each picture has.
        inputs: what the processor made beside the ids, by the names that the model knows.
    """

    ids: list[int]
    keys: list[int]
    spots: list[int]
    counts: list[int]
    inputs: dict[str, Any] = field(repr=False)

    def portions(self, start: int = 0) -> list[Portion]:
        """What must be looked at for the tokens from `start` on; picture by picture where they can be told apart."""
        import torch

        pictures = {k: torch.as_tensor(v) for k, v in self.inputs.items() if not _is_aligned(k)}
        begun = bisect_left(self.spots, start)
        ends = list(accumulate(self.counts))
        if begun >= len(self.spots):
            return []
        grid, pixels = pictures.get(GRID), pictures.get("pixel_values")
        if grid is None or pixels is None or pixels.ndim != 2 or len(grid) != len(ends):
            return [Portion(pictures, 0, len(self.spots))]
        patches = [0, *accumulate(grid.prod(-1).tolist())]
        return [
            Portion(
                {"pixel_values": pixels[patches[n] : patches[n + 1]], GRID: grid[n : n + 1]},
                end - self.counts[n],
                end,
            )
            for n, end in enumerate(ends)
            if end > begun
        ]

    def aligned(self) -> dict[str, Any]:
        """What the processor tells of every token, `[1, tokens]` each."""
        import torch

        return {k: torch.as_tensor(v) for k, v in self.inputs.items() if _is_aligned(k)}


def _is_aligned(name: str) -> bool:
    return name.endswith("token_type_ids")


class Eyes:
    """One model's processor of pictures.

    Attributes:
        token: what stands for a picture in a rendered prompt.
        words: all that must not be written by people: it would pass for a picture, a film or a sound.
    """

    def __init__(self, processor: Any, model: Any, name: str) -> None:
        self._processor, self._model = processor, name
        ids = getattr(processor, "image_token_ids", None) or [processor.image_token_id]
        self._id = int(getattr(model.config, "image_token_id", None) or ids[0])
        self.token = str(processor.image_token)
        words = {self.token, *(str(w) for w in processor.all_special_multimodal_tokens if w)}
        self.words = tuple(sorted(words, key=len, reverse=True))
        # Without torch in this thread: a second pool of processor threads would slow down the first.
        plain = type(processor.image_processor).__name__.endswith("Pil")
        self._tensors = "np" if plain else "pt"
        self._numbers: OrderedDict[tuple[bytes, int, int], int] = OrderedDict()
        self._next = count(1)  # a number is never given twice
        self._told: list[str] = []
        self._replace = processor.replace_image_token
        processor.replace_image_token = self._tell
        self._thread: ThreadPoolExecutor | None = None

    def trial(self) -> Sight:
        """A prompt with a small picture, to try the model with."""
        from PIL import Image

        picture = encode(Image.linear_gradient("L").resize((64, 48)).convert("RGB"))
        return self.look(f"a {self.token} b c", [picture])

    def begin(
        self, text: str, pictures: Sequence[bytes], is_gone: Callable[[], bool], special: bool
    ) -> Future[Sight]:
        """`look` in the thread for pictures; one after another."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        return self._thread.submit(self.look, text, pictures, is_gone, special)

    def look(
        self,
        text: str,
        pictures: Sequence[bytes],
        is_gone: Callable[[], bool] = lambda: False,
        special: bool = True,
    ) -> Sight:
        """The prompt as the model reads it.

        Args:
            text: the rendered prompt, `token` in it once for each picture.
            is_gone: asked before each picture; nobody waits any more.
            special: whether the tokenizer adds what a text begins with.

        Raises:
            BadFormat, TooLarge, BadValue: a picture cannot be read. Cancelled: nobody waits.
        """
        sizes = [measure(data, "messages") for data in pictures]
        if sum(size.width * size.height for size in sizes) > MOST:
            raise TooLarge(
                f"The pictures have more than {MOST // 1_000_000} million pixels together. "
                "Send fewer or smaller ones.",
                param="messages",
            )
        opened = []
        for data in pictures:
            if is_gone():
                raise Cancelled()
            opened.append(open_picture(data, "messages"))
        self._told.clear()
        try:
            made = self._processor(
                images=[opened],
                text=[text],
                add_special_tokens=special,
                return_tensors=self._tensors,
            )
        except ValueError as error:  # what processors say to shapes they were not made for
            raise BadValue(
                f"{self._model} cannot read a picture of this shape (too narrow or too small). "
                "Send another, or a part of it.",
                param="messages",
            ) from error
        return self._sight(made, pictures)

    def _tell(self, *args: Any, **named: Any) -> str:
        """What the processor writes for a picture, kept to count its tokens."""
        text = str(self._replace(*args, **named))
        self._told.append(text)
        return text

    def _sight(self, made: Any, pictures: Sequence[bytes]) -> Sight:
        ids: list[int] = made["input_ids"][0].tolist()
        spots = [place for place, token in enumerate(ids) if token == self._id]
        counts = [self._count(text) for text in self._told]
        hashes = [hashlib.sha256(data).digest() for data in pictures]
        if len(counts) != len(pictures) or sum(counts) != len(spots):
            counts = [len(spots)]  # told apart as one: they are used again together or not at all
            hashes = [hashlib.sha256(b"".join(hashes)).digest()]
        if not spots:
            raise InferenceFailed("The pictures found no place in the prompt. Leave them out.")
        inputs = {name: value for name, value in made.items() if name not in TEXTS}
        # Some cut a picture in pieces only when it is alone.
        company = len(pictures) if "batch_num_images" in inputs else 0
        inputs |= {k: made[k] for k in ("token_type_ids",) if k in made}
        keys = list(ids)
        end = 0
        for digest, size in zip(hashes, counts, strict=True):
            number = self._number((digest, size, company))
            for spot in spots[end : end + size]:
                keys[spot] = -number
            end += size
        return Sight(ids, keys, spots, counts, inputs)

    def _number(self, picture: tuple[bytes, int, int]) -> int:
        if picture not in self._numbers:
            self._numbers[picture] = next(self._next)
        self._numbers.move_to_end(picture)
        while len(self._numbers) > REMEMBERED:
            self._numbers.popitem(last=False)
        return self._numbers[picture]

    def _count(self, text: str) -> int:
        ids: list[int] = self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids.count(self._id)

    def close(self) -> None:
        """Let the thread end."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None
