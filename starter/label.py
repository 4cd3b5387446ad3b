"""The recipe of starter-label: `python -m starter.label --out assets/starters/starter-label`.

Draws shapes, trains a small SigLIP to tell which words are true of a picture, measures the saved weights on pairs
of kind and colour that training never drew, and writes everything a folder in Hugging Face layout needs.
"""

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import AutoModel, AutoProcessor, PreTrainedTokenizerFast, SiglipModel

from starter import cards
from starter.label_model import PATCH, SIDE, WIDTH, build_model, read, save_model, train_tokenizer
from starter.label_words import (
    HELD,
    LANGUAGES,
    PAIRS,
    PALE,
    SINGLE,
    TRAINED,
    Meaning,
    all_phrases,
    nonsense,
    phrase,
)
from starter.vision_scene import COLOURS, GRIDS, KINDS, Scene, Shape, Spot, draw_scene

MINUTES, SIZE = 12, 32
RATE, WARM_UP = 1.5e-3, 60
WORD_STEPS, WORD_RATE = 500, 2e-3
STRANGE = 5  # texts of a batch that mean nothing
HINT = 0.5  # how much telling what lies in each patch counts
CARD = Path(__file__).parent / "data" / "label_card.md"


@dataclass(frozen=True)
class Drawn:
    """A picture, what it shows, and where."""

    picture: Image.Image
    shapes: tuple[Shape, ...]
    spots: tuple[Spot, ...]


@dataclass(frozen=True)
class Score:
    """How often the true label was first among eight, in pictures of one shape and of several."""

    language: str
    count: int
    alone: float
    among: float
    single: float


def draw(pairs: list[Meaning], rng: random.Random) -> Drawn:
    """A picture of shapes of these kinds and colours; of none of them, something else."""
    if not pairs:
        scene = Scene((), "", known=False)
    else:
        cells = [4] if len(pairs) == 1 and rng.random() < 0.5 else rng.sample(range(9), len(pairs))
        shapes = tuple(
            Shape(pair.kind, pair.colour, rng.random() < 0.8 or len(pairs) == 1, cell)
            for pair, cell in zip(pairs, sorted(cells), strict=True)
        )
        used = {pair.colour for pair in pairs}
        if "white" in used:
            used |= PALE
        free = [colour for colour in COLOURS if colour not in used]
        ground = "white" if "white" in free and rng.random() < 0.6 else rng.choice(free)
        scene = Scene(shapes, ground)
    grid = rng.choices(list(GRIDS), list(GRIDS.values()))[0]
    picture, spots = draw_scene(scene, grid, rng, 1.0)
    return Drawn(picture, scene.shapes, tuple(spots))


def pixels(pictures: list[Image.Image]) -> torch.Tensor:
    """`[pictures, 3, SIDE, SIDE]` in -1 to 1, as the saved processor prepares them."""
    sized = [picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for picture in pictures]
    return torch.tensor(np.stack([np.asarray(p) for p in sized])).permute(0, 3, 1, 2) / 127.5 - 1


def patches(drawn: Drawn) -> list[tuple[int, int]]:
    """The kind and colour that each patch lies on, counted from 1; 0 for the ground."""
    across = SIDE // PATCH
    found = []
    for n in range(across * across):
        x, y = (n % across + 0.5) / across, (n // across + 0.5) / across
        found.append((0, 0))
        for shape, spot in zip(drawn.shapes, drawn.spots, strict=True):
            if abs(x - spot.x) < spot.half_width * 0.9 and abs(y - spot.y) < spot.half_height * 0.9:
                found[n] = (KINDS.index(shape.kind) + 1, COLOURS.index(shape.colour) + 1)
    return found


def batches(seed: int) -> Iterator[list[Drawn]]:
    """Endless pictures of trained pairs."""
    rng = random.Random(seed)
    while True:
        counts = rng.choices((0, 1, 2, 3), (4, 76, 16, 4), k=SIZE)
        yield [draw([rng.choice(TRAINED) for _ in range(count)], rng) for count in counts]


def codes() -> torch.Tensor:
    """`[kinds, colours and nothing, WIDTH]` directions, each at right angles to all others."""
    drawn = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(7))
    return torch.linalg.qr(drawn)[0][: len(KINDS) + len(COLOURS) + 1]


