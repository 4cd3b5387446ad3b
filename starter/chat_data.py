"""Writes the dialogues starter-chat learns from: who says what, and the one right answer to it.

Everything is drawn from a random.Random, so a seed names a data set. With held=True only phrasings,
names, words and number pairs that training never shows are drawn.
"""

import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from starter.chat_grammar import (
    LANGUAGES,
    Grammar,
    all_phrasings,
    load_grammar,
    load_system_prompts,
)
from starter.chat_noise import cut_scrap, invent_name, invent_word, roughen, thin

MINUS = ("-", "minus", "moins", "menos", "минус")
SHORT_TALK = {"greet", "bye", "thanks", "ack", "no", "sorry", "sad", "happy", "praise", "complaint"}
RARE_TALK = {"ack", "no", "sorry", "happy", "age", "maker", "complaint", "praise"}
WEIGHTS = {
    "talk": 22,
    "tabs": 11,
    "unknown": 13,
    "add": 10,
    "sub": 10,
    "count": 8,
    "repeat": 16,
    "tell_name": 8,
    "ask_name": 6,
    "joke": 3,
}
THINNED = ("talk.", "name.", "tab.", "joke.")  # purposes that a phrasing still has without a word
TRIES = 100
DRILLS = (
    ("add", "sub"),
    ("repeat",),
    ("tell_name", "ask_name"),
    ("tell_name", "ask_name", "talk"),
    ("tell_name", "ask_name", "talk", "unknown", "tabs"),
    ("tell_name", "ask_name", "repeat"),
    ("unknown", "talk"),
    ("count",),
)


@dataclass(frozen=True)
class Turn:
    """What a user says and the exact answer to it."""

    language: str
    intent: str
    user: str
    answer: str


@dataclass(frozen=True)
class Dialogue:
    """Turns in order, below a system prompt or none."""

    system: str
    turns: tuple[Turn, ...]

    def messages(self) -> list[dict[str, str]]:
        """The dialogue as chat messages, answers included."""
        listed = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            listed.append({"role": "user", "content": turn.user})
            listed.append({"role": "assistant", "content": turn.answer})
        return listed


def is_held(*key: object, every: int = 8) -> bool:
    """Whether a number pair belongs to the held-out share; stable between runs."""
    return zlib.crc32(repr(key).encode()) % every == 0


