"""What a voice is, and which of many is meant by a name and a language. A leaf: knows no model and no sound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.errors import BadValue, Unknown
from engine.languages import NAMES, parse_languages

# Letters that tell a language, and frequent words that tell those that are written in the same letters.
_LETTERS = (
    ("ja", r"[\u3040-\u30ff]"), ("zh", r"[\u4e00-\u9fff]"), ("ko", r"[\uac00-\ud7af\u1100-\u11ff]"),
    ("uk", r"[іїєґ]"), ("ru", r"[\u0400-\u04ff]"), ("el", r"[\u0370-\u03ff]"), ("he", r"[\u0590-\u05ff]"),
    ("ur", r"[ٹڈڑےں]"), ("fa", r"[پچژگ]"), ("ar", r"[\u0600-\u06ff]"), ("hi", r"[\u0900-\u097f]"),
    ("bn", r"[\u0980-\u09ff]"), ("pa", r"[\u0a00-\u0a7f]"), ("gu", r"[\u0a80-\u0aff]"),
    ("or", r"[\u0b00-\u0b7f]"), ("ta", r"[\u0b80-\u0bff]"), ("te", r"[\u0c00-\u0c7f]"),
    ("kn", r"[\u0c80-\u0cff]"), ("ml", r"[\u0d00-\u0d7f]"), ("si", r"[\u0d80-\u0dff]"),
    ("th", r"[\u0e00-\u0e7f]"), ("my", r"[\u1000-\u109f]"), ("ka", r"[\u10a0-\u10ff]"),
    ("am", r"[\u1200-\u137f]"), ("hy", r"[\u0530-\u058f]"), ("chr", r"[\u13a0-\u13ff]"),
)  # fmt: skip
_WORDS = {
    "en": "the and of to in is you that it he was for on are with as this have from not but what all were we hello",
    "fr": "le la les de des du et est un une en que qui dans ce il elle pas pour sur avec au aux je vous nous sont mais"
    " plus bonjour c'est j'ai d'un l'on",
    "pt": "o a os as de do da dos das e é um uma em que não para com por no na se mais como foi ao ele você são olá",
    "es": "el la los las de del y es un una en que no por con para su se lo como más al pero fue está hola muy",
    "de": "der die das und ist nicht ein eine zu den mit von für auf im es sich auch ich sie wir dem war hallo wie",
    "it": "il lo la gli le di del e è un una in che non per con si sono come più al ma da nel della ciao questo",
    "nl": "de het een en van is dat op te in niet zijn met voor er aan ook ik je maar hallo wat deze",
    "pl": "i w nie na się z to jest do że jak o co ale po tak czy dzień dobry",
    "sv": "och att det en är som på för av med den till inte har jag du hej vi ett",
    "tr": "ve bir bu için ile de da ne çok var ben sen merhaba değil gibi",
}
_MARKS = {"fr": "èêëœùîïûâç", "pt": "ãõ", "es": "ñ¿¡", "de": "ß", "pl": "łżźśąęć", "sv": "åå", "tr": "ığş"}  # fmt: skip
_KNOWN = {code: frozenset(words.split()) for code, words in _WORDS.items()}
LOOK = 2000  # characters at which a language is guessed


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that a model speaks with.

    Args:
        name: how it is asked for; unique in its model.
        model: the id of the catalog row.
        language: what it speaks by nature, a code ("fr"); "" for every language of the model.
        locale: with its place, as people of the field write it ("fr-CA").
        title: a name for people.
        gender: "female", "male" or "".
        licence: of the voice, where it is not the model's.
        aliases: other names; "Elise" is the French voice that is asked for unasked.
    """

    name: str
    model: str
    language: str = ""
    locale: str = ""
    title: str = ""
    gender: str = ""
    licence: str = ""
    aliases: tuple[str, ...] = ()

    def goes_by(self, name: str) -> bool:
        """Whether a name means this voice; case does not matter."""
        return name.casefold() in {self.name.casefold(), *(one.casefold() for one in self.aliases)}


def find_voice(voices: Sequence[Voice], name: str) -> Voice | None:
    """The voice of a name, those of that very name before those that go by it."""
    exact = next((v for v in voices if v.name.casefold() == name.casefold()), None)
    return exact or next((v for v in voices if v.goes_by(name)), None)


def voice_of(voices: Sequence[Voice], name: str, language: str, model: str) -> Voice:
    """The voice that a name and a language code mean; without a name the first that speaks the language.

    Raises:
        Unknown: the model has no voice of that name. BadValue: none that speaks the language; lists those there are.
    """
    if name:
        if (found := find_voice(voices, name)) is not None:
            return found
        names = ", ".join(v.name for v in voices[:12])
        more = f" and {len(voices) - 12} more" if len(voices) > 12 else ""
        raise Unknown(
            f"'{name[:60]}' is no voice of {model}. It has: {names}{more}.", param="voice"
        )
    for voice in voices:
        if not language or voice.language in ("", language):
            return voice
    raise unspoken(language, (v.language for v in voices))


def spoken_language(hint: str, also: Iterable[str] = ()) -> str:
    """The code of a hint as people write it ("French", "fr", "fra", "fr-CA"); "" for none and "auto".

    Args:
        also: codes that are known beside those of `engine.languages`.

    Raises:
        BadValue: it is no language that is known.
    """
    plain, also = hint.strip().lower().replace("_", "-"), frozenset(also)
    if plain in also:
        return plain
    try:
        codes = parse_languages(hint)
    except BadValue:
        raise unspoken(hint, tuple(also) or NAMES) from None
    return codes[0] if codes else ""


def unspoken(language: str, able: Iterable[str]) -> BadValue:
    """The refusal of a language that cannot be spoken, with those that can."""
    names = sorted({NAMES.get(code, code) for code in able if code}, key=str.casefold)
    return BadValue(
        f"'{NAMES.get(language, language)[:60]}' is no language that can be spoken here. These can: "
        f"{', '.join(names)}.",
        param="language",
    )


def guess_language(text: str, default: str = "en") -> str:
    """The language of a text, by its letters and its most frequent words; `default` where they tell nothing."""
    text = text[:LOOK].lower()
    letters = sum(map(str.isalpha, text)) or 1
    for code, pattern in _LETTERS:
        if len(re.findall(pattern, text)) >= letters / (
            12 if code in ("ja", "uk", "ur", "fa") else 3
        ):
            return code
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text)
    if not words:
        return default
    points = {code: sum(word in known for word in words) for code, known in _KNOWN.items()}
    for code, marks in _MARKS.items():
        points[code] += 2 * sum(text.count(mark) for mark in marks)
    best = max(points, key=lambda code: points[code])
    return best if points[best] > points.get(default, 0) else default
