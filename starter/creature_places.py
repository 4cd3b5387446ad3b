"""Where creatures stand: a ground, a sky and what is in them. Knows shapes, no creature."""

from __future__ import annotations

import random
from collections.abc import Callable

from starter.creature_paint import Colour, Sheet, ellipse, lighter, mixed, smooth

GROUND = 0.74  # the height of the horizon


def paint_place(sheet: Sheet, place: str, chance: random.Random) -> None:
    """The background, its hints of things varied by chance."""
    PAINTERS[place](sheet, chance)


def _sky(sheet: Sheet, top: Colour, bottom: Colour) -> None:
    sheet.image.paste(sheet.ramp(top, bottom, 0.0, 0.8))


def _hill(
    sheet: Sheet, height: float, colour: Colour, chance: random.Random, wild: float = 0.03
) -> None:
    tops = [(x / 6, height + chance.uniform(-wild, wild)) for x in range(-1, 8)]
    sheet.flat([*smooth(tops, closed=False), (1.2, 1.1), (-0.2, 1.1)], colour)


def _cloud(sheet: Sheet, x: float, y: float, size: float, colour: Colour) -> None:
    for dx, dy, r in ((-0.9, 0.1, 0.55), (0, -0.15, 0.8), (0.85, 0.12, 0.6), (0, 0.2, 0.9)):
        sheet.flat(ellipse(x + dx * size, y + dy * size, r * size, r * size * 0.7), colour, 0.85)


def _meadow(sheet: Sheet, chance: random.Random) -> None:
    _sky(sheet, (126, 200, 240), (226, 244, 250))
    _cloud(sheet, chance.uniform(0.1, 0.35), 0.16, 0.08, (255, 255, 255))
    _cloud(sheet, chance.uniform(0.7, 0.95), 0.24, 0.06, (255, 255, 255))
    _hill(sheet, 0.64, (150, 206, 120), chance, 0.05)
    _hill(sheet, GROUND, (112, 184, 92), chance)
    for _ in range(16):
        x, y = chance.random(), chance.uniform(0.8, 0.98)
        petal = chance.choice([(255, 240, 150), (255, 190, 210), (255, 255, 255)])
        sheet.flat(ellipse(x, y, 0.012, 0.01), petal)
        sheet.flat(ellipse(x, y, 0.004, 0.004), (240, 170, 60))


def _night(sheet: Sheet, chance: random.Random) -> None:
    _sky(sheet, (18, 22, 58), (72, 66, 128))
    for _ in range(60):
        r = chance.uniform(0.0015, 0.005)
        sheet.flat(ellipse(chance.random(), chance.uniform(0, 0.7), r, r), (255, 250, 220))
    x = chance.choice([0.16, 0.84])
    sheet.glow(x, 0.17, 0.16, (255, 244, 200), 0.35)
    sheet.flat(ellipse(x, 0.17, 0.075, 0.075), (255, 246, 214))
    sheet.flat(ellipse(x + 0.02, 0.155, 0.012, 0.012), (236, 224, 180))
    _hill(sheet, 0.68, (46, 46, 96), chance, 0.05)
    _hill(sheet, GROUND + 0.02, (34, 36, 76), chance)


def _desert(sheet: Sheet, chance: random.Random) -> None:
    _sky(sheet, (255, 214, 150), (255, 240, 208))
    sheet.glow(0.8, 0.2, 0.2, (255, 250, 220), 0.8)
    _hill(sheet, 0.62, (238, 190, 120), chance, 0.06)
    _hill(sheet, GROUND, (228, 170, 98), chance, 0.04)
    x = chance.choice([0.1, 0.9])
    green = (96, 150, 96)
    sheet.flat(ellipse(x, 0.66, 0.03, 0.13), green)
    for side in (-1, 1):
        sheet.flat(ellipse(x + side * 0.055, 0.62, 0.018, 0.05), green)
        sheet.flat(ellipse(x + side * 0.03, 0.655, 0.035, 0.016), green)


