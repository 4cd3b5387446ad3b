"""What every model that looks at a picture shares: loading it with its own processor, one pass, giving it back.

Knows no task: what the numbers of a pass mean is for `hf_label` and `hf_detect`.
"""

from __future__ import annotations

import gc
import inspect
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoints import check_checkpoint, may_run_code
from engine.errors import LoadFailed
from engine.families._loading import load_weights
from engine.families._threads import Threads
from engine.registry import Emit, ModelSpec
from engine.settings import Settings

if TYPE_CHECKING:
    from PIL import Image

LONGEST = 2048  # pixels of the longer side that any processor makes use of
THINNEST = 16  # a picture is looked at as if one side were at most so many times the other
MOMENT = 0.02  # seconds a pass works before it asks again whether to go on


def load_looker(
    folder: Path, spec: ModelSpec, settings: Settings, kind: str, reader: str
) -> tuple[Any, Any]:
    """The model, built by transformers' class `kind`, and what prepares its inputs, of the class `reader`.

    Raises:
        LoadFailed, NotDownloaded: see `check_checkpoint`; or transformers cannot build one of the two.
    """
    config = check_checkpoint(folder, spec, settings)
    remote = may_run_code(spec, settings)
    try:
        processor = _load_reader(folder, spec, remote, reader)
        model = load_weights(folder, spec, settings, config, remote, kind)
    except BaseException:
        gc.collect()
        raise
    return model, processor


def _load_reader(folder: Path, spec: ModelSpec, remote: bool, reader: str) -> Any:
    import transformers

    try:
        return getattr(transformers, reader).from_pretrained(
            folder, local_files_only=True, trust_remote_code=remote
        )
    # Processors are made of tokenizers and configs of any age and format; this is their border.
    except Exception as error:
        raise LoadFailed(
            f"The files that tell how model '{spec.id}' reads pictures are missing or broken. "
            "Copy or download the model's folder again."
        ) from error


class Looker:
    """A loaded model that looks at one picture at a time, on the lane's thread.

    Within a pass it asks between layers whether to go on, so a slow one can be stopped and lets others pass.
    `longest` is how many pixels of a picture's longer side are of use to it.
    """

    longest = LONGEST

    def __init__(self, spec: ModelSpec, model: Any, reader: Any) -> None:
        from engine.families._quantising import bytes_held

        self.spec = spec
        self._model, self._reader = model, reader
        self._threads = Threads()
        self._weights = bytes_held(model)
        self._emit: Emit | None = None
        self._asked = 0.0
        self._hook_layers()

    def memory(self) -> int:
        """Bytes of the weights."""
        return self._weights if self._model is not None else 0

    def close(self) -> None:
        """Give all memory back."""
        import torch

        self._model = self._reader = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def run(self, method: str, inputs: Mapping[str, Any], emit: Emit) -> Any:
        """One pass of the model's `method` ("forward", "get_text_features", …) over prepared inputs.

        Raises:
            Cancelled: nobody listens any more.
        """
        import torch

        self._threads.use()
        call = getattr(self._model, method)
        known = inspect.signature(call).parameters
        device, dtype = self._model.device, self._model.dtype
        given = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in inputs.items()
            if name in known
        }
        emit(None)
        self._emit, self._asked = emit, time.monotonic()
        try:
            with torch.inference_mode():
                return call(**given)
        finally:
            self._emit = None

    def _hook_layers(self) -> None:
        """Ask between the layers of every stack of them."""
        import torch

        for module in self._model.modules():
            if isinstance(module, torch.nn.ModuleList | torch.nn.Sequential) and len(module) > 1:
                for layer in module:
                    layer.register_forward_pre_hook(self._pause)

    def _pause(self, *_: Any) -> None:
        import torch

        if self._emit is None or time.monotonic() - self._asked < MOMENT:
            return
        emit, self._emit = self._emit, None
        with torch.inference_mode(False):  # others may be loaded or served before this goes on
            emit(None)
        self._threads.use()
        self._emit, self._asked = emit, time.monotonic()


def tame(picture: Image.Image, longest: int = LONGEST) -> Image.Image:
    """The picture no larger than is of use and no thinner than processors can bear.

    They scale by the shorter side, so a line of 1 x 65,535 pixels would become gigabytes. What is told of the
    result as shares of its width and height is true of the original too.
    """
    width, height = picture.size
    if (times := max(width, height) // longest) > 1:
        picture = picture.reduce((min(times, width), min(times, height)))
        width, height = picture.size
    wide, high = max(width, -(-height // THINNEST)), max(height, -(-width // THINNEST))
    return picture if (wide, high) == (width, height) else picture.resize((wide, high))
