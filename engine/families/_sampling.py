"""Choosing the next token of many rows at once, each by its own settings.

Knows logits and numbers; nothing of requests or models. Greedy rows cost one argmax; the others
one uniform number each, so a seeded row draws the same tokens whatever else is in the batch.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.errors import InferenceFailed

if TYPE_CHECKING:
    import torch

    from engine.families._grammar import Guide

WIDE = 1024  # candidates tried before a full sort


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer's tokens are drawn. `temperature` 0 takes the likeliest; 0, 1 and None elsewhere mean off.

    Filters act in this order: temperature, top_k, top_p, min_p; penalties and `bias` before all of them.
    A repetition penalty counts the prompt too, `presence` and `frequency` the answer alone.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    presence: float = 0.0
    frequency: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def filters(self) -> bool:
        return self.top_k > 0 or self.top_p < 1.0

    @property
    def shifts(self) -> bool:
        return bool(self.presence or self.frequency or self.bias)


@dataclass(frozen=True, slots=True)
class Chances:
    """How likely a token was, before anything shifted or filtered it, and the likeliest ones, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True, eq=False)
class Draw:
    """One row's draws: its settings, its own source of numbers, and the tokens it has seen.

    Args:
        guide: which tokens may come next; None: all.
        tells: how many likeliest tokens to tell beside the chosen; None: tell nothing.
        told: what was told of the last token.
    """

    sampling: Sampling
    prompt: Sequence[int] = ()
    guide: Guide | None = None
    tells: int | None = None
    told: Chances | None = None
    source: random.Random = field(init=False)
    seen: torch.Tensor | None = None  # [vocabulary], met tokens; kept for penalties only
    counts: dict[int, int] = field(
        default_factory=dict
    )  # the answer's tokens; kept for penalties only
    error: Exception | None = None  # why it cannot go on

    def __post_init__(self) -> None:
        self.source = random.Random(self.sampling.seed)


