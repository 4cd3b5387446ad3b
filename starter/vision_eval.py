"""Measures starter-vision on held-out scenes and phrasings: greedy answers, exact right or wrong, counted."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from starter.chat_data import Turn
from starter.chat_eval import Outcome
from starter.chat_grammar import LANGUAGES, load_system_prompts
from starter.vision_data import TALK, WEIGHTS, write_turn, write_turns
from starter.vision_scene import GRIDS, Scene, draw_scene, write_scene

MOST_NEW_TOKENS = 120
BATCH = 64
Message = dict[str, Any]


@dataclass(frozen=True)
class Visit:
    """A picture shown, and the turns about it; None for a conversation without one."""

    picture: Image.Image | None
    turns: tuple[Turn, ...]
    system: str = ""


def _look(scene: Scene, rng: random.Random) -> Image.Image:
    grid = rng.choices(list(GRIDS), list(GRIDS.values()))[0]
    return draw_scene(scene, grid, rng)[0]


def _system(rng: random.Random) -> str:
    return load_system_prompts().pick(rng, True) if rng.random() < 0.3 else ""


def held_out_single(seed: int, each: int) -> list[Visit]:
    """One question about one held-out scene: `each` of every intent in every language."""
    rng = random.Random(seed)
    visits = []
    for code in LANGUAGES:
        for intent in WEIGHTS:
            for _ in range(each * 3 if intent == "describe" else each):
                while True:
                    scene = write_scene(rng, held=True, unknown=0.04)
                    try:
                        turn = write_turn(scene, code, rng, held=True, intent=intent)
                    except LookupError:
                        continue
                    break
                visits.append(Visit(_look(scene, rng), (turn,), _system(rng)))
    return visits


def held_out_several(seed: int, count: int) -> list[Visit]:
    """Two to five turns about one held-out scene, the picture in the first."""
    rng = random.Random(seed)
    visits = []
    for _ in range(count):
        scene = write_scene(rng, held=True, unknown=0.04)
        turns = write_turns(scene, rng.randint(2, 5), rng, held=True)
        visits.append(Visit(_look(scene, rng), turns, _system(rng)))
    return visits


def without_picture(seed: int, each: int) -> list[Visit]:
    """Questions about a picture that was never added."""
    rng = random.Random(seed)
    intents = [name for name in WEIGHTS if name not in (*TALK, "identity", "beyond", "compare")]
    return [
        Visit(None, (write_turn(None, code, rng, held=True, intent=rng.choice(intents)),))
        for code in LANGUAGES
        for _ in range(each)
    ]


@torch.inference_mode()
def answer_all(
    model: Qwen3VLForConditionalGeneration,
    processor: Qwen3VLProcessor,
    talks: Sequence[tuple[list[Message], Image.Image | None]],
) -> list[str]:
    """The greedy answer to each conversation."""
    order = sorted(range(len(talks)), key=lambda i: (talks[i][1] is None, len(str(talks[i][0]))))
    replies = [""] * len(talks)
    for with_picture in (True, False):
        listed = [i for i in order if (talks[i][1] is not None) == with_picture]
        for first in range(0, len(listed), BATCH):
            chosen = listed[first : first + BATCH]
            prompts = [
                processor.apply_chat_template(talks[i][0], add_generation_prompt=True)
                for i in chosen
            ]
            shown = [talks[i][1] for i in chosen] if with_picture else None
            inputs = processor(text=prompts, images=shown, padding=True, return_tensors="pt")
            made = model.generate(**inputs, max_new_tokens=MOST_NEW_TOKENS, do_sample=False)
            new = made[:, inputs["input_ids"].shape[1] :]
            texts = processor.batch_decode(new, skip_special_tokens=True)
            for i, text in zip(chosen, texts, strict=True):
                replies[i] = text.strip()
    return replies


def ask_about(picture: Image.Image | None, question: str, system: str = "") -> list[Message]:
    """The messages of a first question, the picture before it."""
    parts: list[Message] = [{"type": "image"}] if picture else []
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


def converse(
    model: Qwen3VLForConditionalGeneration,
    processor: Qwen3VLProcessor,
    visits: list[Visit],
    kind: str,
) -> list[Outcome]:
    """Plays the user's side of each visit and judges every answer."""
    talks = [
        [{"role": "system", "content": visit.system}] if visit.system else [] for visit in visits
    ]
    outcomes = []
    for place in range(max(len(visit.turns) for visit in visits)):
        active = [i for i, visit in enumerate(visits) if place < len(visit.turns)]
        for i in active:
            shown = visits[i].picture if place == 0 else None
            talks[i] += ask_about(shown, visits[i].turns[place].user)
        replies = answer_all(model, processor, [(talks[i], visits[i].picture) for i in active])
        for i, reply in zip(active, replies, strict=True):
            talks[i].append({"role": "assistant", "content": reply})
            outcomes.append(Outcome(kind, i, visits[i].turns[place], reply))
    return outcomes
