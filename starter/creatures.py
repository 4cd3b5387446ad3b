"""Draws creatures from their traits, and the pictures in `assets/creatures`: python -m starter.creatures

The same drawings, with the traits' captions, are what a model that draws creatures learns from.
"""

from __future__ import annotations

import argparse
import io
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.bestiary import BODIES, COLOURS, PLACES, Traits, imagine
from starter.creature_bodies import FRAMES, Frame, sym
from starter.creature_paint import (
    OVER,
    Colour,
    Point,
    Sheet,
    band,
    darker,
    ellipse,
    lighter,
    mirrored,
    mixed,
    smooth,
)
from starter.creature_places import paint_place

HUES: dict[str, Colour] = {
    "red": (222, 74, 70),
    "orange": (240, 142, 58),
    "yellow": (246, 206, 72),
    "green": (98, 182, 88),
    "teal": (52, 170, 164),
    "blue": (76, 132, 222),
    "purple": (148, 100, 206),
    "pink": (240, 136, 178),
    "white": (242, 240, 236),
    "grey": (134, 140, 152),
}
IVORY: Colour = (246, 234, 208)
INK: Colour = (42, 34, 52)
COUNT = 24
SIDE = 320


def draw(
    traits: Traits, side: int = SIDE, seed: int = 0, plain: bool = False, over: int = OVER
) -> Any:
    """A picture (PIL, RGB, `side` x `side` pixels) of a creature with these traits.

    Args:
        seed: varies what no trait decides.
        plain: what no trait decides hangs on the seed and its own part alone, so that a few seeds are a few styles.
        over: how many times as large it is drawn before it is brought down.
    """
    whole = random.Random(f"{seed}{traits}")

    def by(part: str) -> random.Random:
        return random.Random(f"{seed} {part}") if plain else whole

    sheet = Sheet(side, over)
    paint_place(sheet, traits.place, by(traits.place))
    colour, second = HUES[traits.colour], HUES[traits.second]
    frame = FRAMES[traits.body](by("body").uniform(-0.012, 0.012))
    floor = 0.875 if frame.feet else 0.93
    sheet.flat(ellipse(0.5, floor, 0.25, 0.035), INK, 0.28)
    _wings(sheet, traits.wings, frame, second)
    _tail(sheet, traits.tail, frame, colour, second)
    if frame.feet:
        _feet(sheet, frame, colour)
    _horns(sheet, traits.horns, frame)
    mask = sheet.shape(frame.outline, colour)
    _pattern(sheet, traits.pattern, frame, mask, colour, second, by("pattern"))
    sheet.flat(
        ellipse(frame.top[0] - frame.wide * 0.8, frame.top[1] + 0.09, 0.05, 0.03, -28),
        (255, 255, 255),
        0.35,
        mask,
    )
    _extras(sheet, traits, frame, colour, second)
    _face(sheet, traits, frame, colour, by("face"))
    return sheet.finished()


# Parts ---------------------------------------------------------------------------------------------


def _both(sheet: Sheet, points: list[Point], colour: Colour, line: float = 0.011) -> None:
    for side in (points, mirrored(points)):
        sheet.shape(side, colour, line)


def _wings(sheet: Sheet, kind: str, frame: Frame, colour: Colour) -> None:
    x, y = frame.shoulder
    if kind == "bat wings":
        hung = (
            (0.06, 0.02), (-0.1, -0.26), (-0.24, -0.2), (-0.2, -0.08), (-0.235, 0.02), (-0.15, 0.02),
            (-0.13, 0.12), (-0.05, 0.07), (0.06, 0.14),
        )  # fmt: skip
        points = [(x + dx, y + dy) for dx, dy in hung]
        _both(sheet, points, colour)
        for end in ((x - 0.235, y - 0.195), (x - 0.23, y + 0.015), (x - 0.13, y + 0.11)):
            bone = [(x - 0.1, y - 0.25), end]
            for side in (bone, mirrored(bone)):
                sheet.stroke(side, darker(colour, 0.55), 0.009, closed=False)
    elif kind == "feathered wings":
        for n, long in enumerate((0.27, 0.25, 0.22, 0.17)):
            angle = math.radians(206 - n * 24)
            far = (x + 0.03 + long * math.cos(angle), y - 0.02 - long * math.sin(angle) * -1)
            middle = ((x + 0.03 + far[0]) / 2, (y - 0.02 + far[1]) / 2)
            _both(
                sheet,
                ellipse(*middle, long / 2, 0.052, math.degrees(angle)),
                lighter(colour, 0.12 * n),
            )
    elif kind == "fairy wings":
        for cx, cy, rx, ry, turn in (
            (x - 0.09, y - 0.12, 0.17, 0.085, 38),
            (x - 0.07, y + 0.08, 0.12, 0.065, -28),
        ):
            for side, tilt in ((cx, turn), (1 - cx, -turn)):
                sheet.stroke(ellipse(side, cy, rx, ry, tilt), darker(colour, 0.3), 0.009)
                sheet.flat(ellipse(side, cy, rx, ry, tilt), lighter(colour, 0.55), 0.75)
                sheet.flat(ellipse(side, cy, rx * 0.6, ry * 0.55, tilt), (255, 255, 255), 0.4)


