"""The Brenda dialect's drawing: pictures from words, pictures refined, the models that do it.

Knows its paths and the engine's requests and events; nothing of how models draw.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import Event, Image, ImageRequest, Lora, Progress, Result
from engine.recipes import read_recipe
from routers import wire
from routers.bodies import DISC, EVENTS, Body, build, bytes_of, example, seconds_of, shown
from routers.refusals import plain

SHOWN = {
    "image": DISC,
    "model": "sdxl-turbo",
    "seed": 7,
    "width": 512,
    "height": 512,
    "steps": 4,
    "processing_time": 2.1,
}


class DrawingBody(Body):
    """What all drawing has in common."""

    prompt: str = ""
    negative_prompt: str = ""
    width: int | None = Field(None, description="Pixels; absent: the model's own.")
    height: int | None = Field(None, description="Pixels; absent: the model's own.")
    steps: int | None = Field(None, description="Denoising steps, 1 to 500; absent: the model's.")
    guidance: float | None = Field(None, description="0 to 50; absent: the model's own.")
    model: str | None = Field(None, description="A model that draws; absent: the default.")
    seed: int | None = Field(None, description="The same seed draws the same picture.")
    count: int = Field(1, description="Pictures, at most 16; `images` then holds all.")
    scheduler: str = Field("", description='"euler", "dpm++", …; absent: the model\'s own.')
    loras: dict[str, float] | None = Field(None, description="LoRAs by name, with their scales.")
    preview: bool = Field(False, description="Streamed progress carries small JPEGs.")
    stream: bool = False
    keep_alive: float | str | None = None

    def fields(self) -> dict[str, Any]:
        """The request's fields that both calls share."""
        loras = (self.loras or {}).items()
        return {
            "model": self.model,
            "prompt": self.prompt,
            "negative": self.negative_prompt,
            "width": self.width,
            "height": self.height,
            "steps": self.steps,
            "guidance": self.guidance,
            "seed": self.seed,
            "count": self.count,
            "scheduler": self.scheduler,
            "loras": tuple(build(Lora, name=name, scale=scale) for name, scale in loras),
            "preview": self.preview,
            "keep_alive": seconds_of(self.keep_alive),
        }


class GenerateBody(DrawingBody):
    """A picture to draw."""

    model_config = shown(
        {
            "prompt": "a small red dragon on a hill",
            "negative_prompt": "blurry",
            "width": 512,
            "height": 512,
            "steps": 4,
        }
    )

    prompt: str


class RefineBody(DrawingBody):
    """A picture to draw anew."""

    model_config = shown(
        {
            "image": DISC,
            "prompt": "a ripe apple",
            "negative_prompt": "",
            "strength": 0.6,
            "steps": 8,
        }
    )

    image: str = Field(description="Base64, or a data: URL, of PNG, JPEG, WebP, BMP or TIFF.")
    strength: float = Field(0.6, description="How much may change, above 0 to 1.")
    mask: str | None = Field(None, description="A picture; only where it is white is painted anew.")


def parse(body: GenerateBody) -> ImageRequest:
    """The request for a picture. Raises BadValue."""
    return build(ImageRequest, **body.fields())


def parse_refining(body: RefineBody) -> ImageRequest:
    """The request for a refined picture. Raises BadValue."""
    mask = bytes_of(body.mask, "mask") if body.mask else None
    image = bytes_of(body.image, "image")
    return build(ImageRequest, **body.fields(), image=image, mask=mask, strength=body.strength)


def _told(image: Image, meta: wire.Meta) -> dict[str, Any]:
    """One picture as both forms of the answer tell it."""
    recipe = read_recipe(image.data) or {}
    told: dict[str, Any] = {
        "image": b64encode(image.data).decode(),
        "model": meta.model,
        "seed": image.seed,
        "width": image.width,
        "height": image.height,
        "steps": recipe.get("steps"),
        "processing_time": round(meta.seconds, 3),
    }
    return {**told, "note": image.note} if image.note else told


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """`progress` for each step, `image` for each picture."""
    async for event in events:
        match event:
            case Progress(done, total, preview):
                told: dict[str, Any] = {"type": "progress", "step": done, "steps": total}
                if preview is not None:
                    told["preview"] = b64encode(preview).decode()
                yield b"data: " + orjson.dumps(told) + b"\n\n"
            case Image():
                yield b"data: " + orjson.dumps({"type": "image", **_told(event, meta)}) + b"\n\n"
            case _:
                yield wire.waiting(event)
    yield wire.DONE


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """The first picture; all of them in `images` where several were asked for."""
    pictures = [_told(image, meta) for image in result.images]
    if len(pictures) <= 1:
        return pictures[0] if pictures else {"image": None, "model": meta.model, "stopped": True}
    return {**pictures[0], "images": pictures}


DRAWING = wire.Dialect("brenda", stream, reply, plain)
router = APIRouter(tags=["Brenda"])


@router.get(
    "/v1/ai/image/models",
    summary="The models that draw",
    responses=example({"models": ["stabilityai/sdxl-turbo"]}),
)
async def models(http: HttpRequest) -> Response:
    return wire.json({"models": [spec.id for spec in wire.engine_of(http).models("image")]})


@router.post(
    "/v1/ai/image/generate",
    summary="Draw a picture; streamed, with its progress",
    responses=example(SHOWN, also=(EVENTS,)),
)
async def generate(body: GenerateBody, http: HttpRequest) -> Response:
    return await _answer(parse(body), body, http)


@router.post(
    "/v1/ai/image/refine",
    summary="Draw a picture anew, from another or under a mask",
    responses=example(SHOWN, also=(EVENTS,)),
)
async def refine(body: RefineBody, http: HttpRequest) -> Response:
    return await _answer(parse_refining(body), body, http)


async def _answer(request: ImageRequest, body: DrawingBody, http: HttpRequest) -> Response:
    meta = wire.meta_of(http, request, body.ignored("brenda"))
    events = wire.engine_of(http).run(request, wire.caller_of(http, "brenda"))
    return await wire.respond(http, events, DRAWING, meta, stream=body.stream)
