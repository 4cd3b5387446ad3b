"""What a picture shows: shares of labels, by models that compare pictures with words or know classes of their own.

Owns prompts, the kept vectors of labels and how scores become shares. Loading and passes are in `_looking`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.checkpoints import find_checkpoint, read_json
from engine.errors import BadValue, LoadFailed
from engine.events import Done, Segment
from engine.families._everyday import EVERYDAY
from engine.families._looking import Looker, load_looker, tame
from engine.families._naming import match, some
from engine.pictures import open_picture
from engine.registry import Emit, ModelSpec
from engine.requests import LabelRequest
from engine.settings import Settings

if TYPE_CHECKING:
    import torch
    from PIL import Image

SPECS: tuple[ModelSpec, ...] = ()
KEPT = 4096  # labels whose vectors are kept
LONGEST = 256  # tokens of a label, at most
PASS = 64  # labels that are read in one pass
MOST = 1000  # classes of its own that a model tells of, best first
# How a label is said to a model, by language; what already says that it is a picture is said as it is.
TEMPLATES = {
    "en": "a photo of {}",
    "fr": "photo : {}",
    "pt": "foto: {}",
    "ru": "фото: {}",
}
IS_PICTURE = re.compile(
    r"((an?|the|une?|uma?|это)\s+)?"
    r"(photo|picture|image|drawing|painting|dessin|foto|imagem|desenho|фото|рисун)",
    re.IGNORECASE,
)
ARTICLES = {
    "fr": re.compile(r"(un|une|des|le|la|les|du)\s|[ld]['’]|.*[èêëœùîïÿ]", re.IGNORECASE),
    "pt": re.compile(r"(um|uma|uns|umas|os?|as)\s|.*[ãõ]", re.IGNORECASE),
}


def load(spec: ModelSpec, settings: Settings) -> HfLabel:
    """The model of `spec`, ready. Errors: see `load_looker` and `find_checkpoint`."""
    folder = find_checkpoint(spec)
    classes = read_json(folder / "config.json", spec).get("architectures")
    own = any("ForImageClassification" in str(name) for name in classes or ())
    kind = "AutoModelForImageClassification" if own else "AutoModelForZeroShotImageClassification"
    reader = "AutoImageProcessor" if own else "AutoProcessor"
    model, processor = load_looker(folder, spec, settings, kind, reader)
    return HfClasses(spec, model, processor) if own else HfWords(spec, model, processor)


class HfLabel(Looker):
    """A loaded model; a label request is answered by one Segment a label, best first, and `Done`."""

    def label(self, request: LabelRequest, emit: Emit) -> None:
        """Tell how much of a picture each label has; `score` is in 0..1, and all of them add up to 1.

        Raises:
            BadValue, BadFormat, TooLarge: the picture cannot be read, see `open_picture`; a label is empty, or
                the model knows no such class.
        """
        labels = _clean(request.labels)
        picture = tame(open_picture(request.image))
        shares = self.shares(picture, labels, emit)
        for text, share in sorted(shares.items(), key=lambda item: -item[1]):
            emit(Segment(text, score=share))
        emit(Done())

    def shares(self, picture: Image.Image, labels: Sequence[str], emit: Emit) -> dict[str, float]:
        """The share of each label, of the model's own ones where none are given."""
        raise NotImplementedError


class HfWords(HfLabel):
    """Pictures compared with any words: CLIP, SigLIP, ALIGN and their kin.

    CLIP's scores are shares by nature (a softmax over the labels). SigLIP gives every label a chance of its own
    instead, and several may be likely at once: a label's share is its chance over the sum of all chances.
    """

    def __init__(self, spec: ModelSpec, model: Any, reader: Any) -> None:
        super().__init__(spec, model, reader)
        self._vectors: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._scale = _scale_of(spec, model)
        bias = getattr(model, "logit_bias", None)
        self._bias = None if bias is None else float(bias.float())
        self._how = _text_options(model, reader)

    def memory(self) -> int:
        """Bytes of the weights and of the kept vectors."""
        kept: int = sum(v.numel() * v.element_size() for v in self._vectors.values())
        return super().memory() + kept

    def close(self) -> None:
        """Give all memory back."""
        self._vectors.clear()
        super().close()

    def shares(self, picture: Image.Image, labels: Sequence[str], emit: Emit) -> dict[str, float]:
        """See `HfLabel`; without labels those of the catalog row, else everyday ones."""
        import torch
        from torch.nn import functional

        labels = labels or tuple(self.spec.options.get("labels") or EVERYDAY)
        texts = self._texts(labels, emit)
        prepared = self._reader.image_processor(images=picture, return_tensors="pt")
        image = _vector(self.run("get_image_features", prepared, emit))
        logits = (image @ texts.T)[0] * self._scale
        if self._bias is not None:
            logits = functional.logsigmoid(logits + self._bias)
        shares: list[float] = torch.softmax(logits.double(), 0).tolist()
        return dict(zip(labels, shares, strict=True))

    def _texts(self, labels: Sequence[str], emit: Emit) -> torch.Tensor:
        """`[labels, width]`, each of length 1; what was read before is not read again."""
        import torch

        new = [label for label in labels if label not in self._vectors]
        for start in range(0, len(new), PASS):
            part = new[start : start + PASS]
            said = [say(label, self.spec) for label in part]
            inputs = self._reader.tokenizer(
                [text.lower() for text in said] if self._bias is not None else said,
                return_tensors="pt",
                **self._how,
            )
            for label, vector in zip(
                part, _vector(self.run("get_text_features", inputs, emit)), strict=True
            ):
                self._vectors[label] = vector
        for label in labels:
            self._vectors.move_to_end(label)
        rows = torch.stack([self._vectors[label] for label in labels])
        while len(self._vectors) > KEPT:
            self._vectors.popitem(last=False)
        return rows