class Sampler:
    """Draws for a set of rows; its tensors are built anew only when the set changes."""

    def __init__(self) -> None:
        self.draws: list[Draw] = []
        self._picked: list[int] = []
        self._penalised: list[int] = []
        self._shifted: list[int] = []
        self._guided: list[int] = []
        self._told: list[int] = []
        self._table: dict[str, torch.Tensor] = {}

    def pick(self, logits: torch.Tensor, draws: list[Draw]) -> list[int]:
        """The next token of each row of `logits` `[rows, vocabulary]`; `draws` in the same order."""
        import torch

        if draws != self.draws:
            self._arrange(draws, logits.device)
        with torch.inference_mode():
            raw = logits
            if self._penalised:
                logits = self._penalise(logits)
            if self._shifted:
                logits = self._shift(logits)
            if self._guided:
                logits = self._keep_to_grammars(logits)
            tokens = logits.argmax(-1)
            if self._picked:
                rows = logits if len(self._picked) == len(draws) else logits[self._table["rows"]]
                tokens[self._table["rows"]] = self._sample(rows.float())
            chosen: list[int] = tokens.tolist()
            for row in self._penalised:
                seen = draws[row].seen
                if seen is not None:
                    seen[chosen[row]] = True
            if self._told:
                self._tell(raw, chosen)
        self._note(chosen)
        return chosen

    def _note(self, chosen: list[int]) -> None:
        """Tell the rows that look at their own tokens which they were."""
        for row in self._shifted:
            counts = self.draws[row].counts
            counts[chosen[row]] = counts.get(chosen[row], 0) + 1
        for row in self._guided:
            draw = self.draws[row]
            try:
                if draw.guide is not None:
                    draw.guide.take(chosen[row])
            except InferenceFailed as error:
                draw.error = error

    def _arrange(self, draws: list[Draw], device: torch.device) -> None:
        import torch

        self.draws = list(draws)
        self._picked = [n for n, draw in enumerate(draws) if draw.sampling.temperature > 0]
        self._penalised = [
            n for n, draw in enumerate(draws) if draw.sampling.repetition_penalty != 1
        ]
        self._shifted = [n for n, draw in enumerate(draws) if draw.sampling.shifts]
        self._guided = [n for n, draw in enumerate(draws) if draw.guide is not None]
        self._told = [n for n, draw in enumerate(draws) if draw.tells is not None]
        chosen = [draws[n].sampling for n in self._picked]
        columns = {
            "temperature": [s.temperature for s in chosen],
            "top_k": [float(s.top_k) for s in chosen],
            "top_p": [s.top_p for s in chosen],
            "min_p": [s.min_p for s in chosen],
            "penalty": [draws[n].sampling.repetition_penalty for n in self._penalised],
        }
        self._table = {
            name: torch.tensor(values, device=device)[:, None] for name, values in columns.items()
        }
        self._table["rows"] = torch.tensor(self._picked, device=device, dtype=torch.long)

    def _penalise(self, logits: torch.Tensor) -> torch.Tensor:
        """Tokens seen before become less likely, in the prompt and in the answer alike."""
        import torch

        marks = []
        for row in self._penalised:
            draw = self.draws[row]
            if draw.seen is None:
                draw.seen = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
                draw.seen[
                    torch.tensor(list(draw.prompt), dtype=torch.long, device=logits.device)
                ] = True
            marks.append(draw.seen)
        seen = torch.stack(marks)
        at = torch.tensor(self._penalised, device=logits.device)
        logits = logits.float()
        rows, by = logits[at], self._table["penalty"]
        changed = torch.where(rows < 0, rows * by, rows / by)
        return logits.index_copy(0, at, torch.where(seen, changed, rows))

    def _shift(self, logits: torch.Tensor) -> torch.Tensor:
        """Biases are added; tokens that the answer holds already become less likely."""
        import torch

        logits = logits.float().clone()
        for row in self._shifted:
            sampling = self.draws[row].sampling
            changes = {n: by for n, by in sampling.bias.items() if 0 <= n < logits.shape[1]}
            for token, count in self.draws[row].counts.items():
                cost = sampling.presence + sampling.frequency * count
                changes[token] = changes.get(token, 0.0) - cost
            if changes:
                ids = torch.tensor(list(changes), device=logits.device)
                by = torch.tensor(list(changes.values()), device=logits.device)
                logits[row, ids] += by
        return logits

    def _keep_to_grammars(self, logits: torch.Tensor) -> torch.Tensor:
        """Tokens that a row's grammar forbids get no chance; a likeliest one that it allows costs next to nothing."""
        import torch

        from engine.families._masks import allowed

        wishes: list[int] = logits.argmax(-1).tolist()
        strict: list[tuple[int, Guide]] = []
        for row in self._guided:
            draw = self.draws[row]
            if draw.guide is None or not draw.guide.awake:
                continue
            if draw.sampling.temperature > 0 or not draw.guide.lets(wishes[row]):
                strict.append((row, draw.guide))
        if not strict:
            return logits
        masks = torch.empty((len(strict), max(g.words for _, g in strict)), dtype=torch.int32)
        for mask, (row, guide) in zip(masks, strict, strict=True):
            guide.mask(mask, wishes[row])
        fits = allowed(masks, logits.shape[1], logits.device)
        logits = logits.clone()
        for fit, (row, _) in zip(fits, strict, strict=True):
            logits[row].masked_fill_(~fit, -torch.inf)
        return logits

    def _tell(self, raw: torch.Tensor, chosen: list[int]) -> None:
        """Keep how likely the chosen tokens were."""
        import torch

        at = torch.tensor(self._told, device=raw.device)
        chances = raw[at].float().log_softmax(-1)
        most = max(self.draws[row].tells or 0 for row in self._told)
        best = chances.topk(most, -1) if most else None
        for n, row in enumerate(self._told):
            draw, token = self.draws[row], chosen[row]
            top: tuple[tuple[int, float], ...] = ()
            if best is not None and draw.tells:
                ids, values = best.indices[n, : draw.tells], best.values[n, : draw.tells]
                top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
            draw.told = Chances(token, float(chances[n, token]), top)

    def _sample(self, logits: torch.Tensor) -> torch.Tensor:
        """One token per row by inverting its cumulated probabilities, taken in vocabulary order.

        In that order a rounding error moves a border by as much and no more; sorted, it could swap tokens.
        """
        import torch

        table = self._table
        logits = logits / table["temperature"]
        if any(self.draws[n].sampling.filters for n in self._picked):
            logits = logits.masked_fill(logits < self._threshold(logits), -torch.inf)
        chances = logits.softmax(-1)
        if bool((table["min_p"] > 0).any()):
            top = chances.amax(-1, keepdim=True)
            chances = chances.masked_fill(chances < table["min_p"] * top, 0)
        sums = chances.double().cumsum(-1)
        numbers = [self.draws[n].source.random() for n in self._picked]
        points = torch.tensor(numbers, dtype=torch.double, device=logits.device)[:, None]
        spots = torch.searchsorted(sums, points * sums[:, -1:], right=True)
        return spots[:, 0].clamp_max(logits.shape[1] - 1)

    def _threshold(self, logits: torch.Tensor) -> torch.Tensor:
        """The least logit each row keeps under its top_k and top_p, `[rows, 1]`."""
        import torch

        table, size = self._table, logits.shape[1]
        capped = table["top_k"] > 0
        ks = table["top_k"].masked_fill(~capped, size).clamp_max(size)
        open_ended = ~capped & (table["top_p"] < 1)  # a nucleus in the whole vocabulary
        count = int(ks.masked_fill(~capped, min(size, WIDE) if open_ended.any() else 1).max())
        while True:
            best = logits.topk(count, dim=-1).values
            inside = torch.arange(count, device=logits.device)[None] < ks
            cut = best.masked_fill(~inside, -torch.inf)
            whole = torch.where(capped, cut.logsumexp(-1, True), logits.logsumexp(-1, True))
            chances = (cut - whole).exp()
            kept = inside & (chances.cumsum(-1) - chances < table["top_p"])
            kept[:, 0] = True
            if count == size or not bool((kept[:, -1:] & open_ended).any()):
                break
            count = size
        least = best.masked_fill(~kept, torch.inf).amin(-1, keepdim=True)
        return least.masked_fill(~capped & ~open_ended, -torch.inf)
