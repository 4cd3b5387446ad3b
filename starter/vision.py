"""The recipe of starter-vision: `python -m starter.vision --out assets/starters/starter-vision`.

Draws scenes, writes questions about them, trains a tokenizer and a small Qwen3-VL on both, measures the
saved weights on held-out scenes and writes everything a Hugging Face folder needs.
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from starter import cards, vision_eval
from starter.chat import count_weights
from starter.chat_eval import Outcome, as_markdown, count_dialogues, tabulate
from starter.chat_grammar import LANGUAGES, load_grammar
from starter.vision_batch import ROWS, Packer
from starter.vision_data import write_turns
from starter.vision_model import build_model, build_processor, save_model, train_tokenizer
from starter.vision_scene import write_scene
from starter.vision_train import PEAK_RATE, Eyes, fit_eyes, train

MINUTES = 75.0
EYES_SHARE = 0.2  # of the time: the vision tower learns alone
EYES_PICTURES = ROWS
EYES_FIT = 120  # steps before going on from a folder, which holds no eyes
TOKENIZER_SCENES = 4000
SAVE_SECONDS = 150.0
CARD = Path(__file__).parent / "data" / "vision_card.md"


def evaluate(folder: Path, seed: int, dtype: torch.dtype = torch.float32) -> list[Outcome]:
    """Loads the folder as a user would and judges it on every kind of held-out visit."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval()
    parts = {
        "one turn": vision_eval.held_out_single(seed + 1, 6),
        "2 to 5 turns": vision_eval.held_out_several(seed + 2, 60),
        "no picture": vision_eval.without_picture(seed + 3, 10),
    }
    outcomes = []
    for kind, visits in parts.items():
        outcomes += vision_eval.converse(model, processor, visits, kind)
    return outcomes


def show(outcomes: list[Outcome]) -> None:
    """Prints the table and every wrong answer."""
    print(as_markdown(tabulate(outcomes)))
    for outcome in outcomes:
        if not outcome.right:
            turn = outcome.turn
            print(f"WRONG ({turn.intent}) {turn.user!r}\n  {turn.answer}\n  {outcome.reply}")


def write_card(folder: Path, outcomes: list[Outcome], history: str) -> None:
    """The model card: how it was made and what was measured."""
    facts = {
        "parameters": f"{count_weights(folder) / 1e6:.2f}",
        "history": history,
        "answers": str(len(outcomes)),
        "visits": str(count_dialogues(outcomes)),
        "scores": as_markdown(tabulate(outcomes)),
    }
    cards.write_card(CARD, folder, facts)
    (folder / "README.md").chmod(0o644)


def _sample_texts(seed: int) -> Iterator[str]:
    """What is said about some scenes and, for words nobody knows, some of everything else users say."""
    rng = random.Random(seed)
    for _ in range(TOKENIZER_SCENES):
        for turn in write_turns(write_scene(rng), 4, rng):
            yield from (turn.user, turn.answer)
    for code in LANGUAGES:
        for phrases in load_grammar(code).phrases.values():
            yield from (texts[0] for texts in phrases.train)


def begin(
    seed: int, start: Path | None
) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """A model of random weights with a processor of its own, or the ones of a folder."""
    if start:
        model = AutoModelForImageTextToText.from_pretrained(start, dtype=torch.float32)
        return model, AutoProcessor.from_pretrained(start)
    processor = build_processor(train_tokenizer(_sample_texts(seed + 1)))
    torch.manual_seed(seed)
    return build_model(processor.tokenizer), processor


def _feed(packer: Packer) -> DataLoader:
    return DataLoader(packer, batch_size=None, num_workers=1, prefetch_factor=6)


class Diary:
    """Prints how the training goes, and saves the model from time to time."""

    def __init__(
        self, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, out: Path
    ) -> None:
        self.model, self.processor, self.out = model, processor, out
        self.saved = time.monotonic()
        self.losses: list[float] = []

    def note(self, step: int, loss: float, seconds: float) -> None:
        """Called after each step."""
        self.losses.append(loss)
        if step % 50 == 0:
            mean = sum(self.losses) / len(self.losses)
            print(f"step {step} loss {mean:.4f} after {seconds:.0f} s", flush=True)
            self.losses.clear()
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Writes the folder as it is now."""
        save_model(self.model, self.processor, self.out)
        self.saved = time.monotonic()


def run(out: Path, minutes: float, seed: int, start: Path | None, rate: float, steps: int) -> None:
    """Trains for so long, saves on the way, measures, writes the card."""
    model, processor = begin(seed, start)
    out.mkdir(parents=True, exist_ok=True)
    diary = Diary(model, processor, out)
    width = model.config.text_config.hidden_size
    eyes = Eyes(width, 1 + len(model.config.vision_config.deepstack_visual_indexes))
    begun = time.monotonic()
    source = _feed(Packer(processor.tokenizer, seed, talk=False, pictures=EYES_PICTURES))
    if start:
        fit_eyes(model, eyes, source, EYES_FIT)
    else:
        seconds = minutes * 60 * EYES_SHARE
        alone = train(model, eyes, source, steps, rate, diary.note, seconds, talk=False)
        print(f"the eyes alone: {alone} steps")
    seconds = minutes * 60 - (time.monotonic() - begun)
    source = _feed(Packer(processor.tokenizer, seed + 1))
    done = train(model, eyes, source, steps, rate, diary.note, seconds)
    diary.save()
    minutes = (time.monotonic() - begun) / 60
    history = f"This copy: seed {seed}, {done} steps of {ROWS} pictures with their questions"
    history += f", {minutes:.0f} minutes" + (", going on from an earlier run." if start else ".")
    outcomes = evaluate(out, seed)
    write_card(out, outcomes, history)
    print(history)
    show(outcomes)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/starters/starter-vision"))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="stop then, fully cooled")
    parser.add_argument("--steps", type=int, default=10**9, help="at most, of each stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="judge the folder, train nothing")
    parser.add_argument("--start", type=Path, help="go on from this folder")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="the highest learning rate")
    given = parser.parse_args()
    if given.measure:
        show(evaluate(given.out, given.seed))
    else:
        run(given.out, given.minutes, given.seed, given.start, given.rate, given.steps)


if __name__ == "__main__":
    main()
