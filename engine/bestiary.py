"""Creatures in words: what they may look like, how rare they are, and what they are called. Knows no picture."""

from __future__ import annotations

import math
import random
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, fields

COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "white", "grey")
BODIES = (
    "round",
    "tall",
    "drop-shaped",
    "four-legged",
    "snake-like",
    "bird-like",
    "ghostly",
    "mushroom",
)
HORNS = ("", "one horn", "two horns", "antlers")
WINGS = ("", "bat wings", "feathered wings", "fairy wings")
TAILS = ("", "a curled tail", "a spiked tail", "a fluffy tail", "a fish tail")
EYES = ("one eye", "two eyes", "three eyes")
PATTERNS = ("", "spots", "stripes", "a pale belly")
PLACES = (
    "in a meadow",
    "at night",
    "in the desert",
    "by the sea",
    "in the snow",
    "in a cave",
    "at sunset",
)


@dataclass(frozen=True, slots=True)
class Traits:
    """What a creature looks like: a word of each list above; "" where it has none."""

    colour: str
    second: str
    body: str
    horns: str
    wings: str
    tail: str
    eyes: str
    pattern: str
    place: str

    @property
    def caption(self) -> str:
        """The traits as a sentence, always in the same order: what a picture is asked for with."""
        has = [self.eyes, self.horns, self.wings, self.tail]
        if self.pattern:
            has.append(
                f"{self.second} {self.pattern}" if self.pattern != PATTERNS[3] else self.pattern
            )
        told = [part for part in has if part]
        listed = f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else told[0]
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.body} creature with {listed}, {self.place}"


CHOICES: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "second": COLOURS,
    "body": BODIES,
    "horns": HORNS,
    "wings": WINGS,
    "tail": TAILS,
    "eyes": EYES,
    "pattern": PATTERNS,
    "place": PLACES,
}
assert set(CHOICES) == {one.name for one in fields(Traits)}


def imagine(chance: random.Random | None = None) -> Traits:
    """A creature as chance will have it; most have two eyes, and their two colours differ."""
    draw = chance or random.SystemRandom()
    found = {name: draw.choice(words) for name, words in CHOICES.items()}
    found["eyes"] = draw.choices(EYES, (1, 6, 1))[0]
    found["second"] = draw.choice([colour for colour in COLOURS if colour != found["colour"]])
    return Traits(**found)


# Rarity --------------------------------------------------------------------------------------------

# In a thousand.
RARITIES = {"F": 300, "E": 240, "D": 180, "C": 120, "B": 80, "A": 50, "S": 25, "S+": 5}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ23456789"


def rarity(chance: random.Random | None = None) -> str:
    """One of F, E, D, C, B, A, S and S+, each a good deal rarer than the one before."""
    draw = chance or random.SystemRandom()
    return draw.choices(list(RARITIES), list(RARITIES.values()))[0]


def new_id() -> str:
    """An id that nobody has yet: 12 letters and digits that are not mistaken for each other."""
    return "pkm_" + "".join(secrets.choice(LETTERS) for _ in range(12))


# Names ---------------------------------------------------------------------------------------------

