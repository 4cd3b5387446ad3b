"""Smooth shapes with light on them: curves through points, soft gradients, outlines. Knows no creature.

Everything is drawn larger, four times as a rule, and brought down, which makes clean edges. Coordinates are in 0..1, y
downwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

OVER = 4
Point = tuple[float, float]
Colour = tuple[int, int, int]


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """From `a` (0) to `b` (1)."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    return mixed(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float = 0.35) -> Colour:
    return mixed(colour, (30, 20, 45), share)


def smooth(points: Sequence[Point], closed: bool = True, steps: int = 14) -> list[Point]:
    """A curve through the points (Catmull-Rom)."""
    count = len(points)
    found: list[Point] = []
    for n in range(count if closed else count - 1):
        four = [
            points[(n + k) % count] if closed else points[min(max(n + k, 0), count - 1)]
            for k in (-1, 0, 1, 2)
        ]
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = four
        for step in range(steps):
            t = step / steps
            a, b, c, d = (
                -t + 2 * t**2 - t**3,
                2 - 5 * t**2 + 3 * t**3,
                t + 4 * t**2 - 3 * t**3,
                t**3 - t**2,
            )
            found.append(
                ((a * x0 + b * x1 + c * x2 + d * x3) / 2, (a * y0 + b * y1 + c * y2 + d * y3) / 2)
            )
    return found if closed else [*found, points[-1]]


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> list[Point]:
    """Points of an ellipse, turned by so many degrees."""
    sine, cosine = math.sin(math.radians(turn)), math.cos(math.radians(turn))
    around = [2 * math.pi * n / 48 for n in range(48)]
    flat = [(rx * math.cos(angle), ry * math.sin(angle)) for angle in around]
    return [(x + u * cosine - v * sine, y + u * sine + v * cosine) for u, v in flat]


def mirrored(points: Sequence[Point], axis: float = 0.5) -> list[Point]:
    return [(2 * axis - x, y) for x, y in points]


def band(points: Sequence[Point], start: float, end: float) -> list[Point]:
    """A ribbon along points whose width goes from `start` to `end`."""
    line = smooth(points, closed=False)
    left: list[Point] = []
    right: list[Point] = []
    for n, (x, y) in enumerate(line):
        ahead, behind = line[min(n + 1, len(line) - 1)], line[max(n - 1, 0)]
        angle = math.atan2(ahead[1] - behind[1], ahead[0] - behind[0]) + math.pi / 2
        half = (start + (end - start) * n / (len(line) - 1)) / 2
        left.append((x + half * math.cos(angle), y + half * math.sin(angle)))
        right.append((x - half * math.cos(angle), y - half * math.sin(angle)))
    return [*left, *reversed(right)]


class Sheet:
    """A picture that is being painted.

    Args:
        side: of the finished picture, in pixels.
        over: how many times as large it is painted.
    """

    def __init__(self, side: int, over: int = OVER) -> None:
        from PIL import Image

        self.side, self.big = side, side * over
        self.image = Image.new("RGB", (self.big, self.big))

    def finished(self) -> Any:
        """The picture in its own size."""
        from PIL import Image

        return self.image.resize((self.side, self.side), Image.Resampling.LANCZOS)

    def mask(self, points: Sequence[Point]) -> Any:
        """Where a shape is, as a picture of 0 and 255."""
        from PIL import Image, ImageDraw

        made = Image.new("L", (self.big, self.big))
        ImageDraw.Draw(made).polygon([(x * self.big, y * self.big) for x, y in points], fill=255)
        return made

    def ramp(self, top: Colour, bottom: Colour, start: float = 0.0, end: float = 1.0) -> Any:
        """A picture that goes from one colour to the other between two heights."""
        import numpy as np
        from PIL import Image

        share = np.clip((np.arange(256) / 255 - start) / max(end - start, 1e-6), 0.0, 1.0)[:, None]
        ends = np.array([top, bottom], float)
        colours = np.rint(ends[0] + (ends[1] - ends[0]) * share).astype(np.uint8)
        strip = Image.fromarray(colours[:, None])
        return strip.resize((self.big, self.big), Image.Resampling.BILINEAR)

    def flat(
        self, points: Sequence[Point], colour: Colour, share: float = 1.0, inside: Any = None
    ) -> None:
        """A shape in one colour; with `inside` only where that mask is."""
        from PIL import Image, ImageChops

        mask = self.mask(points)
        if inside is not None:
            mask = ImageChops.multiply(mask, inside)
        if share < 1:
            mask = mask.point([round(value * share) for value in range(256)])
        self.image.paste(Image.new("RGB", self.image.size, colour), mask=mask)

    def shape(self, points: Sequence[Point], colour: Colour, line: float = 0.011) -> Any:
        """A body with light from above left, a shaded rim and an outline; its mask."""
        from PIL import Image, ImageChops

        ys = [y for _, y in points]
        if line:
            self.stroke(points, darker(colour, 0.62), line)
        mask = self.mask(points)
        self.image.paste(
            self.ramp(lighter(colour, 0.22), darker(colour, 0.14), min(ys), max(ys)), mask=mask
        )
        shift = round(0.028 * self.big)
        inner = ImageChops.offset(mask, -shift, -shift)
        rim = ImageChops.subtract(mask, inner).point([round(value * 0.42) for value in range(256)])
        self.image.paste(
            Image.new("RGB", self.image.size, darker(colour, 0.4)), mask=self.soft(rim, mask)
        )
        return mask

    def soft(self, mask: Any, within: Any, blur: float = 0.009) -> Any:
        """A mask with soft edges that stays inside another."""
        from PIL import ImageChops, ImageFilter

        return ImageChops.multiply(mask.filter(ImageFilter.GaussianBlur(blur * self.big)), within)

    def stroke(
        self, points: Sequence[Point], colour: Colour, width: float, closed: bool = True
    ) -> None:
        """A line with round ends along points."""
        from PIL import ImageDraw

        draw = ImageDraw.Draw(self.image)
        line = [(x * self.big, y * self.big) for x, y in points]
        thick = max(1, round(width * self.big))
        draw.line([*line, line[0]] if closed else line, fill=colour, width=thick, joint="curve")
        for x, y in (line[:1] + line[-1:]) if not closed else line[:1]:
            half = thick / 2
            draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)

    def glow(self, x: float, y: float, radius: float, colour: Colour, share: float = 0.6) -> None:
        """A soft spot of light."""
        from PIL import Image, ImageFilter

        mask = self.mask(ellipse(x, y, radius, radius)).filter(
            ImageFilter.GaussianBlur(radius * self.big / 2.2)
        )
        mask = mask.point([round(value * share) for value in range(256)])
        self.image.paste(Image.new("RGB", self.image.size, colour), mask=mask)
