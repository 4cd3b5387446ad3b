"""The bodies of creatures: an outline each, and where face, horns, wings and tail go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.bestiary import BODIES
from starter.creature_paint import Point, ellipse, mirrored, smooth


@dataclass(frozen=True, slots=True)
class Frame:
    """Where things are on a body: its outline, the face, the top of the head, the shoulders, the tail's root."""

    outline: tuple[Point, ...]
    face: Point
    size: float
    top: Point
    wide: float
    shoulder: Point
    root: Point
    feet: bool = True


# `d` makes no two quite alike.


def _round(d: float) -> Frame:
    return Frame(
        tuple(ellipse(0.5, 0.6, 0.265 + d, 0.255)),
        (0.5, 0.57),
        1.0,
        (0.5, 0.35),
        0.13,
        (0.27, 0.56),
        (0.72, 0.72),
    )


def _tall(d: float) -> Frame:
    half = [
        (0.5, 0.25),
        (0.615 + d, 0.29),
        (0.66, 0.42),
        (0.685, 0.6),
        (0.72 + d, 0.76),
        (0.62, 0.86),
    ]
    return Frame(sym(half, 0.865), (0.5, 0.44), 0.9, (0.5, 0.26), 0.1, (0.33, 0.56), (0.68, 0.76))


def _drop(d: float) -> Frame:
    half = [(0.5, 0.19), (0.535, 0.3), (0.62, 0.42), (0.735 + d, 0.56), (0.745, 0.7), (0.65, 0.83)]
    return Frame(sym(half, 0.865), (0.5, 0.6), 1.0, (0.5, 0.4), 0.13, (0.28, 0.58), (0.72, 0.74))


def _quad(d: float) -> Frame:
    half = [
        (0.5, 0.25), (0.62, 0.27), (0.705 + d, 0.38), (0.69, 0.5), (0.62, 0.575), (0.7, 0.66), (0.72, 0.76),
        (0.7, 0.875), (0.6, 0.875), (0.575, 0.8),
    ]  # fmt: skip
    return Frame(
        sym(half, 0.79), (0.5, 0.43), 0.95, (0.5, 0.27), 0.14, (0.31, 0.63), (0.7, 0.68), False
    )


def _snake(d: float) -> Frame:
    half = [
        (0.5, 0.22), (0.61, 0.25), (0.655 + d, 0.35), (0.62, 0.45), (0.585, 0.55), (0.62, 0.62), (0.74, 0.67),
        (0.785 + d, 0.76), (0.72, 0.86), (0.6, 0.89),
    ]  # fmt: skip
    return Frame(
        sym(half, 0.895), (0.5, 0.365), 0.82, (0.5, 0.24), 0.1, (0.39, 0.54), (0.77, 0.78), False
    )


def _bird(d: float) -> Frame:
    half = [(0.5, 0.28), (0.62, 0.31), (0.69 + d, 0.42), (0.715, 0.58), (0.68, 0.74), (0.59, 0.825)]
    return Frame(sym(half, 0.84), (0.5, 0.47), 0.95, (0.5, 0.29), 0.12, (0.3, 0.58), (0.68, 0.72))


def _ghost(d: float) -> Frame:
    half = [
        (0.5, 0.26), (0.63, 0.3), (0.715 + d, 0.43), (0.73, 0.6), (0.755, 0.76), (0.74, 0.85), (0.68, 0.8),
        (0.62, 0.865), (0.56, 0.8),
    ]  # fmt: skip
    return Frame(
        sym(half, 0.86), (0.5, 0.48), 1.0, (0.5, 0.28), 0.13, (0.28, 0.56), (0.73, 0.7), False
    )


def _shroom(d: float) -> Frame:
    half = [(0.5, 0.46), (0.6, 0.47), (0.655 + d, 0.58), (0.68, 0.72), (0.64, 0.84)]
    return Frame(sym(half, 0.87), (0.5, 0.66), 0.85, (0.5, 0.3), 0.19, (0.35, 0.66), (0.67, 0.76))


def sym(half: list[Point], bottom: float) -> tuple[Point, ...]:
    """The outline whose right half is given from the top middle on."""
    return tuple(smooth([*half, (0.5, bottom), *reversed(mirrored(half[1:]))]))


FRAMES: dict[str, Callable[[float], Frame]] = dict(
    zip(BODIES, (_round, _tall, _drop, _quad, _snake, _bird, _ghost, _shroom), strict=True)
)
