"""How people really type: politeness, typos, missing capitals, accents and punctuation; invented words.

It works on phrasings whose payload is still a placeholder such as "{x}", so the payload stays intact.
"""

import random
import re
import unicodedata

from starter.chat_grammar import Grammar, plain

_HOLDER = re.compile(r"(\{[a-z]+\})")
_WORD = re.compile(r"[^\W\d_]{4,}")
_LATIN = ("bcdfghjklmnprstvwxz", "aeiou", "abcdefghijklmnopqrstuvwxyz")
_CYRILLIC = ("бвгджзклмнпрстфхчш", "аеиоуыэюя", "абвгдежзийклмнопрстуфхцчшщыьэюя")
_ENDINGS = {"fr": ["é", "è", "ette", "in", "ou"], "pt": ["ão", "ê", "inho", "ça", "ó"]}


def _typo(text: str, rng: random.Random) -> str:
    words = list(_WORD.finditer(text))
    if not words:
        return text
    word = rng.choice(words)
    at = word.start() + rng.randrange(len(word.group()) - 1)
    letters = _CYRILLIC[2] if "а" <= text[at].lower() <= "я" else _LATIN[2]
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + text[at] + text[at:]
    return text[:at] + rng.choice(letters) + text[at + 1 :]


def _without_accents(text: str) -> str:
    bare = unicodedata.normalize("NFD", text)
    return unicodedata.normalize(
        "NFC", "".join(c for c in bare if c not in "\u0300\u0301\u0302\u0303\u0308\u0327")
    )


def _literal(text: str, code: str, rng: random.Random) -> str:
    """Noise of spelling on a piece of text without placeholders."""
    if code == "ru":
        text = text.replace("ё", "е") if rng.random() < 0.5 else text
    elif rng.random() < 0.2:
        text = _without_accents(text)
    if "'" in text and rng.random() < 0.25:
        text = text.replace("'", rng.choice(["’", "", "’"]))
    return text


def _polite(text: str, grammar: Grammar, rng: random.Random) -> str:
    if rng.random() < 0.15:
        head = text if text[:2].isupper() or text.startswith("{") else text[0].lower() + text[1:]
        text = f"{rng.choice(grammar.before)} {head}"
        text = text[0].upper() + text[1:] if rng.random() < 0.5 else text
    if rng.random() < 0.08 and not text.endswith(("}", '"', "»", "=")):
        body = text.rstrip("?!. ")
        end = text[len(body) :]
        text = f"{body}{rng.choice([',', ''])} {rng.choice(grammar.after)}{end}"
    return text


def _punctuation(text: str, rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.35 and text.rstrip()[-1] in "?!.":
        return text.rstrip("?!. ") or text
    if draw > 0.95 and text[-1] in "?!":
        return text + text[-1]
    if draw > 0.85 and (text[-1].isalpha()):
        return text + "."
    return text.replace(" ?", "?") if draw > 0.7 else text


def roughen(
    text: str, grammar: Grammar, rng: random.Random, polite: bool = True, typos: float = 0.12
) -> str:
    """The phrasing as somebody might type it, one in `1 / typos` mistyped; placeholders stay whole."""
    if polite:
        text = _polite(text, grammar, rng)
    text = _punctuation(text, rng)
    pieces = _HOLDER.split(text)
    lower, upper, typo = rng.random() < 0.3, rng.random() < 0.02, rng.random() < typos
    spelled = rng.random() < 0.5
    for i in range(0, len(pieces), 2):
        piece = _literal(pieces[i], grammar.code, rng) if spelled else pieces[i]
        piece = piece.lower() if lower else piece.upper() if upper else piece
        pieces[i] = _typo(piece, rng) if typo and "`" not in piece else piece
        typo = typo and not _WORD.search(piece)
    return "".join(pieces)


def thin(text: str, known: frozenset[str], rng: random.Random) -> str:
    """The phrasing without one of its words, as people in a hurry type it.

    It stays whole where too little would be left, or where what is left is a phrasing of its own (`known`).
    """
    words = text.split(" ")
    plain_ones = [i for i, word in enumerate(words) if "{" not in word and "`" not in word]
    if len(words) < 3 or not plain_ones:
        return text
    at = rng.choice(plain_ones)
    left = " ".join(words[:at] + words[at + 1 :])
    return text if plain(left) in known else left


def invent_word(code: str, rng: random.Random) -> str:
    """A word that no dictionary has, in the script of the language."""
    consonants, vowels, letters = _CYRILLIC if code == "ru" else _LATIN
    if rng.random() < 0.15:
        return "".join(rng.choice(letters) for _ in range(rng.randint(2, 7)))
    word = rng.choice(vowels) if rng.random() < 0.25 else ""
    for _ in range(rng.randint(1, 3)):
        word += rng.choice(consonants) + rng.choice(vowels)
        word += rng.choice(consonants) if rng.random() < 0.4 else ""
    if code in _ENDINGS and rng.random() < 0.2:
        word = word.rstrip("aeiou") + rng.choice(_ENDINGS[code])
    return word


def cut_scrap(text: str, rng: random.Random) -> str:
    """One to six letters from anywhere inside a text: every piece a tokenizer knows turns up."""
    words = re.findall(r"[^\W\d_]+", text) or ["a"]
    word = rng.choice(words)
    at = rng.randrange(len(word))
    return word[at : at + rng.randint(1, 6)]


def invent_name(code: str, rng: random.Random) -> str:
    """An invented first name; one in eight has a second part."""
    name = invent_word(code, rng).capitalize()
    if rng.random() < 0.12:
        name += rng.choice([" ", "-", " "]) + invent_word(code, rng).capitalize()
    return name