def _tail(sheet: Sheet, kind: str, frame: Frame, colour: Colour, second: Colour) -> None:
    x, y = frame.root
    if kind == "a curled tail":
        bent = (
            (-0.06, 0.04),
            (0.08, 0.05),
            (0.16, -0.04),
            (0.12, -0.13),
            (0.05, -0.1),
            (0.08, -0.05),
        )
        line = [(x + dx, y + dy) for dx, dy in bent]
        sheet.shape(band(line, 0.075, 0.03), colour)
    elif kind == "a spiked tail":
        sheet.shape(
            band([(x - 0.06, y + 0.05), (x + 0.08, y + 0.06), (x + 0.17, y - 0.03)], 0.085, 0.05),
            colour,
        )
        for dx, dy, turn in ((0.06, 0.0, -100), (0.12, -0.035, -70), (0.195, -0.075, -50)):
            sheet.shape(_spike(x + dx, y + dy + 0.02, 0.085, 0.032, turn), IVORY, 0.009)
    elif kind == "a fluffy tail":
        for dx, dy, r in (
            (0.03, 0.03, 0.07),
            (0.09, -0.02, 0.085),
            (0.13, -0.1, 0.075),
            (0.11, -0.165, 0.05),
        ):
            sheet.shape(ellipse(x + dx, y + dy, r, r), lighter(second, 0.15))
    elif kind == "a fish tail":
        sheet.shape(band([(x - 0.06, y + 0.05), (x + 0.1, y + 0.03)], 0.1, 0.05), colour)
        fin = [(x + 0.07, y + 0.035), (x + 0.15, y - 0.09), (x + 0.225, y - 0.11), (x + 0.19, y), (x + 0.22, y + 0.12),
               (x + 0.14, y + 0.1)]  # fmt: skip
        sheet.shape(fin, second)
        for end in ((x + 0.2, y - 0.075), (x + 0.175, y), (x + 0.195, y + 0.09)):
            sheet.stroke([(x + 0.1, y + 0.03), end], darker(second, 0.4), 0.006, closed=False)


def _spike(x: float, y: float, long: float, half: float, turn: float) -> list[Point]:
    """A slightly bent cone that stands at a point and looks along `turn` degrees."""
    angle = math.radians(turn)
    across = angle + math.pi / 2
    tip = (x + long * math.cos(angle), y + long * math.sin(angle))
    left = (x + half * math.cos(across), y + half * math.sin(across))
    right = (x - half * math.cos(across), y - half * math.sin(across))
    bent = ((left[0] + tip[0]) / 2 + half * 0.25 * math.cos(across), (left[1] + tip[1]) / 2)
    back = ((right[0] + tip[0]) / 2 - half * 0.1 * math.cos(across), (right[1] + tip[1]) / 2)
    return [left, bent, tip, back, right]


def _horns(sheet: Sheet, kind: str, frame: Frame) -> None:
    x, y = frame.top
    if kind == "one horn":
        sheet.shape(_spike(x, y + 0.05, 0.21, 0.048, -90), IVORY)
        for n in range(3):
            sheet.stroke([(x - 0.032 + n * 0.009, y - 0.02 - n * 0.042), (x + 0.03 - n * 0.009, y - 0.035 - n * 0.042)],
                         darker(IVORY, 0.25), 0.007, closed=False)  # fmt: skip
    elif kind == "two horns":
        wide = frame.wide
        line = [
            (x - wide * 0.75, y + 0.08),
            (x - wide * 1.15, y - 0.02),
            (x - wide * 1.05, y - 0.12),
        ]
        _both(sheet, band(line, 0.085, 0.012), IVORY)
    elif kind == "antlers":
        wood = (150, 108, 74)
        wide = frame.wide
        main = [(x - wide * 0.5, y + 0.07), (x - wide * 0.8, y - 0.06), (x - wide * 1.5, y - 0.15)]
        twigs = (
            [(x - wide * 0.75, y - 0.03), (x - wide * 0.5, y - 0.14)],
            [(x - wide * 1.1, y - 0.1), (x - wide * 1.0, y - 0.19)],
        )
        for line in (main, *twigs):
            _both(sheet, band(line, 0.042, 0.018), wood, 0.008)


