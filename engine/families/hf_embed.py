"""Vectors of texts from any sentence-transformers model that transformers can build; many requests in one pass.

Owns the order of work: texts of about one length are read together, whoever sent them. The layout of the folder is
read in `_sentences`, the weights in `_loading`.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.checkpoints import find_checkpoint
from engine.errors import BadValue, Cancelled, OutOfMemory, TimedOut
from engine.events import Done, Event, Progress, Vector
from engine.families._defaults import context_of
from engine.families._sentences import Layout, read_layout
from engine.families._threads import Threads
from engine.faults import is_out_of_memory
from engine.registry import BatchEmit, ModelSpec
from engine.requests import EmbedRequest, Request
from engine.settings import Settings

if TYPE_CHECKING:
    import torch

SPECS: tuple[ModelSpec, ...] = ()
QUANTISES = True  # see `engine.fit.forms`
MOMENT = (
    0.2  # seconds that a pass should take at most, so that others on the device have their turn
)
FIRST, MOST = 1024, 65_536  # tokens of a pass, padding included: the first one, and any
CHARS = 24  # characters a token holds at most, on any real text


@dataclass(slots=True, eq=False)
class Work:
    """One request: its texts' ids, and the vectors that are ready."""

    emit: BatchEmit
    texts: list[list[int]]
    skipped: int  # tokens of the prompt, where they are not pooled
    dimensions: int | None
    vectors: list[tuple[float, ...] | None] = field(default_factory=list)
    alone: bool = False  # read by itself, after a pass with others failed

    @property
    def open(self) -> list[int]:
        return [n for n, vector in enumerate(self.vectors) if vector is None]


def load(spec: ModelSpec, settings: Settings) -> HfEmbed:
    """The model of `spec`, ready. Errors: see `read_layout`, `load_model` and `find_checkpoint`."""
    from engine.families._loading import load_model

    folder = find_checkpoint(spec)
    layout = read_layout(folder, spec)
    model, tokenizer = load_model(layout.transformer, spec, settings, "AutoModel")
    return HfEmbed(spec, settings, layout, model, tokenizer)


