"""Which lines RapidOCR's networks cannot read, and which Tesseract pack can: by the letters themselves.

An unknown script is read as blanks by those networks, a half known one as a few letters.
"""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.families._cleaning import clean, ground
from engine.families._rapid import Found, sides
from engine.families._tesseract import Row, look, read_page
from engine.languages import LANGUAGES, Language, installed_packs

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 8  # lines that tell how a page is written
BLANK = 0.38  # share of blanks from which on a text is mostly unread
THIN = 0.3  # letters for each line height of length below which a line is mostly unread
DOUBTFUL = 0.75  # scores below it may be of an unknown script
TRUSTED = 0.9
ACCEPTED = 0.6  # a pack reads the lines if its mean score is at least this
LIKELY = 0.4  # and reads their script from here on
SURE = 1.0  # of Tesseract's look at scripts
TRIED = 8  # packs that are tried at most to find the one
# Letters of other scripts look like these.
LOOKALIKES = frozenset("ABCEHKMOPTXYaceopxyuk3bBrnm0")
CYRILLIC = str.maketrans("ABCEHKMOPTXaceopxy", "АВСЕНКМОРТХасеорху")
# Tesseract's names for scripts, where ours differ.
OUR_SCRIPT = {
    "Korean": "Hangul",
    "Japanese": "Japanese",
    "Fraktur": "Latin",
    "HanS": "Han",
    "HanT": "Han",
}


def is_foreign(found: Found) -> bool:
    """Whether a line is probably written in letters that were not known to who read it."""
    text = found.text
    dense = len(text.replace(" ", "")) / max(1.0, _ratio(found))
    if dense < THIN or (len(text) > 3 and text.count(" ") / len(text) > BLANK):
        return True
    greek = sum("\u0370" <= letter <= "\u03ff" for letter in text)
    return found.score < DOUBTFUL or greek > 0.3 * len(text)


def is_doubtful(found: Found) -> bool:
    """Whether a line may hold letters that were not known, on a page where some do."""
    return is_foreign(found) or (len(found.text) > 8 and found.score < TRUSTED)


def is_trusted(text: str, score: float) -> bool:
    """Whether a line on a page of another script is surely read right."""
    letters = [letter for letter in text if letter.isalpha()]
    if score < TRUSTED or len(letters) < 4 or text.count(" ") / len(text) > BLANK:
        return False
    own = sum(letter not in LOOKALIKES for letter in letters)
    return own >= 0.3 * len(letters)


def _ratio(found: Found) -> float:
    """How many times as long as high a line is."""
    length, height = sides(found.corners)
    return length / max(1.0, height)


def spread_out(lines: Sequence[NDArray[Any]]) -> list[int]:
    """The numbers of some lines from all over the page, long ones rather than short ones."""
    lengths = [sides(line)[0] for line in lines]
    usual = statistics.median(lengths) if lengths else 0.0
    long = [n for n, length in enumerate(lengths) if length >= 0.8 * usual]
    step = max(1.0, len(long) / SAMPLE)
    return [long[int(n * step)] for n in range(min(SAMPLE, len(long)))]


def stack(crops: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Straight lines below each other on a page of their own, grey and clean."""
    import cv2
    import numpy as np

    high, gap = 44, 22
    fitted = [
        cv2.resize(crop, (max(1, round(crop.shape[1] * high / crop.shape[0])), high))
        for crop in crops
    ]
    wide = max(crop.shape[1] for crop in fitted) + 2 * gap
    greys = [clean(crop, level=False).picture for crop in fitted]
    paper = ground(np.concatenate([grey.ravel() for grey in greys])[None])
    page = np.full((len(greys) * (high + gap) + gap, wide), paper, np.uint8)
    for n, grey in enumerate(greys):
        y = gap + n * (high + gap)
        page[y : y + grey.shape[0], gap : gap + grey.shape[1]] = grey[:high]
    return page


def find_pack(crops: Sequence[NDArray[Any]], wanted: Callable[[], bool]) -> tuple[str, ...]:
    """The pack that reads these lines, which RapidOCR cannot; none where no pack here does."""
    import cv2

    packs = installed_packs()
    foreign = [x for x in LANGUAGES.values() if not x.rapid and x.pack in packs]
    if not foreign or not crops:
        return ()
    lie = look(stack(crops[:16]), wanted)
    if lie.turn == 180:
        crops = [cv2.rotate(crop, cv2.ROTATE_180) for crop in crops]
    some = stack(crops[:3])
    script = OUR_SCRIPT.get(lie.script, lie.script)
    known = [x for x in foreign if x.script == script] if lie.sure >= SURE else []
    if len(known) == 1:
        return (known[0].pack,)
    if known:
        return best_pack(some, known, wanted, least=0.0)
    likely = best_pack(some, _one_each(foreign), wanted, least=LIKELY)
    scripts = {x.script for x in foreign if x.pack in likely}
    return best_pack(some, [x for x in foreign if x.script in scripts], wanted, least=ACCEPTED)


def _one_each(languages: Sequence[Language]) -> list[Language]:
    """The first language of each script."""
    firsts: dict[str, Language] = {}
    for language in languages:
        firsts.setdefault(language.script, language)
    return list(firsts.values())


def best_pack(
    page: NDArray[Any], languages: Sequence[Language], wanted: Callable[[], bool], least: float
) -> tuple[str, ...]:
    """The pack of the language whose reading of a small picture is surest; none where none is above `least`."""
    best: tuple[str, ...] = ()
    for language in languages[:TRIED]:
        if not wanted():
            break
        score = worth(read_page(page, [language.pack], wanted, mode=6))
        if score > least:
            best, least = (language.pack,), score
    return best


def worth(rows: Sequence[Row]) -> float:
    """How well lines were read, 0..1: the words' scores, by their letters."""
    words = [word for row in rows for word in row.words]
    letters = [sum(letter.isalpha() for letter in word.text) for word in words]
    total = sum(n * word.score for n, word in zip(letters, words, strict=True))
    return total / sum(letters) if sum(letters) >= 4 else 0.0


def is_latin(text: str) -> bool:
    """Whether most letters are Latin."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return 2 * latin > len(letters)


def mend_lookalikes(text: str) -> str:
    """Words of Latin letters that only look Cyrillic, in a line of Cyrillic ones, as what they are."""
    cyrillic = sum("\u0400" <= letter <= "\u04ff" for letter in text)
    if 2 * cyrillic < sum(letter.isalpha() for letter in text):
        return text.replace("\u00b5", "\u03bc") if re.search("[\u0370-\u03ff]", text) else text
    return re.sub(
        r"\b[ABCEHKMOPTXaceopxy]{2,}\b",
        lambda found: found[0] if found[0].isupper() else found[0].translate(CYRILLIC),
        text,
    )