def _feet(sheet: Sheet, frame: Frame, colour: Colour) -> None:
    for x in (0.415, 0.585):
        sheet.shape(ellipse(x, 0.86, 0.075, 0.045), darker(colour, 0.08))
        for toe in (-0.03, 0.0, 0.03):
            sheet.flat(ellipse(x + toe, 0.878, 0.011, 0.013), IVORY)


def _pattern(
    sheet: Sheet,
    kind: str,
    frame: Frame,
    mask: Any,
    colour: Colour,
    second: Colour,
    chance: random.Random,
) -> None:
    xs, ys = [p[0] for p in frame.outline], [p[1] for p in frame.outline]
    if kind == "a pale belly":
        low = max(ys)
        sheet.flat(
            ellipse(0.5, low - 0.07, (max(xs) - min(xs)) * 0.34, 0.15),
            lighter(colour, 0.6),
            0.9,
            mask,
        )
    elif kind == "spots":
        spots: list[Point] = []
        for _ in range(300):
            x, y = chance.uniform(min(xs), max(xs)), chance.uniform(min(ys), max(ys))
            clear = math.hypot((x - frame.face[0]) / 1.5, y - frame.face[1]) > 0.1 * frame.size
            if (
                clear
                and all(math.hypot(x - a, y - b) > 0.085 for a, b in spots)
                and len(spots) < 16
            ):
                spots.append((x, y))
                r = chance.uniform(0.022, 0.036)
                sheet.flat(ellipse(x, y, r, r * 0.9), second, 0.85, mask)
    elif kind == "stripes":
        for n in range(-1, 8):
            y = min(ys) + n * (max(ys) - min(ys)) / 6.2
            reach = 0.085 if abs(y - frame.face[1]) < 0.085 * frame.size else 0.16
            for side in (1, -1):
                edge = max(xs) if side > 0 else min(xs)
                points = [
                    (edge + side * 0.03, y - 0.035),
                    (edge - side * reach, y + 0.012),
                    (edge + side * 0.03, y + 0.03),
                ]
                sheet.flat(points, second, 0.85, mask)


def _extras(sheet: Sheet, traits: Traits, frame: Frame, colour: Colour, second: Colour) -> None:
    """What belongs to one kind of body: a cap, a beak's crest, a leaf, arms."""
    if traits.body == "mushroom":
        cap = [(0.5, 0.235), (0.65, 0.27), (0.775, 0.41), (0.77, 0.5), (0.64, 0.52), (0.5, 0.53)]
        mask = sheet.shape(sym(cap[:-1], 0.53), second)
        for x, y, r in (
            (0.4, 0.36, 0.045),
            (0.57, 0.31, 0.034),
            (0.68, 0.42, 0.036),
            (0.52, 0.44, 0.03),
            (0.3, 0.46, 0.03),
        ):
            sheet.flat(ellipse(x, y, r, r * 0.85), (255, 252, 244), 0.95, mask)
    elif traits.body == "bird-like":
        for dx, turn in ((-0.03, -112), (0.0, -90), (0.03, -68)):
            sheet.shape(_spike(0.5 + dx, frame.top[1] + 0.02, 0.09, 0.022, turn), second, 0.009)
    elif traits.body == "snake-like":
        for y in (0.7, 0.78):
            curve = smooth([(0.3, y), (0.5, y + 0.05), (0.7, y)], closed=False)
            sheet.stroke(curve, darker(colour, 0.35), 0.008, closed=False)
    elif traits.body == "four-legged":
        for x in (0.35, 0.65):
            ear = [(x - 0.055, 0.36), (x - 0.04 if x < 0.5 else x + 0.04, 0.24), (x + 0.055, 0.33)]
            sheet.shape(ear, colour)
            sheet.flat(
                [(px * 0.5 + x * 0.5, py * 0.5 + 0.16) for px, py in ear], lighter(second, 0.3)
            )
    if traits.body in {"round", "tall", "drop-shaped", "mushroom"}:
        x, y = frame.shoulder
        _both(sheet, ellipse(x + 0.03, y + 0.12, 0.042, 0.07, 32), colour)


