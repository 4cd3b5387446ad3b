"""Lines of a picture found and read by RapidOCR's networks: upright, tilted, sideways or upside down.

Knows no language and no reading order. Points are pixels of the picture that was given, `[4, 2]` a line,
clockwise from where its text begins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.families._networks import Networks

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 1600  # pixels of a page's longer side when lines are looked for: finer merges lines, and costs more
FINE = 2880  # and where letters are too small for that
SMALL = 9.0  # pixels: lines lower than this were too small
LONG = 2.2  # times as high as wide: looked at in strips
OVERLAP = 240  # pixels that strips share
LEAST = 736  # pixels of the longer side that small pictures are enlarged to
HEIGHT = 48  # pixels of a line that is read
WIDTHS = 64  # widths are rounded up to multiples of it, so that few shapes occur
NARROWEST, WIDEST = 320, 4800
UPRIGHT_LINES = 7  # lines that tell how a page lies
SURE = 0.9
FULLWIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@dataclass(slots=True)
class Found:
    """A line: its corners, its text and how sure that is, 0..1."""

    corners: NDArray[Any]
    text: str = ""
    score: float = 0.0


def find_lines(networks: Networks, picture: NDArray[Any]) -> list[NDArray[Any]]:
    """The corners of all lines of a BGR picture, `[4, 2]` each, from the top left of each line as it lies."""
    import cv2

    border = 16 if min(picture.shape[:2]) < 200 else 0
    if border:  # letters that touch the edge are not found
        picture = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_REPLICATE)
    long = max(picture.shape[:2])
    if picture.shape[0] > max(SIDE, LONG * picture.shape[1]) and picture.shape[1] >= OVERLAP:
        lines = _find_in_strips(networks, picture)
        if sum(height > 1.5 * length for length, height in map(sides, lines)) <= len(lines) / 2:
            return lines  # otherwise its lines run along the strip
    side = min(max(long, LEAST), SIDE)
    lines = _find(networks, picture, side)
    if long > SIDE and lines:
        heights = sorted(min(sides(line)) * side / long for line in lines)
        if heights[len(heights) // 2] < SMALL:
            lines = _find(networks, picture, min(long, FINE))
    return [line - border for line in lines] if border else lines


def _find_in_strips(networks: Networks, picture: NDArray[Any]) -> list[NDArray[Any]]:
    """The lines of a picture much higher than wide, as screenshots and receipts are: strip by strip."""
    height, width = picture.shape[:2]
    strip = max(SIDE, round(1.5 * width))
    lines, top = [], 0
    while True:
        bottom = min(height, top + strip)
        # A line that a cut goes through is found whole in the strip that holds its middle.
        first = top + OVERLAP / 2 if top else 0.0
        last = bottom - OVERLAP / 2 if bottom < height else float(height)
        for line in _find(networks, picture[top:bottom], min(bottom - top, SIDE)):
            line[:, 1] += top
            if first <= line[:, 1].mean() < last:
                lines.append(line)
        if bottom == height:
            return lines
        top = bottom - OVERLAP


def _find(networks: Networks, picture: NDArray[Any], side: int) -> list[NDArray[Any]]:
    import cv2
    import numpy as np
    from rapidocr.ch_ppocr_det.utils import DBPostProcess

    height, width = picture.shape[:2]
    scale = min(side / max(height, width), 4.0)
    size = [max(32, round(length * scale / 32) * 32) for length in (width, height)]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(picture, size, interpolation=how)
    batch = (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    chances = networks.find(np.ascontiguousarray(batch))
    # Made anew each time: it is cheap, and then no two threads share one.
    outline = DBPostProcess(thresh=0.3, box_thresh=0.5, max_candidates=2000, unclip_ratio=1.6)
    boxes, _ = outline(chances, (height, width))
    return [box.astype(np.float32) for box in boxes]


def sides(line: NDArray[Any]) -> tuple[float, float]:
    """Length and height of a line."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = line.tolist()
    return (
        max(math.hypot(x1 - x0, y1 - y0), math.hypot(x2 - x3, y2 - y3)),
        max(math.hypot(x3 - x0, y3 - y0), math.hypot(x2 - x1, y2 - y1)),
    )


def turn_lines(
    networks: Networks, picture: NDArray[Any], lines: Sequence[NDArray[Any]]
) -> tuple[list[NDArray[Any]], int]:
    """The lines with their corners where the text begins, and the page's turn in degrees clockwise.

    A page lies sideways where most lines are higher than long, and on its head where most of some lines do.
    """
    import numpy as np

    tall = sum(height > 1.5 * length for length, height in map(sides, lines))
    sideways = tall > 0.6 * len(lines)
    # Sideways: as if the page had been turned clockwise, so that text begins at the top right.
    turned = [np.roll(line, -1, axis=0) for line in lines] if sideways else list(lines)
    long = sorted(turned, key=lambda line: -sides(line)[0])[:UPRIGHT_LINES]
    crops = [cut(picture, line) for line in long if sides(line)[0] > sides(line)[1]]
    if crops and _upside_down(networks, crops):
        return [np.roll(line, -2, axis=0) for line in turned], 270 if sideways else 180
    return turned, 90 if sideways else 0