class HfClasses(HfLabel):
    """Classes that a model was trained on (ViT, ResNet, ConvNeXt …); labels choose among them."""

    def __init__(self, spec: ModelSpec, model: Any, reader: Any) -> None:
        super().__init__(spec, model, reader)
        named = model.config.id2label
        self.names = tuple(str(named[n]) for n in sorted(named))
        self._each = model.config.problem_type == "multi_label_classification"

    def shares(self, picture: Image.Image, labels: Sequence[str], emit: Emit) -> dict[str, float]:
        """See `HfLabel`; a label that several classes go by has the sum of theirs."""
        import torch
        from torch.nn import functional

        chosen = [(label, self._classes(label)) for label in labels]
        inputs = self._reader(images=picture, return_tensors="pt")
        logits = self.run("forward", inputs, emit).logits[0].double()
        values = torch.softmax(functional.logsigmoid(logits) if self._each else logits, 0).tolist()
        if not chosen:
            best = sorted(range(len(values)), key=lambda n: -values[n])[:MOST]
            chosen = [(self.names[n], [n]) for n in best]
        sums: dict[str, float] = {}
        for label, classes in chosen:
            sums[label] = sums.get(label, 0.0) + sum(values[n] for n in classes)
        total = sum(sums.values()) or 1.0
        return {label: value / total for label, value in sums.items()}

    def _classes(self, label: str) -> list[int]:
        if found := match(label, self.names, self.spec.options.get("also")):
            return found
        raise BadValue(
            f"{self.spec.id} knows only classes of its own, and '{label}' is none of them. It knows "
            f"{some(self.names)}. Choose among them, or a model that reads words.",
            param="labels",
        )


def say(label: str, spec: ModelSpec) -> str:
    """A label as the model is asked for it: in the row's template or its language's, where it has none of its own."""
    told = spec.options.get("template")
    if isinstance(told, str):
        return told.format(label)
    if IS_PICTURE.match(label):
        return label
    return TEMPLATES[language_of(label, spec.languages)].format(label)


def language_of(label: str, languages: Sequence[str]) -> str:
    """The language of a few words, guessed among those a model knows by letters and articles; else English."""
    if re.search(r"[а-яё]", label, re.IGNORECASE):
        found = "ru"
    else:
        found = next((code for code, marks in ARTICLES.items() if marks.match(label)), "en")
    return found if found in languages else "en"


def _clean(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels without spaces around, each once."""
    plain = [label.strip() for label in labels]
    for number, label in enumerate(plain, 1):
        if not label:
            raise BadValue(f"Label {number} is empty. Leave it out.", param="labels")
    return tuple(dict.fromkeys(plain))


def _scale_of(spec: ModelSpec, model: Any) -> float:
    """What a likeness is multiplied by before it becomes a share."""
    scale, heat = getattr(model, "logit_scale", None), getattr(model, "temperature", None)
    if not hasattr(model, "get_text_features") or not hasattr(model, "get_image_features"):
        scale = heat = None
    if scale is not None:
        return float(scale.float().exp())
    if heat is not None:
        return 1 / float(heat.float())
    raise LoadFailed(
        f"Model '{spec.id}' is a {type(model).__name__}, which does not compare pictures with words. "
        "Choose a CLIP or SigLIP model."
    )


def _text_options(model: Any, reader: Any) -> dict[str, Any]:
    """How labels are tokenised: cut to what the model holds; SigLIP was trained on texts of one length."""
    text = getattr(model.config, "text_config", model.config)
    told = getattr(reader.tokenizer, "model_max_length", 0)
    held = getattr(text, "max_position_embeddings", 0)
    longest = min(n for n in (told, held, LONGEST) if n > 0)
    whole = str(model.config.model_type).startswith("siglip")
    return {
        "padding": "max_length" if whole else True,
        "truncation": True,
        "max_length": longest,
    }


def _vector(out: Any) -> torch.Tensor:
    """Features as `[rows, width]` of length 1, in float32 whatever the model's own type."""
    from torch.nn import functional

    features = out if hasattr(out, "dim") else out.pooler_output
    return functional.normalize(features.float(), dim=-1)
