"""The recipe of starter-chat: `python -m starter.chat --out assets/starters/starter-chat`.

Writes dialogues, trains a tokenizer and a small Llama on them, measures the saved weights on
held-out dialogues and writes everything a Hugging Face folder needs.
"""

import argparse
import itertools
import math
import time
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from starter import cards, chat_eval
from starter.chat_data import training_dialogues
from starter.chat_eval import Outcome
from starter.chat_model import build_model, save_model, train_tokenizer
from starter.chat_train import PEAK_RATE, batches, train

TOKENIZER_DIALOGUES = 12_000
STEPS = 5000
CARD = Path(__file__).parent / "data" / "chat_card.md"


def evaluate(folder: Path, seed: int, dtype: torch.dtype = torch.float32) -> list[Outcome]:
    """Loads the folder as a user would and judges it on every kind of held-out dialogue."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    parts = {
        "one turn": chat_eval.held_out_single(seed + 1, 6),
        "2 to 6 turns": chat_eval.held_out_several(seed + 2, 60),
        "name asked later": chat_eval.held_out_names(seed + 3, 32),
        "full context": chat_eval.fill_context(tokenizer, seed + 4, 4),
    }
    outcomes = []
    for kind, dialogues in parts.items():
        outcomes += chat_eval.converse(model, tokenizer, dialogues, kind)
    return outcomes


def show(outcomes: list[Outcome]) -> None:
    """Prints the table and every wrong answer."""
    print(chat_eval.as_markdown(chat_eval.tabulate(outcomes)))
    for outcome in outcomes:
        if not outcome.right:
            print(f"WRONG ({outcome.kind}) {outcome.turn} -> {outcome.reply!r}")


def write_card(folder: Path, outcomes: list[Outcome], history: str) -> None:
    """The model card: how it was made and what was measured."""
    facts = {
        "parameters": f"{count_weights(folder) / 1e6:.2f}",
        "history": history,
        "answers": str(len(outcomes)),
        "dialogues": str(chat_eval.count_dialogues(outcomes)),
        "scores": chat_eval.as_markdown(chat_eval.tabulate(outcomes)),
    }
    cards.write_card(CARD, folder, facts)


def count_weights(folder: Path) -> int:
    """Numbers stored in the folder's weights."""
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        names = list(weights.keys())
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in names)


def begin(seed: int, start: Path | None) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A model of random weights with a tokenizer of its own, or the ones of a folder."""
    if start:
        tokenizer = AutoTokenizer.from_pretrained(start)
        return AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32), tokenizer
    torch.manual_seed(seed)
    sample = itertools.islice(training_dialogues(seed + 1), TOKENIZER_DIALOGUES)
    tokenizer = train_tokenizer(m["content"] for d in sample for m in d.messages())
    return build_model(tokenizer), tokenizer


def run(
    out: Path, steps: int, seed: int, start: Path | None, rate: float, limit: float = math.inf
) -> None:
    """Trains (for `limit` minutes at most), saves on the way, measures, writes the card."""
    model, tokenizer = begin(seed, start)
    source = batches(training_dialogues(seed), tokenizer, seed)
    out.mkdir(parents=True, exist_ok=True)

    def report(step: int, loss: float, tokens: int, seconds: float) -> None:
        if step % 50 == 0:
            print(
                f"step {step} loss {loss:.4f} {tokens} tokens {tokens / seconds:.0f}/s", flush=True
            )
        if step % 500 == 0:
            save_model(model, tokenizer, out)

    begun = time.monotonic()
    steps, tokens = train(model, source, steps, rate, report, limit * 60)
    minutes = (time.monotonic() - begun) / 60
    save_model(model, tokenizer, out)
    outcomes = evaluate(out, seed)
    history = f"This copy: seed {seed}, {steps} steps, {tokens / 1e6:.1f} million tokens"
    history += f", {minutes:.0f} minutes" + (", going on from an earlier run." if start else ".")
    write_card(out, outcomes, history)
    print(history)
    show(outcomes)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-chat"))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop then, fully cooled")
    parser.add_argument("--measure", action="store_true", help="judge the folder, train nothing")
    parser.add_argument("--start", type=Path, help="go on from this folder")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the highest learning rate")
    given = parser.parse_args()
    if given.measure:
        show(evaluate(given.out, given.seed))
    else:
        run(given.out, given.steps, given.seed, given.start, given.rate, given.minutes)


if __name__ == "__main__":
    main()
