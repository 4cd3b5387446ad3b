"""The lines of one page by either engine or both, and the page they make.

Owns the choice between RapidOCR and Tesseract; knows pictures and packs, not documents or requests.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import Cancelled
from engine.events import Page, Segment
from engine.families import _cleaning, _rapid, _scripts, _tesseract
from engine.families._layout import arrange, is_right_to_left, join
from engine.families._networks import Networks
from engine.families._rapid import Found
from engine.languages import LANGUAGES, installed_packs

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST = 6  # pixels: nothing lower can be read
FEW = 6  # lines of another script that are read one by one; from more on the whole page is
WEAK = 0.8  # Tesseract's lines below this are read a second time
POOR = 0.6  # a page below this may lie on its side


@dataclass(slots=True)
class Task:
    """One page to be read.

    Args:
        picture: BGR.
        packs: of Tesseract; None: find out which it takes, if any. () means RapidOCR alone.
        wanted: False once nobody waits for it.
        spread: runs a function over pieces of a range on several threads.
    """

    picture: NDArray[Any]
    packs: tuple[str, ...] | None
    wanted: Callable[[], bool]
    spread: Callable[[Callable[[Sequence[int]], None], int], None] | None = None
    engines: set[str] = field(default_factory=set)

    def go_on(self) -> None:
        if not self.wanted():
            raise Cancelled


def read_page(task: Task, networks: Networks | None) -> list[Found]:
    """The lines of a page in no order; without networks by Tesseract alone."""
    if min(task.picture.shape[:2]) < LEAST:
        return []
    lines = _read_by_tesseract(task) if networks is None else _read_by_both(task, networks)
    task.go_on()
    return [line for line in lines if line.text.strip()]


def _read_by_both(task: Task, networks: Networks) -> list[Found]:
    places = _rapid.find_lines(networks, task.picture)
    task.go_on()
    if not places:
        return []
    places, turn = _rapid.turn_lines(networks, task.picture, places)
    task.go_on()
    if task.packs == ():
        return _rapidly(task, networks, places)
    packs, found = task.packs, []
    if packs is None:
        chosen = _scripts.spread_out(places)
        sample = _rapidly(task, networks, [places[n] for n in chosen])
        foreign = [line for line in sample if _scripts.is_foreign(line)]
        if len(foreign) < len(sample):
            found = _the_rest(task, networks, places, chosen, sample)
            foreign = [line for line in found if _scripts.is_foreign(line)]
        unread = [line.corners for line in foreign] if found else places
        packs = _packs_for(task, unread) if unread else ()
        if not packs:
            return found or _the_rest(task, networks, places, chosen, sample)
        doubtful = [line for line in found if _scripts.is_doubtful(line)]
        if doubtful and len(doubtful) <= FEW:
            return _with_few(task, found, doubtful, packs)
    elif any(_is_rapid(pack) for pack in packs):
        found = _rapidly(task, networks, places)
    lines = _pagewise(task, packs, turn)
    if _mean(lines) < POOR:  # letters that the networks do not know may mislead them about the turn
        lines = max(lines, _pagewise(task, packs, (turn + 180) % 360), key=_mean)
    return _merged(task, lines, found) if found else _checked(task, networks, lines)


def _rapidly(task: Task, networks: Networks, places: Sequence[NDArray[Any]]) -> list[Found]:
    task.engines.add("rapidocr")
    found = _rapid.read_found(networks, task.picture, places, task.spread)
    task.go_on()
    return found


def _the_rest(
    task: Task,
    networks: Networks,
    places: Sequence[NDArray[Any]],
    chosen: Sequence[int],
    sample: list[Found],
) -> list[Found]:
    """All lines, where some were read before."""
    left = [n for n in range(len(places)) if n not in set(chosen)]
    return [*sample, *_rapidly(task, networks, [places[n] for n in left])]


def _packs_for(task: Task, unread: Sequence[NDArray[Any]]) -> tuple[str, ...]:
    """The pack for lines that RapidOCR does not know the letters of."""
    long = sorted(unread, key=lambda corners: -_rapid.sides(corners)[0])
    packs = _scripts.find_pack([_rapid.cut(task.picture, line) for line in long[:16]], task.wanted)
    task.go_on()
    return packs


def _is_rapid(pack: str) -> bool:
    return any(language.pack == pack and language.rapid for language in LANGUAGES.values())


def _pagewise(task: Task, packs: Sequence[str], turn: int) -> list[Found]:
    """The page by Tesseract."""
    task.engines = {"tesseract"}
    page = _cleaning.clean(task.picture, turn)
    rows = _tesseract.read_page(page.picture, packs, task.wanted)
    task.go_on()
    return [
        Found(page.place(*row.box), _scripts.mend_lookalikes(row.text), row.score) for row in rows
    ]


def _with_few(
    task: Task, found: list[Found], doubtful: list[Found], packs: Sequence[str]
) -> list[Found]:
    """Lines of another script on a page of known letters, each read by itself."""
    packs = [*packs, *({"eng"} & installed_packs())]  # a line may hold both
    for line in doubtful:
        grey = _scripts.stack([_rapid.cut(task.picture, line.corners)])
        rows = _tesseract.read_page(grey, packs, task.wanted, mode=6)
        task.go_on()
        text = " ".join(row.text for row in rows)
        if text and not _scripts.is_latin(text) and _scripts.worth(rows) > WEAK:
            task.engines.add("tesseract")
            line.text = _scripts.mend_lookalikes(text)
            line.score = statistics.mean(row.score for row in rows)
    return found


def _checked(task: Task, networks: Networks, lines: list[Found]) -> list[Found]:
    """Lines that Tesseract is not sure of, by RapidOCR where that is: another script in between."""
    weak = [line for line in lines if line.score < WEAK]
    if weak:
        places = [_widened(line.corners) for line in weak]
        again = _rapid.read_found(networks, task.picture, places, task.spread)
        task.go_on()
        for line, second in zip(weak, again, strict=True):
            if second.score > line.score and _scripts.is_trusted(second.text, second.score):
                line.text, line.score = second.text, second.score
                task.engines.add("rapidocr")
    return lines


def _widened(corners: NDArray[Any]) -> NDArray[Any]:
    """A line with the margin that RapidOCR's networks are used to; Tesseract's boxes have none."""
    import numpy as np

    across, down = corners[1] - corners[0], corners[3] - corners[0]
    high = float(np.hypot(*down)) or 1.0
    margin = 0.15 * high * across / (float(np.hypot(*across)) or 1.0)
    below = 0.15 * down
    ways = (-margin - below, margin - below, margin + below, below - margin)
    widened: NDArray[Any] = (corners + np.stack(ways)).astype(np.float32)
    return widened


def _merged(task: Task, lines: list[Found], found: list[Found]) -> list[Found]:
    """Tesseract's lines, with those of RapidOCR in their place that it surely read right."""
    trusted = [line for line in found if _scripts.is_trusted(line.text, line.score)]
    if trusted:
        task.engines.add("rapidocr")
    kept = [
        line for line in lines if not any(_covers(one.corners, line.corners) for one in trusted)
    ]
    return [*kept, *trusted]


