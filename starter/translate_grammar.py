"""The phrasebook of starter-translate: what is meant, said in four languages; some meanings are never trained.

A meaning is a frame and the words in its slots. All its texts are made of it at once, so they always agree.
"""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from starter.translate_words import (
    DATA,
    LANGUAGES,
    OWNERS,
    Subject,
    Verb,
    Word,
    adjectives,
    an,
    counted,
    elide,
    nouns,
    number,
    owned,
    plural,
    subjects,
    verbs,
)

HELD_EVERY = 10  # one in so many combinations is never trained
_SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_RU_HOURS = "первого второго третьего четвёртого пятого шестого седьмого восьмого девятого десятого"
_RU_ORDINALS = (*_RU_HOURS.split(), "одиннадцатого", "двенадцатого")
_TICKETS = {"bare": "билет", "gen": "билета", "genpl": "билетов"}
Texts = dict[str, str]
Chosen = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """A kind of sentence: its slots in the order they are filled, and a text for each language."""

    number: int
    slots: tuple[tuple[str, str], ...]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """One thing to say: its texts by language, and a key that is the same for the same meaning."""

    key: str
    texts: Texts
    frame: int  # -1: a whole phrase

    @property
    def held(self) -> bool:
        """Whether it is kept from training. Whole phrases never are: nothing else tells what they mean."""
        if self.frame < 0:
            return False
        digest = hashlib.sha256(self.key.encode()).digest()
        return int.from_bytes(digest[:4], "big") % HELD_EVERY == 0


@cache
def book() -> dict[str, Any]:
    """The phrasebook's file."""
    return tomllib.loads((DATA / "phrasebook.toml").read_text(encoding="utf-8"))


@cache
def frames() -> tuple[Frame, ...]:
    """All frames."""
    found = []
    for place, row in enumerate(book()["frame"]):
        slots = []
        for slot in row["slots"]:
            name, _, what = slot.partition(":")
            slots.append((name, what))
        found.append(Frame(place, tuple(slots), tuple(row["texts"])))
    return tuple(found)


@cache
def phrases() -> tuple[Meaning, ...]:
    """The phrases that are what they are."""
    rows = book()["phrases"]["all"]
    return tuple(Meaning(row[0], dict(zip(LANGUAGES, row, strict=True)), -1) for row in rows)


def draw(rng: random.Random, frame: Frame) -> Meaning | None:
    """The frame with words drawn for its slots; None where what was drawn does not go together."""
    chosen: Chosen = {}
    for name, what in frame.slots:
        options = _options(name, what, chosen)
        if not options:
            return None
        chosen[name] = rng.choice(options)
    if "m" in chosen and chosen["m"] is chosen["n"]:
        return None
    parts = [str(frame.number)]
    parts += [f"{name}={getattr(value, 'key', value)}" for name, value in chosen.items()]
    texts = {
        language: _say(text, language, chosen)
        for language, text in zip(LANGUAGES, frame.texts, strict=True)
    }
    return Meaning("|".join(parts), texts, frame.number)


def meanings(rng: random.Random, held: bool) -> Iterator[Meaning]:
    """Meanings without end, of all frames alike; trained or held-out ones alone."""
    listed = frames()
    while True:
        if not held and rng.random() < len(phrases()) / 1500:
            yield rng.choice(phrases())
        drawn = draw(rng, rng.choices(listed, _weights())[0])
        if drawn is not None and drawn.held == held:
            yield drawn


@cache
def _weights() -> tuple[float, ...]:
    """How often a frame is drawn: those with more combinations more often, but far from in proportion."""
    rng = random.Random(0)
    found = []
    for frame in frames():
        keys = {m.key for _ in range(400) if (m := draw(rng, frame)) is not None}
        found.append(max(len(keys), 5) ** 0.5)
    return tuple(found)


def _options(name: str, what: str, chosen: Chosen) -> Sequence[Any]:
    """What may fill a slot, given what fills those before it."""
    verb = chosen.get("v")
    noun = chosen.get("n")
    if name in ("n", "m"):
        fitting = _nouns(what or (verb.kinds if verb else ""))
        named = chosen.get("w")
        return _like(named, fitting) if named and named.what == "names" else fitting
    if name == "a":
        mine = set(noun.kinds) & set("tfdp")
        return [w for w in adjectives() if mine & set(w.kinds) and _allowed(w, what)]
    if name == "v":
        return [v for v in verbs() if _verb_fits(v, what.split())]
    if name == "s":
        return [s for s in _people() if what != "past" or s.past]
    if name == "p":
        return (what,) if what else OWNERS
    if name in ("w", "x"):
        return _listed(what)
    return _NUMBERS[name]