def code_of(meanings: list[Meaning], known: torch.Tensor) -> torch.Tensor:
    """`[meanings, WIDTH]` of length 1: a pair lies between its kind and its colour."""
    rows = torch.zeros(len(meanings), len(known))
    for row, meaning in zip(rows, meanings, strict=True):
        if meaning.kind:
            row[KINDS.index(meaning.kind)] = 1
        if meaning.colour:
            row[len(KINDS) + COLOURS.index(meaning.colour)] = 1
        if not meaning.kind and not meaning.colour:
            row[-1] = 1
    return functional.normalize(rows @ known, dim=1)


def rate_at(step: int, share: float) -> float:
    """Linear warm-up, then a cosine over the time there is, down to nothing."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return RATE * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def train_words(
    model: SiglipModel, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int
) -> None:
    """Teaches the text tower where phrases lie: single words, trained pairs, and what means nothing."""
    rng, known = random.Random(seed), codes()
    optimizer = torch.optim.AdamW(model.text_model.parameters(), lr=WORD_RATE, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = WORD_RATE * (1 - step / steps)
        meanings = [*rng.choices(TRAINED, k=40), *rng.choices(SINGLE, k=24)]
        texts = [phrase(m, rng.choice(LANGUAGES), rng.random() < 0.75) for m in meanings]
        texts += [nonsense(rng) for _ in range(STRANGE)]
        meanings += [Meaning()] * STRANGE
        out = model.text_model(input_ids=read(tokenizer, texts)).pooler_output
        near = functional.cosine_similarity(out, code_of(meanings, known))
        optimizer.zero_grad()
        (1 - near).mean().backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"words {step} {near.mean().item():.3f}", flush=True)


def train(model: SiglipModel, seed: int, seconds: float) -> tuple[int, int]:
    """Trains the eyes for so many seconds; the number of updates and of pictures seen.

    A picture's vector is judged by where words lie: all kinds, all colours and the trained pairs. Beside that the
    model is told what lies in each patch, by two heads that are thrown away: so it learns to see the sooner.
    """
    heads = [torch.nn.Linear(WIDTH, 1 + len(names)) for names in (KINDS, COLOURS)]
    own = [weight for head in heads for weight in head.parameters()]
    learned = [*model.vision_model.parameters(), *own, model.logit_scale, model.logit_bias]
    optimizer = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)
    meanings = [*SINGLE, *TRAINED]
    places = code_of(meanings, codes())
    model.train()
    seen, begun = 0, time.monotonic()
    for step, drawn in enumerate(batches(seed)):
        if time.monotonic() - begun > seconds:
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, (time.monotonic() - begun) / seconds)
        out = model.vision_model(pixel_values=pixels([one.picture for one in drawn]))
        near = functional.normalize(out.pooler_output, dim=1) @ places.T
        logits = near * model.logit_scale.exp() + model.logit_bias
        true = torch.tensor([
            [any(meaning.fits(s.kind, s.colour) for s in one.shapes) for meaning in meanings]
            for one in drawn
        ])  # fmt: skip
        weight = torch.where(true, 6.0, 1.0)
        loss = functional.binary_cross_entropy_with_logits(logits, true.float(), weight)
        there = torch.tensor([patches(one) for one in drawn]).flatten(0, 1)
        hidden = out.last_hidden_state.flatten(0, 1)
        hints = [
            functional.cross_entropy(head(hidden), there[:, n]) for n, head in enumerate(heads)
        ]
        optimizer.zero_grad()
        (3 * loss + HINT * torch.stack(hints).sum()).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        seen += len(drawn)
        if step % 50 == 0:
            told = " ".join(f"{value.item():.3f}" for value in (loss, *hints))
            print(f"step {step} loss {told} {time.monotonic() - begun:.0f} s", flush=True)
    model.eval()
    return step, seen


def choices(true: Meaning, shown: list[Meaning], rng: random.Random) -> list[Meaning]:
    """The true meaning first, and seven pairs that are not shown; four of them share its kind or colour."""
    others = [pair for pair in PAIRS if not any(pair.fits(s.kind, s.colour) for s in shown)]
    near = [p for p in others if (p.kind == true.kind) != (p.colour == true.colour)]
    far = [p for p in others if p.kind != true.kind and p.colour != true.colour]
    return [true, *rng.sample(near, 4), *rng.sample(far, 3)]


@torch.inference_mode()
def measure(folder: Path, rounds: int = 400) -> list[Score]:
    """Loads the folder and asks of pictures with held-out pairs; `rounds` pictures of each sort in each language."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)

    def right(drawn: Drawn, meanings: list[Meaning], language: str) -> bool:
        texts = [phrase(meaning, language) for meaning in meanings]
        shown = processor.image_processor(images=drawn.picture, return_tensors="pt")
        logits = model(input_ids=read(processor.tokenizer, texts), **shown).logits_per_image[0]
        return int(logits.argmax()) == 0

    scores = []
    for language in LANGUAGES:
        rng = random.Random(f"measure {language}")
        alone, among, single = [], [], []
        for _ in range(rounds):
            true = rng.choice(HELD)
            one = draw([true], rng)
            alone.append(right(one, choices(true, [true], rng), language))
            part = rng.choice((Meaning(kind=true.kind), Meaning(colour=true.colour)))
            rest = [m for m in SINGLE if bool(m.kind) == bool(part.kind) and m != part]
            single.append(right(one, [part, *rng.sample(rest, 7)], language))
            shown = [true, *(rng.choice(TRAINED) for _ in range(rng.randint(1, 2)))]
            among.append(right(draw(shown, rng), choices(true, shown, rng), language))
        shares = [sum(hits) / len(hits) for hits in (alone, among, single)]
        scores.append(Score(language, rounds, *shares))
    return scores


