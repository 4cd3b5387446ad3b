"""The page's calls for programs that draw: `/image` and `/creature` of `gradio_client`.

They go straight to the engine; their components, which nobody sees, are what makes Gradio take and give files.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from engine import Engine, ImageRequest, Priority, Progress, Result
from engine.recipes import read_recipe
from ui.parts import caller_of, make, paced, uploads
from ui.picture_calls import HIDDEN, refusing


def add_image_calls(engine: Engine) -> None:
    """Register the endpoints; for use while a page is being built."""
    with gr.Column(visible=False):
        _add_image(engine)
        _add_creature(engine)


def _add_image(engine: Engine) -> None:
    @refusing
    async def image(
        request: gr.Request,
        prompt: str,
        negative: str = "",
        model: str = "",
        width: float = 0,
        height: float = 0,
        steps: float = 0,
        guidance: float = -1,
        seed: float = -1,
        picture: Any = None,
        strength: float = 0.6,
    ) -> AsyncGenerator[tuple[Any, dict[str, Any]]]:
        """Draw a picture from words, or from another picture. Streams its progress as {"step", "steps"}; the last
        update is the PNG, which carries its recipe, and that recipe. 0 and -1 stand for the model's own."""
        source = [upload.data async for upload in uploads(picture)] if picture else []
        wanted = make(
            ImageRequest, model=model or None, prompt=str(prompt), negative=str(negative or ""),
            width=int(width or 0) or None, height=int(height or 0) or None, steps=int(steps or 0) or None,
            guidance=None if guidance < 0 else float(guidance),
            seed=None if seed < 0 else int(seed),
            image=source[0] if source else None, strength=float(strength or 0.6), preview=False,
        )  # fmt: skip
        result = Result()
        caller = caller_of(request, "gradio", Priority.API)
        async with aclosing(paced(engine.run(wanted, caller))) as batches:
            async for batch in batches:
                told: dict[str, Any] = {}
                for event in batch:
                    result.add(event)
                    if isinstance(event, Progress):
                        told = {"step": event.done, "steps": event.total}
                yield None, told
        for drawn in result.images:
            recipe = await asyncio.to_thread(read_recipe, drawn.data) or {}
            yield await _file(drawn.data, "picture"), {**recipe, "note": drawn.note}

    gr.Button().click(
        image,
        [
            gr.Textbox("", label="prompt"),
            gr.Textbox("", label="negative"),
            gr.Textbox("", label="model: a catalog id; empty: the default"),
            gr.Number(0, label="width; 0: the model's own", precision=0),
            gr.Number(0, label="height; 0: the model's own", precision=0),
            gr.Number(0, label="steps; 0: the model's own", precision=0),
            gr.Number(-1, label="guidance; -1: the model's own"),
            gr.Number(-1, label="seed; -1: by chance", precision=0),
            gr.File(label="picture to begin from"),
            gr.Number(0.6, label="strength: how much of it may change"),
        ],
        [gr.File(label="picture"), gr.JSON(label="recipe")],
        api_name="image",
        api_description=image.__doc__,
        **HIDDEN,
    )


def _add_creature(engine: Engine) -> None:
    @refusing
    async def creature(request: gr.Request) -> AsyncGenerator[tuple[Any, dict[str, str]]]:
        """A creature: its picture, and its id, name and rarity."""
        made = await engine.creatures.make(caller_of(request, "gradio", Priority.API))
        told = {"id": made.id, "name": made.name, "rarity": made.rarity}
        yield await _file(made.image, "creature"), told

    gr.Button().click(
        creature,
        [],
        [gr.File(label="picture"), gr.JSON(label="creature")],
        api_name="creature",
        api_description=creature.__doc__,
        **HIDDEN,
    )


async def _file(data: bytes, name: str) -> str:
    """A file that Gradio may hand out, in its own folder; swept with the uploads."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(16)
    file = folder / f"{name}.png"
    await asyncio.to_thread(folder.mkdir, parents=True)
    await asyncio.to_thread(file.write_bytes, data)
    return str(file)