def _covers(corners: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether most of the other line lies in this one."""
    import cv2
    import numpy as np

    own = np.asarray(other, np.float32)
    shared, _ = cv2.intersectConvexConvex(np.asarray(corners, np.float32), own)
    return bool(shared > 0.5 * abs(cv2.contourArea(own)))


def _read_by_tesseract(task: Task) -> list[Found]:
    """By Tesseract alone: its own guess of script and position where no language is named."""
    packs, turn = task.packs, 0
    if not packs:
        page = _cleaning.clean(task.picture)
        lie = _tesseract.look(page.picture, task.wanted)
        task.go_on()
        turn = lie.turn
        if turn:
            page = _cleaning.clean(task.picture, turn)
        packs = _packs_by_look(task, page.picture, lie.script)
    lines = _pagewise(task, packs, turn)
    if task.packs and _mean(lines) < POOR:  # it may lie on its side
        page = _cleaning.clean(task.picture)
        lie = _tesseract.look(page.picture, task.wanted)
        task.go_on()
        if lie.turn:
            turned = _pagewise(task, packs, lie.turn)
            lines = max(lines, turned, key=_mean)
    return lines


def _packs_by_look(task: Task, grey: NDArray[Any], script: str) -> tuple[str, ...]:
    """The pack whose reading of a strip of the page is surest, of those in its script."""
    import numpy as np

    held = installed_packs()
    script = _scripts.OUR_SCRIPT.get(script, script) or "Latin"
    languages = [x for x in LANGUAGES.values() if x.pack in held and x.script == script]
    high = min(grey.shape[0], 360)
    written = np.cumsum(np.r_[0, _cleaning.ink(grey).sum(1)])
    fullest = int((written[high:] - written[:-high]).argmax())
    strip = np.ascontiguousarray(grey[fullest : fullest + high])
    packs = _scripts.best_pack(strip, languages, task.wanted, least=0.0)
    task.go_on()
    return packs or ("eng",)


def _mean(lines: Sequence[Found]) -> float:
    return statistics.mean(line.score for line in lines) if lines else 0.0


def make_page(lines: Sequence[Found], width: int, height: int, model: str) -> Page:
    """The lines in reading order, and their text, as page 0 of document 0."""
    rotation = _level(lines)
    boxes = [_box(line.corners @ rotation) for line in lines]
    places = arrange(boxes, is_right_to_left(line.text for line in lines))
    texts = [line.text.strip() for line in lines]
    segments = []
    for place in places:
        line = lines[place.index]
        corners = [
            (min(max(float(x), 0.0), float(width)), min(max(float(y), 0.0), float(height)))
            for x, y in line.corners
        ]
        flat = [round(value, 1) for corner in corners for value in corner]
        xs, ys = flat[::2], flat[1::2]
        segments.append(
            Segment(
                texts[place.index],
                box=(min(xs), min(ys), max(xs), max(ys)),
                score=round(min(1.0, max(0.0, line.score)), 4),
                corners=(flat[0], flat[1], flat[2], flat[3], flat[4], flat[5], flat[6], flat[7]),
            )
        )
    text = join(texts, boxes, places)
    return Page(0, 0, 0, width, height, tuple(segments), text, model=model)


def _level(lines: Sequence[Found]) -> NDArray[Any]:
    """The rotation `[2, 2]` after which the page's lines lie level, text beginning on the left."""
    import numpy as np

    along = [line.corners[1] - line.corners[0] for line in lines]
    long = sorted(along, key=lambda way: -math.hypot(*way))[: max(1, len(along) // 2)]
    if not long:
        return np.eye(2)
    first = math.atan2(long[0][1], long[0][0])
    turns = [(math.atan2(y, x) - first + math.pi) % (2 * math.pi) - math.pi for x, y in long]
    angle = first + statistics.median(turns)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _box(corners: NDArray[Any]) -> tuple[float, float, float, float]:
    (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
    return x0, y0, x1, y1
