"""What starter-label reads: kinds and colours of shapes in four languages, alone and together.

Knows nothing of pictures. Which pairs of kind and colour are held out of training is decided here.
"""

import random
from dataclasses import dataclass

from starter.chat_data import is_held
from starter.vision_scene import COLOURS, GROUNDS, KINDS

LANGUAGES = ("en", "fr", "pt", "ru")
# A kind's name and its gender; colours agree with it.
NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "en": {kind: (kind, "m") for kind in KINDS},
    "fr": {
        "circle": ("cercle", "m"), "square": ("carré", "m"), "rectangle": ("rectangle", "m"),
        "triangle": ("triangle", "m"), "star": ("étoile", "f"), "heart": ("cœur", "m"),
        "cross": ("croix", "f"), "diamond": ("losange", "m"),
    },
    "pt": {
        "circle": ("círculo", "m"), "square": ("quadrado", "m"), "rectangle": ("retângulo", "m"),
        "triangle": ("triângulo", "m"), "star": ("estrela", "f"), "heart": ("coração", "m"),
        "cross": ("cruz", "f"), "diamond": ("losango", "m"),
    },
    "ru": {
        "circle": ("круг", "m"), "square": ("квадрат", "m"), "rectangle": ("прямоугольник", "m"),
        "triangle": ("треугольник", "m"), "star": ("звезда", "f"), "heart": ("сердце", "n"),
        "cross": ("крест", "m"), "diamond": ("ромб", "m"),
    },
}  # fmt: skip
# Masculine, feminine and neuter, as far as they differ.
PAINTS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {colour: (colour,) for colour in COLOURS},
    "fr": {
        "red": ("rouge",), "orange": ("orange",), "yellow": ("jaune",), "green": ("vert", "verte"),
        "blue": ("bleu", "bleue"), "purple": ("violet", "violette"), "pink": ("rose",),
        "brown": ("marron",), "black": ("noir", "noire"), "grey": ("gris", "grise"),
        "white": ("blanc", "blanche"),
    },
    "pt": {
        "red": ("vermelho", "vermelha"), "orange": ("laranja",), "yellow": ("amarelo", "amarela"),
        "green": ("verde",), "blue": ("azul",), "purple": ("roxo", "roxa"), "pink": ("rosa",),
        "brown": ("marrom",), "black": ("preto", "preta"), "grey": ("cinza",),
        "white": ("branco", "branca"),
    },
    "ru": {
        "red": ("красный", "красная", "красное"), "orange": ("оранжевый", "оранжевая", "оранжевое"),
        "yellow": ("жёлтый", "жёлтая", "жёлтое"), "green": ("зелёный", "зелёная", "зелёное"),
        "blue": ("синий", "синяя", "синее"), "purple": ("фиолетовый", "фиолетовая", "фиолетовое"),
        "pink": ("розовый", "розовая", "розовое"), "brown": ("коричневый", "коричневая", "коричневое"),
        "black": ("чёрный", "чёрная", "чёрное"), "grey": ("серый", "серая", "серое"),
        "white": ("белый", "белая", "белое"),
    },
}  # fmt: skip
ARTICLES = {
    "en": {"m": "a"},
    "fr": {"m": "un", "f": "une"},
    "pt": {"m": "um", "f": "uma"},
    "ru": {"m": ""},
}
PALE = frozenset({*GROUNDS, "pink"})  # grounds that may be too light for a white shape
LETTERS = ("abcdefghijklmnopqrstuvwxyz", "абвгдежзиклмнопрстухцчшщыэюя")


@dataclass(frozen=True)
class Meaning:
    """A kind, a colour or both; neither stands for words that mean nothing here."""

    kind: str = ""
    colour: str = ""

    def fits(self, kind: str, colour: str) -> bool:
        """Whether it is true of such a shape."""
        named = bool(self.kind or self.colour)
        return named and self.kind in ("", kind) and self.colour in ("", colour)


PAIRS = tuple(Meaning(kind, colour) for kind in KINDS for colour in COLOURS)
HELD = tuple(pair for pair in PAIRS if is_held("label", pair.kind, pair.colour))
TRAINED = tuple(pair for pair in PAIRS if pair not in HELD)
SINGLE = (*(Meaning(kind=kind) for kind in KINDS), *(Meaning(colour=colour) for colour in COLOURS))


def phrase(meaning: Meaning, language: str, article: bool = True) -> str:
    """A meaning in words: "a red star", "une étoile rouge"; without an article where it is a colour alone."""
    paints = PAINTS[language].get(meaning.colour, ("",))
    if not meaning.kind:
        return paints[0]
    name, gender = NAMES[language][meaning.kind]
    paint = paints[min("mfn".index(gender), len(paints) - 1)]
    first = ARTICLES[language].get(gender) or ARTICLES[language]["m"]
    before = language in ("en", "ru")
    words = (first if article else "", *((paint, name) if before else (name, paint)))
    text = " ".join(word for word in words if word)
    vowel = language == "en" and text.startswith(("a orange", "a o"))
    return f"an{text[1:]}" if vowel else text


def nonsense(rng: random.Random) -> str:
    """One to three words that mean nothing here."""
    letters = rng.choice(LETTERS)
    return " ".join(
        "".join(rng.choice(letters) for _ in range(rng.randint(2, 8)))
        for _ in range(rng.randint(1, 3))
    )


def all_phrases() -> list[str]:
    """Everything that is said with meaning, with and without articles."""
    return sorted({
        phrase(meaning, language, article)
        for meaning in (*PAIRS, *SINGLE)
        for language in LANGUAGES
        for article in (True, False)
    })  # fmt: skip