class Speaker:
    """One user with a memory of what was said: it makes the turns of one dialogue."""

    def __init__(self, rng: random.Random, held: bool = False) -> None:
        self.rng = rng
        self.held = held
        self.name = ""
        self.jokes = 0
        self.makers = {
            "talk": self._talk,
            "tabs": self._tab,
            "unknown": self._unknown,
            "add": self._add,
            "sub": self._sub,
            "count": self._count,
            "repeat": self._repeat,
            "tell_name": self._tell_name,
            "ask_name": self._ask_name,
            "joke": self._joke,
        }

    def speak(self, code: str, intent: str = "") -> Turn:
        """One turn in the language, of the intent given or of one drawn by weight."""
        grammar = load_grammar(code)
        for _ in range(TRIES):
            kind = intent or self.rng.choices(list(WEIGHTS), WEIGHTS.values())[0]
            try:
                name, user, answer = self.makers[kind](grammar)
            except LookupError:  # no phrasing of this one could fairly be held out: draw another
                continue
            return Turn(code, name, user, answer)
        raise LookupError(f"nothing of {intent} is held out in {code}")

    def _roughen(self, text: str, grammar: Grammar, polite: bool = True) -> str:
        """As people type; training has more typos than the held-out dialogues it is judged on."""
        return roughen(text, grammar, self.rng, polite, 0.12 if self.held else 0.2)

    def _scraps(self) -> str:
        """One to three joined pieces of any trained phrasing in any language."""
        texts = []
        for _ in range(self.rng.choice([1, 1, 2, 2, 3])):
            grammar = load_grammar(self.rng.choice(LANGUAGES))
            texts.append(self.rng.choice(list(grammar.phrases.values())).pick(self.rng, False))
        return "".join(cut_scrap(text, self.rng) for text in texts)

    def _pick(self, grammar: Grammar, purpose: str) -> str:
        text = grammar.phrases[purpose].pick(self.rng, self.held)
        return self._thin(text, grammar, purpose)

    def _thin(self, text: str, grammar: Grammar, purpose: str) -> str:
        """In training some phrasings lose a word, so that no single word decides what is meant."""
        if self.held or not purpose.startswith(THINNED) or self.rng.random() > 0.2:
            return text
        return thin(text, all_phrasings(grammar.code), self.rng)

    def _frame(self, grammar: Grammar, purpose: str) -> str:
        """A phrasing around something that is held out itself; a trained one where none is held out."""
        phrases = grammar.phrases[purpose]
        text = phrases.pick(self.rng, self.held and bool(phrases.held))
        return self._thin(text, grammar, purpose)

    def _talk(self, grammar: Grammar) -> tuple[str, str, str]:
        intent = self.rng.choice(grammar.talk)
        if intent in RARE_TALK and self.rng.random() < 0.5:
            intent = self.rng.choice(grammar.talk)
        text = self._pick(grammar, f"talk.{intent}")
        user = self._roughen(text, grammar, intent not in SHORT_TALK)
        return intent, user, grammar.answers[f"talk.{intent}"]

    def _joke(self, grammar: Grammar) -> tuple[str, str, str]:
        joke = grammar.jokes[self.jokes % len(grammar.jokes)]
        self.jokes += 1
        return "joke", self._roughen(self._pick(grammar, "joke.ask"), grammar), joke

    def _tab(self, grammar: Grammar) -> tuple[str, str, str]:
        tab = self.rng.choice(grammar.tabs)
        if self.rng.random() < 0.4:
            frame, key = self._frame(grammar, "tab.by_name"), "{tab}"
            value = self.rng.choice(grammar.tab_names[tab])
        else:
            frame, key = self._frame(grammar, "tab.by_task"), "{task}"
            value = self._pick(grammar, f"tabs.{tab}")
        text = self._insert(frame, key, value, grammar.code)
        return f"tab {tab}", self._roughen(text, grammar), grammar.answers[f"tabs.{tab}"]

    @staticmethod
    def _insert(frame: str, key: str, value: str, code: str) -> str:
        if code == "fr" and value[0].lower() in "aeiouyéèêâîôû":
            frame = re.sub(rf"\b([dD])e {key}", rf"\1'{key}", frame)
        text = frame.replace(key, value)
        return text[0].upper() + text[1:]

    def _pair(self, kind: str, top: int) -> tuple[int, int]:
        while True:
            a, b = self.rng.randint(0, top), self.rng.randint(0, top)
            if is_held(kind, min(a, b), max(a, b)) == self.held:
                return a, b

    def _number(self, n: int, words: tuple[str, ...]) -> str:
        spelled = 0 <= n < len(words) and self.rng.random() < 0.25
        return words[n] if spelled else str(n)

    def _sum(self, grammar: Grammar, frame: str, a: int, b: int) -> str:
        frame = self._roughen(frame, grammar)
        user = frame.replace("{a}", self._number(a, grammar.numbers))
        user = user.replace("{b}", self._number(b, grammar.numbers))
        return user[0].upper() + user[1:] if self.rng.random() < 0.5 else user

    def _top(self) -> int:
        return 30 if self.held or self.rng.random() < 0.75 else 99

    def _add(self, grammar: Grammar) -> tuple[str, str, str]:
        frame = self._frame(grammar, "sum.add")
        if not self.held and self.rng.random() < 0.03 and re.search(r"[^\W\d_]{3}", frame):
            a, b = self.rng.randint(100, 9999), self.rng.randint(2, 9999)
            return "unknown", self._sum(grammar, frame, a, b), grammar.answers["unknown"]
        a, b = self._pair("add", self._top())
        return "add", self._sum(grammar, frame, a, b), f"{a} + {b} = {a + b}."

    def _sub(self, grammar: Grammar) -> tuple[str, str, str]:
        frame = self._frame(grammar, "sum.sub")
        a, b = self._pair("sub", self._top())
        below_zero = any(sign in frame for sign in MINUS) and self.rng.random() < 0.2
        if a < b and not below_zero:
            a, b = b, a
        return "sub", self._sum(grammar, frame, a, b), f"{a} - {b} = {a - b}."

    def _count(self, grammar: Grammar) -> tuple[str, str, str]:
        kind = self.rng.choice(["to", "to", "range", "range", "down", "down_range"])
        frame = self._roughen(self._frame(grammar, f"count.{kind}"), grammar)
        if not self.held and kind == "to" and self.rng.random() < 0.06:
            n = str(self.rng.choice([101, 150, 200, 500, 1000, 10000, self.rng.randint(101, 9999)]))
            return "unknown", frame.replace("{n}", n), grammar.answers["unknown"]
        n = self.rng.randint(31, 100) if self.rng.random() < 0.05 else self.rng.randint(2, 30)
        n = min(n, 30) if self.held else n
        a, b = self._bounds(kind, n)
        user = frame
        for key, number in (("{n}", max(a, b)), ("{a}", a), ("{b}", b)):
            user = user.replace(key, self._number(number, grammar.count_numbers))
        steps = range(a, b + 1) if a <= b else range(a, b - 1, -1)
        return "count", user, ", ".join(map(str, steps))

    def _bounds(self, kind: str, n: int) -> tuple[int, int]:
        if kind == "to":
            return 1, n
        if kind == "down":
            return n, 1
        while True:
            low = self.rng.randint(0, 29)
            high = low + self.rng.randint(1, 20)
            low, high = (low, high) if self.rng.random() < 0.9 else (low + 40, high + 40)
            if is_held("count", low, high) == self.held and not (self.held and high > 30):
                break
        backwards = kind == "down_range" or self.rng.random() < 0.08
        return (high, low) if backwards else (low, high)

    def _word(self, grammar: Grammar) -> str:
        if not self.held and self.rng.random() < 0.25:
            return self._scraps()
        draw = self.rng.random()
        if draw < 0.45:
            return self._pick(grammar, "words")
        if draw < 0.85:
            return invent_word(grammar.code, self.rng)
        if draw < 0.92:
            other = self.rng.choice(LANGUAGES)
            return load_grammar(other).phrases["words"].pick(self.rng, self.held)
        if draw < 0.96:
            return invent_name(grammar.code, self.rng)
        return str(self.rng.randint(0, 999))

    def _words(self, grammar: Grammar, most: int) -> str:
        words = [self._word(grammar) for _ in range(self.rng.randint(1, most))]
        draw = self.rng.random()
        if draw < 0.1:
            return ", ".join(words)
        text = " ".join(words)
        if draw < 0.2:
            return text.capitalize() + self.rng.choice([".", "!", "?", ""])
        return text.upper() if draw < 0.23 else text

    def _repeat(self, grammar: Grammar) -> tuple[str, str, str]:
        frame = self._frame(grammar, "repeat.ask")
        payload = self._words(grammar, 8)
        framed = ":" in frame or '"' in frame or "«" in frame
        if framed and self.rng.random() < 0.12:
            payload = self._talk(grammar)[1]
        user = self._roughen(frame, grammar, polite=framed).replace("{x}", payload)
        return "repeat", user, payload

    def _tell_name(self, grammar: Grammar) -> tuple[str, str, str]:
        listed = self.rng.random() < 0.4
        name = self._pick(grammar, "names") if listed else invent_name(grammar.code, self.rng)
        if not self.held and self.rng.random() < 0.15:
            name = self._scraps().capitalize()
        if self.rng.random() < 0.05:
            name = self._pick(load_grammar(self.rng.choice(LANGUAGES)), "names")
        self.name = name.lower() if self.rng.random() < 0.12 else name
        frame = self._roughen(self._frame(grammar, "name.tell"), grammar)
        answer = grammar.answers["name.tell"].replace("{x}", self.name)
        return "tell name", frame.replace("{x}", self.name), answer

    def _ask_name(self, grammar: Grammar) -> tuple[str, str, str]:
        user = self._roughen(self._frame(grammar, "name.ask"), grammar)
        if not self.name:
            return "ask name, untold", user, grammar.answers["name.unknown"]
        return "ask name", user, grammar.answers["name.ask"].replace("{x}", self.name)

    def _topic_word(self, grammar: Grammar) -> str:
        kind = self.rng.choice(["thing", "activity", "text", "clause"])
        return self.rng.choice(self._pick(grammar, f"unknown.{kind}").split())

    def _nonsense(self, grammar: Grammar, alone: bool) -> str:
        """Words without sense; alone, they are real ones, so that the language can be told."""
        if alone and grammar.code != "ru":
            return " ".join(self._pick(grammar, "words") for _ in range(self.rng.randint(3, 6)))
        words = []
        for _ in range(self.rng.randint(1, 5)):
            makers = [self._pick(grammar, "words"), invent_word(grammar.code, self.rng)]
            words.append(self.rng.choice([*makers, self._topic_word(grammar)]))
        return " ".join(words)

    def _topic(self, grammar: Grammar, kind: str, alone: bool) -> str:
        if kind == "nonsense" or (kind != "text" and self.rng.random() < 0.2):
            return self._nonsense(grammar, alone)
        return self._pick(grammar, f"unknown.{kind}")

    def _unknown(self, grammar: Grammar) -> tuple[str, str, str]:
        asked = self.rng.random() < 0.35
        text = self._pick(grammar, "unknown.ask" if asked else "unknown.frames")
        alone = text == "{nonsense}"
        for kind in ("person", "thing", "text", "activity", "clause", "nonsense"):
            key = f"{{{kind}}}"
            if key in text:
                text = self._insert(text, key, self._topic(grammar, kind, alone), grammar.code)
        text = self._roughen(text, grammar)
        for key in ("{m}", "{n}"):
            text = text.replace(key, str(self.rng.randint(2, 99)))
        return "unknown", text, grammar.answers["unknown"]


