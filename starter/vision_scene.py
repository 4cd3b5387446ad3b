"""Draws the pictures starter-vision learns from: a few shapes on a ground, a plain colour, or neither.

It knows nothing of languages. Which (kind, colour, place) triples are held out of training is decided
here: a training picture never shows one of them, a held-out picture shows at least one.
"""

import colorsys
import io
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from starter.chat_data import is_held

KINDS = ("circle", "square", "rectangle", "triangle", "star", "heart", "cross", "diamond")
PLACES = tuple(
    f"{row} {side}" for row in ("top", "middle", "bottom") for side in ["left", "centre", "right"]
)
CENTRE = 4

Range = tuple[float, float]
Point = tuple[float, float]
Paint = tuple[int, int, int]
# Hue in degrees, saturation and value, from and to; gaps between them keep the names unambiguous.
SHADES: dict[str, tuple[tuple[Range, Range, Range], ...]] = {
    "red": (((-8, 7), (0.75, 1), (0.65, 1)),),
    "orange": (((22, 37), (0.8, 1), (0.88, 1)),),
    "yellow": (((49, 61), (0.65, 1), (0.9, 1)),),
    "green": (((90, 152), (0.5, 1), (0.42, 1)),),
    "blue": (((200, 243), (0.5, 1), (0.5, 1)),),
    "purple": (((264, 300), (0.5, 1), (0.38, 0.7)), ((264, 285), (0.45, 0.9), (0.7, 0.95))),
    "pink": (((318, 350), (0.25, 0.62), (0.92, 1)), ((300, 335), (0.6, 1), (0.93, 1))),
    "brown": (((16, 30), (0.55, 0.9), (0.3, 0.56)),),
    "black": (((0, 360), (0, 0.3), (0, 0.12)),),
    "grey": (((0, 360), (0, 0.05), (0.38, 0.68)),),
    "white": (((0, 360), (0, 0.03), (0.95, 1)),),
}
GROUNDS: dict[str, tuple[tuple[Range, Range, Range], ...]] = {
    "yellow": (*SHADES["yellow"], ((50, 60), (0.3, 0.6), (0.95, 1))),
    "green": (*SHADES["green"], ((95, 145), (0.25, 0.5), (0.85, 1))),
    "blue": (*SHADES["blue"], ((195, 235), (0.22, 0.5), (0.85, 1))),
    "grey": (*SHADES["grey"], ((0, 360), (0, 0.05), (0.68, 0.85))),
}
COLOURS = tuple(SHADES)
# (rows, columns) of picture tokens that the usual sizes of pictures lead to, and how often each is drawn.
GRIDS = {(7, 7): 40, (6, 6): 3, (6, 8): 20, (8, 6): 8, (5, 8): 13, (8, 5): 4, (5, 9): 10, (9, 5): 3}
TOKEN = 16  # pixels on each side of what becomes one picture token
HOW_MANY = {0: 5, 1: 27, 2: 24, 3: 19, 4: 14, 5: 11}
LEAST_CONTRAST = 75.0


@dataclass(frozen=True)
class Shape:
    """One shape; `cell` counts the thirds of the picture row by row, 0 to 8."""

    kind: str
    colour: str
    big: bool
    cell: int


@dataclass(frozen=True)
class Scene:
    """What a picture shows: shapes in reading order on a ground. `known` is False for anything else."""

    shapes: tuple[Shape, ...]
    ground: str
    known: bool = True


@dataclass(frozen=True)
class Spot:
    """Where a shape was drawn: its centre and half of its width and height, as shares of the picture."""

    x: float
    y: float
    half_width: float
    half_height: float


def write_scene(rng: random.Random, held: bool = False, unknown: float = 0.05) -> Scene:
    """A scene; with `held` at least one of its shapes is one that training never shows there."""
    if rng.random() < unknown:
        return Scene((), "", known=False)
    count = rng.choices(list(HOW_MANY), list(HOW_MANY.values()))[0]
    ground = rng.choice(COLOURS) if rng.random() < 0.4 or count == 0 else "white"
    if rng.random() < 0.05:
        ground = "black"
    cells = sorted(rng.sample(range(9), count))
    if count == 1 and rng.random() < 0.4:
        cells = [CENTRE]
    while True:
        shapes = _write_shapes(rng, cells, [colour for colour in COLOURS if colour != ground])
        rare = [is_held(shape.kind, shape.colour, shape.cell) for shape in shapes]
        if any(rare) == (held and count > 0):
            return Scene(shapes, ground)


