"""The recipe of starter-embed: `python -m starter.embed --out assets/starters/starter-embed`.

Writes pairs of phrasings with one meaning, trains a tokenizer and a small BERT to put them side by side, measures
the saved weights on held-out phrasings and writes everything a sentence-transformers folder needs.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer, BertModel, PreTrainedTokenizerFast

from starter import cards
from starter.chat_grammar import LANGUAGES
from starter.embed_data import Meaning, Phrasing, answer_of, batches, held_out, intents, known
from starter.embed_model import build_model, embed, save_model, train_tokenizer

STEPS = 800
SIZE = 96  # meanings in a batch: each phrasing is told apart from all others of it
RATE, WARM_UP = 1.5e-3, 50
HEAT = 0.05
READ = 32  # tokens of a text that training reads; answers say what they are about early
TOKENIZER_BATCHES = 150
CUTS = (192, 96, 48)  # lengths at which the vectors are trained to work
CARD = Path(__file__).parent / "data" / "embed_card.md"
Batch = list[tuple[Meaning, Phrasing, Phrasing]]


@dataclass(frozen=True)
class Score:
    """How many of so many held-out phrasings found their own intent first."""

    language: str
    count: int
    same: float
    crossed: float
    answers: float


def loss_of(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Each text of `one` must be nearest to its pair in `other`, and the other way round; at every length."""
    right = torch.arange(len(one))
    losses = []
    for width in CUTS:
        a, b = (
            functional.normalize(one[:, :width], dim=1),
            functional.normalize(other[:, :width], dim=1),
        )
        near = a @ b.T / HEAT
        losses += [functional.cross_entropy(near, right), functional.cross_entropy(near.T, right)]
    return torch.stack(losses).mean()


def rate_at(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to nothing."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return RATE * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def train(
    model: BertModel, tokenizer: PreTrainedTokenizerFast, source: Iterator[Batch], steps: int
) -> int:
    """Runs `steps` updates; the number of texts seen."""
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))
    model.train()
    seen, begun = 0, time.monotonic()
    for step, batch in zip(range(steps), source, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps)
        sides = ([first.text for _, first, _ in batch], [second.text for _, _, second in batch])
        one, other = (embed(model, tokenizer, texts, READ) for texts in sides)
        loss = loss_of(one, other)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen += 2 * len(batch)
        if step % 50 == 0:
            print(
                f"step {step} loss {loss.item():.4f} {time.monotonic() - begun:.0f} s", flush=True
            )
    model.eval()
    return seen


@torch.inference_mode()
def measure(folder: Path) -> list[Score]:
    """Loads the folder and looks up held-out phrasings: each among the trained ones of its own language, among
    those of the three others, and among the answers to all intents in its own language."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval()

    def vectors(texts: list[str]) -> torch.Tensor:
        return torch.cat(
            [embed(model, tokenizer, texts[n : n + 128]) for n in range(0, len(texts), 128)]
        )

    corpus, asked = list(known()), list(held_out())
    near = vectors([p.text for _, p in asked]) @ vectors([p.text for _, p in corpus]).T
    answered = [purpose for purpose in intents() if answer_of(purpose, "en")]
    scores = []
    for code in LANGUAGES:
        rows = [n for n, (_, phrasing) in enumerate(asked) if phrasing.language == code]
        own = torch.tensor([phrasing.language == code for _, phrasing in corpus])
        hits = []
        for mask in (own, ~own):
            best = near[rows].masked_fill(~mask, -2).argmax(1).tolist()
            hits.append(
                _share([corpus[b][0] == asked[r][0] for b, r in zip(best, rows, strict=True)])
            )
        answers = vectors([answer_of(purpose, code).replace("**", "") for purpose in answered])
        rows = [n for n in rows if asked[n][0] in answered]
        best = (vectors([asked[n][1].text for n in rows]) @ answers.T).argmax(1).tolist()
        hits.append(_share([answered[b] == asked[r][0] for b, r in zip(best, rows, strict=True)]))
        scores.append(Score(code, sum(p.language == code for _, p in asked), *hits))
    return scores


def _share(right: list[bool]) -> float:
    return sum(right) / len(right)


def as_markdown(scores: list[Score]) -> str:
    """The table of the card."""
    rows = [
        "| language | held-out phrasings | same language | other languages | answers |",
        "|---|---|---|---|---|",
    ]
    for score in [*scores, _all(scores)]:
        shares = " | ".join(f"{share:.1%}" for share in (score.same, score.crossed, score.answers))
        rows.append(f"| {score.language} | {score.count} | {shares} |")
    return "\n".join(rows)


def _all(scores: list[Score]) -> Score:
    total = sum(score.count for score in scores)
    means = [
        sum(getattr(score, name) * score.count for score in scores) / total
        for name in ("same", "crossed", "answers")
    ]
    return Score("all", total, *means)


def run(out: Path, steps: int, seed: int) -> None:
    """Trains, saves, measures, writes the card."""
    torch.manual_seed(seed)
    source = batches(seed + 1, SIZE)
    sample = (p.text for _ in range(TOKENIZER_BATCHES) for _, *pair in next(source) for p in pair)
    tokenizer = train_tokenizer(sample)
    model = build_model(tokenizer)
    begun = time.monotonic()
    seen = train(model, tokenizer, batches(seed, SIZE), steps)
    minutes = (time.monotonic() - begun) / 60
    out.mkdir(parents=True, exist_ok=True)
    save_model(model, tokenizer, out)
    table = as_markdown(measure(out))
    parameters = sum(weight.numel() for weight in model.parameters())
    facts = {
        "parameters": f"{parameters / 1e6:.2f}",
        "history": f"This copy: seed {seed}, {steps} steps, {seen:,} texts, {minutes:.0f} minutes.",
        "scores": table,
        "intents": str(len(intents())),
    }
    cards.write_card(CARD, out, facts)
    print(facts["history"], table, sep="\n")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-embed"))
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
