"""Forward passes over many texts at once: prompts are read in pieces, answers grow one token a pass.

Knows tokens, rows and positions; nothing of requests, sampling or text. Two kinds of runner share
one face: `Slots` advances many texts in one pass, `Solo` one text with the model's own cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.families._block import Block
from engine.families._prefix import Known, has_fixed_positions, packed
from engine.families._seeing import Sight
from engine.families._viewing import View

if TYPE_CHECKING:
    import torch

ROOM = 512  # tokens of an answer that are planned for ahead; longer ones grow as they come


@dataclass(slots=True, eq=False)
class Reading:
    """Prompts being read: their tokens, how far, and how many tokens each will hold in the end.

    The first `done` tokens of each may be known from the text of `known` with the same number. A prompt with
    pictures (`sight`) is read by itself; `view` is what was seen of them.
    """

    texts: list[list[int]]
    plan: int
    done: int = 0
    known: Sequence[Known | None] = ()
    block: Block | None = None
    state: dict[str, Any] = field(default_factory=dict)
    sight: Sight | None = None
    view: View | None = None

    @property
    def total(self) -> int:
        return max(len(text) for text in self.texts)


class Slots:
    """Many texts at once: prompts are read into a block of their own, then join the batch.

    Rows of the batch are 0..size; when one leaves, the last takes its place.
    """

    def __init__(self, model: Any, parallel: int) -> None:
        self.model, self.parallel = model, parallel
        self.config = model.config.get_text_config(decoder=True)
        self.layers = count_layers(self.config)
        names = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in names
        self.takes_keep = "logits_to_keep" in names
        self.windows = attention_windows(model)
        self.reusable = has_fixed_positions(self.config)
        self.batch: Block | None = None
        self.lengths: list[int] = []
        self.deltas: list[
            int
        ] = []  # what a row's positions are off its places by; pictures take room

    # -- reading prompts

    def read(self, reading: Reading, budget: int) -> torch.Tensor | None:
        """Read up to `budget` more tokens; `[texts, vocabulary]` logits once all are read, else None.

        Before the first token pictures are looked at, a few in each call.
        """
        import torch

        if reading.sight is not None:
            reading.view = reading.view or View(self.model, reading.sight, reading.done)
            if reading.view.look():
                return None
        texts = reading.texts
        start, stop = reading.done, min(reading.total, reading.done + max(budget, 1))
        if reading.block is None:
            reading.block = self._opened(reading)
        window = reading.block.window
        window.rows, window.start, window.stop, window.places = len(texts), start, stop, None
        padded = [(text + [0] * (stop - len(text)))[start:stop] for text in texts]
        ids = torch.tensor(padded, device=self.model.device)
        # Padding stands to the right, so causality alone hides it from the texts.
        ends = torch.tensor([min(len(text), stop) - 1 - start for text in texts], device=ids.device)
        keep = ends.unique() if len(texts) > 1 else ends[-1:]
        more: dict[str, Any] = {"logits_to_keep": keep} if self.takes_keep else {}
        if self.takes_positions:
            spans = torch.arange(start, stop, device=ids.device)
            more["position_ids"] = spans[None].expand(len(texts), -1)
        if reading.view is not None:
            more |= reading.view.inputs(start, stop)
        with torch.inference_mode():
            out = self.model(ids, past_key_values=reading.block.cache, use_cache=True, **more)
        reading.done = stop
        if stop < reading.total:
            return None
        at = torch.searchsorted(keep, ends) if self.takes_keep else ends
        return out.logits[torch.arange(len(texts), device=ids.device), at]

    def _opened(self, reading: Reading) -> Block:
        """The block to read into, with what is known of the texts already."""
        import torch

        block = Block(self.layers, len(reading.texts), reading.plan)
        with torch.inference_mode():
            for row, text in enumerate(reading.known):
                if text is not None:
                    block.copy(row, text.block, text.row, reading.done)
        reading.known = ()
        return block

    def admit(self, reading: Reading, expected: int = 0) -> None:
        """Put the texts that were read into the batch, as its last rows; `expected` rows will be wanted soon."""
        import torch

        block, lengths = reading.block, [len(text) for text in reading.texts]
        deltas = [reading.view.delta if reading.view else 0] * len(lengths)
        if block is None:
            raise ValueError("nothing was read")
        with torch.inference_mode():
            if not self.lengths:
                self.batch, self.lengths, self.deltas = block, lengths, deltas
                return
            batch = self.batch
            if batch is None:
                raise ValueError("rows without a batch")
            size = len(self.lengths)
            need = max(reading.plan, max(lengths) + 1)
            rows = max(size + len(lengths), min(expected, self.parallel))
            batch.reserve(rows, need, (size, max(self.lengths)))
            for source, length in enumerate(lengths):
                batch.copy(size + source, block, source, length)
            self.lengths += lengths
            self.deltas += deltas

    # -- answers

    def advance(self, tokens: list[int]) -> torch.Tensor:
        """Append one token to every row; `[rows, vocabulary]` logits of what follows it.

        Leaves no trace when it raises, so it can be repeated.
        """
        import torch

        batch, size = self.batch, len(tokens)
        if batch is None or size != len(self.lengths):
            raise ValueError("one token for every row is needed")
        longest = max(self.lengths)
        with torch.inference_mode():
            batch.reserve(size, longest + 1, (size, longest))
            device, window = self.model.device, batch.window
            window.rows, window.start, window.stop, window.places = size, longest, longest + 1, None
            places = torch.tensor(self.lengths, device=device)
            more: dict[str, Any] = {}
            if self.takes_positions:
                spots = places + torch.tensor(self.deltas, device=device)
                more["position_ids"] = spots[:, None]
            if min(self.lengths) < longest:
                window.places, window.index = places, torch.arange(size, device=device)
                more["attention_mask"] = self._mask(places, longest + 1)
            ids = torch.tensor(tokens, device=device)[:, None]
            out = self.model(ids, past_key_values=batch.cache, use_cache=True, **more)
        self.lengths = [length + 1 for length in self.lengths]
        return out.logits[:, -1]

    def _mask(self, places: torch.Tensor, length: int) -> Any:
        """Which of `length` tokens each row sees: a plain padding mask, or one per kind of layer."""
        import torch

        spots = torch.arange(length, device=places.device)[None]
        seen = spots <= places[:, None]
        if not self.windows:
            return seen.to(torch.long)
        masks = {}
        for kind, window in self.windows.items():
            mask = seen if window is None else seen & (spots > places[:, None] - window)
            masks[kind] = self._shaped(mask[:, None, None])
        return masks.get("", masks)

    def _shaped(self, mask: torch.Tensor) -> torch.Tensor:
        import torch

        if self.config._attn_implementation == "sdpa":
            return mask
        dtype = self.model.dtype
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=mask.device)
        return torch.where(mask, torch.zeros_like(hidden), hidden)

    def text(self, row: int, owner: str, ids: Sequence[int]) -> Known:
        """What is held of row `row`, whose tokens are `ids`, where it lies; good until the next step."""
        if self.batch is None:
            raise ValueError("rows without a batch")
        return Known(owner, packed(ids[: self.lengths[row]]), self.batch, row)

    def copy(self, row: int, owner: str, ids: Sequence[int]) -> Known:
        """A copy of row `row`, whose tokens are `ids`, that outlives the batch."""
        import torch

        length = self.lengths[row]
        block = Block(self.layers, 1, length)
        if self.batch is not None:
            with torch.inference_mode():
                block.copy(0, self.batch, row, length)
        return Known.of(owner, ids[:length], block)

    def leave(self, row: int) -> int:
        """Free `row`. The last row takes its number; that row's old number comes back."""
        import torch

        last = len(self.lengths) - 1
        with torch.inference_mode():
            if row != last and self.batch is not None:
                self.batch.copy(row, self.batch, last, self.lengths[last])
        for column in (self.lengths, self.deltas):
            column[row] = column[last]
            column.pop()
        if not self.lengths:
            self.batch = None
        return last

    def memory(self) -> int:
        """Bytes of keys and values held by the batch."""
        return self.batch.memory() if self.batch else 0

    def close(self) -> None:
        self.batch, self.lengths, self.deltas = None, [], []


