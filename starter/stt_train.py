"""Batches of starter-stt, and its training loop: it may be stopped at any moment, for the best so far is on disk."""

import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from starter.chat_grammar import LANGUAGES
from starter.stt_data import MELS, Spoken, read_shard
from starter.stt_model import END, LAST, NO_SPEECH, START, Hearer, build_model, spelling_of

RATE, WARM_UP = 2e-3, 200
SIZE = 2000  # frames in a batch, windows' ends included
LENGTHS = (
    60,
    80,
    100,
    140,
    200,
    300,
)  # windows in frames; the last is what the model hears when it works
WHOLE = 0.1  # share of batches in whole windows
SILENT = 0.03  # share of windows without speech
KEEP = 0.997  # of the averaged weights at each step
SPELL = 0.7  # weight of the spelling's loss
EVERY = 60.0  # seconds between two savings
MEET = 16  # steps after which processes that train together average their weights


@dataclass(frozen=True)
class Batch:
    """Features [n, MELS, frames], tokens read and to be written [n, length] (-100: no matter), spellings."""

    features: torch.Tensor
    read: torch.Tensor
    written: torch.Tensor
    spelled: list[list[int]]


@dataclass
class Batcher:
    """Draws batches of one window length each from what the cache holds, and looks for new shards now and then."""

    folder: Path
    tokenizer: Tokenizer
    seed: int
    spoken: list[Spoken] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.noise = np.random.default_rng(self.seed)
        ids = self.tokenizer.get_vocab(with_added_tokens=True)
        self.end, self.start, self.none = ids[END], ids[START], ids[NO_SPEECH]
        self.last, self.task = ids[LAST], ids["<|transcribe|>"]
        self.codes = {code: ids[f"<|{code}|>"] for code in LANGUAGES}

    def look(self) -> None:
        """Take in shards that were written meanwhile."""
        for file in sorted(self.folder.glob("[0-9]*[0-9].npz")):
            if file.name not in self.seen:
                self.seen.add(file.name)
                self.spoken += read_shard(file)
        self.by_length: dict[int, list[Spoken]] = {length: [] for length in LENGTHS}
        for one in self.spoken:
            fits = [n for n in LENGTHS if one.powers.shape[1] <= n - 6]
            for length in fits[:2]:
                self.by_length[length].append(one)
        self.weights = [len(self.by_length[n]) * n for n in LENGTHS]

    def draw(self) -> Batch:
        """One batch."""
        rng = self.rng
        if rng.random() < WHOLE:
            length, pool = LENGTHS[-1], self.spoken
        else:
            length = rng.choices(LENGTHS, self.weights)[0]
            pool = self.by_length[length]
        features, rows, spelled = [], [], []
        for _ in range(SIZE // length):
            one = rng.choice(pool)
            if rng.random() < SILENT:
                features.append(self._window(np.full((MELS, 1), -10.0, np.float32), length, True))
                rows.append(([self.start, self.codes[one.language], self.task, self.last], []))
                spelled.append([])
                continue
            features.append(self._window(one.powers.astype(np.float32), length, False))
            text = self.tokenizer.encode(f" {one.text}").ids
            rows.append(([self.start, self.codes[one.language], self.task, self.last], text))
            spelled.append(spelling_of(one.text))
        longest = max(len(text) for _, text in rows) + 5
        read = torch.full((len(rows), longest - 1), self.end)
        written = torch.full((len(rows), longest - 1), -100)
        for n, (head, text) in enumerate(rows):
            line = [*head, *text, self.end]
            read[n, : len(line) - 1] = torch.tensor(line[:-1])
            written[n, : len(line) - 1] = torch.tensor(line[1:])
            if not text:
                written[n, 0] = self.none
        return Batch(torch.from_numpy(np.stack(features)), read, written, spelled)

    def _window(self, powers: np.ndarray, length: int, silent: bool) -> np.ndarray:
        """A sentence somewhere in a window, in some noise, bounded as faster-whisper bounds it."""
        rng = self.rng
        room = min(length, 300) - powers.shape[1]
        before = rng.randint(0, min(25, max(0, room)))
        after = rng.randint(0, min(25, max(0, room - before)))
        sound = np.pad(powers, ((0, 0), (before, after)), constant_values=-10.0)
        if silent:
            sound = np.full((MELS, rng.randint(20, length)), -10.0, np.float32)
        sound = sound + rng.uniform(-0.6, 0.3)
        if silent or rng.random() < 0.35:
            level = rng.uniform(-7.5, -2.0 if silent else -4.2)
            colour = np.linspace(rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), MELS)[:, None]
            floor = np.log10(self.noise.gamma(2.0, 0.5, sound.shape) + 1e-6) + level + colour
            sound = np.log10(10.0**sound + 10.0**floor)
        sound = (np.maximum(sound, sound.max() - 8.0) + 4.0) / 4.0
        if not silent and rng.random() < 0.25:  # a band, or a moment, that is not heard
            low, width = rng.randrange(MELS), rng.randint(1, 12)
            sound[low : low + width] = sound.mean()
            at, long = rng.randrange(sound.shape[1]), rng.randint(1, 4)
            sound[:, at : at + long] = sound.mean()
        return np.pad(sound, ((0, 0), (0, length - sound.shape[1]))).astype(np.float32)


