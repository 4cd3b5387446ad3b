"""Choosing tokens for many rows, each by its own settings."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from engine.families._sampling import Draw, Sampler, Sampling


def logits_of(rows: int, size: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * 3


def warped(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The probabilities transformers' own processors leave."""
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    ids = torch.zeros(len(logits), 1, dtype=torch.long)
    scores = TemperatureLogitsWarper(sampling.temperature)(ids, logits)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(ids, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(ids, scores)
    if sampling.min_p:
        scores = MinPLogitsWarper(sampling.min_p)(ids, scores)
    return scores.softmax(-1)


def test_greedy_rows_take_the_likeliest_beside_sampled_ones():
    logits = logits_of(3)
    draws = [Draw(Sampling()), Draw(Sampling(temperature=1.0, seed=1)), Draw(Sampling())]
    tokens = Sampler().pick(logits, draws)
    best = logits.argmax(-1).tolist()
    assert (tokens[0], tokens[2]) == (best[0], best[2])


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=1.5, top_k=5),
        Sampling(temperature=1.0, top_p=0.8),
        Sampling(temperature=1.2, min_p=0.1),
        Sampling(temperature=1.3, top_k=10, top_p=0.9, min_p=0.02),
        Sampling(temperature=1.0, top_p=0.01),
    ],
)
def test_draws_follow_the_probabilities_of_transformers(sampling):
    logits = logits_of(1)
    expected = warped(logits, sampling)[0]
    draw, sampler = Draw(sampling), Sampler()
    draw.source.seed(5)
    count = 2000
    found = Counter(sampler.pick(logits, [draw])[0] for _ in range(count))
    assert all(expected[token] > 0 for token in found)
    for token, share in enumerate(expected.tolist()):
        assert abs(found[token] / count - share) < 0.05


@pytest.mark.parametrize("size", [50, 5000])
def test_rows_with_unlike_filters_keep_what_transformers_keeps(size):
    settings = [
        Sampling(temperature=1.0, top_k=3),
        Sampling(temperature=1.0, top_p=0.5),
        Sampling(
            temperature=30.0, top_p=0.95
        ),  # so flat that its nucleus is wider than the first look
        Sampling(temperature=1.0),
        Sampling(temperature=1.0, top_k=2000, top_p=0.99),
    ]
    logits = logits_of(len(settings), size)
    sampler = Sampler()
    sampler.pick(logits, [Draw(s) for s in settings])
    heat = torch.tensor([[s.temperature] for s in settings])
    kept = logits / heat >= sampler._threshold(logits / heat)
    for row, sampling in enumerate(settings):
        expected = warped(logits[row : row + 1], sampling)[0] > 0
        assert (kept[row] == expected).float().mean() > 0.999


def test_a_seeded_row_draws_the_same_whatever_is_beside_it():
    steps = [logits_of(4, seed=n) for n in range(20)]
    alone, beside = Sampler(), Sampler()
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=42)
    one, two, others = (
        Draw(sampling),
        Draw(sampling),
        [Draw(Sampling(temperature=2.0)) for _ in range(3)],
    )
    first = [alone.pick(step[:1], [one])[0] for step in steps]
    second = []
    for n, step in enumerate(steps):
        if n % 2:
            second.append(beside.pick(step, [two, *others])[0])
        else:
            second.append(beside.pick(step[[3, 0]], [others[0], two])[1])
    assert first == second
    different = [
        Sampler().pick(steps[0][:1], [Draw(Sampling(temperature=1.0, seed=n))])[0]
        for n in range(30)
    ]
    assert len(set(different)) > 1


def test_the_penalty_is_that_of_transformers_and_grows_with_the_answer():
    from transformers import RepetitionPenaltyLogitsProcessor

    draw, sampler, free = (
        Draw(Sampling(repetition_penalty=1.7), [3, 4, 5]),
        Sampler(),
        Draw(Sampling()),
    )
    seen = [3, 4, 5]
    for step in range(15):
        logits = logits_of(2, seed=step)
        own = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([seen]), logits[:1].clone())
        tokens = sampler.pick(logits, [draw, free])
        assert tokens == [int(own.argmax()), int(logits[1].argmax())]
        seen.append(tokens[0])


def test_the_input_is_left_as_it_was():
    logits = logits_of(2)
    before = logits.clone()
    Sampler().pick(logits, [Draw(Sampling(0.5, repetition_penalty=1.5), [1]), Draw(Sampling())])
    assert torch.equal(logits, before)