def _sea(sheet: Sheet, chance: random.Random) -> None:
    _sky(sheet, (120, 196, 236), (214, 240, 248))
    _cloud(sheet, chance.uniform(0.15, 0.85), 0.18, 0.07, (255, 255, 255))
    sheet.flat([(0, 0.56), (1, 0.56), (1, 1), (0, 1)], (58, 150, 196))
    for y in (0.62, 0.68):
        waves = [(x / 12, y + (0.008 if x % 2 else -0.008)) for x in range(-1, 14)]
        sheet.stroke(smooth(waves, closed=False), (140, 206, 230), 0.008, closed=False)
    _hill(sheet, GROUND, (240, 218, 166), chance, 0.02)
    for _ in range(8):
        sheet.flat(
            ellipse(chance.random(), chance.uniform(0.84, 0.98), 0.012, 0.008), (226, 196, 140)
        )


def _snow(sheet: Sheet, chance: random.Random) -> None:
    _sky(sheet, (170, 196, 226), (232, 240, 250))
    for x in (0.08, 0.24, 0.8, 0.94):
        top = chance.uniform(0.36, 0.46)
        for n in range(3):
            y = top + n * 0.1
            wide = 0.05 + n * 0.022
            sheet.flat([(x, y - 0.06), (x + wide, y + 0.08), (x - wide, y + 0.08)], (92, 132, 136))
            sheet.flat([(x, y - 0.06), (x + wide / 2.4, y), (x - wide / 2.4, y)], (248, 252, 255))
    _hill(sheet, 0.68, (222, 232, 246), chance, 0.03)
    _hill(sheet, GROUND, (246, 250, 255), chance)
    for _ in range(40):
        r = chance.uniform(0.003, 0.008)
        sheet.flat(ellipse(chance.random(), chance.random(), r, r), (255, 255, 255), 0.9)


def _cave(sheet: Sheet, chance: random.Random) -> None:
    _sky(sheet, (58, 50, 66), (88, 76, 92))
    sheet.glow(0.5, 0.5, 0.42, (168, 140, 150), 0.6)
    for n in range(9):
        x, long = n / 8 + chance.uniform(-0.03, 0.03), chance.uniform(0.1, 0.28)
        sheet.flat([(x - 0.06, -0.01), (x + 0.06, -0.01), (x, long)], (44, 38, 52))
    _hill(sheet, GROUND, (62, 54, 68), chance, 0.02)
    for x in (chance.uniform(0.04, 0.18), chance.uniform(0.82, 0.96)):
        hue = chance.choice([(120, 220, 230), (220, 150, 240), (150, 240, 170)])
        sheet.glow(x, 0.74, 0.1, hue, 0.5)
        for dx, long in ((-0.03, 0.09), (0.0, 0.15), (0.035, 0.1)):
            left = [(x + dx - 0.02, 0.8), (x + dx, 0.8 - long), (x + dx, 0.8)]
            sheet.flat(left, lighter(hue, 0.3))
            sheet.flat([(x + dx, 0.8), (x + dx, 0.8 - long), (x + dx + 0.02, 0.8)], hue)


def _sunset(sheet: Sheet, chance: random.Random) -> None:
    _sky(sheet, (110, 84, 156), (255, 176, 122))
    sheet.glow(0.5, 0.64, 0.36, (255, 226, 150), 0.8)
    sheet.flat(ellipse(0.5, 0.64, 0.15, 0.15), (255, 236, 170))
    for y in (0.2, 0.3, 0.38):
        x = chance.random()
        sheet.flat(ellipse(x, y, 0.22, 0.018), mixed((255, 176, 122), (255, 220, 190), 0.5), 0.7)
    _hill(sheet, 0.68, (126, 84, 120), chance, 0.05)
    _hill(sheet, GROUND, (92, 62, 100), chance)


PAINTERS: dict[str, Callable[[Sheet, random.Random], None]] = {
    "in a meadow": _meadow,
    "at night": _night,
    "in the desert": _desert,
    "by the sea": _sea,
    "in the snow": _snow,
    "in a cave": _cave,
    "at sunset": _sunset,
}