@cache
def _nouns(kinds: str) -> tuple[Word, ...]:
    return tuple(w for w in nouns() if set(kinds) & set(w.kinds))


@cache
def _listed(what: str) -> tuple[Row, ...]:
    return tuple(Row(row, what) for row in book()["words"][what])


def _like(name: Row, people: Sequence[Word]) -> Sequence[Word]:
    """Those of the same sex as somebody of this name."""
    wanted = "f" if name.key.endswith("a") else "m"
    return [w for w in people if w.genders and w.genders["fr"] == wanted]


def _allowed(adjective: Word, what: str) -> bool:
    if not what:
        return True
    if what in ("b", "v"):
        return what in adjective.kinds
    return adjective.key in what.split()


def _verb_fits(verb: Verb, what: list[str]) -> bool:
    if what[0] not in ("a", "the"):
        return verb.key in what
    return verb.article == what[0] and (len(what) == 1 or verb.past)


@cache
def _people() -> tuple[Subject, ...]:
    """The subjects, pronouns as often as all others together."""
    pronouns, others = subjects()[:6], subjects()[6:]
    return pronouns * (len(others) // len(pronouns)) + others


@dataclass(frozen=True)
class Row:
    """A word of a list: one text for each language."""

    row: Any
    what: str

    @property
    def key(self) -> str:
        """Its English text."""
        return str(self.row[0])

    def __hash__(self) -> int:
        return hash(self.key)


_NUMBERS: dict[str, Sequence[Any]] = {
    "k": (
        *range(2, 5),
        *range(2, 5),
        *range(2, 21),
    ),  # Russian counts 2 to 4 in a form of their own
    "e": range(1, 100),
    "h": [(hour, half) for hour in range(1, 13) for half in (False, True)],
    "t": [f"{hour}:{minute:02}" for hour in range(24) for minute in range(0, 60, 5)],
}


def _say(text: str, language: str, chosen: Chosen) -> str:
    said = _SLOT.sub(lambda match: _form(match[1], match[2] or "", language, chosen), text)
    if language == "fr":
        said = elide(said)
    return said[0].upper() + said[1:]


def _form(name: str, form: str, language: str, chosen: Chosen) -> str:
    value, noun = chosen[name], chosen.get("n")
    upper = form[:1].isupper()
    how: Callable[[], str] = {
        "n": partial(_noun, value, form.lower(), language, chosen),
        "m": partial(_noun, value, form.lower(), language, chosen),
        "a": partial(_adjective, value, form, language, noun),
        "v": partial(_verb, value, form, language, chosen.get("s")),
        "s": partial(_subject, value, form, language),
        "p": lambda: owned(value, noun)[language] if noun else "",
        "w": partial(_row, value, form.lower(), language, noun),
        "x": partial(_row, value, form.lower(), language, noun),
        "k": partial(_count, value, form.lower(), language, noun),
        "e": partial(_euros, value, language),
        "h": partial(_hour, value, form, language),
        "t": lambda: str(value),
    }[name]
    said = how()
    return said[0].upper() + said[1:] if upper else said


def _noun(noun: Word, form: str, language: str, chosen: Chosen) -> str:
    if form != "an_a":
        return noun.forms[language][form]
    assert noun.genders is not None
    adjective: Word = chosen["a"]
    bare, gender = noun.forms[language]["bare"], noun.genders[language]
    forms = adjective.forms[language]
    if language == "en":
        return f"{an(forms['n'])} {forms['n']} {bare}"
    if language == "ru":
        word = forms["acc"] if gender == "f" else forms[gender]
        return f"{word} {noun.forms['ru']['acc']}"
    article = noun.forms[language]["an"].split()[0]
    before = forms.get("place") == "before"
    return f"{article} {forms[gender]} {bare}" if before else f"{article} {bare} {forms[gender]}"


def _adjective(adjective: Word, form: str, language: str, noun: Word) -> str:
    forms = adjective.forms[language]
    assert noun.genders is not None
    return forms["verb"] if form == "verb" else forms[noun.genders[language]]


def _subject(subject: Subject, form: str, language: str) -> str:
    text = subject.texts[language]
    return text if form == "low" or text == "I" else text[0].upper() + text[1:]


def _verb(verb: Verb, form: str, language: str, subject: Subject | None) -> str:
    return {"en": _english, "fr": _french, "pt": _portuguese, "ru": _russian}[language](
        verb, form, subject
    )


def _english(verb: Verb, form: str, subject: Subject | None) -> str:
    base = verb.english[0]
    if form == "ask":
        return f"are you {verb.ing}" if verb.ing else f"do you {base}"
    if form in ("base", "past"):
        return base if form == "base" else verb.english[2]
    assert subject is not None
    no = " not" if form == "not" else ""
    if verb.ing:
        return f"{'am' if subject.key == 'I' else 'is' if subject.third else 'are'}{no} {verb.ing}"
    if no:
        return f"{'does' if subject.third else 'do'} not {base}"
    return verb.english[1] if subject.third else base


def _french(verb: Verb, form: str, subject: Subject | None) -> str:
    if form == "ask":
        return f"{verb.french[1]}-vous"
    assert subject is not None
    if form == "past":
        return f"{('ai', 'avez', 'a', 'avons', 'ont')[subject.fr]} {verb.french[5]}"
    if form == "will":
        return f"{('vais', 'allez', 'va', 'allons', 'vont')[subject.fr]} {verb.french[6]}"
    return verb.french[subject.fr]


def _portuguese(verb: Verb, form: str, subject: Subject | None) -> str:
    if form == "ask":
        return verb.portuguese[1]
    assert subject is not None
    if form == "past":
        return verb.portuguese[3 + subject.pt]
    if form == "will":
        return f"{('vou', 'vai', 'vamos', 'vão')[subject.pt]} {verb.portuguese[7]}"
    return verb.portuguese[subject.pt]


def _russian(verb: Verb, form: str, subject: Subject | None) -> str:
    if form == "ask":
        return verb.russian[1]
    assert subject is not None
    if form == "past":
        return verb.russian[5 + ("m", "f", "pl").index(subject.past)]
    return verb.russian[(8 if form == "will" else 0) + subject.ru]


def _row(row: Row, form: str, language: str, noun: Word | None) -> str:
    text = str(row.row[LANGUAGES.index(language)])
    if row.what == "states" and language != "en":
        assert noun is not None and noun.genders is not None
        return text.split("|")[noun.genders[language] == "f"]
    if row.what == "cities" and language == "ru":
        return text.split()[{"": 0, "of": 1, "to": 2, "in": 3}[form]]
    if row.what == "days" and language == "pt":
        day, place = text.split()
        return f"{place} {day}" if form == "on" else day
    return text.replace("_", " ")


def _count(n: int, form: str, language: str, noun: Word | None) -> str:
    if form == "of_n":
        assert noun is not None
        return counted(n, noun, language)
    if form == "tickets":
        return f"{number(n, 'ru')} {_TICKETS[plural(n)]}"
    return number(n, language)


def _euros(n: int, language: str) -> str:
    unit = "евро" if language == "ru" else "euro" if n == 1 else "euros"
    return f"{number(n, language)} {unit}"


def _hour(hour: tuple[int, bool], form: str, language: str) -> str:
    n, half = hour
    if form == "are":
        return "é" if n == 1 else "são"
    word = number(n, language, "f" if language in ("fr", "pt") else "m")
    if language == "en":
        return f"half past {word}" if half else f"{word} o'clock"
    if language == "fr":
        return f"{word} heure{'s' * (n > 1)}{' et demie' * half}"
    if language == "pt":
        at = ("à " if n == 1 else "às ") if form == "at" else ""
        return at + (f"{word} e meia" if half else f"{word} hora{'s' * (n > 1)}")
    if half:
        return ("в половине " if form == "at" else "половина ") + _RU_ORDINALS[n % 12]
    said = ("" if n == 1 else f"{word} ") + {"bare": "час", "gen": "часа", "genpl": "часов"}[
        plural(n)
    ]
    return f"в {said}" if form == "at" else said