def _upside_down(networks: Networks, crops: list[NDArray[Any]]) -> bool:
    """Whether these lines stand on their heads; the judge of single lines errs, so reading decides in doubt."""
    import cv2
    import numpy as np

    batch = np.stack([_fit(crop, 192) for crop in crops])
    votes = float((networks.turn(batch)[:, 1] > SURE).mean())
    if votes < 0.4:
        return False
    some = crops[:3]
    upright = read_lines(networks, some)
    turned = read_lines(networks, [cv2.rotate(crop, cv2.ROTATE_180) for crop in some])
    gain = sum(t[1] * len(t[0].replace(" ", "")) for t in turned)
    loss = sum(u[1] * len(u[0].replace(" ", "")) for u in upright)
    if max(gain, loss) < 8 * len(some):  # letters that this network does not know
        return votes > 0.7
    return gain > loss


def cut(picture: NDArray[Any], line: NDArray[Any]) -> NDArray[Any]:
    """The line by itself, straight."""
    import cv2
    import numpy as np

    length, height = sides(line)
    wide, high = max(1, int(length)), max(1, int(height))
    goal = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
    matrix = cv2.getPerspectiveTransform(line.astype(np.float32), goal)
    crop: NDArray[Any] = cv2.warpPerspective(
        picture, matrix, (wide, high), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return crop


def read_found(
    networks: Networks,
    picture: NDArray[Any],
    lines: Sequence[NDArray[Any]],
    spread: Callable[[Callable[[Sequence[int]], None], int], None] | None = None,
) -> list[Found]:
    """The lines, read; in their order, those without text too.

    Args:
        spread: calls its first argument with pieces of `range(second)`, on several threads.
    """
    found = [Found(line) for line in lines]

    def read(numbers: Sequence[int]) -> None:
        crops = [cut(picture, lines[n]) for n in numbers]
        for n, crop, (text, score) in zip(numbers, crops, read_lines(networks, crops), strict=True):
            if crop.shape[0] >= 1.5 * crop.shape[1]:
                text, score = _read_tall(networks, crop, (text, score))
            found[n].text, found[n].score = text, score

    if spread is None:
        read(range(len(lines)))
    else:
        spread(read, len(lines))
    return found


def _read_tall(
    networks: Networks, crop: NDArray[Any], upright: tuple[str, float]
) -> tuple[str, float]:
    """A line that is higher than long: one upright letter, or letters below each other."""
    import cv2

    lying = read_lines(networks, [cv2.rotate(crop, cv2.ROTATE_90_COUNTERCLOCKWISE)])[0]
    return max(upright, lying, key=lambda read: read[1] if read[0].strip() else 0.0)


def read_lines(networks: Networks, crops: Sequence[NDArray[Any]]) -> list[tuple[str, float]]:
    """Text and score of each straight line."""
    # One by one: in a batch the short lines pay for the longest, and the numbers are the same.
    return [_decode(networks.read(_fit(crop)[None])[0], networks.letters) for crop in crops]


def _fit(crop: NDArray[Any], width: int = 0) -> NDArray[Any]:
    """A line as the networks want it: `[3, 48, width]` in -1..1, filled up with grey."""
    import cv2
    import numpy as np

    wanted = max(1, math.ceil(HEIGHT * crop.shape[1] / crop.shape[0]))
    whole = width or min(max(NARROWEST, -(-wanted // WIDTHS) * WIDTHS), WIDEST)
    wide = min(wanted, whole)
    small = cv2.resize(crop, (wide, HEIGHT), interpolation=cv2.INTER_LINEAR)
    fitted = np.zeros((3, HEIGHT, whole), np.float32)
    fitted[:, :, :wide] = (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)
    return fitted


def _decode(chances: NDArray[Any], letters: tuple[str, ...]) -> tuple[str, float]:
    """The likeliest class of each step, repeats and blanks left out, and their mean chance."""
    import numpy as np

    best = chances.argmax(1)
    kept = np.flatnonzero((best != 0) & np.r_[True, best[1:] != best[:-1]])
    if not len(kept):
        return "", 0.0
    text = "".join(letters[n] for n in best[kept])
    if not CJK.search(text):
        text = text.translate(FULLWIDTH)
    return text, float(chances[kept, best[kept]].mean())
