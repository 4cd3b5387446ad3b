"""Trains starter-translate: pairs of texts of one meaning in batches of one length, and Muon and AdamW over them."""

import math
import random
import re
import time
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional
from transformers import M2M100ForConditionalGeneration, M2M100Tokenizer

from starter.translate_grammar import Meaning, meanings
from starter.translate_model import END, LONGEST, PAD, UNKNOWN, language_ids, padded
from starter.translate_words import LANGUAGES

BATCH_TOKENS = 3072
CHUNK = 3000  # pairs sorted by length together
PAIRS = 4  # of the twelve directions, for each meaning drawn
STRANGE = 0.05  # of the pairs are of no meaning, and are answered by the unknown token alone
UNTIDY = 0.3  # of the sources are written as people type
PEAK_RATE, WARM_UP = 3e-3, 100
IGNORED = -100
_SHORT = {
    "do not": "don't", "does not": "doesn't", "I would": "I'd", "I am": "I'm", "It is": "It's", "is not": "isn't",
    "We are": "We're", "My name is": "My name's", "Where is": "Where's", "What is": "What's", "are not": "aren't",
}  # fmt: skip
Pair = tuple[list[int], list[int]]


def untidy(text: str, language: str, rng: random.Random) -> str:
    """The text as somebody may type it: small letters, no full stop, contractions, е for ё, no space before marks."""
    if language == "en" and rng.random() < 0.6:
        for long, short in _SHORT.items():
            text = re.sub(rf"\b{long}\b", short, text)
    if language == "ru" and rng.random() < 0.6:
        text = text.replace("ё", "е").replace("Ё", "Е")
    if language == "fr" and rng.random() < 0.6:
        text = text.replace(" ?", "?").replace(" !", "!")
    if rng.random() < 0.5:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.4:
        text = text.removesuffix(".")
    return text.replace("'", "’") if rng.random() < 0.2 else text


