"""What starter-image learns from: creatures in a few plain styles, words about them, and which are held out."""

import random
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np

from engine.bestiary import CHOICES, COLOURS, EYES, Traits, imagine
from starter.creatures import draw

SIDE = 96  # pixels
COUNT = 12_000  # pictures that are drawn once and learned from
STYLES = 3  # ways in which a creature is drawn: its eyes' colour, mouth, clouds, where spots are
HELD = 8  # one in so many combinations of colour, body and wings is never drawn in training
SHARD = 500
OVER = 2
OWN = 0.5  # share of prompts that are worded as the creature service does
TWO_COLOURED = ("spots", "stripes")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and what it says of a creature: places in `CHOICES`' lists, -1 where it leaves it open."""

    text: str
    told: tuple[int, ...]


# Creatures -----------------------------------------------------------------------------------------


def plainly(traits: Traits) -> Traits:
    """The creature as this starter draws it: a second colour that no word tells follows from the first."""
    if traits.pattern in TWO_COLOURED and traits.second != traits.colour:
        return traits
    return replace(traits, second=COLOURS[(COLOURS.index(traits.colour) + 3) % len(COLOURS)])


def is_held(traits: Traits) -> bool:
    """Whether training never draws this colour with this body and these wings."""
    key = f"{traits.colour} {traits.body} {traits.wings}"
    return zlib.crc32(key.encode()) % HELD == 0


def creatures(seed: int, held: bool = False) -> Iterator[Traits]:
    """Creatures without end, either all held out of training or none."""
    chance = random.Random(seed)
    while True:
        traits = replace(imagine(chance), eyes=chance.choices(EYES, (1, 2, 1))[0])
        if is_held(traits) == held:
            yield plainly(traits)


def picture_of(traits: Traits, style: int) -> np.ndarray:
    """The drawing as uint8 [SIDE, SIDE, 3]."""
    return np.asarray(draw(traits, SIDE, style, plain=True, over=OVER))


def fill_shard(folder: Path, number: int, seed: int) -> None:
    """Draws `SHARD` creatures into a file, unless it is there."""
    file = folder / f"{number:03}.npz"
    if file.is_file():
        return
    source = creatures(seed * 10_000 + number)
    drawn = [next(source) for _ in range(SHARD)]
    pictures = np.stack([picture_of(one, n % STYLES) for n, one in enumerate(drawn)])
    part = file.with_suffix(".part.npz")
    np.savez(part, pictures=pictures, traits=np.array([astuple(one) for one in drawn]))
    part.rename(file)


