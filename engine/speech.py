"""The languages of speech: what people and clients call them, against those that a model knows. A leaf."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from engine.errors import BadValue
from engine.languages import NAMES, parse_languages

AUTO = frozenset({"", "auto", "detect", "any"})


def choose_language(wanted: str, known: Sequence[str], param: str = "language") -> str | None:
    """The code of a language as people write it ("fr", "French", "pt-BR"); None where it is to be found out.

    Raises:
        BadValue: it is none of those that are known; the message lists them.
    """
    plain = wanted.strip().casefold().replace("_", "-")
    if plain in AUTO:
        return None
    for name in (plain, plain.partition("-")[0]):
        if name in known:
            return name
    with suppress(BadValue):
        for code in parse_languages(wanted):
            if code in known:
                return code
    listed = ", ".join(f"{code} ({NAMES[code]})" if code in NAMES else code for code in known)
    raise BadValue(
        f"'{wanted[:60]}' is no language that this model knows. It knows: {listed}. Name one of them, or leave "
        "the language out to have it found.",
        param=param,
    )
