"""The words of the phrasebook and their forms in the four languages: articles, cases, agreement, conjugation, numbers.

Knows words one at a time; how they make sentences stands in `translate_grammar`. Every word is a mapping from language
to named forms, which mean the same everywhere: "an" is what follows "I want", "the_obj" what follows
"I see", and so on.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data"
LANGUAGES = ("en", "fr", "pt", "ru")
Forms = Mapping[str, Mapping[str, str]]  # language to form to text
_VOWEL = re.compile(r"[aeiouhéèêâôîœ]", re.IGNORECASE)
_A = ("university", "universities")  # begin with a vowel's letter, not with its sound


@dataclass(frozen=True)
class Word:
    """A word or a group of words; `genders` and `kinds` decide what goes with it."""

    key: str
    forms: Forms
    kinds: str = ""
    genders: Mapping[str, str] | None = None


def _rows(name: str) -> Iterator[list[str]]:
    for line in (DATA / f"phrasebook_{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield [part.strip() for part in line.split(";")]


def _two(text: str) -> tuple[str, str]:
    """Singular and plural; the usual plural where none is given."""
    one, _, many = text.partition("/")
    return one, many or one + "s"


def an(word: str) -> str:
    """English's indefinite article before a word."""
    return "an" if word[0] in "aeiou" and word not in _A else "a"


def elide(text: str) -> str:
    """French "je", "ne", "que" and "de" before a vowel."""
    return re.sub(r"\b([Jj]|[Nn]|[Qq]u|[Dd])e (?=[aeiouéèêâôîœ])", r"\1'", text)


def _french(gender: str, one: str, many: str) -> dict[str, str]:
    vowel = bool(_VOWEL.match(one))
    man = gender == "m"
    the = "l'" if vowel else "le " if man else "la "
    of, to = ("de l'", "à l'") if vowel else ("du ", "au ") if man else ("de la ", "à la ")
    this = ("cet " if vowel else "ce ") if man else "cette "
    a = "un " if man else "une "
    forms = {
        "bare": one,
        "many": many,
        "an": a + one,
        "a_nom": a + one,
        "the": the + one,
        "the_obj": the + one,
    }
    return forms | {"of": of + one, "to": to + one, "this": this + one}


def _portuguese(gender: str, one: str, many: str) -> dict[str, str]:
    end = "o" if gender == "m" else "a"
    a, the = ("um ", "o ") if gender == "m" else ("uma ", "a ")
    to = "ao " if gender == "m" else "à "
    forms = {
        "bare": one,
        "many": many,
        "an": a + one,
        "a_nom": a + one,
        "the": the + one,
        "the_obj": the + one,
    }
    dem = "este" if gender == "m" else "esta"
    return forms | {"of": f"d{end} {one}", "to": to + one, "this": f"{dem} {one}", "dem": dem}


def _accusative(gender: str, nominative: str) -> str:
    """Russian: as the rules have it for a word that is not listed with its own."""
    if gender == "f" and nominative.endswith(("а", "я")):
        return nominative[:-1] + {"а": "у", "я": "ю"}[nominative[-1]]
    return nominative


def _russian(gender: str, cases: list[str]) -> dict[str, str]:
    words = [case.replace("_", " ") for case in cases]
    nom, gen, genpl = words[:3]
    acc = words[3] if len(words) > 3 else _accusative(gender, nom)
    this = {"m": "этот", "f": "эта", "n": "это"}[gender]
    own = {"m": "свой", "f": "свою", "n": "своё"}[gender]
    forms = {
        "bare": nom,
        "gen": gen,
        "genpl": genpl,
        "acc": acc,
        "an": acc,
        "a_nom": nom,
        "the": nom,
    }
    return forms | {
        "the_obj": acc,
        "of": gen,
        "to": gen,
        "this": f"{this} {nom}",
        "own": f"{own} {acc}",
    }


