"""Reading order and paragraphs, on boxes as they lie on pages."""

from __future__ import annotations

import random

import pytest

from engine.families._layout import Box, arrange, is_right_to_left, join

HIGH, STEP = 30.0, 40.0


def block(x: float, y: float, width: float, count: int, step: float = STEP) -> list[Box]:
    """So many lines below each other; the last is half as wide."""
    return [
        (x, y + n * step, x + (width if n < count - 1 else width / 2), y + n * step + HIGH)
        for n in range(count)
    ]


def order(boxes: list[Box], right_to_left: bool = False, seed: int = 1) -> list[Box]:
    shuffled = boxes[:]
    random.Random(seed).shuffle(shuffled)
    return [shuffled[place.index] for place in arrange(shuffled, right_to_left)]


ONE = block(100, 100, 1000, 12)
TWO = [*block(100, 100, 480, 12), *block(640, 100, 480, 12)]
UNEVEN = [*block(100, 100, 480, 14), *block(640, 118, 480, 9, 44)]
HEADED = [(100, 100, 1120, 150), *block(100, 200, 480, 8), *block(640, 200, 480, 8)]
TWICE = [
    (100, 100, 1120, 150), *block(100, 200, 480, 5), *block(640, 200, 480, 5),
    (100, 480, 1120, 530), *block(100, 580, 480, 5), *block(640, 580, 480, 5),
]  # fmt: skip
FOOTED = [*block(100, 100, 480, 8), *block(640, 100, 480, 8), (580, 600, 640, 630)]
FOOT_LEFT = [*block(100, 100, 480, 8), *block(640, 100, 480, 8), (100, 620, 200, 650)]
THREE = [*block(50, 100, 330, 9), *block(430, 100, 330, 9), *block(810, 100, 330, 9)]
GAPS = [
    *block(100, 100, 480, 4), *block(100, 300, 480, 4), *block(640, 100, 480, 4), *block(640, 300, 480, 4),
]  # fmt: skip
TABLE = [
    box
    for row in range(6)
    for box in (
        (100, 100 + row * STEP, 420, 130 + row * STEP),
        (700, 100 + row * STEP, 790, 130 + row * STEP),
        (900, 100 + row * STEP, 1000, 130 + row * STEP),
    )
]
TIGHT = [(100, 100 + n * 30, 1000, 138 + n * 30) for n in range(10)]
LABELLED = [
    (100, 100, 1120, 150),
    (100, 200, 500, 230),
    *block(100, 260, 480, 6),
    *block(640, 260, 480, 6),
]


@pytest.mark.parametrize(
    "boxes",
    [ONE, TWO, UNEVEN, HEADED, TWICE, FOOTED, FOOT_LEFT, THREE, GAPS, TABLE, TIGHT, LABELLED],
    ids=[
        "one",
        "two",
        "uneven",
        "headed",
        "twice",
        "footed",
        "foot_left",
        "three",
        "gaps",
        "table",
        "tight",
        "labelled",
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_order(boxes: list[Box], seed: int):
    assert order(boxes, seed=seed) == boxes


def test_right_to_left_columns_and_rows():
    assert order(TWO, right_to_left=True) == [*TWO[12:], *TWO[:12]]
    row = [(100.0, 100.0, 300.0, 130.0), (340.0, 102.0, 600.0, 132.0)]
    assert order(row, right_to_left=True) == row[::-1]


def text_of(boxes: list[Box]) -> str:
    return join([str(n) for n in range(len(boxes))], boxes, arrange(boxes))


def test_paragraphs_are_parted():
    boxes = [*block(100, 100, 1000, 3), *block(100, 100 + 3 * STEP + 20, 1000, 3)]
    assert text_of(boxes) == "0\n1\n2\n\n3\n4\n5"


def test_a_heading_is_a_paragraph_of_its_own():
    boxes = [(100.0, 100.0, 900.0, 160.0), *block(100, 165, 1000, 4)]
    assert text_of(boxes).startswith("0\n\n1\n2")


def test_columns_go_on():
    boxes = [(100.0, 100.0, 1120.0, 150.0), *block(100, 200, 480, 3), *block(640, 200, 480, 3)]
    assert text_of(boxes) == "0\n\n1\n2\n3\n4\n5\n6"


def test_cells_of_a_row_are_parted_by_tabs_and_pieces_of_a_line_by_blanks():
    assert text_of(TABLE).splitlines()[1] == "3\t4\t5"
    assert text_of([(100.0, 100.0, 500.0, 130.0), (515.0, 101.0, 900.0, 131.0)]) == "0 1"


def test_nothing_has_no_order():
    assert arrange([]) == []
    assert join([], [], []) == ""


def test_any_boxes_are_each_read_once():
    chance = random.Random(3)
    for _ in range(60):
        boxes = []
        for _ in range(chance.randint(1, 60)):
            x, y = chance.uniform(0, 900), chance.uniform(0, 900)
            boxes.append((x, y, x + chance.uniform(0, 400), y + chance.uniform(0, 60)))
        assert sorted(place.index for place in arrange(boxes)) == list(range(len(boxes)))


def test_direction():
    assert is_right_to_left(["שלום עולם", "abc"])
    assert not is_right_to_left(["Привет", "123"])
