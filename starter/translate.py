"""The recipe of starter-translate: `python -m starter.translate --out assets/starters/starter-translate`.

Writes sentences of a phrasebook in four languages, trains a tokenizer and a small M2M-100 on them, converts it as
Atelier converts any, measures what came out on held-out combinations and writes its card.
"""

import argparse
import copy
import itertools
import json
import math
import random
import shutil
import tempfile
import time
from pathlib import Path

import torch
from transformers import M2M100ForConditionalGeneration, M2M100Tokenizer

from engine.families._ctranslate import convert
from starter import cards, translate_eval
from starter.translate_eval import spec_of
from starter.translate_grammar import meanings, phrases
from starter.translate_model import build_model, save_model, train_tokenizer
from starter.translate_train import Mean, batches, pairs, train

TOKENIZER_MEANINGS = 15_000
STEPS = 6000
HELD = 400  # meanings that are measured, in every direction
CARD = Path(__file__).parent / "data" / "translate_card.md"


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


def finish(hub: Path, out: Path, history: str) -> None:
    """Converts what was trained, measures it and writes its card."""
    with tempfile.TemporaryDirectory(dir=hub.parent) as working:
        made = Path(working) / "model"
        convert(hub, made, "int8", spec_of(hub))
        out.mkdir(parents=True, exist_ok=True)
        for name in (
            "model.bin",
            "config.json",
            "shared_vocabulary.json",
            "sentencepiece.bpe.model",
        ):
            shutil.copyfile(made / name, out / name)
    facts = {"history": history, **figures(out, hub)}
    cards.write_card(CARD, out, facts)
    print((out / "README.md").read_text(encoding="utf-8"))


def figures(out: Path, hub: Path | None = None) -> dict[str, str]:
    """What the card says of a folder, measured."""
    model = translate_eval.load(out)
    told = translate_eval.held_out(1, HELD)
    known = [*phrases()]
    rows = {
        "held-out combinations": translate_eval.measure(model, told),
        "the same as people type": translate_eval.measure(model, told, tidy=False),
        "fixed phrases (trained)": translate_eval.measure(model, known),
    }
    left, asked = translate_eval.refuse(model, 2, 200)
    others, of = translate_eval.refuse_others(model)
    count = (
        json.loads((out / "config.json").read_text())
        and sum(p.numel() for p in M2M100ForConditionalGeneration.from_pretrained(hub).parameters())
        if hub
        else 0
    )
    return {
        "parameters": f"{count / 1e6:.2f}",
        "megabytes": f"{sum(f.stat().st_size for f in out.iterdir()) / 1e6:.1f}",
        "held": str(len(told)),
        "scores": translate_eval.as_markdown(rows),
        "exact": f"{translate_eval.share(rows['held-out combinations']):.1%}",
        "nonsense": f"{left} of {asked}",
        "outside": f"{others} of {of}",
    }


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-translate"))
    parser.add_argument(
        "--hub", type=Path, help="keep what is trained here, in transformers' format"
    )
    parser.add_argument(
        "--finish", metavar="HISTORY", help="train nothing: convert and measure --hub"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop then, fully cooled")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as working:
        hub = given.hub or Path(working)
        history = given.finish or fit(hub, given.steps, given.seed, given.minutes)
        finish(hub, given.out, history)


if __name__ == "__main__":
    main()