def losses(hearer: Hearer, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the words are off, and the spelling."""
    scores, spelling = hearer(batch.features, batch.read)
    words = functional.cross_entropy(
        scores.flatten(0, 1).float(), batch.written.flatten(), label_smoothing=0.05
    )
    steps = functional.log_softmax(spelling.float(), -1).transpose(0, 1)
    blank = hearer.spell.out_features - 1
    lengths = torch.tensor([len(text) for text in batch.spelled])
    targets = torch.tensor([letter for text in batch.spelled for letter in text])
    spelled = functional.ctc_loss(
        steps, targets, torch.full((len(lengths),), len(steps)), lengths, blank, zero_infinity=True
    )
    return words, spelled


def meet(hearer: Hearer, saved: Path, place: int) -> None:
    """Leave the weights for the other processes, and go on in the middle between them and theirs.

    One core each, and nobody waits: two processes learn nearly twice as fast as one with two threads.
    """
    mine = saved.with_name(f"weights-{place}.pt")
    part = mine.with_suffix(".part")
    torch.save(hearer.state_dict(), part)
    part.rename(mine)
    others = [file for file in saved.parent.glob("weights-*.pt") if file != mine]
    fresh = [file for file in others if time.time() - file.stat().st_mtime < 10 * EVERY]
    if fresh:
        states = [torch.load(file, weights_only=True) for file in fresh]
        with torch.no_grad():
            for name, value in hearer.state_dict().items():
                value.add_(sum(state[name] for state in states)).div_(1 + len(states))


def train(
    cache: Path, tokenizer: Tokenizer, saved: Path, seconds: float, seed: int, place: int = 0
) -> tuple[int, float]:
    """Trains for so long, going on from what is saved; the steps done and the seconds they took, all in all.

    Args:
        place: of this process among those that train together; the first one saves.
    """
    torch.manual_seed(seed)
    hearer = Hearer(build_model(tokenizer))
    average = {name: value.clone() for name, value in hearer.whisper.state_dict().items()}
    groups = [
        {"params": [w for w in hearer.parameters() if w.requires_grad and w.ndim > 1], "weight_decay": 0.02},
        {"params": [w for w in hearer.parameters() if w.requires_grad and w.ndim < 2], "weight_decay": 0.0},
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), fused=True)
    step, spent = 0, 0.0
    if saved.is_file():
        held = torch.load(saved, weights_only=True)
        hearer.load_state_dict(held["hearer"])
        optimizer.load_state_dict(held["optimizer"])
        for group in optimizer.param_groups:
            group |= {"fused": True, "foreach": None}
        average, step, spent = held["average"], held["step"], held["seconds"]
    batcher = Batcher(cache, tokenizer, seed + step + 7919 * place)
    batcher.look()
    begun = stored = time.monotonic()
    hearer.train()
    while (passed := time.monotonic() - begun) < seconds:
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / WARM_UP)
            group["lr"] = (
                RATE * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * passed / seconds)))
            )
        batch = batcher.draw()
        words, spelled = losses(hearer, batch)
        optimizer.zero_grad()
        (words + SPELL * spelled).backward()
        torch.nn.utils.clip_grad_norm_(hearer.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % MEET == 0:
            meet(hearer, saved, place)
        keep = min(KEEP, (1 + step) / (10 + step))
        for name, value in hearer.whisper.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        if step % 25 == 0:
            print(
                f"step {step} words {words.item():.3f} spelling {spelled.item():.3f} {passed:.0f} s",
                flush=True,
            )
        if time.monotonic() - stored > EVERY:
            stored = time.monotonic()
            if not place:
                store(saved, hearer, optimizer, average, step, spent + stored - begun)
            batcher.look()
    spent += time.monotonic() - begun
    if not place:
        store(saved, hearer, optimizer, average, step, spent)
    return step, spent


def store(
    saved: Path,
    hearer: Hearer,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
    step: int,
    seconds: float,
) -> None:
    """Writes what training goes on from, whole or not at all."""
    part = saved.with_suffix(".part")
    state = {"hearer": hearer.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
    hands = max(1, len(list(saved.parent.glob("weights-*.pt"))))
    torch.save({**state, "step": step, "seconds": seconds, "hands": hands}, part)
    part.rename(saved)
