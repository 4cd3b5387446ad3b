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

from starter.label_model import PATCH, SIDE, WIDTH, build_model, read, save_model, train_tokenizer
from starter.label_words import (
    HELD,
    LANGUAGES,
    PAIRS,
    SINGLE,
    TRAINED,
    Meaning,
    all_phrases,
    nonsense,
    phrase,
)
from starter.vision_scene import COLOURS, GRIDS, KINDS, Scene, Shape, Spot, draw_scene

STEPS, SIZE = 3000, 32
RATE, WARM_UP = 1.2e-3, 100
TEXTS = 44  # pairs named in a batch, beside all kinds and colours by themselves
STRANGE = 6  # texts of a batch that mean nothing
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
        free = [colour for colour in COLOURS if all(colour != pair.colour for pair in pairs)]
        ground = "white" if "white" in free and rng.random() < 0.6 else rng.choice(free)
        scene = Scene(shapes, ground)
    grid = rng.choices(list(GRIDS), GRIDS.values())[0]
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


def batches(seed: int) -> Iterator[tuple[list[Drawn], list[tuple[Meaning, str]]]]:
    """Endless pictures of trained pairs, and the words that they are judged by."""
    rng = random.Random(seed)
    while True:
        counts = rng.choices((0, 1, 2, 3), (5, 55, 25, 15), k=SIZE)
        drawn = [draw([rng.choice(TRAINED) for _ in range(count)], rng) for count in counts]
        shown = [Meaning(shape.kind, shape.colour) for one in drawn for shape in one.shapes]
        named = [*dict.fromkeys(shown)][:TEXTS]
        named += rng.sample([pair for pair in TRAINED if pair not in named], TEXTS - len(named))
        words = [
            (meaning, phrase(meaning, rng.choice(LANGUAGES), rng.random() < 0.75))
            for meaning in (*named, *SINGLE)
        ]
        yield drawn, words + [(Meaning(), nonsense(rng)) for _ in range(STRANGE)]


def rate_at(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to nothing."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return RATE * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def train(model: SiglipModel, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> int:
    """Runs `steps` updates; the number of pictures seen.

    Beside the words the model is told what lies in each patch, by two heads that are thrown away: so it learns to
    see long before whole pictures and words would teach it.
    """
    heads = [torch.nn.Linear(WIDTH, 1 + len(names)) for names in (KINDS, COLOURS)]
    learned = [*model.parameters(), *(w for head in heads for w in head.parameters())]
    optimizer = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)
    model.train()
    seen, begun = 0, time.monotonic()
    for step, (drawn, words) in zip(range(steps), batches(seed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        ids = read(tokenizer, [text for _, text in words])
        out = model(input_ids=ids, pixel_values=pixels([one.picture for one in drawn]))
        true = torch.tensor([
            [any(meaning.fits(s.kind, s.colour) for s in one.shapes) for meaning, _ in words]
            for one in drawn
        ])  # fmt: skip
        weight = torch.where(true, 4.0, 1.0)
        loss = functional.binary_cross_entropy_with_logits(
            out.logits_per_image, true.float(), weight
        )
        there = torch.tensor([patches(one) for one in drawn]).flatten(0, 1)
        hidden = out.vision_model_output.last_hidden_state.flatten(0, 1)
        hints = [
            functional.cross_entropy(head(hidden), there[:, n]) for n, head in enumerate(heads)
        ]
        total = loss + HINT * torch.stack(hints).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        seen += len(drawn)
        if step % 50 == 0:
            told = " ".join(f"{value.item():.3f}" for value in (loss, *hints))
            print(f"step {step} loss {told} {time.monotonic() - begun:.0f} s", flush=True)
    model.eval()
    return seen


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


def run(out: Path, steps: int, seed: int) -> None:
    """Trains, saves, measures, writes the card."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    # Each word whole, and single letters for all others.
    tokenizer = train_tokenizer([*all_phrases() * 3, *(nonsense(rng) for _ in range(300))])
    model = build_model(tokenizer)
    begun = time.monotonic()
    seen = train(model, tokenizer, seed, steps)
    minutes = (time.monotonic() - begun) / 60
    out.mkdir(parents=True, exist_ok=True)
    save_model(model, tokenizer, out)
    table = as_markdown(measure(out))
    facts = {
        "parameters": f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f}",
        "history": f"This copy: seed {seed}, {steps} steps, {seen:,} pictures, {minutes:.0f} minutes.",
        "held": ", ".join(phrase(pair, "en", False) for pair in HELD),
        "scores": table,
    }
    card = CARD.read_text(encoding="utf-8")
    for name, fact in facts.items():
        card = card.replace(f"{{{name}}}", fact)
    (out / "README.md").write_text(card, encoding="utf-8")
    print(facts["history"], table, sep="\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-label"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="measure the folder, train nothing")
    given = parser.parse_args()
    if given.measure:
        print(as_markdown(measure(given.out)))
    else:
        run(given.out, given.steps, given.seed)


if __name__ == "__main__":
    main()