STARTS = (
    "Aqua", "Bri", "Bolo", "Cali", "Chro", "Cora", "Dra", "Dolu", "Ela", "Ember", "Fe", "Flo", "Fri", "Ga",
    "Glim", "Gro", "Halo", "Iri", "Ivo", "Ja", "Kala", "Kri", "Lu", "Lumi", "Ma", "Miro", "Moro", "Na", "Nebu",
    "Noro", "Obsi", "Ori", "Pa", "Pluvi", "Pyro", "Quilo", "Ra", "Rimo", "Roca", "Sa", "Sola", "Stri", "Ta",
    "Tempo", "Terra", "Thu", "Ula", "Umbra", "Va", "Vela", "Viri", "Volta", "Wi", "Xylo", "Ya", "Zephy", "Zi",
    "Zora",
)  # fmt: skip
MIDDLES = (
    "", "bel", "bri", "cal", "da", "del", "dri", "fa", "fin", "go", "gra", "la", "len", "lo", "lu", "mel", "mi",
    "mo", "na", "nel", "no", "phi", "qui", "ra", "ri", "ro", "san", "si", "sol", "ta", "thal", "ti", "tri", "va",
    "ver", "vi", "xi", "zel", "zo",
)  # fmt: skip
ENDS = (
    "bor", "chu", "claw", "corn", "dor", "drake", "dra", "fang", "fin", "flare", "fleur", "gon", "horn", "lith",
    "lope", "lynx", "mane", "mar", "moth", "nix", "nook", "pede", "phin", "pod", "puff", "quill", "ron", "roo",
    "saur", "scale", "shade", "spark", "spore", "star", "tail", "thorn", "thys", "tide", "toise", "vine", "viper",
    "vole", "wing", "wisp", "wyrm", "zar", "zelle", "zor",
)  # fmt: skip
# What no name may hold, in the page's languages and in Latin letters of Russian, whatever the syllables meant.
REFUSED = (
    "anal", "anus", "arse", "ass", "bast", "bich", "bit", "blya", "bondage", "boob", "bosta", "caca",
    "cagl", "caralh", "chatte", "chink", "chuj", "cock", "con", "coon", "crap", "cul", "cum", "cunt", "damn", "devil",
    "dick", "dild", "drog", "dyke", "ebal", "ebat", "encul", "fag", "fart", "fasc", "fatass", "foda", "foder", "fuc",
    "fuk", "gay", "gouin", "hell", "heroin", "hitler", "hoe", "hooker", "hui", "huy", "idiot", "jap", "kike", "kill",
    "kkk", "lesb", "maco", "merd", "mong", "murder", "nazi", "negr", "nig", "niqu", "nude", "orgy", "paki", "pd",
    "pede", "pedo", "penis", "phall", "piss", "pizd", "poop", "porn", "puta", "pute", "putin", "queer",
    "rape", "rapist", "retard", "satan", "scheis", "semen", "sex", "shag", "shit", "skank", "slave", "slut",
    "spast", "spic", "suic", "suka", "tapette", "tard", "terror", "tit", "tranny", "turd", "twat", "viad", "vagin",
    "whore", "xota", "zizi", "zoofil",
)  # fmt: skip


class Names:
    """Names that do not come again: a walk over all there are, from a place that chance chose.

    Args:
        chance: a source of chance of its own, for tests.
    """

    REMEMBERED = 20_000

    def __init__(self, chance: random.Random | None = None) -> None:
        draw = chance or random.SystemRandom()
        self._count = len(STARTS) * len(MIDDLES) * len(ENDS)
        self._at = draw.randrange(self._count)
        steps = iter(lambda: draw.randrange(self._count // 3, self._count), None)
        self._step = next(step for step in steps if math.gcd(step, self._count) == 1)
        self._said: OrderedDict[str, None] = OrderedDict()

    def next(self) -> str:
        """A name that was not told before and holds nothing that is refused."""
        return next(name for name in self._walk() if self._is_new(name))

    def _walk(self) -> Iterator[str]:
        while True:
            self._at = (self._at + self._step) % self._count
            rest, start = divmod(self._at, len(STARTS))
            end, middle = divmod(rest, len(MIDDLES))
            yield STARTS[start] + MIDDLES[middle] + ENDS[end]

    def _is_new(self, name: str) -> bool:
        if not is_decent(name) or name in self._said or not _is_spoken(name):
            return False
        self._said[name] = None
        while len(self._said) > self.REMEMBERED:
            self._said.popitem(last=False)
        return True


def is_decent(name: str) -> bool:
    """Whether nothing that is refused stands in a name, whatever stands between its letters."""
    plain = "".join(letter for letter in name.lower() if letter.isalpha())
    return not any(part in plain for part in REFUSED)


def _is_spoken(name: str) -> bool:
    """Whether a name can be said: not too long, and no three consonants where syllables meet."""
    plain = name.lower()
    runs = [
        all(letter not in "aeiouy" for letter in plain[n : n + 4]) for n in range(len(plain) - 3)
    ]
    return 4 <= len(plain) <= 12 and not any(runs)