def _write_shapes(rng: random.Random, cells: list[int], colours: list[str]) -> tuple[Shape, ...]:
    """Kinds and colours come back now and then, so that there is something to count."""
    kinds = rng.sample(KINDS, 2) if rng.random() < 0.35 else KINDS
    few = rng.sample(colours, 2) if rng.random() < 0.35 else colours
    sizes = rng.choice([(True,), (False,), (True, False), (True, False)])
    return tuple(
        Shape(rng.choice(kinds), rng.choice(few), rng.choice(sizes), cell) for cell in cells
    )


def pick_shade(ranges: tuple[tuple[Range, Range, Range], ...], rng: random.Random) -> Paint:
    """A colour, as 0 to 255, out of one of the ranges; often the purest one, as paint programs have it."""
    hues, saturations, values = rng.choice(ranges)
    hue, saturation, value = (rng.uniform(*part) for part in (hues, saturations, values))
    if rng.random() < 0.25:
        saturation, value = saturations[1], values[1]
    red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _outline(kind: str, rng: random.Random) -> list[Point]:
    """The corners of a shape that fits into -1 to 1."""
    turn = {"square": 7, "rectangle": 7, "heart": 12, "diamond": 5, "cross": 10}.get(kind, 14)
    angle = math.radians(rng.uniform(-turn, turn) if rng.random() < 0.6 else 0)
    points = _CORNERS[kind](rng)
    if kind == "triangle" and rng.random() < 0.2:
        angle += math.pi
    if kind == "cross" and rng.random() < 0.12:
        angle += math.pi / 4
    cos, sin = math.cos(angle), math.sin(angle)
    points = [(x * cos - y * sin, x * sin + y * cos) for x, y in points]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    scale = 2 / max(right - left, bottom - top)
    return [((x - (left + right) / 2) * scale, (y - (top + bottom) / 2) * scale) for x, y in points]


def _ring(steps: int, radius: float = 1.0, start: float = 0.0) -> list[Point]:
    angles = (start + 2 * math.pi * i / steps for i in range(steps))
    return [(radius * math.sin(angle), -radius * math.cos(angle)) for angle in angles]


def _circle(rng: random.Random) -> list[Point]:
    flat = rng.uniform(0.92, 1.0)
    return [(x, y * flat) for x, y in _ring(44)]


def _square(rng: random.Random) -> list[Point]:
    flat = rng.uniform(0.95, 1.05)
    return [(-1, -flat), (1, -flat), (1, flat), (-1, flat)]


def _rectangle(rng: random.Random) -> list[Point]:
    flat = rng.uniform(0.42, 0.66)
    wide = [(-1.0, -flat), (1.0, -flat), (1.0, flat), (-1.0, flat)]
    return wide if rng.random() < 0.65 else [(y, x) for x, y in wide]


def _triangle(rng: random.Random) -> list[Point]:
    draw = rng.random()
    tip = rng.uniform(-0.25, 0.25) if draw < 0.7 else rng.choice([-1.0, 1.0])
    return [(tip, -rng.uniform(0.75, 1.0)), (1, 0.85), (-1, 0.85)]


def _star(rng: random.Random) -> list[Point]:
    tips = 5 if rng.random() < 0.85 else 6
    outer, inner = _ring(tips), _ring(tips, rng.uniform(0.36, 0.5), math.pi / tips)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _heart(_: random.Random) -> list[Point]:
    turns = [2 * math.pi * i / 40 for i in range(40)]
    tall = [
        13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        for t in turns
    ]
    return [(math.sin(t) ** 3, -y / 16) for t, y in zip(turns, tall, strict=True)]


def _cross(rng: random.Random) -> list[Point]:
    arm = rng.uniform(0.24, 0.42)
    corner = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    points = []
    for _ in range(4):
        points += corner
        corner = [(-y, x) for x, y in corner]
    return points


