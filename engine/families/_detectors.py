"""How a picture and words become boxes: one class for each way in which models find things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import BadValue, LoadFailed
from engine.families._everyday import THINGS
from engine.families._looking import Looker
from engine.families._naming import match, some
from engine.registry import Emit, ModelSpec

if TYPE_CHECKING:
    from PIL import Image

LEAST = 0.01  # the score below which nothing is worth a look, whatever the threshold
OVERLAP = 0.5  # of two boxes, from which the weaker of one word is taken for the same thing
TEMPLATE = "a photo of {}"
STOPS = ".?"  # what parts the words of a grounded model's text


@dataclass(frozen=True, slots=True)
class Found:
    """A thing: what it is, how sure that is, and its corners x0, y0, x1, y1 in pixels."""

    text: str
    score: float
    box: tuple[float, float, float, float]


class Finder(Looker):
    """A model that finds things."""

    def find(self, picture: Image.Image, words: Sequence[str], emit: Emit) -> list[Found]:
        """What was found, unsorted, in pixels of that picture."""
        raise NotImplementedError


class OwnClasses(Finder):
    """Classes that a model was trained on: DETR and its kin, RT-DETR, D-FINE, YOLOS."""

    def __init__(self, spec: ModelSpec, model: Any, reader: Any) -> None:
        super().__init__(spec, model, reader)
        if not hasattr(reader, "post_process_object_detection"):
            raise LoadFailed(
                f"Model '{spec.id}' is a {type(model).__name__}, whose answers are no boxes of things. "
                "Choose a DETR, RT-DETR, D-FINE or YOLOS model."
            )
        named = model.config.id2label
        self.names = {n: str(named[n]) for n in sorted(named) if str(named[n]) != "N/A"}

    def find(self, picture: Image.Image, words: Sequence[str], emit: Emit) -> list[Found]:
        """Things of its classes, or of those that the words mean. Raises BadValue where they mean none."""
        wanted = self._wanted(words)
        inputs = self._reader(images=picture, return_tensors="pt")
        out = self.run("forward", inputs, emit)
        told = _boxes(self._reader, out, picture)
        return [
            Found(self.names[n], score, box)
            for n, score, box in told
            if n in self.names and (wanted is None or n in wanted)
        ]

    def _wanted(self, words: Sequence[str]) -> set[int] | None:
        if not words:
            return None
        numbers, names = list(self.names), list(self.names.values())
        also: Mapping[str, str] = self.spec.options.get("also") or {}
        found = {numbers[n] for word in words for n in match(word, names, also)}
        if not found:
            raise BadValue(
                f"{self.spec.id} knows only classes of its own, and {_quoted(words)} is none of them. It knows "
                f"{some(names)}. Choose among them, or a model that reads words.",
                param="words",
            )
        return found


class OpenWords(Finder):
    """Any words: OWL-ViT and OWLv2. They tell of one thing many times, so the weaker boxes are dropped."""

    def __init__(self, spec: ModelSpec, model: Any, reader: Any) -> None:
        super().__init__(spec, model, reader)
        # OWLv2's processor blurs before it scales down, which takes seconds where there is much to do.
        self.longest = 2 * int(model.config.vision_config.image_size)

    def find(self, picture: Image.Image, words: Sequence[str], emit: Emit) -> list[Found]:
        """Things that the words name; everyday ones where there are none."""
        import torch
        from torchvision.ops import batched_nms

        words = _words(words, self.spec)
        longest = self._model.config.text_config.max_position_embeddings
        inputs = self._reader(
            text=[TEMPLATE.format(word) for word in words],
            images=picture,
            return_tensors="pt",
            truncation=True,
            max_length=longest,
        )
        out = self.run("forward", inputs, emit)
        told = _boxes(self._reader.image_processor, out, picture)
        if not told:
            return []
        numbers, scores, boxes = (torch.tensor(part) for part in zip(*told, strict=True))
        kept = batched_nms(boxes.float(), scores, numbers, OVERLAP).tolist()
        return [Found(words[told[n][0]], told[n][1], told[n][2]) for n in kept]


class Grounded(Finder):
    """Any words, read as one text: Grounding DINO. A word's score is that of its likeliest token."""

    def find(self, picture: Image.Image, words: Sequence[str], emit: Emit) -> list[Found]:
        """Things that the words name; everyday ones where there are none. Raises BadValue for a word too long."""
        words = _words(words, self.spec)
        prepared = self._reader.image_processor(images=picture, return_tensors="pt")
        found: dict[tuple[int, int], Found] = {}
        for number, group in enumerate(self._groups(words)):
            text = self._reader.tokenizer(
                " ".join(f"{_unstopped(word)}." for word in group),
                return_tensors="pt",
                return_token_type_ids=True,
            )
            out = self.run("forward", {**prepared, **text}, emit)
            for row, one in self._read(out, text["input_ids"][0].tolist(), group, picture):
                found[number, row] = one
        return list(found.values())

    def _read(
        self, out: Any, ids: list[int], words: Sequence[str], picture: Image.Image
    ) -> Iterator[tuple[int, Found]]:
        """Each box with the word that fits it best."""
        import torch

        chances = out.logits[0].float().sigmoid()
        spans = self._spans(ids)[: len(words)]
        scores = torch.stack([chances[:, first:last].amax(1) for first, last in spans], 1)
        best, which = scores.max(1)
        x, y, wide, high = out.pred_boxes[0].float().unbind(1)
        size = torch.tensor([*picture.size, *picture.size], device=x.device)
        boxes = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], 1) * size
        told = zip(best.tolist(), which.tolist(), boxes.tolist(), strict=True)
        for row, (score, n, (x0, y0, x1, y1)) in enumerate(told):
            if score >= LEAST:
                yield row, Found(words[n], score, (x0, y0, x1, y1))

    def _spans(self, ids: list[int]) -> list[tuple[int, int]]:
        """From where to where each word's tokens go."""
        stop = self._reader.tokenizer.convert_tokens_to_ids(".")
        spans, first = [], 1
        for place, token in enumerate(ids):
            if token == stop:
                spans.append((first, place))
                first = place + 1
        return spans

    def _groups(self, words: Sequence[str]) -> list[list[str]]:
        """The words in as many texts as it takes for each to fit."""
        most = int(getattr(self._model.config, "max_text_len", 256)) - 2
        lengths = [
            len(ids) + 1
            for ids in self._reader.tokenizer(
                [_unstopped(word) for word in words], add_special_tokens=False
            )["input_ids"]
        ]
        groups: list[list[str]] = [[]]
        room = most
        for word, length in zip(words, lengths, strict=True):
            if not 1 < length <= most:
                wrong = "is too long" if length > most else "holds nothing that can be looked for"
                raise BadValue(
                    f"'{word[:60]}' {wrong}. Name a thing in a few words.", param="words"
                )
            if length > room:
                groups.append([])
                room = most
            groups[-1].append(word)
            room -= length
        return groups


def _boxes(
    reader: Any, out: Any, picture: Image.Image
) -> list[tuple[int, float, tuple[float, float, float, float]]]:
    """Class number, score and corners of what a class's own rule makes of a pass."""
    size = [(picture.height, picture.width)]
    told = reader.post_process_object_detection(out, threshold=LEAST, target_sizes=size)[0]
    rows = zip(
        told["labels"].tolist(), told["scores"].tolist(), told["boxes"].tolist(), strict=True
    )
    return [(int(n), score, (x0, y0, x1, y1)) for n, score, (x0, y0, x1, y1) in rows]


def _words(words: Sequence[str], spec: ModelSpec) -> list[str]:
    return list(words or spec.options.get("words") or THINGS)


def _unstopped(word: str) -> str:
    """The word in lower case, without the marks that would part it."""
    return " ".join(word.lower().translate(str.maketrans(STOPS, "  ")).split())


def _quoted(words: Sequence[str]) -> str:
    shown = ", ".join(f"'{word[:60]}'" for word in words[:3])
    return f"{shown}, …" if len(words) > 3 else shown