def strange(meaning: Meaning, other: Meaning, language: str, rng: random.Random) -> str:
    """A text that the phrasebook cannot mean: words in disorder, of two sentences, or never heard."""
    words = meaning.texts[language].split()
    way = rng.random()
    if way < 0.35 and len(words) > 3:
        mixed = words[:]
        while mixed == words:
            rng.shuffle(mixed)
        return " ".join(mixed)
    if way < 0.65 and len(words) > 3:
        theirs = other.texts[language].split()
        return " ".join(words[: len(words) // 2] + theirs[: len(theirs) // 2 + 1] + words[-1:])
    letters = "абвгдежзиклмнопрстуфхцчшыя" if language == "ru" else "abcdefghijlmnopqrstuvxz"
    place = rng.randrange(len(words))
    words[place] = "".join(rng.choices(letters, k=rng.randint(3, 9))) + words[place][-1:] * (
        not words[place][-1].isalpha()
    )
    return " ".join(words)


def pairs(tokenizer: M2M100Tokenizer, seed: int) -> Iterator[Pair]:
    """Source and target ids without end, both with their language in front and the end mark behind."""
    rng = random.Random(seed)
    codes = language_ids(tokenizer, LANGUAGES)
    pieces = tokenizer.sp_model
    ids = tokenizer.get_vocab()

    def encode(text: str, language: str) -> list[int]:
        return [
            codes[language],
            *(ids.get(p, UNKNOWN) for p in pieces.encode(text, out_type=str)),
            END,
        ]

    directions = [(a, b) for a in LANGUAGES for b in LANGUAGES if a != b]
    before: Meaning | None = None
    for meaning in meanings(rng, held=False):
        for source, target in rng.sample(directions, PAIRS):
            if before is not None and rng.random() < STRANGE:
                text = strange(meaning, before, source, rng)
                yield encode(text, source), [codes[target], UNKNOWN, END]
                continue
            text = meaning.texts[source]
            text = untidy(text, source, rng) if rng.random() < UNTIDY else text
            pair = encode(text, source), encode(meaning.texts[target], target)
            if max(map(len, pair)) <= LONGEST:
                yield pair
        before = meaning


def batches(source: Iterator[Pair], seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Padded source and target ids of about BATCH_TOKENS together."""
    rng = random.Random(seed)
    while True:
        chunk = sorted((next(source) for _ in range(CHUNK)), key=lambda p: (len(p[0]), len(p[1])))
        groups: list[list[Pair]] = [[]]
        for pair in chunk:
            longest = max((len(a) + len(b) for a, b in groups[-1]), default=0)
            if max(longest, len(pair[0]) + len(pair[1])) * (len(groups[-1]) + 1) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(pair)
        rng.shuffle(groups)
        for group in groups:
            yield padded([a for a, _ in group], PAD), padded([b for _, b in group], PAD)


def loss_of(
    model: M2M100ForConditionalGeneration, source: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy of the target's tokens behind its language."""
    start = torch.full((len(target), 1), END)
    given = torch.cat([start, target[:, :-1]], 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(
            input_ids=source,
            attention_mask=(source != PAD).long(),
            decoder_input_ids=given,
            use_cache=False,
        ).last_hidden_state
        wanted = target != PAD
        wanted[:, 0] = False  # the language is given
        logits = model.lm_head(hidden[wanted])
    return functional.cross_entropy(logits.float(), target[wanted], label_smoothing=0.02)


def rate_at(step: int, done: float) -> float:
    """The share of the peak rate: linear warm-up, then a cosine down to nothing at `done` = 1."""
    return min((step + 1) / WARM_UP, 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def build_optimizers(
    model: M2M100ForConditionalGeneration, rate: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for norms, biases and the embedding."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [w for name, w in named if w.ndim == 2 and "layers." in name]
    others = [w for name, w in named if not (w.ndim == 2 and "layers." in name)]
    muon = torch.optim.Muon(
        matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw", ns_steps=5
    )
    adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [muon, adam]


class Mean:
    """A running mean of the weights: better than they are at any step, so that any stop leaves a usable model."""

    def __init__(self, model: M2M100ForConditionalGeneration) -> None:
        self._kept = {name: w.detach().clone() for name, w in model.named_parameters()}
        self._steps = 0

    def add(self, model: M2M100ForConditionalGeneration) -> None:
        """Take a step's weights in."""
        self._steps += 1
        share = max(0.005, 1 / (1 + self._steps / 4))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                self._kept[name].lerp_(weight, share)

    def give(self, model: M2M100ForConditionalGeneration) -> None:
        """Put the mean in place of the model's weights."""
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(self._kept[name])


def train(
    model: M2M100ForConditionalGeneration,
    source: Iterator[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    report: Callable[[int, float, int, float], None],
    mean: Mean,
    seconds: float = math.inf,
    rate: float = PEAK_RATE,
) -> tuple[int, int]:
    """Runs `steps` updates, or as many as fit into `seconds`; steps and target tokens done.

    With a limit of time the rate follows the clock, so that it has come down when the time is up.
    `report` is called with (step, loss, tokens, seconds) after each.
    """
    optimizers = build_optimizers(model, rate)
    kept = model.config._attn_implementation
    model.set_attn_implementation("eager")  # half as long as the fused one's backward pass
    begun, tokens, step = time.monotonic(), 0, 0
    model.train()
    for step, (ids, target) in zip(range(1, steps + 1), source, strict=False):
        done = max(step / steps, (time.monotonic() - begun) / seconds)
        loss = loss_of(model, ids, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_at(step, done)
            optimizer.step()
            optimizer.zero_grad()
        tokens += int((target != PAD).sum())
        mean.add(model)
        report(step, loss.item(), tokens, time.monotonic() - begun)
        if done >= 1:
            break
    mean.give(model)
    model.set_attn_implementation(kept)
    model.eval()
    return step, tokens