def _diamond(rng: random.Random) -> list[Point]:
    thin = rng.uniform(0.62, 1.0)
    return [(0, -1), (thin, 0), (0, 1), (-thin, 0)]


_CORNERS = {
    "circle": _circle,
    "square": _square,
    "rectangle": _rectangle,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "cross": _cross,
    "diamond": _diamond,
}


def _place(
    scene: Scene, width: int, height: int, rng: random.Random
) -> list[tuple[float, float, float]]:
    """Centre and radius of each shape in pixels; a lone one in the centre may fill the picture."""
    side = min(width, height)
    if len(scene.shapes) == 1 and scene.shapes[0].cell == CENTRE and scene.shapes[0].big:
        radius = side * rng.uniform(0.14, 0.49)
        room_x, room_y = max(0.0, width / 2 - radius), max(0.0, height / 2 - radius)
        x = width / 2 + rng.uniform(-1, 1) * min(room_x, 0.09 * width)
        y = height / 2 + rng.uniform(-1, 1) * min(room_y, 0.09 * height)
        return [(x, y, radius)]
    for _ in range(60):
        placed = [_settle(shape, width, height, rng) for shape in scene.shapes]
        apart = all(
            math.hypot(a[0] - b[0], a[1] - b[1]) > 0.93 * (a[2] + b[2])
            for i, a in enumerate(placed)
            for b in placed[:i]
        )
        if apart:
            break
    return placed


def _settle(
    shape: Shape, width: int, height: int, rng: random.Random
) -> tuple[float, float, float]:
    third = min(width, height) / 3
    radius = third * (rng.uniform(0.41, 0.5) if shape.big else rng.uniform(0.21, 0.28))
    shift = 0.05 if shape.big else 0.085
    x = width * ((shape.cell % 3 + 0.5) / 3 + rng.uniform(-shift, shift))
    y = height * ((shape.cell // 3 + 0.5) / 3 + rng.uniform(-shift, shift))
    return min(max(x, radius), width - radius), min(max(y, radius), height - radius), radius


def _paint(
    draw: ImageDraw.ImageDraw,
    points: list[Point],
    paint: Paint,
    radius: float,
    rng: random.Random,
    big: bool,
) -> None:
    """Filled; now and then only its contour, or filled with a thin dark edge."""
    style = rng.random()
    if big and style < 0.12:
        line = max(2, round(radius * rng.uniform(0.16, 0.28)))
        draw.line([*points, *points[:2]], fill=paint, width=line, joint="curve")
        return
    draw.polygon(points, fill=paint)
    if style > 0.87:
        edge = (0, 0, 0) if sum(paint) > 150 else paint
        draw.line(
            [*points, *points[:2]], fill=edge, width=max(1, round(radius * 0.07)), joint="curve"
        )


def _pick_paint(colour: str, ground: Paint, rng: random.Random) -> Paint:
    """A shade that stands out against the ground; the one that does so most where none does enough."""
    paints = [pick_shade(SHADES[colour], rng)]
    while math.dist(paints[-1], ground) < LEAST_CONTRAST and len(paints) < 12:
        paints.append(pick_shade(SHADES[colour], rng))
    return max(paints[-1:] if len(paints) < 12 else paints, key=lambda p: math.dist(p, ground))


def draw_scene(
    scene: Scene, grid: tuple[int, int], rng: random.Random, scale: float = 0.0
) -> tuple[Image.Image, list[Spot]]:
    """The picture, `scale` times as large as the model sees it (0: drawn), and where each shape lies."""
    scale = scale or rng.choice([1.0, 1.3, 1.7, 2.0, 2.3, 2.9])
    stretch = rng.uniform(0.97, 1.03)
    width, height = round(grid[1] * TOKEN * scale * stretch), round(grid[0] * TOKEN * scale)
    if not scene.known:
        return draw_unknown(width, height, rng), []
    ground = pick_shade(GROUNDS.get(scene.ground, SHADES[scene.ground]), rng)
    picture = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(picture)
    spots = []
    for shape, (x, y, radius) in zip(scene.shapes, _place(scene, width, height, rng), strict=True):
        paint = _pick_paint(shape.colour, ground, rng)
        outline = _outline(shape.kind, rng)
        radius_used = radius * rng.uniform(0.97, 1.0)
        points = [(x + px * radius_used, y + py * radius_used) for px, py in outline]
        _paint(draw, points, paint, radius, rng, shape.big)
        spread_x = max(px for px, _ in outline) * radius
        spread_y = max(py for _, py in outline) * radius
        spots.append(Spot(x / width, y / height, spread_x / width, spread_y / height))
    return spoil(picture, rng), spots


def spoil(picture: Image.Image, rng: random.Random) -> Image.Image:
    """What cameras, screens and JPEG do to a picture: light, blur, grain, blocks; often nothing."""
    if rng.random() < 0.45:
        return picture
    if rng.random() < 0.4:
        pixels = np.asarray(picture).astype(np.float32)
        grain = np.random.default_rng(rng.getrandbits(32))
        slope = np.linspace(-1, 1, pixels.shape[1], dtype=np.float32)[None, :, None]
        pixels *= 1 + slope * rng.uniform(-0.05, 0.05)
        pixels += grain.normal(0, rng.uniform(0.5, 7), pixels.shape).astype(np.float32)
        picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.5:
        stored = io.BytesIO()
        picture.save(stored, "JPEG", quality=rng.randint(45, 95))
        picture = Image.open(stored).convert("RGB")
    return picture


def draw_unknown(width: int, height: int, rng: random.Random) -> Image.Image:
    """A picture without plain shapes: clouds of colour as in photos, clutter, or lines of text."""
    draw = rng.random()
    if draw < 0.25:
        return _draw_text(width, height, rng)
    noise = np.random.default_rng(rng.getrandbits(32))
    total: np.ndarray = np.zeros((height, width, 3), np.float32)
    strength = 1.0
    for cells in (2, 4, 8, 16, 40):
        coarse = noise.uniform(-1, 1, (cells, cells, 3 if rng.random() < 0.5 else 1))
        coarse = np.broadcast_to(coarse, (cells, cells, 3)).astype(np.float32)
        layers = [
            Image.fromarray(coarse[..., i]).resize((width, height), Image.Resampling.BICUBIC)
            for i in range(3)
        ]
        total += strength * np.stack([np.asarray(layer) for layer in layers], axis=2)
        strength *= rng.uniform(0.45, 0.8)
    base = np.array([rng.uniform(40, 210) for _ in range(3)], np.float32)
    pixels = base + total * rng.uniform(35, 90)
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if draw > 0.6:
        _clutter(ImageDraw.Draw(picture), width, height, rng)
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))
    return spoil(picture, rng)


