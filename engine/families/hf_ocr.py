"""Models made for reading pages, through transformers: GOT-OCR2, PaddleOCR-VL, GLM-OCR, LightOnOCR.

Owns the reading of one page after another. Prompts are in `_hf_ocr_models`, documents in `_sheets`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.checkpoints import find_checkpoint, read_json
from engine.errors import LoadFailed
from engine.events import Done, Page
from engine.families._hf_ocr_models import MANNERS, Manner, prepare
from engine.families._looking import Looker, load_looker
from engine.families._sheets import read_sheets
from engine.registry import Emit, ModelSpec
from engine.requests import OcrRequest
from engine.settings import Settings

if TYPE_CHECKING:
    from PIL import Image

SPECS: tuple[ModelSpec, ...] = ()
LEAST = 32  # pixels: processors cannot cut smaller pictures into patches
THINNEST = 16  # a picture gets a white margin beyond this shape: processors refuse thinner ones
LOOP = 240  # tokens that only repeat themselves end a page
PERIOD = 60  # tokens of what is repeated, at most
LOOK = 16  # tokens between two looks for repetition


def load(spec: ModelSpec, settings: Settings) -> HfOcr:
    """The model of `spec`, ready. Errors: see `load_looker` and `find_checkpoint`."""
    folder = find_checkpoint(spec)
    kind = str(read_json(folder / "config.json", spec).get("model_type"))
    if kind not in MANNERS:
        raise LoadFailed(
            f"Model '{spec.id}' is of a kind ('{kind[:80]}') that is not read with here. "
            f"Choose one of these kinds: {', '.join(MANNERS)}."
        )
    model, processor = load_looker(
        folder, spec, settings, "AutoModelForImageTextToText", "AutoProcessor"
    )
    return HfOcr(spec, model, processor, kind)


class HfOcr(Looker):
    """A loaded model that reads pages one after another, on the lane's thread.

    It asks after every token, and within slow passes, whether to go on: a stopped reading ends within one token, and
    a long one lets others pass.
    """

    def __init__(self, spec: ModelSpec, model: Any, processor: Any, kind: str) -> None:
        super().__init__(spec, model, processor)
        self._manner: Manner = MANNERS[kind]
        self._ends = _ends(model, processor.tokenizer, self._manner)

    def ocr(self, request: OcrRequest, emit: Emit) -> None:
        """Emit a Page for each page, with `markdown` where it was asked for; `Done`, "length" if one was cut off.

        Raises:
            BadValue, BadFormat, TooLarge: the only document cannot be opened, see `read_sheets`.
        """
        cut = False

        def read(picture: Image.Image, page: Page) -> Page:
            nonlocal cut
            text, short = self._read(_bordered(picture), request.formatted, emit)
            cut |= short
            marked = request.formatted or self._manner.writes == "always"
            return replace(page, text=text, markdown=text if marked else "")

        read_sheets(request, self.spec.id, emit, read)
        emit(Done(finish="length" if cut else "stop"))

    def _read(self, picture: Image.Image, formatted: bool, emit: Emit) -> tuple[str, bool]:
        """The text of one picture, and whether it was cut off."""
        import torch

        emit(None)
        self._threads.use()
        inputs = prepare(self._manner, self._reader, picture, formatted)
        device, dtype = self._model.device, self._model.dtype
        given = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in inputs.items()
            if name != "token_type_ids"
        }
        asked = int(given["input_ids"].shape[1])
        emit.count(input=asked)
        watch = _Watch(self, emit, asked)
        self._emit, self._asked = emit, time.monotonic()
        try:
            with torch.inference_mode():
                tokens = self._model.generate(
                    **given,
                    do_sample=False,
                    max_new_tokens=self._room(asked),
                    eos_token_id=self._ends,
                    pad_token_id=self._ends[0],
                    stopping_criteria=[watch],
                )[0, asked:].tolist()
        finally:
            self._emit = None
        short = watch.looped or not tokens or tokens[-1] not in self._ends
        if watch.looped:
            tokens = tokens[: len(tokens) - watch.surplus]
        text: str = self._reader.tokenizer.decode(tokens, skip_special_tokens=True)
        return text.strip(), short

    def _room(self, asked: int) -> int:
        """How many tokens may still be made."""
        config = self._model.config.get_text_config(decoder=True)
        context = int(getattr(config, "max_position_embeddings", 0) or self._manner.tokens + asked)
        return max(1, min(self._manner.tokens, context - asked))

    def _token(self, emit: Emit) -> None:
        """A token was made: count it and ask whether to go on."""
        emit.count(output=1)
        self._asked = 0.0
        self._pause()


class _Watch:
    """Looks at every token: asks whether to go on, and ends what only repeats itself."""

    def __init__(self, reader: HfOcr, emit: Emit, asked: int) -> None:
        self._reader, self._heard, self._begin = reader, emit, asked
        self.looped = False
        self.surplus = 0

    def __call__(self, tokens: Any, scores: Any, **more: Any) -> Any:
        import torch

        self._reader._token(self._heard)
        made = tokens.shape[1] - self._begin
        if made >= LOOP and made % LOOK == 0:
            tail = tokens[0, -LOOP:].tolist()
            period = period_of(tail)
            self.looped, self.surplus = period > 0, LOOP - period if period else 0
        return torch.full((tokens.shape[0],), self.looped, device=tokens.device, dtype=torch.bool)


def period_of(tail: Sequence[int]) -> int:
    """After how many tokens these repeat themselves, all of them and at least once; 0: they do not."""
    return next(
        (
            period
            for period in range(1, min(PERIOD, len(tail) // 2) + 1)
            if all(tail[at] == tail[at - period] for at in range(period, len(tail)))
        ),
        0,
    )


def _ends(model: Any, tokenizer: Any, manner: Manner) -> list[int]:
    """The tokens that end an answer, by the model's own settings and by its class."""
    told = model.generation_config.eos_token_id
    told = told if isinstance(told, list) else [told]
    known = [tokenizer.convert_tokens_to_ids(name) for name in manner.ends]
    unknown = tokenizer.unk_token_id
    found = [*told, tokenizer.eos_token_id, *(end for end in known if end != unknown)]
    ends = list(dict.fromkeys(int(end) for end in found if end is not None))
    if not ends:
        raise LoadFailed(
            "The model's files do not say where an answer ends. Copy or download its folder again."
        )
    return ends


def _bordered(picture: Image.Image) -> Image.Image:
    """The picture with a white margin where it is too small or too thin to be cut into patches."""
    from PIL import Image

    width, height = picture.size
    wide = max(width, LEAST, -(-height // THINNEST))
    high = max(height, LEAST, -(-width // THINNEST))
    if (wide, high) == (width, height):
        return picture
    framed = Image.new("RGB", (wide, high), "white")
    framed.paste(picture, ((wide - width) // 2, (high - height) // 2))
    return framed