class Solo:
    """One text at a time with the cache the model makes for itself, whatever kind that is; nothing is kept of it."""

    def __init__(self, model: Any) -> None:
        self.model, self.parallel = model, 1
        self.state: dict[str, Any] | None = None
        self.lengths: list[int] = []

    def read(self, reading: Reading, budget: int) -> torch.Tensor | None:
        """Read the whole prompt in one pass (its cache may not accept pieces); its logits."""
        import torch

        (text,) = reading.texts
        device = self.model.device
        ids = torch.tensor([text], device=device)
        state = {"attention_mask": torch.ones_like(ids), "use_cache": True}
        if reading.sight is not None:
            more = reading.sight.inputs
            state |= {name: torch.as_tensor(value).to(device) for name, value in more.items()}
        if "position_ids" in inspect.signature(self.model.forward).parameters:
            # As `generate` does it: a model that counts in space would use what it remembers of another text.
            find = self.model._prepare_position_ids_for_generation
            state["position_ids"] = find(ids, state)
        logits = self._pass(ids, state, first=True)
        reading.done, reading.state = len(text), state
        return logits

    def admit(self, reading: Reading, expected: int = 0) -> None:
        self.state, self.lengths = reading.state, [len(reading.texts[0])]

    def advance(self, tokens: list[int]) -> torch.Tensor:
        """Append the token; `[1, vocabulary]` logits of what follows it."""
        import torch

        if self.state is None:
            raise ValueError("nothing was read")
        logits = self._pass(
            torch.tensor([tokens], device=self.model.device), self.state, first=False
        )
        self.lengths[0] += 1
        return logits

    def _pass(self, ids: torch.Tensor, state: dict[str, Any], *, first: bool) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            inputs = self.model.prepare_inputs_for_generation(
                ids, is_first_iteration=first, next_sequence_length=ids.shape[1], **state
            )
            out = self.model(**inputs, return_dict=True)
            # What generate itself uses to carry any kind of cache from one pass to the next.
            state.update(self.model._update_model_kwargs_for_generation(out, state))
        return out.logits[:, -1]

    def leave(self, row: int) -> int:
        self.close()
        return row

    def memory(self) -> int:
        """Bytes of the cache, as far as its layers show them."""
        cache = (self.state or {}).get("past_key_values")
        tensors = (
            tensor
            for layer in getattr(cache, "layers", ())
            for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
            if tensor is not None
        )
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def close(self) -> None:
        self.state, self.lengths = None, []


def count_layers(config: Any) -> int:
    """How many layers keep keys and values."""
    from transformers.cache_utils import DynamicCache

    return len(DynamicCache(config=config).layers)


def attention_windows(model: Any) -> dict[str, int | None]:
    """The window of each kind of attention layer; empty where every layer sees everything.

    The key is "" where the model takes one mask for all layers.
    """
    from transformers.cache_utils import DynamicCache, DynamicSlidingWindowLayer

    config = model.config.get_text_config(decoder=True)
    layers = DynamicCache(config=config).layers
    kinds = getattr(config, "layer_types", None)
    windows: dict[str, int | None] = {}
    for place, layer in enumerate(layers):
        window = layer.sliding_window if type(layer) is DynamicSlidingWindowLayer else None
        windows[kinds[place] if kinds else ""] = window
    return windows if any(windows.values()) else {}