def _face(
    sheet: Sheet, traits: Traits, frame: Frame, colour: Colour, chance: random.Random
) -> None:
    x, y = frame.face
    size = frame.size
    places = {
        "one eye": [(0.0, -0.015, 1.5)],
        "two eyes": [(-0.088, 0.0, 1.0), (0.088, 0.0, 1.0)],
        "three eyes": [(-0.1, 0.012, 0.85), (0.1, 0.012, 0.85), (0.0, -0.07, 0.85)],
    }[traits.eyes]
    iris = chance.choice(
        [(70, 130, 200), (90, 160, 90), (180, 110, 50), (130, 80, 180), (200, 70, 80)]
    )
    for dx, dy, scale in places:
        _eye(sheet, x + dx * size, y + dy * size, 0.05 * scale * size, iris)
    blush = mixed(colour, (255, 110, 120), 0.55)
    for side in (-1, 1):
        sheet.flat(ellipse(x + side * 0.15 * size, y + 0.075 * size, 0.03, 0.018), blush, 0.6)
    mouth = y + (0.1 if traits.eyes != "one eye" else 0.115) * size
    if traits.body == "bird-like":
        sheet.shape(
            [(x - 0.05, mouth - 0.045), (x + 0.05, mouth - 0.045), (x, mouth + 0.03)],
            (248, 178, 60),
            0.009,
        )
        return
    mood = chance.choice(["smile", "open", "fang"])
    curve = smooth(
        [(x - 0.05 * size, mouth - 0.012), (x, mouth + 0.014), (x + 0.05 * size, mouth - 0.012)],
        closed=False,
    )
    if mood == "open":
        sheet.flat(
            smooth([(x - 0.042, mouth - 0.012), (x + 0.042, mouth - 0.012), (x, mouth + 0.045)]),
            (110, 36, 52),
        )
        sheet.flat(ellipse(x, mouth + 0.022, 0.018, 0.01), (240, 120, 130))
    sheet.stroke(curve, darker(colour, 0.75), 0.009, closed=False)
    if mood == "fang":
        sheet.flat(
            [(x + 0.014, mouth + 0.006), (x + 0.036, mouth), (x + 0.028, mouth + 0.03)],
            (255, 255, 255),
        )


def _eye(sheet: Sheet, x: float, y: float, r: float, iris: Colour) -> None:
    sheet.stroke(ellipse(x, y, r, r * 1.16), INK, 0.009)
    sheet.flat(ellipse(x, y, r, r * 1.16), (255, 255, 255))
    sheet.flat(ellipse(x, y + r * 0.12, r * 0.74, r * 0.9), iris)
    sheet.flat(ellipse(x, y + r * 0.14, r * 0.46, r * 0.6), INK)
    sheet.flat(ellipse(x - r * 0.26, y - r * 0.34, r * 0.27, r * 0.27), (255, 255, 255))
    sheet.flat(ellipse(x + r * 0.3, y + r * 0.42, r * 0.14, r * 0.14), (255, 255, 255), 0.9)


# The pictures that ship ----------------------------------------------------------------------------


def gallery(count: int = COUNT) -> list[Traits]:
    """Creatures that differ: every body, colour and place comes in turn."""
    chance = random.Random(2024)
    found = []
    for n in range(count):
        traits = replace(
            imagine(chance),
            body=BODIES[n % len(BODIES)],
            colour=COLOURS[(n * 3) % len(COLOURS)],
            place=PLACES[(n * 2) % len(PLACES)],
        )
        if traits.second == traits.colour:
            traits = replace(traits, second=COLOURS[(n * 3 + 4) % len(COLOURS)])
        found.append(traits)
    return found


def encoded(picture: Any) -> bytes:
    """A small PNG: 256 colours of its own."""
    from PIL import Image

    out = io.BytesIO()
    flat = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    flat.save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Write the pictures and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("assets/creatures"))
    parser.add_argument("--count", type=int, default=COUNT)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for number, traits in enumerate(gallery(given.count)):
        data = encoded(draw(traits, seed=number))
        (given.out / f"image_{number:02d}.png").write_bytes(data)
        print(f"image_{number:02d}.png {len(data):6d}  {traits.caption}")


if __name__ == "__main__":
    main()