@cache
def nouns() -> tuple[Word, ...]:
    """All nouns."""
    found = []
    for kinds, english, french, portuguese, russian in _rows("nouns"):
        one, many = _two(english)
        a = f"{an(one)} {one}"
        forms = {"en": {"bare": one, "many": many, "an": a, "a_nom": a, "this": f"this {one}"}}
        forms["en"] |= dict.fromkeys(("the", "the_obj", "of", "to"), f"the {one}")
        fr_gender, _, fr_words = french.partition(" ")
        pt_gender, _, pt_words = portuguese.partition(" ")
        ru_gender, *cases = russian.split()
        forms["fr"] = _french(fr_gender, *_two(fr_words))
        forms["pt"] = _portuguese(pt_gender, *_two(pt_words))
        forms["ru"] = _russian(ru_gender, cases)
        genders = {"en": "n", "fr": fr_gender, "pt": pt_gender, "ru": ru_gender}
        found.append(Word(one, forms, kinds, genders))
    return tuple(found)


FITS = {
    "q": "t",
    "s": "t",
    "f": "fd",
    "p": "p",
}  # kinds of adjectives and of the nouns they go with


@cache
def adjectives() -> tuple[Word, ...]:
    """All adjectives; forms are named after genders. `kinds` are those of the nouns, and "b", "v"."""
    found = []
    for kinds, english, french, portuguese, russian in _rows("adjectives"):
        fr_m, fr_f, *place = french.split()
        pt_m, pt_f, verb = portuguese.split()
        ru_m, ru_f, ru_n, ru_acc = russian.split()
        forms = {
            "en": {"n": english},
            "fr": {"m": fr_m, "f": fr_f, "place": "before" if place else "after"},
            "pt": {"m": pt_m, "f": pt_f, "verb": verb},
            "ru": {"m": ru_m, "f": ru_f, "n": ru_n, "acc": ru_acc},
        }
        found.append(Word(english, forms, "".join(FITS.get(kind, kind) for kind in kinds)))
    return tuple(found)


@dataclass(frozen=True)
class Verb:
    """A verb: what may follow it, and its forms. `english` is base, third person, past; `ing` instead for some."""

    key: str
    article: str
    kinds: str
    ing: str
    english: tuple[str, ...]
    french: tuple[str, ...]
    portuguese: tuple[str, ...]
    russian: tuple[str, ...]

    @property
    def past(self) -> bool:
        """Whether it has a past and a future here."""
        return self.russian[5] != "-"


@cache
def verbs() -> tuple[Verb, ...]:
    """All verbs."""
    found = []
    for what, english, french, portuguese, russian in _rows("verbs"):
        article, kinds = what.split()
        ing = english[1:] if english.startswith("+") else ""
        base = ("look for",) if ing else tuple(english.split())
        parts = [tuple(text.split()) for text in (french, portuguese, russian)]
        found.append(Verb(base[0], article, kinds, ing, base, *parts))
    return tuple(found)


# English, French, Portuguese, Russian; person's place in a French, Portuguese and Russian conjugation; Russian past
PRONOUNS = (
    ("I", "je", "eu", "я", 0, 0, 0, ""),
    ("you", "vous", "você", "вы", 1, 1, 1, "pl"),
    ("he", "il", "ele", "он", 2, 1, 2, "m"),
    ("she", "elle", "ela", "она", 2, 1, 2, "f"),
    ("we", "nous", "nós", "мы", 3, 2, 3, "pl"),
    ("they", "ils", "eles", "они", 4, 3, 4, "pl"),
)
_FR_MY = {"my": ("mon", "ma"), "our": ("notre", "notre"), "your": ("votre", "votre")}
_PT_MY = {"my": ("o meu", "a minha"), "our": ("o nosso", "a nossa"), "your": ("o seu", "a sua")}
_RU_MY = {
    "my": {"m": "мой", "f": "моя", "n": "моё"},
    "our": {"m": "наш", "f": "наша", "n": "наше"},
    "your": {"m": "ваш", "f": "ваша", "n": "ваше"},
}
OWNERS = tuple(_FR_MY)


