"""The recipe of starter-stt: `python -m starter.stt --out assets/starters/starter-stt`.

Has espeak-ng say sentences of the dialogue grammar, trains a tokenizer and a tiny Whisper on them, writes it as
CTranslate2 reads it, and measures the written folder with faster-whisper on sentences and voices it never heard.
Training may be stopped at any moment: `--seconds 0` writes and measures what there is, a second run goes on.
"""

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer

from starter import cards
from starter.stt_data import COUNT, fill_cache, read_shard
from starter.stt_eval import as_markdown, measure
from starter.stt_model import DECODERS, HEADS, build_model, save_model, train_tokenizer
from starter.stt_train import train

SECONDS = 4000.0
CARD = Path(__file__).parent / "data" / "stt_card.md"
LOOKING = [[DECODERS - 1, head] for head in range(HEADS)]  # heads by which words are timed


def tokenizer_of(work: Path) -> Tokenizer:
    """The tokenizer of a training; learned from the first sentences, and kept."""
    file = work / "tokenizer.json"
    if not file.is_file():
        first = sorted((work / "cache").glob("[0-9]*[0-9].npz"))[:6]
        train_tokenizer(one.text for shard in first for one in read_shard(shard)).save(str(file))
    return Tokenizer.from_file(str(file))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-stt"))
    parser.add_argument(
        "--work", type=Path, default=Path("build/starter-stt"), help="sounds and training's state"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of training")
    parser.add_argument("--count", type=int, default=COUNT, help="sentences that are said")
    parser.add_argument(
        "--place", type=int, default=0, help="1, 2 … for more processes that train with the first"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="measure the folder, train nothing")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    if given.measure:
        print(as_markdown(measure(given.out)))
        return
    cache, saved = given.work / "cache", given.work / "training.pt"
    fill_cache(cache, given.count, given.seed)
    tokenizer = tokenizer_of(given.work)
    train(cache, tokenizer, saved, given.seconds, given.seed, given.place)
    if not given.place:
        write(saved, tokenizer, given.out, given.seed)


def write(saved: Path, tokenizer: Tokenizer, out: Path, seed: int) -> None:
    """The folder of what training reached, and its card."""
    state = torch.load(saved, weights_only=True)
    save_model(state["average"], tokenizer, out, LOOKING)
    table = as_markdown(measure(out))
    model = build_model(tokenizer)
    learned = sum(w.numel() for w in model.parameters() if w.requires_grad)
    minutes, hands = state["seconds"] / 60, state["hands"]
    facts = {
        "parameters": f"{learned / 1e6:.1f}",
        "history": f"This copy: seed {seed}, {state['step']} steps in each of {hands} processes, {minutes:.0f} minutes "
        "on a busy machine of two cores.",
        "scores": table,
    }
    cards.write_card(CARD, out, facts)
    print(facts["history"], table, sep="\n")


if __name__ == "__main__":
    main()
