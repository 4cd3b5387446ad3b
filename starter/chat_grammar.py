"""Reads the dialogue grammar of one language and splits its phrasings into training and held-out.

It knows nothing of turns or models. A phrasing such as "(Hi|Hello) {x}" expands to all its choices.
Every fifth phrasing of a list is held out of training, as far as the list's other phrasings use all of
its words: a model that has read nothing but this grammar cannot know that a word it never met there
means the same. Names, words and topics are held out whole.
"""

import itertools
import random
import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
LANGUAGES = ("en", "fr", "pt", "ru")
HELD_EVERY = 5
HELD_PLACE = 2

_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")


def expand(phrasing: str) -> tuple[str, ...]:
    """All texts one phrasing stands for, in order and without doubled spaces."""
    parts = _CHOICE.split(phrasing)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    texts = (re.sub(r" +", " ", "".join(combo)).strip() for combo in itertools.product(*choices))
    return tuple(dict.fromkeys(texts))


def plain(text: str) -> str:
    """The text without case, accents, punctuation or doubled spaces: two texts alike mean the same."""
    bare = unicodedata.normalize("NFD", text.casefold())
    bare = "".join(c for c in bare if not unicodedata.combining(c))
    return " ".join(re.findall(r"[\w{}+*/-]+", bare))


@dataclass(frozen=True)
class Phrases:
    """The phrasings of one purpose, each as the tuple of its expansions, in two disjoint parts."""

    train: tuple[tuple[str, ...], ...]
    held: tuple[tuple[str, ...], ...]

    def pick(self, rng: random.Random, held: bool) -> str:
        """One expansion: the phrasing is drawn first, so that many choices do not weigh more.

        Raises:
            LookupError: held ones are asked for and there are none.
        """
        listed = self.held if held else self.train
        if not listed:
            raise LookupError("nothing is held out here")
        return rng.choice(rng.choice(listed))


def vocabulary(phrasings: Iterable[str]) -> set[str]:
    """The words of those phrasings that are always trained."""
    texts = (text for phrasing in _always(list(phrasings)) for text in expand(phrasing))
    return {word for text in texts for word in plain(text).split()}


def _always(phrasings: list[str]) -> list[str]:
    return [text for i, text in enumerate(phrasings) if i % HELD_EVERY != HELD_PLACE]


def split(phrasings: Iterable[str], whole: bool = False) -> Phrases:
    """Holds every fifth phrasing out: `whole`, or as far as it is made of the other phrasings' words.

    `held` is empty where no phrasing can fairly be held out; it never holds what training shows too,
    spelled alike.
    """
    listed = list(phrasings)
    candidates = [expand(text) for i, text in enumerate(listed) if i % HELD_EVERY == HELD_PLACE]
    words = vocabulary(listed)
    fair = [
        tuple(text for text in texts if whole or words.issuperset(plain(text).split()))
        for texts in candidates
    ]
    train = [expand(text) for text in _always(listed)]
    pairs = zip(candidates, fair, strict=True)
    train += [tuple(text for text in texts if text not in kept) for texts, kept in pairs]
    train = [texts for texts in train if texts]
    seen = {plain(text) for texts in train for text in texts}
    held = [tuple(text for text in texts if plain(text) not in seen) for texts in fair]
    return Phrases(tuple(train), tuple(texts for texts in held if texts))


WHOLE = ("words", "names", "unknown.")  # held out even where their words were never met


@dataclass(frozen=True)
class Grammar:
    """Everything said and answered in one language."""

    code: str
    phrases: dict[str, Phrases]
    answers: dict[str, str]
    before: tuple[str, ...]
    after: tuple[str, ...]
    numbers: tuple[str, ...]
    count_numbers: tuple[str, ...]
    jokes: tuple[str, ...]
    talk: tuple[str, ...]
    tabs: tuple[str, ...]
    tab_names: dict[str, tuple[str, ...]]


def _phrases(raw: dict[str, Any]) -> dict[str, Phrases]:
    lists: dict[str, list[str]] = {"words": raw["words"], "names": raw["names"]}
    lists |= {f"talk.{name}": entry["ask"] for name, entry in raw["talk"].items()}
    lists |= {f"tabs.{name}": entry["tasks"] for name, entry in raw["tabs"].items()}
    for section in ("joke", "sum", "count", "repeat", "name", "tab", "unknown"):
        for key, value in raw[section].items():
            if isinstance(value, list) and key != "jokes":
                lists[f"{section}.{key}"] = value
    return {name: split(texts, name.startswith(WHOLE)) for name, texts in lists.items()}


def _answers(raw: dict[str, Any]) -> dict[str, str]:
    answers = {f"talk.{name}": entry["answer"] for name, entry in raw["talk"].items()}
    answers |= {f"tabs.{name}": entry["answer"] for name, entry in raw["tabs"].items()}
    answers |= {f"name.{key}": raw["name"][f"{key}_answer"] for key in ("tell", "ask", "unknown")}
    return answers | {"unknown": raw["unknown"]["answer"]}


@cache
def load_grammar(code: str) -> Grammar:
    """The grammar of one language code; FileNotFoundError for a language without one."""
    raw = tomllib.loads((DATA / f"chat_{code}.toml").read_text(encoding="utf-8"))
    return Grammar(
        code=code,
        phrases=_phrases(raw),
        answers=_answers(raw),
        before=tuple(raw["before"]),
        after=tuple(raw["after"]),
        numbers=tuple(raw["numbers"]),
        count_numbers=tuple(raw.get("count_numbers", raw["numbers"])),
        jokes=tuple(raw["joke"]["jokes"]),
        talk=tuple(raw["talk"]),
        tabs=tuple(raw["tabs"]),
        tab_names={name: tuple(entry["names"]) for name, entry in raw["tabs"].items()},
    )


@cache
def all_phrasings(code: str) -> frozenset[str]:
    """Every phrasing of a language, trained or held out, as `plain` writes it."""
    listed = load_grammar(code).phrases.values()
    return frozenset(plain(text) for p in listed for texts in (*p.train, *p.held) for text in texts)


@cache
def load_system_prompts() -> Phrases:
    """System prompts in several languages."""
    raw = tomllib.loads((DATA / "chat_system.toml").read_text(encoding="utf-8"))
    return split(raw["prompts"], whole=True)
