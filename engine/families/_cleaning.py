"""A page made fit for Tesseract: grey, straight, without grain, large enough; and the way back to its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOK = 1000  # pixels of the longer side at which a page is judged
MOST_TILT = 12.0  # degrees
LEAST_TILT = 0.25
GRAINY = 8.0  # standard deviation of grey values on even ground
LOW = 9.0  # pixels: the median height of letters below which a page is enlarged
HIGHEST = 7000  # pixels of a side that is still enlarged


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A grey page, and the affine map `[2, 3]` from its pixels to those of the page as it was."""

    picture: NDArray[Any]
    back: NDArray[Any]

    def place(self, x0: float, y0: float, x1: float, y1: float) -> NDArray[Any]:
        """The corners `[4, 2]` on the original page of a box on this one."""
        import numpy as np

        corners = np.array([[x0, y0, 1], [x1, y0, 1], [x1, y1, 1], [x0, y1, 1]], np.float64)
        placed: NDArray[Any] = corners @ self.back.T
        return placed


def clean(picture: NDArray[Any], turn: int = 0, level: bool = True) -> Cleaned:
    """A BGR page, `turn` degrees (a multiple of 90) turned clockwise, made fit for Tesseract.

    Args:
        level: look for a tilt and for small letters too.
    """
    import cv2
    import numpy as np

    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
    height, width = grey.shape
    forward = np.eye(3)
    if turn:
        grey = np.ascontiguousarray(np.rot90(grey, turn // 90))
        forward = _unturned(turn, width, height)
    if grain(grey) > GRAINY:
        grey = cv2.GaussianBlur(cv2.medianBlur(grey, 3), (0, 0), 1.0)
    if ground(grey) < 110:  # white on black
        grey = 255 - grey
    if not level:
        return Cleaned(grey, np.linalg.inv(forward)[:2])
    scale = 2.0 if letter_height(grey) < LOW and max(grey.shape) * 2 <= HIGHEST else 1.0
    angle = tilt(grey)
    if scale > 1 or abs(angle) >= LEAST_TILT:
        high, wide = grey.shape
        matrix = cv2.getRotationMatrix2D((wide / 2, high / 2), angle, scale)
        size = (round(wide * scale), round(high * scale))
        matrix[:, 2] += [(size[0] - wide) / 2, (size[1] - high) / 2]
        grey = cv2.warpAffine(
            grey, matrix, size, flags=cv2.INTER_CUBIC, borderValue=float(ground(grey))
        )
        forward = np.vstack([matrix, [0, 0, 1]]) @ forward
    return Cleaned(grey, np.linalg.inv(forward)[:2])


def _unturned(turn: int, width: int, height: int) -> NDArray[Any]:
    """The map `[3, 3]` of a page that lies turned clockwise to the upright one."""
    import numpy as np

    if turn == 90:
        return np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1]], np.float64)
    if turn == 180:
        return np.array([[-1, 0, width], [0, -1, height], [0, 0, 1]], np.float64)
    return np.array([[0, -1, height], [1, 0, 0], [0, 0, 1]], np.float64)


def ground(grey: NDArray[Any]) -> int:
    """The commonest grey: the paper's."""
    import numpy as np

    return int(np.bincount(grey[::4, ::4].ravel() // 8, minlength=32).argmax()) * 8 + 7


def grain(grey: NDArray[Any]) -> float:
    """The standard deviation of grain on even ground, in grey values.

    By the median of differences that leave plain slopes out; letters cover less than half of a page.
    """
    import cv2
    import numpy as np

    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    middle = grey[: 4 * 512, : 4 * 512]
    return float(np.median(np.abs(cv2.filter2D(middle.astype(np.float32), -1, mask)))) / (
        6 * 0.6745
    )


def ink(grey: NDArray[Any]) -> NDArray[Any]:
    """1 where something is written."""
    import cv2

    kind = cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU
    mask: NDArray[Any] = cv2.threshold(grey, 0, 1, kind)[1]
    return mask


def letter_height(grey: NDArray[Any]) -> float:
    """The median height of what looks like letters, in pixels; a large number where there are few."""
    import cv2
    import numpy as np

    _, _, stats, _ = cv2.connectedComponentsWithStats(ink(grey), connectivity=8)
    heights, widths = stats[1:, cv2.CC_STAT_HEIGHT], stats[1:, cv2.CC_STAT_WIDTH]
    letters = heights[(heights >= 4) & (heights < 200) & (widths < 4 * heights)]
    return float(np.median(letters)) if len(letters) >= 20 else 1000.0


def tilt(grey: NDArray[Any]) -> float:
    """Degrees by which the page must be turned counter-clockwise (as OpenCV counts) so that lines lie level.

    The angle at which ink gathers most in rows; 0 where none stands out.
    """
    import cv2
    import numpy as np

    scale = min(1.0, LOOK / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ys, xs = np.nonzero(ink(small))
    if len(ys) < 200 or len(ys) > 0.5 * small.size:
        return 0.0
    if len(ys) > 60_000:
        chosen = np.random.default_rng(0).choice(len(ys), 60_000, replace=False)
        ys, xs = ys[chosen], xs[chosen]

    def gathered(degrees: float) -> float:
        radians = np.deg2rad(degrees)
        rows = ys * np.cos(radians) - xs * np.sin(radians)
        counts = np.bincount((rows - rows.min()).astype(np.int64)).astype(np.float64)
        return float((counts**2).sum())

    steps = round(2 * MOST_TILT)
    rough = max((n / 2 for n in range(-steps, steps + 1)), key=gathered)
    fine = max((rough + n / 10 for n in range(-5, 6)), key=gathered)
    return fine if gathered(fine) > 1.1 * gathered(0.0) else 0.0
