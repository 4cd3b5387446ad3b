"""Tesseract's command line: one process for each page, killed when nobody waits for it any more.

Knows packs by Tesseract's names ("rus", "chi_sim") and grey pictures; what comes back are lines with boxes.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import InferenceFailed, TimedOut, Unavailable
from engine.languages import LANGUAGES, NAMES, Language, installed_packs

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATIENCE = 180.0  # seconds a page may take
LOOK = 0.05  # seconds between two looks whether it is still wanted
# Of a line's height: a lone stroke shorter than the first is a hyphen, longer than the second a long dash.
HYPHEN, DASH = 0.36, 0.78
STROKES = frozenset({"-", "–", "—", "_", "―", "--"})
TALL = 1.5  # times a line's median word
UNSPACED = re.compile(
    r"(?<=[\u0e00-\u0eff\u3000-\u9fff\uac00-\ud7a3]) (?=[\u0e00-\u0eff\u3000-\u9fff])"
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word and its box in pixels; `score` in 0..1."""

    text: str
    box: tuple[int, int, int, int]
    score: float


@dataclass(slots=True)
class Row:
    """A line: its words in reading order; `block` numbers the block and the paragraph it lies in."""

    block: tuple[int, int]
    words: list[Word] = field(default_factory=list)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Around its words; one far taller than they are, as specks make some, does not say how high it is."""
        boxes = [word.box for word in self.words]
        usual = statistics.median(box[3] - box[1] for box in boxes)
        fair = [box for box in boxes if box[3] - box[1] <= TALL * usual or len(boxes) < 4]
        return (
            min(box[0] for box in boxes), min(box[1] for box in fair),
            max(box[2] for box in boxes), max(box[3] for box in fair),
        )  # fmt: skip

    @property
    def text(self) -> str:
        return UNSPACED.sub("", " ".join(word.text for word in self.words))

    @property
    def score(self) -> float:
        """The words' scores, long words counting more."""
        weights = [len(word.text) for word in self.words]
        total = sum(w * word.score for w, word in zip(weights, self.words, strict=True))
        return total / (sum(weights) or 1)


def check_packs(packs: Iterable[str]) -> None:
    """Whether Tesseract and these packs are here.

    Raises:
        Unavailable: one is missing; names the Debian package.
    """
    if shutil.which("tesseract") is None:
        raise Unavailable(
            "Tesseract, which reads this language, is not installed. "
            "On Debian: apt-get install tesseract-ocr.",
            param="language",
        )
    held = installed_packs()
    by_pack = {language.pack: language for language in LANGUAGES.values()}
    for pack in packs:
        if pack not in held:
            language = by_pack.get(pack) or Language(pack, (pack,), (), pack, "")
            raise Unavailable(
                f"Tesseract's language pack for {NAMES.get(language.code, pack)} is not installed. "
                f"On Debian: apt-get install {language.package}.",
                param="language",
            )


def read_page(
    grey: NDArray[Any], packs: Sequence[str], wanted: Callable[[], bool], mode: int = 3
) -> list[Row]:
    """The lines of a grey picture, upright and straight, in Tesseract's reading order.

    Args:
        packs: at least one, the likeliest first.
        wanted: False once nobody waits for it; then the process is killed.
        mode: how the page is divided: 3 by itself, 6 one block, 7 one line.

    Raises:
        Unavailable: Tesseract is missing. InferenceFailed, TimedOut: it failed, or took too long.
    """
    arguments = ["-l", "+".join(packs), "--psm", str(mode), "-c", "tessedit_create_tsv=1"]
    return _mended(_rows(_run(grey, arguments, wanted)))


@dataclass(frozen=True, slots=True)
class Lie:
    """How a page lies: degrees it is turned clockwise, and its script's name ("Cyrillic"; "" unknown)."""

    turn: int
    script: str
    sure: float  # of the script; above 1 is likely


def look(grey: NDArray[Any], wanted: Callable[[], bool]) -> Lie:
    """How a page lies and in which script; ("", 0) where there are too few letters to tell."""
    arguments = ["--psm", "0", "-c", "min_characters_to_try=12"]
    try:
        told = _run(grey, arguments, wanted)
    except InferenceFailed:  # what it answers where it cannot tell
        return Lie(0, "", 0.0)
    found = dict(re.findall(r"^([A-Z][a-z ]+): (\S+)$", told, re.MULTILINE))
    turn = (360 - int(found.get("Rotate", 0))) % 360
    if float(found.get("Orientation confidence", 0)) < 2:
        turn = 0
    return Lie(turn, found.get("Script", ""), float(found.get("Script confidence", 0)))


def _run(grey: NDArray[Any], arguments: Sequence[str], wanted: Callable[[], bool]) -> str:
    """What Tesseract writes about a picture."""
    height, width = grey.shape
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}  # pages side by side use the cores better
    end = time.monotonic() + PATIENCE
    # A file, because a pipe that must be fed cannot be waited for in steps.
    with tempfile.TemporaryFile() as given:
        given.write(b"P5 %d %d 255\n" % (width, height) + grey.tobytes())
        given.seek(0)
        try:
            process = subprocess.Popen(
                ["tesseract", "stdin", "stdout", *arguments],
                stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            )  # fmt: skip
        except OSError as error:
            raise Unavailable(
                "Tesseract could not be started. On Debian: apt-get install tesseract-ocr."
            ) from error
    with process:
        try:
            while True:
                try:
                    out, told = process.communicate(timeout=LOOK)
                    break
                except subprocess.TimeoutExpired:
                    if not wanted():
                        return ""
                    if time.monotonic() > end:
                        raise TimedOut(
                            "A page took too long to read. Read it at fewer dots per inch."
                        ) from None
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode:
        raise InferenceFailed(
            "Tesseract could not read a page. Try another engine, or another resolution."
        ) from RuntimeError(told.decode("utf-8", "replace")[-2000:])
    return out.decode("utf-8", "replace")


def _rows(table: str) -> list[Row]:
    """The lines of Tesseract's table, whose rows of level 5 are words."""
    rows: dict[tuple[str, ...], Row] = {}
    for line in table.splitlines():
        cells = line.split("\t")
        if len(cells) != 12 or cells[0] != "5" or not cells[11].strip():
            continue
        left, top, width, height = map(int, cells[6:10])
        score = min(1.0, max(0.0, float(cells[10]) / 100))
        row = rows.setdefault(tuple(cells[1:5]), Row((int(cells[2]), int(cells[3]))))
        row.words.append(Word(cells[11].strip(), (left, top, left + width, top + height), score))
    return list(rows.values())


def _mended(rows: list[Row]) -> list[Row]:
    """Lone strokes as what their length says: many packs know one kind of dash only."""
    if not rows:
        return rows
    heights = [row.box[3] - row.box[1] for row in rows]
    usual = statistics.median(heights)
    for row, high in zip(rows, heights, strict=True):
        tall = usual if 0.7 * usual < high < 1.4 * usual else high  # an accent more or less
        row.words = [_mended_word(word, row.box, tall) for word in row.words]
    return rows


def _mended_word(word: Word, line: tuple[int, int, int, int], tall: float) -> Word:
    x0, y0, x1, y1 = word.box
    middle = ((y0 + y1) / 2 - line[1]) / tall
    if word.text not in STROKES or y1 - y0 > 0.4 * tall or not 0.25 < middle < 0.8:
        return word
    long = (x1 - x0) / tall
    return Word("-" if long < HYPHEN else "–" if long < DASH else "—", word.box, word.score)
