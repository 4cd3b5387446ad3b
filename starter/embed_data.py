"""Writes the pairs starter-embed learns from: two phrasings of one meaning, often in two languages.

Built on the phrasings of starter-chat's grammar; a seed names a data set. With held=True only phrasings, names and
number pairs that training never shows are drawn.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from starter.chat_data import is_held
from starter.chat_grammar import LANGUAGES, Grammar, load_grammar
from starter.chat_noise import invent_name, roughen

OTHERS = ("joke.ask", "name.ask")
SUMS = {"sum.add": "+", "sum.sub": "-"}
TOPICS = {"thing": "unknown.thing", "person": "unknown.person"}
CROSSED = 0.6  # of the pairs are in two languages
TOP = 30  # numbers in sums and counts


@dataclass(frozen=True)
class Meaning:
    """What is meant, whatever the words: a purpose of the grammar and what fills its places.

    `language` is set where the filling exists in one language only.
    """

    purpose: str
    filling: tuple[tuple[str, str], ...] = ()
    language: str = ""


@dataclass(frozen=True)
class Phrasing:
    """One way to say something."""

    language: str
    text: str


def intents() -> tuple[str, ...]:
    """The purposes that mean one thing each, in every language."""
    grammar = load_grammar(LANGUAGES[0])
    talk = [f"talk.{name}" for name in grammar.talk]
    return (*talk, *(f"tabs.{name}" for name in grammar.tabs), *OTHERS)


def answer_of(purpose: str, code: str) -> str:
    """The text that answers an intent; "" where there is no one text."""
    return load_grammar(code).answers.get(purpose, "") if purpose not in OTHERS else ""


class Writer:
    """Draws meanings and says them."""

    def __init__(self, rng: random.Random, held: bool = False) -> None:
        self.rng, self.held = rng, held

    def batch(self, size: int) -> list[tuple[Meaning, Phrasing, Phrasing]]:
        """`size` different meanings, each said twice."""
        fixed = [Meaning(purpose) for purpose in intents()]
        self.rng.shuffle(fixed)
        meanings = dict.fromkeys(fixed[: size * 2 // 5])
        while len(meanings) < size:
            meanings[self._filled()] = None
        return [(meaning, *self._pair(meaning)) for meaning in meanings]

    def say(
        self, meaning: Meaning, code: str, answers: float = 0.0, clean: bool = False
    ) -> Phrasing:
        """One phrasing in a language; with the probability `answers` the text that answers it."""
        grammar = load_grammar(code)
        answer = "" if meaning.filling else answer_of(meaning.purpose, code)
        if answer and self.rng.random() < answers:
            return Phrasing(code, answer.replace("**", ""))
        text = self._frame(grammar, meaning)
        if not clean:
            text = roughen(text, grammar, self.rng, not meaning.filling, 0.05 if self.held else 0.1)
        for key, value in meaning.filling:
            text = text.replace(f"{{{key}}}", self._spelled(value, grammar))
        return Phrasing(code, text)

    def _pair(self, meaning: Meaning) -> tuple[Phrasing, Phrasing]:
        first = second = meaning.language or self.rng.choice(LANGUAGES)
        if not meaning.language and self.rng.random() < CROSSED:
            second = self.rng.choice(LANGUAGES)
        return self.say(meaning, first), self.say(meaning, second, answers=0.25)

    def _frame(self, grammar: Grammar, meaning: Meaning) -> str:
        purpose = meaning.purpose
        if purpose in TOPICS:
            holder = f"{{{purpose}}}"
            frames = grammar.phrases["unknown.frames"]
            listed = [
                texts for texts in frames.train if holder in texts[0] and texts[0].count("{") == 1
            ]
            return self.rng.choice(self.rng.choice(listed))
        phrases = grammar.phrases[purpose]
        task = phrases.pick(self.rng, self.held and bool(phrases.held))
        if not purpose.startswith("tabs.") or self.rng.random() < 0.3:
            return task
        frame = grammar.phrases["tab.by_task"].pick(self.rng, False)
        if grammar.code == "fr" and task[0].lower() in "aeiouyéèêâîôû":
            frame = re.sub(r"\b([dD])e \{task\}", r"\1'{task}", frame)
        return frame.replace("{task}", task)

    def _filled(self) -> Meaning:
        kind = self.rng.choice(
            ("sum.add", "sum.sub", "count.to", "count.range", "name.tell", "thing", "person")
        )
        if kind in SUMS:
            a, b = sorted(self._numbers(kind), reverse=True)
            return Meaning(kind, (("a", str(a)), ("b", str(b))))
        if kind == "count.to":
            return Meaning(kind, (("n", str(self.rng.randint(2, TOP))),))
        if kind == "count.range":
            a, b = sorted(self._numbers("count"))
            return Meaning(kind, (("a", str(a)), ("b", str(b))))
        code = self.rng.choice(LANGUAGES)
        grammar = load_grammar(code)
        if kind == "name.tell":
            known = grammar.phrases["names"].pick(self.rng, self.held)
            name = known if self.rng.random() < 0.5 else invent_name(code, self.rng)
            return Meaning(kind, (("x", name),))
        topic = grammar.phrases[TOPICS[kind]].pick(self.rng, self.held)
        return Meaning(kind, ((kind, topic),), code)

    def _numbers(self, kind: str) -> tuple[int, int]:
        while True:
            a, b = self.rng.randint(0, TOP), self.rng.randint(0, TOP)
            if a != b and is_held(kind, min(a, b), max(a, b)) == self.held:
                return a, b

    def _spelled(self, value: str, grammar: Grammar) -> str:
        if value.isdigit() and int(value) < len(grammar.numbers) and self.rng.random() < 0.25:
            return grammar.numbers[int(value)]
        return value


def batches(seed: int, size: int) -> Iterator[list[tuple[Meaning, Phrasing, Phrasing]]]:
    """Endless training batches."""
    writer = Writer(random.Random(seed))
    while True:
        yield writer.batch(size)


def held_out() -> Iterator[tuple[str, Phrasing]]:
    """Every intent's held-out phrasings, as written in the grammar."""
    for code in LANGUAGES:
        for purpose in intents():
            for texts in load_grammar(code).phrases[purpose].held:
                yield purpose, Phrasing(code, texts[0])


def known() -> Iterator[tuple[str, Phrasing]]:
    """Every intent's trained phrasings, the first choice of each."""
    for code in LANGUAGES:
        for purpose in intents():
            for texts in load_grammar(code).phrases[purpose].train:
                yield purpose, Phrasing(code, texts[0])
