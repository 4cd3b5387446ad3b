"""Things in a picture and where they are, by models with classes of their own or by words.

Owns thresholds and places in the source picture. The ways of finding are in `_detectors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.checkpoints import find_checkpoint, read_json
from engine.errors import BadValue
from engine.events import Box, Done, Segment
from engine.families._detectors import Finder, Found, Grounded, OpenWords, OwnClasses
from engine.families._looking import load_looker, tame
from engine.pictures import open_picture
from engine.registry import Emit, ModelSpec
from engine.requests import DetectRequest
from engine.settings import Settings

if TYPE_CHECKING:
    from PIL import Image

SPECS: tuple[ModelSpec, ...] = ()
DTYPE = "float32"  # in bfloat16 a box may be off by four thousandths of the picture
MOST = 300  # things told of one picture
# Scores of different classes mean different things: from where each is usually right.
THRESHOLD = 0.3
THRESHOLDS: Mapping[str, float] = {
    "detr": 0.7,
    "yolos": 0.7,
    "table-transformer": 0.7,
    "owlvit": 0.1,
    "owlv2": 0.2,
    "rt_detr": 0.5,
    "rt_detr_v2": 0.5,
    "d_fine": 0.5,
}
WORDS: Mapping[str, type[Finder]] = {
    "Owlv2": OpenWords,
    "OwlViT": OpenWords,
    "GroundingDino": Grounded,
    "MMGroundingDino": Grounded,
}


def load(spec: ModelSpec, settings: Settings) -> HfDetect:
    """The model of `spec`, ready. Errors: see `load_looker` and `find_checkpoint`."""
    folder = find_checkpoint(spec)
    spec = replace(spec, options={"dtype": DTYPE, **spec.options})
    named = read_json(folder / "config.json", spec).get("architectures")
    classes = {str(name).removesuffix("ForObjectDetection") for name in named or ()}
    reads = next((WORDS[name] for name in classes if name in WORDS), None)
    kind = "AutoModelForZeroShotObjectDetection" if reads else "AutoModelForObjectDetection"
    reader = "AutoProcessor" if reads else "AutoImageProcessor"
    model, processor = load_looker(folder, spec, settings, kind, reader)
    finder = (reads or OwnClasses)(spec, model, processor)
    told = spec.options.get("threshold", THRESHOLDS.get(model.config.model_type, THRESHOLD))
    return HfDetect(finder, float(told))


class HfDetect:
    """A loaded model; a detect request is answered by one Segment a thing, best first, and `Done`."""

    def __init__(self, finder: Finder, threshold: float) -> None:
        self.finder, self.threshold = finder, threshold

    def detect(self, request: DetectRequest, emit: Emit) -> None:
        """Tell what is in a picture: name, `score` in 0..1, and `box` in pixels of the upright picture.

        Raises:
            BadValue, BadFormat, TooLarge: the picture cannot be read, see `open_picture`; a word is empty, or
                the model knows none of the words.
        """
        words = _clean(request.words)
        picture = open_picture(request.image)
        seen = tame(picture, self.finder.longest)
        least = self.threshold if request.threshold is None else request.threshold
        found = [one for one in self.finder.find(seen, words, emit) if one.score >= least]
        found.sort(key=lambda one: -one.score)
        told = 0
        for one in found:
            if told < MOST and (box := _place(one, seen, picture)):
                emit(Segment(one.text, box=box, score=one.score))
                told += 1
        emit(Done())

    def memory(self) -> int:
        """Bytes of the weights."""
        return self.finder.memory()

    def close(self) -> None:
        """Give all memory back."""
        self.finder.close()


def _place(found: Found, seen: Image.Image, picture: Image.Image) -> Box | None:
    """The box in the source picture, within its edges; None where nothing of it is left."""
    wide, high = picture.width / seen.width, picture.height / seen.height
    x0, y0, x1, y1 = found.box
    left, right = (round(min(max(x * wide, 0.0), float(picture.width)), 2) for x in (x0, x1))
    top, bottom = (round(min(max(y * high, 0.0), float(picture.height)), 2) for y in (y0, y1))
    return (left, top, right, bottom) if right > left and bottom > top else None


def _clean(words: Sequence[str]) -> tuple[str, ...]:
    """The words without spaces around, each once."""
    plain = [word.strip() for word in words]
    for number, word in enumerate(plain, 1):
        if not word:
            raise BadValue(f"Word {number} is empty. Leave it out.", param="words")
    return tuple(dict.fromkeys(plain))
