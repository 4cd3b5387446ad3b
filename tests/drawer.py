"""A model family that draws without a model: a plain picture in the colour that the prompt names first.

Words of the prompt steer it: `!slow` takes 20 ms a step, `!fail` breaks after the first step.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass

from engine.errors import GenerationFailed
from engine.events import Done, Image, Progress
from engine.recipes import write_png
from engine.registry import Emit, ModelSpec
from engine.requests import ImageRequest
from engine.settings import Settings

SPECS = (
    ModelSpec(
        "drawer", frozenset({"image"}), "drawer", title="Drawer", memory=100, starter=True,
        aliases=("painter",), options={"steps": 4, "guidance": 2.0},
    ),
)  # fmt: skip
COLOURS = ("red", "green", "blue", "white", "black")


@dataclass
class Drawer:
    """Serves one request at a time."""

    spec: ModelSpec
    drawn: int = 0

    def image(self, request: ImageRequest, emit: Emit) -> None:
        from PIL import Image as Pixels

        steps = request.steps or 4
        words = request.prompt.lower().split()
        colour = next((word for word in words if word in COLOURS), "grey")
        width, height = ((side or 64) // 8 * 8 for side in (request.width, request.height))
        for step in range(steps):
            if "!slow" in words:
                time.sleep(0.02)
            if "!fail" in words and step:
                raise GenerationFailed("drawer failed while it drew. Try again.")
            out = io.BytesIO()
            Pixels.new("RGB", (16, 16), colour).save(out, "JPEG")
            emit(Progress(step + 1, steps, out.getvalue() if request.preview else None))
        for n in range(request.count):
            seed = (request.seed or 0) + n
            recipe = {
                "prompt": request.prompt, "negative": request.negative, "model": self.spec.id,
                "width": width, "height": height, "steps": steps, "guidance": request.guidance or 2.0,
                "seed": seed, "mode": "text" if request.image is None else "image", "loras": [],
            }  # fmt: skip
            data = write_png(Pixels.new("RGB", (width, height), colour), recipe)
            emit.count(images=1, megapixel_steps=steps * width * height / 1e6)
            note = "" if (request.width or 64) % 8 == 0 else f"Rounded to {width}x{height}."
            emit(Image(data, "image/png", seed, width, height, note))
        emit(Done())

    def close(self) -> None: ...


def load(spec: ModelSpec, settings: Settings) -> Drawer:
    return Drawer(spec)
