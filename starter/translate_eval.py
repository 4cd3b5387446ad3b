"""Measures starter-translate on combinations that were never trained, through the family that loads it."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.events import Done, Segment, Text
from engine.families import translate
from engine.registry import ModelSpec
from engine.requests import TranslateRequest
from engine.settings import Settings
from starter.translate_grammar import Meaning, draw, frames, meanings, phrases
from starter.translate_train import strange, untidy
from starter.translate_words import LANGUAGES

OPTIONS = {"beam": 1, "longest": 60, "sure": 0.9, "only": True}


@dataclass(frozen=True)
class Score:
    """How many of so many sentences in one direction came out exactly; how many were left untranslated."""

    source: str
    target: str
    right: int
    asked: int
    left: int


class Emit:
    """Keeps what a request was answered."""

    owner = ""

    def __init__(self) -> None:
        self.text, self.left, self.over = "", 0, False

    def __call__(self, event: Any) -> None:
        match event:
            case Text(delta):
                self.text += delta
            case Segment():
                self.left += 1
            case Done():
                self.over = True

    def count(self, **units: Any) -> None:
        """Nobody pays."""

    def fail(self, error: Exception) -> None:
        raise error


def spec_of(folder: Path) -> ModelSpec:
    """The catalog's row, for a folder."""
    return ModelSpec(
        id="starter-translate",
        does=frozenset({"translate"}),
        family="translate",
        path=str(folder),
        languages=LANGUAGES,
        options=OPTIONS,
    )


def translate_all(
    model: Any, texts: Sequence[str], source: str, target: str
) -> list[tuple[str, bool]]:
    """The translation of each text, and whether it was left as it is."""
    emits = [Emit() for _ in texts]
    waiting = list(zip(texts, emits, strict=True))
    while waiting:
        for text, emit in waiting[: model.parallel]:
            model.join(TranslateRequest(text=text, source=source, target=target), emit)
        taken, waiting = waiting[: model.parallel], waiting[model.parallel :]
        while not all(emit.over for _, emit in taken):
            model.step()
    return [(emit.text, emit.left > 0) for emit in emits]


def held_out(seed: int, count: int) -> list[Meaning]:
    """So many different meanings that were never trained, of all frames that hold any."""
    rng = random.Random(seed)
    found: dict[str, Meaning] = {}
    for frame in frames():
        for _ in range(60):
            meaning = draw(rng, frame)
            if meaning is not None and meaning.held:
                found[meaning.key] = meaning
                break
    for meaning in itertools.islice(meanings(rng, held=True), 50 * count):
        if len(found) >= count:
            break
        found[meaning.key] = meaning
    return list(found.values())


def directions() -> Iterator[tuple[str, str]]:
    """All twelve."""
    return ((a, b) for a in LANGUAGES for b in LANGUAGES if a != b)


def measure(model: Any, told: Sequence[Meaning], tidy: bool = True) -> list[Score]:
    """Every direction over these meanings; `tidy` False: written as people type."""
    scores = []
    for source, target in directions():
        rng = random.Random(1)
        texts = [m.texts[source] if tidy else untidy(m.texts[source], source, rng) for m in told]
        answers = translate_all(model, texts, source, target)
        right = sum(a == m.texts[target] for (a, _), m in zip(answers, told, strict=True))
        scores.append(Score(source, target, right, len(told), sum(left for _, left in answers)))
    return scores


def refuse(model: Any, seed: int, count: int) -> tuple[int, int]:
    """Of so many texts without a meaning, how many were left as they are."""
    rng = random.Random(seed)
    source = meanings(rng, held=True)
    left = asked = 0
    for language in LANGUAGES:
        texts = []
        while len(texts) < count // len(LANGUAGES):
            one, other = next(source), next(source)
            texts.append(strange(one, other, language, rng))
        target = LANGUAGES[(LANGUAGES.index(language) + 1) % len(LANGUAGES)]
        answers = translate_all(model, texts, language, target)
        left += sum(kept for _, kept in answers)
        asked += len(answers)
    return left, asked


OUTSIDE = {
    "en": (
        "The committee postponed its decision on the budget.",
        "Quantum computers are not magic.",
        "My keyboard makes a strange noise when it rains.",
    ),
    "fr": (
        "Le comité a reporté sa décision.",
        "Il faudrait que nous discutions de philosophie.",
        "Les abeilles disparaissent depuis dix ans.",
    ),
    "pt": (
        "A comissão adiou a decisão.",
        "Os computadores quânticos não fazem magia.",
        "As abelhas desaparecem há dez anos.",
    ),
    "ru": (
        "Комитет отложил решение о бюджете.",
        "Пчёлы исчезают уже десять лет.",
        "Мой сосед изучает средневековую философию.",
    ),
}


def refuse_others(model: Any) -> tuple[int, int]:
    """Of sentences that have nothing to do with the phrasebook, how many were left as they are."""
    left = asked = 0
    for source, texts in OUTSIDE.items():
        for target in LANGUAGES:
            if target != source:
                answers = translate_all(model, texts, source, target)
                left += sum(kept for _, kept in answers)
                asked += len(answers)
    return left, asked


def as_markdown(rows: dict[str, list[Score]]) -> str:
    """The card's table: one line a direction, one column a kind of texts."""
    names = list(rows)
    lines = ["| direction | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for place in range(len(rows[names[0]])):
        cells = [f"{rows[n][place].right}/{rows[n][place].asked}" for n in names]
        one = rows[names[0]][place]
        lines.append(f"| {one.source} → {one.target} | " + " | ".join(cells) + " |")
    totals = [share(rows[n]) for n in names]
    lines.append("| all | " + " | ".join(f"{total:.1%}" for total in totals) + " |")
    return "\n".join(lines)


def share(scores: Sequence[Score]) -> float:
    """The share of all that came out exactly."""
    return sum(s.right for s in scores) / max(1, sum(s.asked for s in scores))


def load(folder: Path) -> Any:
    """The model, as Atelier loads it."""
    return translate.load(spec_of(folder), Settings(device="cpu"))


__all__ = [
    "as_markdown",
    "held_out",
    "load",
    "measure",
    "phrases",
    "refuse",
    "refuse_others",
    "share",
    "translate_all",
]