def owned(owner: str, noun: Word) -> dict[str, str]:
    """ "my book" by language, as a subject."""
    assert noun.genders is not None
    french, portuguese = noun.forms["fr"]["bare"], noun.forms["pt"]["bare"]
    he, she = _FR_MY[owner]
    mine = he if noun.genders["fr"] == "m" or (owner == "my" and _VOWEL.match(french)) else she
    meu = _PT_MY[owner][noun.genders["pt"] == "f"]
    return {
        "en": f"{owner} {noun.forms['en']['bare']}",
        "fr": f"{mine} {french}",
        "pt": f"{meu} {portuguese}",
        "ru": f"{_RU_MY[owner][noun.genders['ru']]} {noun.forms['ru']['bare']}",
    }


@dataclass(frozen=True)
class Subject:
    """Who does it; persons as in `PRONOUNS`."""

    key: str
    texts: Mapping[str, str]
    third: bool
    fr: int
    pt: int
    ru: int
    past: str


@cache
def subjects() -> tuple[Subject, ...]:
    """The pronouns, and somebody's relatives."""
    found = []
    for *words, fr, pt, ru, past in PRONOUNS:
        texts = dict(zip(LANGUAGES, words, strict=True))
        found.append(Subject(words[0], texts, words[0] in {"he", "she"}, fr, pt, ru, past))
    for owner in OWNERS:
        for noun in nouns():
            if "k" in noun.kinds and noun.genders is not None:
                texts = owned(owner, noun)
                found.append(Subject(texts["en"], texts, True, 2, 1, 2, noun.genders["ru"]))
    return tuple(found)


# Zero to nineteen, then the tens from twenty on.
_NUMBERS = {
    "en": """
        zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
    """,
    "fr": """
        zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept
        dix-huit dix-neuf vingt trente quarante cinquante soixante soixante quatre-vingt quatre-vingt
    """,
    "pt": """
        zero um dois três quatro cinco seis sete oito nove dez onze doze treze catorze quinze dezasseis dezassete
        dezoito dezanove vinte trinta quarenta cinquenta sessenta setenta oitenta noventa
    """,
    "ru": """
        ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать четырнадцать
        пятнадцать шестнадцать семнадцать восемнадцать девятнадцать двадцать тридцать сорок пятьдесят шестьдесят
        семьдесят восемьдесят девяносто
    """,
}
_JOINT = {"en": "-", "pt": " e ", "ru": " "}
_FEMININE = {"um": "uma", "dois": "duas", "один": "одна", "два": "две"}


@cache
def _named(language: str) -> tuple[list[str], list[str]]:
    """Zero to nineteen, and the tens by their digit."""
    words = _NUMBERS[language].split()
    return words[:20], ["", "", *words[20:]]


def number(n: int, language: str, gender: str = "m") -> str:
    """A number from 0 to 99 in words; the gender is that of what is counted."""
    small, large = _named(language)
    tens, ones = divmod(n, 10)
    if language == "fr":
        text = _french_number(n, tens, ones)
        return re.sub(r"\bun$", "une", text) if gender == "f" else text
    last = small[n] if n < 20 else small[ones]
    if gender == "f":
        last = _FEMININE.get(last, last)
    if gender == "n" and last == "один":
        last = "одно"
    if n < 20:
        return last
    return large[tens] + (_JOINT[language] + last if ones else "")


def _french_number(n: int, tens: int, ones: int) -> str:
    small, large = _named("fr")
    if n < 20:
        return small[n]
    if n == 80:
        return "quatre-vingts"
    rest = n - 10 * (tens - tens % 2) if tens in (7, 9) else ones
    if rest == 0:
        return large[tens]
    return large[tens] + (" et " if rest in (1, 11) and tens < 8 else "-") + small[rest]


def counted(n: int, noun: Word, language: str) -> str:
    """So many of something, as the object of a sentence."""
    assert noun.genders is not None
    word, forms = number(n, language, noun.genders[language]), noun.forms[language]
    if language != "ru":
        return f"{word} {forms['bare' if n == 1 else 'many']}"
    return f"{word} {forms[plural(n)]}"


def plural(n: int) -> str:
    """The name of the form that Russian counts `n` things in."""
    ones, teen = n % 10, n % 100 // 10 == 1
    return "bare" if ones == 1 and not teen else "gen" if 2 <= ones <= 4 and not teen else "genpl"
