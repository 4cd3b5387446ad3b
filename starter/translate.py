"""The recipe of starter-translate: `python -m starter.translate --out assets/starters/starter-translate`.

Writes sentences of a phrasebook in four languages, trains a tokenizer and a small M2M-100 on them, converts it as Atelier
converts any, measures what came out on held-out combinations and writes its card.
"""

import argparse
import copy
import itertools
import math
import random
import time
from pathlib import Path

import torch
from transformers import M2M100ForConditionalGeneration, M2M100Tokenizer

from starter.translate_grammar import meanings
from starter.translate_model import build_model, save_model, train_tokenizer
from starter.translate_train import Mean, batches, pairs, train

TOKENIZER_MEANINGS = 15_000
STEPS = 6000


def begin(seed: int, hub: Path) -> tuple[M2M100ForConditionalGeneration, M2M100Tokenizer]:
    """A tokenizer, written to the folder, and a model of random weights."""
    drawn = itertools.islice(meanings(random.Random(seed + 1), held=False), TOKENIZER_MEANINGS)
    tokenizer = train_tokenizer((text for m in drawn for text in m.texts.values()), hub)
    torch.manual_seed(seed)
    return build_model(tokenizer), tokenizer


def fit(hub: Path, steps: int, seed: int, limit: float) -> str:
    """Trains (for `limit` minutes at most) and saves on the way; what was done, in a sentence."""
    model, tokenizer = begin(seed, hub)
    mean = Mean(model)

    def report(step: int, loss: float, tokens: int, seconds: float) -> None:
        if step % 25 == 0:
            print(
                f"step {step} loss {loss:.4f} {tokens} tokens {tokens / seconds:.0f}/s", flush=True
            )
        if step % 200 == 0:
            smooth = copy.deepcopy(model)
            mean.give(smooth)
            save_model(smooth, tokenizer, hub)

    begun = time.monotonic()
    source = batches(pairs(tokenizer, seed), seed)
    steps, tokens = train(model, source, steps, report, mean, limit * 60)
    save_model(model, tokenizer, hub)
    minutes = (time.monotonic() - begun) / 60
    return f"seed {seed}, {steps} steps, {tokens / 1e6:.1f} million target tokens, {minutes:.0f} minutes"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hub", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop then, fully cooled")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(fit(given.hub, given.steps, given.seed, given.minutes))


if __name__ == "__main__":
    main()