class HfEmbed:
    """A loaded model; up to `parallel` requests are taken in at once.

    `longest` is how many tokens a text may have, `width` how many values a vector.
    """

    def __init__(
        self, spec: ModelSpec, settings: Settings, layout: Layout, model: Any, tokenizer: Any
    ) -> None:
        from engine.families._quantising import bytes_held

        self.spec, self.parallel = spec, settings.parallel
        self._layout, self._model, self._tokenizer = layout, model, tokenizer
        self._dense = [_linear(file, name, model.device) for file, name in layout.dense]
        self.longest = self._longest(settings)
        own = [weight for layer in self._dense for weight in layer.parameters()]
        self._weights = bytes_held(model) + sum(w.numel() * w.element_size() for w in own)
        self._works: list[Work] = []
        self._threads = Threads()
        self._room, self._most = FIRST, MOST  # tokens of a pass, by what time and memory allow
        self.width = len(self._vectors([self._encode([""])[0] or [0]], [0])[0])

    def _longest(self, settings: Settings) -> int:
        context = context_of(self._model.config, self._tokenizer, self.spec, settings)
        table = getattr(getattr(self._model, "embeddings", None), "position_embeddings", None)
        held = getattr(self._model.config, "max_position_embeddings", 0)
        padding = getattr(table, "padding_idx", None)
        if padding is not None and held:  # such models count positions from behind the padding's
            context = min(context, held - padding - 1)
        told = getattr(self._tokenizer, "model_max_length", 0)
        limits = (context, self._layout.longest, told if 0 < told < 10**9 else 0)
        return min(limit for limit in limits if limit > 0)

    # -- what the lane calls

    def join(self, request: Request, emit: BatchEmit) -> None:
        """Take an embed request in.

        Raises:
            BadValue: a text is empty or too long, there is no such prompt, or fewer values than asked for.
        """
        if not isinstance(request, EmbedRequest):
            raise BadValue(f"Model '{self.spec.id}' embeds texts only.", param="model")
        wanted = request.dimensions
        if wanted is not None and wanted > self.width:
            raise BadValue(
                f"{wanted:,} dimensions were asked for, but vectors of {self.spec.id} have {self.width:,}. "
                "Ask for fewer, or leave it out.",
                param="dimensions",
            )
        prompt = self._prompt(request.prompt)
        texts = self._read(request, prompt)
        skipped = 0
        if prompt and not self._layout.counts_prompt:
            ids = self._encode([prompt])[0]
            skipped = len(ids) - (bool(ids) and ids[-1] in self._tokenizer.all_special_ids)
        emit.count(input=sum(map(len, texts)))
        self._works.append(Work(emit, texts, skipped, wanted, [None] * len(texts)))

    def step(self) -> None:
        """One pass over texts of about one length, the oldest request's longest among them."""
        self._threads.use()
        while self._works and not self._say(work := self._works[0], None):
            self.drop(work.emit)
        if not self._works:
            return
        chosen = self._choose()
        texts = [work.texts[n] for work, n in chosen]
        began = time.perf_counter()
        try:
            vectors = self._vectors(texts, [work.skipped for work, _ in chosen])
        # A text may break the model in any way a model can break; it must not break the others' requests.
        except Exception as error:
            self._give_up(chosen, error)
            return
        self._adapt(len(texts) * len(texts[0]), time.perf_counter() - began)
        for (work, n), vector in zip(chosen, vectors, strict=True):
            work.vectors[n] = _cut(vector, work.dimensions)
        for work in {id(work): work for work, _ in chosen}.values():
            self._publish(work)

    def drop(self, emit: BatchEmit) -> None:
        """Forget the request of `emit`."""
        self._works = [work for work in self._works if work.emit is not emit]

    def memory(self) -> int:
        """Bytes of the weights."""
        return self._weights if self._model is not None else 0

    def close(self) -> None:
        """Give all memory back."""
        import torch

        self._works.clear()
        self._dense.clear()
        self._model = self._tokenizer = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # -- taking in

    def _prompt(self, name: str | None) -> str:
        layout = self._layout
        if name is None:
            return layout.prompts.get(layout.default, "")
        if name not in layout.prompts:
            known = ", ".join(layout.prompts) or "none"
            raise BadValue(
                f"{self.spec.id} has no prompt '{name}'. It has: {known}.", param="prompt"
            )
        return layout.prompts[name]

    def _read(self, request: EmbedRequest, prompt: str) -> list[list[int]]:
        most = (self.longest + 1000) * CHARS
        for number, text in enumerate(request.texts, 1):
            if not text:
                raise BadValue(f"Text {number} is empty. Leave it out.", param="input")
        texts = self._encode([prompt + text[:most] for text in request.texts], request.truncate)
        for number, (ids, text) in enumerate(zip(texts, request.texts, strict=True), 1):
            if not ids:
                raise BadValue(
                    f"Text {number} holds nothing that {self.spec.id} can read. Leave it out.",
                    param="input",
                )
            if len(ids) > self.longest:
                more = "more than " if len(text) > most else ""
                raise BadValue(
                    f"Text {number} has {more}{len(ids):,} tokens, but {self.spec.id} reads {self.longest:,}. "
                    "Split or shorten it, or send truncate to have it cut.",
                    param="input",
                )
        return texts

    def _encode(self, texts: Sequence[str], cut: bool = False) -> list[list[int]]:
        texts = [text.lower() for text in texts] if self._layout.lowers else list(texts)
        how: dict[str, Any] = {"truncation": True, "max_length": self.longest} if cut else {}
        ids: list[list[int]] = self._tokenizer(texts, verbose=False, **how)["input_ids"]
        return ids

    # -- working

    def _choose(self) -> list[tuple[Work, int]]:
        """The oldest request's longest text, and others not much shorter, as many as a pass has room for."""
        first = self._works[0]
        lead = max(first.open, key=lambda n: len(first.texts[n]))
        length = len(first.texts[lead])
        budget = min(self._room, self._most)
        works = [first] if first.alone else [work for work in self._works if not work.alone]
        others = [
            (work, n)
            for work in works
            for n in work.open
            if length // 2 <= len(work.texts[n]) <= length and not (work is first and n == lead)
        ]
        others.sort(key=lambda item: -len(item[0].texts[item[1]]))  # stable: older requests first
        return [(first, lead), *others[: max(0, budget // length - 1)]]

    def _adapt(self, tokens: int, seconds: float) -> None:
        """Larger passes while they are quick, smaller ones once they are not."""
        if seconds > MOMENT:
            self._room = max(1, tokens // 2)
        elif seconds < MOMENT / 2 and tokens > self._room // 2:
            self._room = min(MOST, 2 * self._room)

    def _vectors(self, texts: list[list[int]], skipped: list[int]) -> list[list[float]]:
        """One forward pass; `[texts][width]` values."""
        import torch
        from torch.nn import functional

        device, longest = self._model.device, max(map(len, texts))
        filler = self._tokenizer.pad_token_id or 0
        ids = torch.tensor([text + [filler] * (longest - len(text)) for text in texts])
        mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
        with torch.inference_mode():
            out = self._model(input_ids=ids.to(device), attention_mask=mask.to(device))
            seen = mask.clone()
            for row, count in enumerate(skipped):
                seen[row, :count] = 0
            hidden, seen = out.last_hidden_state.float(), seen.to(device)
            vector = torch.cat([pool(hidden, seen, how) for how in self._layout.poolings], 1)
            for layer in self._dense:
                vector = layer(vector)
            if self._layout.normalises:
                vector = functional.normalize(vector, dim=1)
            values: list[list[float]] = vector.tolist()
        return values

    def _publish(self, work: Work) -> None:
        """Tell how far a request is; at the end its vectors in order."""
        ready = [vector for vector in work.vectors if vector is not None]
        total = len(work.vectors)
        if len(ready) < total:
            if not self._say(work, Progress(len(ready), total)):
                self.drop(work.emit)
            return
        self.drop(work.emit)
        for index, vector in enumerate(ready):
            if not self._say(work, Vector(index, vector)):
                return
        self._say(work, Done())

    def _say(self, work: Work, event: Event | None) -> bool:
        """Emit; False when nobody listens any more or the time is up."""
        try:
            work.emit(event)
        except Cancelled:
            return False
        except TimedOut as error:
            work.emit.fail(error)
            return False
        return True

    def _give_up(self, chosen: list[tuple[Work, int]], error: Exception) -> None:
        """A pass failed: fewer texts at once, requests one by one, and in the end that request alone fails."""
        work, n = chosen[0]
        length = len(work.texts[n])
        if is_out_of_memory(error) and len(chosen) > 1:
            self._most = len(chosen) * length // 2
        elif any(other is not work for other, _ in chosen):
            for other, _ in chosen:
                other.alone = True
        else:
            self.drop(work.emit)
            work.emit.fail(
                OutOfMemory(
                    f"There was not enough memory to read a text of {length:,} tokens. "
                    "Shorten it or try again later."
                )
                if is_out_of_memory(error)
                else error
            )


def pool(hidden: torch.Tensor, seen: torch.Tensor, how: str) -> torch.Tensor:
    """One vector for each text: `[texts, width]` of `[texts, tokens, width]`, where `seen` is 1."""
    import torch

    if how == "cls":
        return hidden[:, 0]
    rows = torch.arange(len(hidden), device=hidden.device)
    if how == "lasttoken":
        return hidden[rows, seen.shape[1] - 1 - seen.flip(1).argmax(1)]
    if how == "max":
        return hidden.masked_fill(seen[..., None] == 0, -torch.inf).amax(1)
    weights = seen.float()
    if how == "weightedmean":
        weights = weights * torch.arange(1, seen.shape[1] + 1, device=hidden.device)
    total = (hidden * weights[..., None]).sum(1)
    count = weights.sum(1, keepdim=True).clamp_min(1e-9)
    return total / (count.sqrt() if how == "mean_sqrt_len_tokens" else count)


def _linear(file: Any, activation: str, device: Any) -> Any:
    """A dense layer that follows the pooling."""
    from safetensors.torch import load_file
    from torch import nn

    weights = load_file(file)
    weight, bias = weights["linear.weight"], weights.get("linear.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict(
        {name.removeprefix("linear."): value.float() for name, value in weights.items()}
    )
    return nn.Sequential(layer, getattr(nn, activation)()).to(device).requires_grad_(False)


def _cut(vector: list[float], dimensions: int | None) -> tuple[float, ...]:
    """The leading values, of length 1 again; all of them as they are where none are cut."""
    if dimensions is None or dimensions == len(vector):
        return tuple(vector)
    kept = vector[:dimensions]
    norm = sum(value * value for value in kept) ** 0.5 or 1.0
    return tuple(value / norm for value in kept)
