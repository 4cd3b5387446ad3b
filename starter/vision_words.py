"""Names shapes, colours and places in each language and phrases what is asked and answered about them.

It reads `data/vision_*.toml` and knows nothing of pictures. A noun phrase is a pattern such as
"{un} {size} {noun} {colour}": the noun's gender chooses the forms of all the others.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from starter.chat_grammar import DATA, Phrases, expand, split

_SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_ENDS = {"m": "", "f": "а", "n": "о"}

Forms = dict[str, str]


@dataclass(frozen=True)
class Words:
    """Everything that is named, asked and answered in one language."""

    code: str
    joint: str
    elision: tuple[tuple[str, str], ...]
    form: Forms
    article: dict[str, Forms]
    noun: dict[str, Forms]
    colour: dict[str, Forms]
    size: dict[str, Forms]
    said: tuple[str, ...]
    asked: tuple[tuple[str, ...], ...]
    spelled: Forms
    answer: Forms
    ask: dict[str, Phrases]

    def name(
        self, form: str, kind: str = "shape", colour: str = "", big: bool | None = None
    ) -> str:
        """The noun phrase in the form asked for ("a", "the", "of", "some"); parts not given are left out."""
        noun = self.noun[kind]
        size = {} if big is None else self.size["big" if big else "small"]
        parts = {"noun": noun, "colour": self.colour.get(colour, {}), "size": size} | self.article

        def fill(slot: re.Match[str]) -> str:
            if slot[1] not in parts:
                return slot[0]
            return inflect(parts[slot[1]], slot[2] or "", noun["g"])

        return self.join_sounds(_SLOT.sub(fill, self.form[form]))

    def join_sounds(self, text: str) -> str:
        """Without doubled spaces, and with the elisions of the language."""
        text = " ".join(text.split())
        for pattern, joined in self.elision:
            text = re.sub(pattern, joined, text)
        return text

    def number(self, n: int, kind: str = "shape", colour: str = "") -> str:
        """So many of them: "3 red circles"."""
        one = n == 1
        few = 2 <= n <= 4
        return self.name("one" if one else "few" if few else "many", kind, colour).replace(
            "{n}", str(n)
        )

    def colour_as(self, colour: str, kind: str = "", key: str = "") -> str:
        """The colour alone, as it is said of a kind; without one, as the word is listed."""
        return inflect(self.colour[colour], key, self.noun[kind]["g"] if kind else "m")

    def size_as(self, big: bool, kind: str) -> str:
        """Big or small, as it is said of a kind."""
        return inflect(self.size["big" if big else "small"], "", self.noun[kind]["g"])

    def series(self, items: Sequence[str]) -> str:
        """The items with commas and an "and" before the last."""
        return self.joint.join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)

    def say(self, answer: str, **parts: str) -> str:
        """An answer filled in. A part with a capital in the pattern begins the sentence."""
        text = self.answer[answer]
        for name, value in parts.items():
            text = text.replace(f"{{{name}}}", value)
            text = text.replace(f"{{{name.capitalize()}}}", value[:1].upper() + value[1:])
        return self.join_sounds(text)

    def end_of(self, kind: str) -> str:
        """The ending of a Russian participle about the kind."""
        return _ENDS[self.noun[kind]["g"]]


def inflect(forms: Forms, key: str, gender: str) -> str:
    """The form for a key and a gender; where they make no difference, the nearest there is."""
    for name in (key + gender, key, gender if not key else "", "s" if not key else "", "m", "s"):
        if name in forms:
            return forms[name]
    return ""


def unfold(phrasing: str) -> str:
    """The phrasing with choices inside of choices taken apart: one group of all its texts."""
    texts = list(expand(phrasing))
    while any("|" in text for text in texts):
        texts = [longer for text in texts for longer in expand(text)]
    return f"({'|'.join(dict.fromkeys(texts))})" if len(texts) > 1 else phrasing


def _adjective(given: str | Forms, endings: dict[str, Forms]) -> Forms:
    if not isinstance(given, str):
        return given
    stem, _, kind = given.partition("+")
    return {key: stem + end for key, end in endings[kind].items()} if kind else {"m": given}


@cache
def load_words(code: str) -> Words:
    """The words of one language code."""
    raw: dict[str, Any] = tomllib.loads((DATA / f"vision_{code}.toml").read_text(encoding="utf-8"))
    endings = raw.get("endings", {})
    return Words(
        code=code,
        joint=raw["and"],
        elision=tuple((pattern, joined) for pattern, joined in raw["elision"]),
        form=raw["form"],
        article=raw.get("article", {}),
        noun=raw["noun"],
        colour={name: _adjective(given, endings) for name, given in raw["colour"].items()},
        size={name: _adjective(given, endings) for name, given in raw["size"].items()},
        said=tuple(raw["place"]["said"]),
        asked=tuple(tuple(listed) for listed in raw["place"]["asked"]),
        spelled=raw["spelled"],
        answer=raw["answer"],
        ask={intent: split(map(unfold, listed)) for intent, listed in raw["ask"].items()},
    )