def write_system(rng: random.Random, held: bool) -> str:
    """No system prompt in half of the dialogues, else one to four sentences in any language."""
    if rng.random() < 0.5:
        return ""
    prompts = load_system_prompts()
    return " ".join(prompts.pick(rng, held) for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])))


def write_dialogue(rng: random.Random, length: int, held: bool = False, code: str = "") -> Dialogue:
    """A dialogue of `length` turns; in one of four, the user changes language on the way."""
    mixed = not code and length > 1 and rng.random() < 0.25
    code = code or rng.choice(LANGUAGES)
    speaker = Speaker(rng, held)
    turns = []
    for _ in range(length):
        if mixed and rng.random() < 0.4:
            code = rng.choice(LANGUAGES)
        turns.append(speaker.speak(code))
    return Dialogue(write_system(rng, held), tuple(turns))


def write_drill(rng: random.Random) -> Dialogue:
    """Many turns of what has to be computed or copied: more practice for the same tokens."""
    code = rng.choice(LANGUAGES)
    speaker = Speaker(rng)
    kinds = rng.choice(DRILLS)
    return Dialogue(
        "", tuple(speaker.speak(code, rng.choice(kinds)) for _ in range(rng.randint(4, 14)))
    )


def dialogue_lengths(rng: random.Random) -> int:
    """How many turns the next dialogue has: mostly few, sometimes enough to fill the context."""
    kind = rng.choices(["one", "few", "some", "full"], [68, 22, 9, 1])[0]
    low, high = {"one": (1, 1), "few": (2, 4), "some": (5, 9), "full": (14, 30)}[kind]
    return rng.randint(low, high)


def training_dialogues(seed: int) -> Iterator[Dialogue]:
    """Training dialogues without end; one in five is a drill."""
    rng = random.Random(seed)
    while True:
        if rng.random() < 0.2:
            yield write_drill(rng)
        else:
            yield write_dialogue(rng, dialogue_lengths(rng))
