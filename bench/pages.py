"""Forty pages with known texts: four languages, clean, skewed, coarse and noisy; drawn, always the same.

The texts are the repository's own (`bench/texts`). Knows nothing of what reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageFont

TEXTS = Path(__file__).parent / "texts"
FONTS = Path("/usr/share/fonts/truetype/dejavu")
LANGUAGES = ("en", "fr", "pt", "ru")
# How many of a language's ten pages are drawn in each way.
CONDITIONS = {"clean": 3, "skewed": 3, "coarse": 2, "noisy": 2}
DPI = 200
COARSE = 120
TILT = 3.0  # degrees
MARGIN = 0.08  # of the page's width


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page: what it says, in which language, and how it was drawn."""

    language: str
    condition: str
    number: int
    text: str

    @property
    def name(self) -> str:
        return f"{self.language}-{self.condition}-{self.number}"

    def draw(self) -> Image.Image:
        """The page as a picture, RGB, A4."""
        dpi = COARSE if self.condition == "coarse" else DPI
        face = ("DejaVuSerif", "DejaVuSans")[self.number % 2]
        picture = draw_text(self.text, dpi, face, 10 + self.number % 3 * 0.5)
        if self.condition == "skewed":
            return tilt(picture, TILT if self.number % 2 else -TILT)
        if self.condition == "noisy":
            return spoil(picture, seed=self.number)
        return picture


def paragraphs(language: str) -> list[str]:
    """The text of a language, paragraph by paragraph."""
    text = (TEXTS / f"{language}.txt").read_text("utf-8")
    return [part.strip() for part in text.split("\n\n") if part.strip()]


def sheets(languages: tuple[str, ...] = LANGUAGES) -> list[Sheet]:
    """All pages; each begins with another paragraph of its text."""
    found = []
    for language in languages:
        parts = paragraphs(language)
        ways = [way for way, count in CONDITIONS.items() for _ in range(count)]
        for number, way in enumerate(ways):
            turned = parts[number:] + parts[:number]
            found.append(Sheet(language, way, number, "\n\n".join(turned)))
    return found


def few(languages: tuple[str, ...] = LANGUAGES) -> Iterator[Sheet]:
    """One page for each language and condition."""
    seen = set()
    for sheet in sheets(languages):
        key = (sheet.language, sheet.condition)
        if key not in seen:
            seen.add(key)
            yield sheet


def draw_text(
    text: str, dpi: int = DPI, face: str = "DejaVuSans", points: float = 11
) -> Image.Image:
    """A4 with this text in black on white, paragraphs parted by half a line; what does not fit is an error."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = round(8.27 * dpi), round(11.69 * dpi)
    font = ImageFont.truetype(FONTS / f"{face}.ttf", round(points * dpi / 72))
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    margin = round(MARGIN * width)
    step = round(1.4 * points * dpi / 72)
    y = margin
    for paragraph in text.split("\n\n"):
        for line in wrap(paragraph, font, width - 2 * margin):
            pen.text((margin, y), line, fill="black", font=font)
            y += step
        y += step // 2
    if y > height - margin // 2:
        raise ValueError(f"the text needs {y} of {height} pixels")
    return picture


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of whole words that are at most so many pixels wide."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def tilt(picture: Image.Image, degrees: float) -> Image.Image:
    """The picture turned counter-clockwise on a white ground, of the same size."""
    from PIL import Image

    return picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")


def spoil(picture: Image.Image, seed: int, grain: float = 38, specks: float = 0.004) -> Image.Image:
    """A bad scan: grey ground, grain, black and white specks."""
    import numpy as np
    from PIL import Image

    chance = np.random.default_rng(seed)
    values = np.asarray(picture.convert("L"), np.float32)
    values = 45 + values * (205 - 45) / 255  # faded ink on grey paper
    values += chance.normal(0, grain, values.shape)
    thrown = chance.random(values.shape)
    values[thrown < specks] = 0
    values[thrown > 1 - specks] = 255
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")


def plain(text: str) -> str:
    """A text with every white space made one blank, as error rates count it."""
    return re.sub(r"\s+", " ", text).strip()


def errors(read: str, truth: str) -> int:
    """How many characters must be put in, taken out or changed to make one text of the other."""
    return distance(plain(read), plain(truth))


def distance(first: str, second: str) -> int:
    """Levenshtein's distance, by Myers' bit vectors in Hyyrö's form: a bit for each letter of the first text."""
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for place, letter in enumerate(first):
        places[letter] = places.get(letter, 0) | 1 << place
    full, last = (1 << len(first)) - 1, 1 << len(first) - 1
    up, down, score = full, 0, len(first)
    for letter in second:
        match = places.get(letter, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        right = down | ~(diagonal | up) & full
        left = up & diagonal
        score += bool(right & last) - bool(left & last)
        right = right << 1 | 1
        up = (left << 1 | ~(diagonal | right)) & full
        down = right & diagonal & full
    return score