def fill_cache(folder: Path, count: int, seed: int) -> None:
    """Draws what is missing of `count` pictures, on two cores."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(-(-count // SHARD))
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(fill_shard, [folder] * len(numbers), numbers, [seed] * len(numbers)))


def read_cache(folder: Path) -> tuple[np.ndarray, list[Traits]]:
    """Pictures [n, SIDE, SIDE, 3] as uint8, and what they show."""
    pictures: list[np.ndarray] = []
    drawn: list[Traits] = []
    for file in sorted(folder.glob("[0-9][0-9][0-9].npz")):
        with np.load(file) as held:
            pictures.append(held["pictures"])
            drawn += [Traits(*row) for row in held["traits"].tolist()]
    return np.concatenate(pictures), drawn


# Words ---------------------------------------------------------------------------------------------

BEGINNINGS = (
    "", "", "", "a drawing of ", "a picture of ", "an illustration of ", "a painting of ", "draw ", "please draw ",
    "show me ", "cartoon of ", "portrait of ",
)  # fmt: skip
FEELINGS = ("", "", "", "cute ", "small ", "little ", "friendly ", "fantasy ", "funny ", "strange ")
NOUNS = ("creature", "creature", "monster", "animal", "beast", "being", "pokemon")
ENDINGS = ("", "", "", ", digital art", ", cartoon style", ", simple shapes", ", high quality", ".")
SAME: dict[str, tuple[str, ...]] = {
    "grey": ("grey", "gray"),
    "teal": ("teal", "turquoise"),
    "purple": ("purple", "violet"),
    "one eye": ("one eye", "a single eye", "one big eye", "1 eye"),
    "two eyes": ("two eyes", "2 eyes", "big eyes"),
    "three eyes": ("three eyes", "3 eyes"),
    "one horn": ("one horn", "a horn", "a single horn", "a unicorn horn"),
    "two horns": ("two horns", "horns", "2 horns", "a pair of horns"),
    "antlers": ("antlers", "deer antlers", "brown antlers"),
    "bat wings": ("bat wings", "wings of a bat", "leathery bat wings"),
    "feathered wings": ("feathered wings", "feather wings", "wings of feathers"),
    "fairy wings": ("fairy wings", "wings of a fairy"),
    "a curled tail": ("a curled tail", "a curly tail"),
    "a spiked tail": ("a spiked tail", "a spiky tail", "a tail with spikes"),
    "a fluffy tail": ("a fluffy tail", "a soft fluffy tail"),
    "a fish tail": ("a fish tail", "the tail of a fish"),
    "a pale belly": ("a pale belly", "a light belly"),
    "in a meadow": ("in a meadow", "on a meadow", "on the grass"),
    "at night": ("at night", "by night", "under the stars", "in the moonlight"),
    "in the desert": ("in the desert", "in a desert"),
    "by the sea": ("by the sea", "at the beach", "on a beach"),
    "in the snow": ("in the snow", "in winter", "in a snowy forest"),
    "in a cave": ("in a cave", "inside a cave"),
    "at sunset": ("at sunset", "at dusk"),
}
KINDS = {
    "snake-like": "snake",
    "bird-like": "bird",
    "ghostly": "ghost",
    "round": "round monster",
    "four-legged": "four-legged animal",
}
NOTHING = {"horns": "horns", "wings": "wings", "tail": "tail", "pattern": "spots"}


def places_of(traits: Traits, hidden: Sequence[str] = ()) -> tuple[int, ...]:
    """Where its words stand in `CHOICES`; -1 for those that nobody says."""
    words = asdict(traits)
    unsaid = {*hidden, *(() if traits.pattern in TWO_COLOURED else ("second",))}
    return tuple(
        -1 if name in unsaid else listed.index(words[name]) for name, listed in CHOICES.items()
    )


def ask(traits: Traits, chance: random.Random, own: float = OWN, leave: float = 0.15) -> Asked:
    """A prompt for a creature.

    Args:
        own: share of prompts in the creature service's own words.
        leave: how often each of colour, body and place goes unsaid in the others.
    """
    if chance.random() < own:
        return Asked(traits.caption, places_of(traits))
    hidden = [name for name in ("colour", "body", "place") if chance.random() < leave]
    return Asked(_worded(traits, hidden, chance), places_of(traits, hidden))


def _worded(traits: Traits, hidden: Sequence[str], chance: random.Random) -> str:
    named = _named(traits, hidden, chance)
    parts = _parts(traits, chance)
    place = "" if "place" in hidden else _said(traits.place, chance)
    beginning, ending = chance.choice(BEGINNINGS), chance.choice(ENDINGS)
    article = "" if not beginning and chance.random() < 0.3 else _article(named)
    text = f"{beginning}{article}{named}"
    if parts:
        text += _joined(parts, chance)
    if place and chance.random() < 0.2:
        return f"{place}, {text}{ending}"
    if place:
        text += f"{chance.choice((', ', ', ', ' '))}{place}"
    return text + ending


def _said(word: str, chance: random.Random) -> str:
    return chance.choice(SAME.get(word, (word,)))


def _article(words: str) -> str:
    return "an " if words[0] in "aeiou" else "a "


def _named(traits: Traits, hidden: Sequence[str], chance: random.Random) -> str:
    """Colour and body with a noun: "cute red drop-shaped monster", "green snake"."""
    colour = "" if "colour" in hidden else f"{_said(traits.colour, chance)} "
    feeling = chance.choice(FEELINGS)
    if "body" in hidden:
        return f"{feeling}{colour}{chance.choice(NOUNS)}"
    if traits.body in KINDS and chance.random() < 0.3:
        return f"{feeling}{colour}{KINDS[traits.body]}"
    if traits.body == "mushroom" and chance.random() < 0.3:
        return f"{feeling}{colour}mushroom"
    return f"{feeling}{colour}{traits.body} {chance.choice(NOUNS)}"


def _parts(traits: Traits, chance: random.Random) -> list[str]:
    """What it has, and now and then what it has not, in any order."""
    parts = []
    if traits.eyes != EYES[1] or chance.random() < 0.6:
        parts.append(_said(traits.eyes, chance))
    for name in ("horns", "wings", "tail"):
        word = getattr(traits, name)
        if word:
            parts.append(_said(word, chance))
        elif chance.random() < 0.1:
            parts.append(f"no {NOTHING[name]}")
    if traits.pattern in TWO_COLOURED:
        parts.append(f"{_said(traits.second, chance)} {traits.pattern}")
    elif traits.pattern:
        parts.append(_said(traits.pattern, chance))
    chance.shuffle(parts)
    return parts


def _joined(parts: Sequence[str], chance: random.Random) -> str:
    way = chance.random()
    if way < 0.25:
        return f", {', '.join(parts)}"
    if way < 0.4:
        return f" with {' and '.join(parts)}"
    begun = " that has " if way < 0.55 else " with "
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return begun + listed


def sample_texts(seed: int, count: int) -> Iterator[str]:
    """Prompts that the tokenizer learns its words from."""
    chance, source = random.Random(seed), creatures(seed)
    for _ in range(count):
        yield ask(next(source), chance).text
