"""Which language a text is in, by py3langid: 139 languages, from a few words on, in a fraction of a millisecond.

Knows texts and codes, no model. The library's data is read when it is first needed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

READ = 3000  # characters that decide
UNKNOWN = "und"  # ISO 639's code for a language that is not known
# Of few words, the languages that more people write are likelier; in a sentence this decides nothing.
_WIDESPREAD = frozenset(
    [
        "en",
        "fr",
        "pt",
        "ru",
        "es",
        "de",
        "it",
        "nl",
        "pl",
        "tr",
        "uk",
        "zh",
        "ja",
        "ko",
        "ar",
        "fa",
        "hi",
        "id",
        "vi",
        "sv",
    ]
)
_FAVOUR = {"en": 12.0, "fr": 8.0, "pt": 8.0, "ru": 12.0}
# Words that say it where there are only one or two.
_TELLING = {
    word: code
    for code, words in {
        "en": "hello hi hey yes no thanks thank please goodbye bye good the is are what where how",
        "fr": "bonjour bonsoir salut merci oui non où est le les une des au revoir santé",
        "pt": "olá oi obrigado obrigada sim não bom dia boa noite tarde adeus por favor onde tchau",
        "ru": "привет да нет спасибо пожалуйста здравствуйте где это",
        "es": "hola gracias adiós sí buenos buenas días qué dónde está el los",
        "de": "hallo danke ja nein bitte guten tag tschüss ist der die das wo",
        "it": "ciao grazie buongiorno buonasera sì dove è il prego arrivederci",
    }.items()
    for word in words.split()
}
FEW, WEIGHT = 3, 30.0
CERTAIN, ENOUGH = 0.95, 20  # how sure of how many characters it must be to leave those in question
_OURS = {"nb": "no", "nn": "no", "yue": "zh", "wuu": "zh", "iw": "he", "zxx": ""}


def detect(text: str, among: Collection[str] = ()) -> tuple[str, float]:
    """The code of a text's language and how sure that is, in 0..1; ("und", 0) for a text without letters.

    Args:
        among: codes that come into question; none: all that are known. A text that is plainly in another
            language is told to be in that one.
    """
    sample = _sample(text)
    if not any(letter.isalpha() for letter in sample):
        return UNKNOWN, 0.0
    shares = _shares(sample)
    best = max(shares, key=lambda code: shares[code], default=UNKNOWN)
    if among and best not in among:
        sure = shares.get(best, 0.0) / (sum(shares.values()) or 1.0)
        if sure > CERTAIN and (len(sample) >= ENOUGH or not sample.strip()[0].isascii()):
            return best, sure
        shares = {code: share for code, share in shares.items() if code in among}
        best = max(shares, key=lambda code: shares[code], default=UNKNOWN)
    total = sum(shares.values())
    return best, shares[best] / total if total else 0.0


def _shares(text: str) -> dict[str, float]:
    """How likely each language is; they do not add up to anything."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    told = {_TELLING.get(word) for word in words} if len(words) <= FEW else set()
    shares: dict[str, float] = {}
    for name, share in _identifier().rank(text):
        if code := _OURS.get(name, name):
            weight = _FAVOUR.get(code, 3.0 if code in _WIDESPREAD else 1.0)
            weight *= WEIGHT if code in told else 1.0
            shares[code] = shares.get(code, 0.0) + float(share) * weight
    return shares


def detectable() -> tuple[str, ...]:
    """The codes that `detect` may give."""
    names = (str(name) for name in _identifier().nb_classes)
    return tuple(sorted({code for name in names if (code := _OURS.get(name, name))}))


def _sample(text: str) -> str:
    """Of a long text, its beginning and a part of its middle."""
    if len(text) <= READ:
        return text
    half = READ // 2
    middle = len(text) // 2
    return text[:half] + "\n" + text[middle : middle + half]


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