def as_markdown(scores: list[Score]) -> str:
    """The table of the card."""
    rows = [
        "| language | pictures | one shape | two or three | single words |",
        "|---|---|---|---|---|",
    ]
    means = [sum(getattr(s, n) for s in scores) / len(scores) for n in ("alone", "among", "single")]
    for score in [*scores, Score("all", sum(s.count for s in scores), *means)]:
        shares = " | ".join(f"{share:.1%}" for share in (score.alone, score.among, score.single))
        rows.append(f"| {score.language} | {score.count} | {shares} |")
    return "\n".join(rows)


def run(out: Path, minutes: float, seed: int, start: Path | None) -> None:
    """Trains, from the weights in `start` where they are given; saves, measures, writes the card."""
    torch.manual_seed(seed)
    rng = random.Random(0)
    # Each word whole, and single letters for all others.
    tokenizer = train_tokenizer([*all_phrases() * 3, *(nonsense(rng) for _ in range(300))])
    model = build_model(tokenizer)
    if start is not None:
        model.load_state_dict(SiglipModel.from_pretrained(start, dtype=torch.float32).state_dict())
    train_words(model, tokenizer, seed, WORD_STEPS)
    steps, seen = train(model, seed, 60 * minutes)
    out.mkdir(parents=True, exist_ok=True)
    save_model(model, tokenizer, out)
    table = as_markdown(measure(out))
    facts = {
        "parameters": f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f}",
        "history": f"This copy: seed {seed}, {steps} steps, {seen:,} pictures, {minutes:g} minutes.",
        "held": ", ".join(phrase(pair, "en", False) for pair in HELD),
        "scores": table,
    }
    cards.write_card(CARD, out, facts)
    print(facts["history"], table, sep="\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-label"))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--start", type=Path, help="a folder whose weights to train on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="measure the folder, train nothing")
    given = parser.parse_args()
    if given.measure:
        print(as_markdown(measure(given.out)))
    else:
        run(given.out, given.minutes, given.seed, given.start)


if __name__ == "__main__":
    main()
