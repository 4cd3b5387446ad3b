"""Matching what people call things with the names of a model's classes. Pure; knows no model.

English plurals and articles only: the classes of published models have English names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

ODD = {
    "people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse",
    "geese": "goose", "teeth": "tooth", "feet": "foot", "oxen": "ox",
}  # fmt: skip
ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("es", ""), ("s", ""))
SHOWN = 12  # classes that an error names


def match(word: str, names: Sequence[str], also: Mapping[str, str] | None = None) -> list[int]:
    """Which of the names are meant by a word; empty: none.

    Args:
        names: a class's name, or several for one class, parted by commas ("tabby, tabby cat").
        also: other words for names, as `{"rouge": "red"}`.

    A name that is the word goes before names that only end with it: "dog" is not a "hot dog", but a "phone"
    may be a "cell phone".
    """
    told = {_plain(key): value for key, value in (also or {}).items()}
    wanted = _forms(told.get(_plain(word), word))
    synonyms = [[_forms(part) for part in name.split(",") if part.strip()] for name in names]
    same = [n for n, forms in enumerate(synonyms) if any(form & wanted for form in forms)]
    if same:
        return same
    ends = [{form.rpartition(" ")[2] for part in forms for form in part} for forms in synonyms]
    return [n for n, last in enumerate(ends) if last & wanted]


def some(names: Sequence[str]) -> str:
    """The first of the names, for an error; says when there are more."""
    shown = ", ".join(name.partition(",")[0] for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN:,} more" if len(names) > SHOWN else shown


def _plain(name: str) -> str:
    words = re.sub(r"[\s_-]+", " ", name.casefold()).strip(" .")
    return re.sub(r"^(an?|the) ", "", words)


def _forms(name: str) -> frozenset[str]:
    """A name and what it may be the plural of."""
    plain = _plain(name)
    start, _, last = plain.rpartition(" ")
    lasts = {last, ODD.get(last, last)}
    lasts |= {last[: -len(end)] + new for end, new in ENDINGS if last.endswith(end)}
    return frozenset(f"{start} {word}".strip() for word in lasts if len(word) > 1 or word == last)
