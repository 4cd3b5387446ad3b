"""Draws the sample pictures of the Vision tab: flat shapes, a house, a shop's sign."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

BOLD = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
COLOURS = {
    "red": "#d1402f", "blue": "#2f62c9", "yellow": "#f0d02a", "green": "#2f9a54",
    "orange": "#e8822c", "purple": "#7d4bb5", "black": "#26282c",
}  # fmt: skip


SCENE = (1280, 960)
FINE = 3  # scenes are drawn so much larger, then made smaller: that smooths their edges


class Scene:
    """A picture to draw flat shapes on, in the coordinates it will have."""

    def __init__(self, colour: str = "#f8f8f7") -> None:
        self._large = Image.new("RGB", (SCENE[0] * FINE, SCENE[1] * FINE), colour)
        self._draw = ImageDraw.Draw(self._large)

    def disc(self, x: float, y: float, radius: float, colour: str) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        self._draw.ellipse([n * FINE for n in box], fill=colour)

    def block(self, box: Sequence[float], colour: str) -> None:
        self._draw.rectangle([n * FINE for n in box], fill=colour)

    def wedge(self, corners: Sequence[tuple[float, float]], colour: str) -> None:
        self._draw.polygon([(x * FINE, y * FINE) for x, y in corners], fill=colour)

    def picture(self) -> Image.Image:
        return self._large.resize(SCENE, Image.Resampling.LANCZOS)


def draw_shapes() -> Image.Image:
    """Three shapes that do not touch."""
    scene = Scene()
    scene.disc(240, 200, 130, COLOURS["red"])
    scene.block((910, 360, 1150, 600), COLOURS["blue"])
    scene.wedge(((640, 640), (780, 890), (500, 890)), COLOURS["green"])
    return scene.picture()


def draw_balls() -> Image.Image:
    """Five balls, to be counted."""
    scene = Scene()
    spots = (("yellow", 220, 180), ("blue", 1050, 190), ("yellow", 640, 480),
             ("yellow", 250, 780), ("red", 1040, 770))  # fmt: skip
    for colour, x, y in spots:
        scene.disc(x, y, 110, COLOURS[colour])
    return scene.picture()


def draw_sign() -> Image.Image:
    """A shop's sign with words to be read."""
    scene = Scene("#c9d8d2")
    scene.block((126, 106, 1154, 854), "#16302b")
    scene.block((140, 120, 1140, 840), "#23403a")
    picture = scene.picture()
    draw = ImageDraw.Draw(picture)
    for text, y, size in (("OPEN", 190, 110), ("Tuesday to Saturday", 430, 50),
                          ("9:30 – 18:00", 540, 60), ("Dogs welcome", 690, 42)):  # fmt: skip
        face = ImageFont.truetype(BOLD, size)
        draw.text((640, y), text, font=face, fill="#f6f1de", anchor="ma")
    return picture


def draw_house() -> Image.Image:
    """A house, a tree and the sun, in flat colours."""
    scene = Scene("#bfe0f2")
    scene.block((0, 700, 1280, 960), "#7fb66a")
    scene.disc(1070, 180, 100, COLOURS["yellow"])
    scene.block((250, 430, 700, 780), "#e9d9bd")
    scene.wedge(((200, 430), (750, 430), (475, 210)), COLOURS["red"])
    scene.block((430, 580, 530, 780), "#7a4a2b")
    for x in (300, 570):
        scene.block((x - 8, 492, x + 98, 588), "#5b4630")
        scene.block((x, 500, x + 90, 580), "#9ed0ee")
    scene.block((930, 560, 980, 790), "#7a4a2b")
    scene.disc(955, 480, 145, COLOURS["green"])
    return scene.picture()