def _clutter(draw: ImageDraw.ImageDraw, width: int, height: int, rng: random.Random) -> None:
    for _ in range(rng.randint(12, 40)):
        paint = tuple(rng.randint(0, 255) for _ in range(3))
        points = [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(rng.randint(2, 6))]
        if len(points) == 2 or rng.random() < 0.4:
            draw.line(points, fill=paint, width=rng.randint(1, max(2, width // 25)))
        else:
            middle = rng.choice(points)
            near = [((x + 2 * middle[0]) / 3, (y + 2 * middle[1]) / 3) for x, y in points]
            draw.polygon(near, fill=paint)


def _draw_text(width: int, height: int, rng: random.Random) -> Image.Image:
    paper, ink = rng.choice(
        [
            ((255, 255, 255), (0, 0, 0)),
            ((250, 245, 230), (40, 40, 60)),
            ((20, 20, 30), (230, 230, 230)),
        ]
    )
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    size = rng.uniform(0.04, 0.12) * height
    font = ImageFont.load_default(max(6, size))
    y = rng.uniform(0, 0.1) * height
    while y < height * rng.uniform(0.5, 1.0):
        words = [
            "".join(rng.choice("abcdefghijklmnoprstuvw") for _ in range(rng.randint(2, 9)))
            for _ in range(rng.randint(2, 9))
        ]
        draw.text((rng.uniform(0.02, 0.1) * width, y), " ".join(words), fill=ink, font=font)
        y += size * rng.uniform(1.2, 1.8)
    return spoil(picture, rng)
