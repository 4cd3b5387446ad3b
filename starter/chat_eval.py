"""Measures starter-chat on held-out dialogues: greedy answers, exact right or wrong, counted.

Conversations run on the model's own answers: an early slip may cost the later turns too.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from starter.chat_data import WEIGHTS, Dialogue, Speaker, Turn, write_dialogue, write_system
from starter.chat_grammar import LANGUAGES

MOST_NEW_TOKENS = 160


@dataclass(frozen=True)
class Outcome:
    """One judged answer. `kind` says what sort of dialogue it stood in."""

    kind: str
    dialogue: int
    turn: Turn
    reply: str

    @property
    def right(self) -> bool:
        return is_right(self.turn, self.reply)


def is_right(turn: Turn, reply: str) -> bool:
    """Whether the reply is the right answer, word for word: facts, sum, list, name and language."""
    return reply.strip() == turn.answer.strip()


def held_out_single(seed: int, per_intent: int) -> list[Dialogue]:
    """Dialogues of one turn: `per_intent` for each language and kind of turn that needs no memory."""
    rng = random.Random(seed)
    listed = []
    for code in LANGUAGES:
        for intent, weight in WEIGHTS.items():
            count = per_intent * 4 if intent in ("talk", "tabs") else per_intent
            for _ in range(count if weight and intent != "tell_name" else per_intent // 2):
                try:
                    turn = Speaker(rng, held=True).speak(code, intent)
                except LookupError:  # this language holds none of these out
                    break
                listed.append(Dialogue(write_system(rng, held=True), (turn,)))
    return listed


def held_out_several(seed: int, count: int, low: int = 2, high: int = 6) -> list[Dialogue]:
    """Dialogues of `low` to `high` turns, one in four changing language on the way."""
    rng = random.Random(seed)
    return [write_dialogue(rng, rng.randint(low, high), held=True) for _ in range(count)]


def held_out_names(seed: int, count: int, between: tuple[int, int] = (1, 4)) -> list[Dialogue]:
    """A name is told, other turns follow, then the name is asked for."""
    rng = random.Random(seed)
    others = {intent: weight for intent, weight in WEIGHTS.items() if intent != "tell_name"}
    listed = []
    for i in range(count):
        code, speaker = LANGUAGES[i % len(LANGUAGES)], Speaker(rng, held=True)
        middle = rng.choices(list(others), others.values(), k=rng.randint(*between))
        turns = [speaker.speak(code, intent) for intent in ["tell_name", *middle, "ask_name"]]
        listed.append(Dialogue(write_system(rng, held=True), tuple(turns)))
    return listed


@torch.inference_mode()
def answer_all(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, talks: list[list[dict[str, str]]]
) -> list[str]:
    """The greedy answer to each conversation."""
    order = sorted(range(len(talks)), key=lambda i: len(str(talks[i])))
    replies = [""] * len(talks)
    for first in range(0, len(order), 64):
        chosen = order[first : first + 64]
        prompts = [
            tokenizer.apply_chat_template(talks[i], tokenize=False, add_generation_prompt=True)
            for i in chosen
        ]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
        made = model.generate(**inputs, max_new_tokens=MOST_NEW_TOKENS, do_sample=False)
        new = made[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        for i, text in zip(chosen, texts, strict=True):
            replies[i] = text
    return replies


def converse(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    dialogues: list[Dialogue],
    kind: str,
) -> list[Outcome]:
    """Plays the user's side of each dialogue and judges every answer."""
    talks = [[{"role": "system", "content": d.system}] if d.system else [] for d in dialogues]
    outcomes = []
    for place in range(max(len(dialogue.turns) for dialogue in dialogues)):
        active = [i for i, dialogue in enumerate(dialogues) if place < len(dialogue.turns)]
        for i in active:
            talks[i].append({"role": "user", "content": dialogues[i].turns[place].user})
        replies = answer_all(model, tokenizer, [talks[i] for i in active])
        for i, reply in zip(active, replies, strict=True):
            talks[i].append({"role": "assistant", "content": reply})
            outcomes.append(Outcome(kind, i, dialogues[i].turns[place], reply))
    return outcomes


def fill_context(
    tokenizer: PreTrainedTokenizerFast, seed: int, count: int, tokens: int = 960
) -> list[Dialogue]:
    """Conversations of almost `tokens` tokens, with a name told first and asked for last."""
    rng = random.Random(seed)
    listed = []
    for i in range(count):
        code, speaker = LANGUAGES[i % len(LANGUAGES)], Speaker(rng, held=True)
        turns = [speaker.speak(code, "tell_name")]
        last = speaker.speak(code, "ask_name")
        while True:
            turn = speaker.speak(code, rng.choice(["talk", "tabs", "add", "unknown", "repeat"]))
            longer = Dialogue("", (*turns, turn, last))
            text = tokenizer.apply_chat_template(longer.messages(), tokenize=False)
            if len(tokenizer(text)["input_ids"]) > tokens:
                break
            turns.append(turn)
        listed.append(Dialogue("", (*turns, last)))
    return listed


def group_of(outcome: Outcome) -> str:
    """The row of the table an outcome counts in: small talk together, every tab together."""
    intent = outcome.turn.intent
    if intent.startswith("tab "):
        return "tabs"
    return "API" if intent.startswith("api") else intent


def tabulate(outcomes: Iterable[Outcome]) -> list[tuple[str, dict[str, tuple[int, int]]]]:
    """Right answers and answers asked for, per group and language and over all ("all")."""
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for outcome in outcomes:
        for group in (group_of(outcome), f"({outcome.kind})", "all"):
            for language in (outcome.turn.language, "all"):
                counts[group][language][0] += outcome.right
                counts[group][language][1] += 1
    names = sorted(counts, key=lambda name: (name == "all", name.startswith("("), name))
    return [(n, {k: (v[0], v[1]) for k, v in counts[n].items()}) for n in names]


def count_dialogues(outcomes: Iterable[Outcome]) -> int:
    """How many dialogues the answers come from."""
    return len({(outcome.kind, outcome.dialogue) for outcome in outcomes})


def as_markdown(table: list[tuple[str, dict[str, tuple[int, int]]]]) -> str:
    """The table as Markdown: right/asked in each cell."""
    columns = (*LANGUAGES, "all")
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in table:
        cells = [f"{row[c][0]}/{row[c][1]}" if c in row else "" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
