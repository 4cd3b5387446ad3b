"""OpenAI's images: generations and edits, whole or streamed with partial pictures.

Knows OpenAI's words and the engine's events; nothing of how models draw.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, File, Form, UploadFile
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import BadValue, Event, Image, ImageRequest, Progress, Result, fold
from engine.pictures import alpha_mask, convert
from routers import wire
from routers.bodies import EVENTS, Body, build, example, ignored_names, shown
from routers.openai_parts import error

Format = Literal["png", "jpeg", "webp"]
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
PARTIAL = 3  # pictures on the way that may be asked for
TAKEN = (
    "image", "image[]", "mask", "prompt", "model", "n", "size", "response_format", "output_format",
    "stream", "partial_images", "seed", "negative_prompt", "steps", "guidance", "strength", "user",
    "quality", "background", "output_compression", "input_fidelity", "moderation",
)  # fmt: skip
router = APIRouter(tags=["OpenAI"])


class ImagesBody(Body):
    """A picture to draw. `quality`, `style`, `background` and the like are accepted and change nothing."""

    model_config = shown({"prompt": "a small red dragon on a hill", "n": 1, "size": "512x512"})

    prompt: str
    model: str | None = None
    n: int | None = Field(None, description="Pictures, at most 10.")
    size: str | None = Field(None, description='"512x512"; "auto" or absent: the model\'s own.')
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description='Absent: b64_json. A "url" is a data: URL, for nothing is kept here.'
    )
    output_format: Format | None = None
    output_compression: int | None = Field(None, ge=0, le=100)
    stream: bool | None = None
    partial_images: int | None = None
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    moderation: str | None = None
    user: str | None = None
    negative_prompt: str = Field("", description="An extra of ours, as are the next four.")
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    scheduler: str = ""


def size_of(text: str | None) -> dict[str, int]:
    """Width and height of "512x512"; none for "auto". Raises BadValue."""
    if text is None or text == "auto":
        return {}
    found = SIZE.fullmatch(text)
    if found is None:
        raise BadValue('size: write "512x512" or "auto".', param="size")
    return {"width": int(found[1]), "height": int(found[2])}


def count_of(n: int | None, name: str = "n", most: int = 10, least: int = 1) -> int:
    """How many were asked for. Raises BadValue."""
    if n is not None and not least <= n <= most:
        raise BadValue(f"{name}: from {least} to {most}.", param=name)
    return least if n is None else n


def parse(body: ImagesBody) -> ImageRequest:
    """The request for pictures. Raises BadValue."""
    return build(
        ImageRequest,
        model=body.model,
        prompt=body.prompt,
        negative=body.negative_prompt,
        seed=body.seed,
        steps=body.steps,
        guidance=body.guidance,
        scheduler=body.scheduler,
        count=count_of(body.n),
        preview=bool(body.stream and body.partial_images),
        **size_of(body.size),
    )


def _facts(picture: Image, meta: wire.Meta) -> dict[str, Any]:
    return {
        "size": f"{picture.width}x{picture.height}",
        "quality": "auto",
        "background": "opaque",
        "output_format": meta.extra["format"],
    }


def _usage(count: int) -> dict[str, Any]:
    """Tokens are not what pictures cost here; the fields are there for who reads them."""
    return {
        "input_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 0,
        "input_tokens_details": {"text_tokens": 0, "image_tokens": 0},
        "images": count,
    }


def _file(picture: Image, meta: wire.Meta) -> str:
    data = picture.data
    if meta.extra["format"] != "png":
        data = convert(data, meta.extra["format"], meta.extra["compression"])
    return b64encode(data).decode()


def reply(result: Result, meta: wire.Meta) -> dict[str, Any]:
    """OpenAI's answer with all pictures."""
    rows = []
    for picture in result.images:
        row: dict[str, Any] = {"b64_json": _file(picture, meta)}
        if meta.extra["url"]:
            row = {"url": f"data:image/{meta.extra['format']};base64,{row['b64_json']}"}
        row["seed"] = picture.seed
        rows.append({**row, "note": picture.note} if picture.note else row)
    facts = _facts(result.images[0], meta) if result.images else {}
    return {
        "created": meta.created,
        "data": rows,
        **facts,
        "model": meta.model,
        "usage": _usage(len(rows)),
    }


async def stream(events: AsyncIterator[Event], meta: wire.Meta) -> AsyncGenerator[bytes]:
    """Partial pictures as far as they were asked for, then the finished ones."""
    kind, wanted, sent = meta.extra["kind"], meta.extra["partial"], 0
    width, height = meta.extra["width"], meta.extra["height"]
    async for event in events:
        match event:
            case Progress(done, total, preview):
                due = sent < wanted and done * (wanted + 1) >= total * (sent + 1)
                if preview is None or not due:
                    yield wire.waiting(event)
                    continue
                told = {
                    "type": f"{kind}.partial_image",
                    "b64_json": b64encode(preview).decode(),
                    "created_at": meta.created,
                    "partial_image_index": sent,
                    **_facts(Image(b"", "", 0, width, height), meta),
                    "output_format": "jpeg",
                }
                sent += 1
                yield _frame(told)
            case Image():
                yield _frame(
                    {
                        "type": f"{kind}.completed",
                        "b64_json": await asyncio.to_thread(_file, event, meta),
                        "created_at": meta.created,
                        **_facts(event, meta),
                        "usage": _usage(1),
                        "seed": event.seed,
                    }
                )
            case _:
                yield wire.waiting(event)
    yield wire.DONE


def _frame(value: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (value["type"].encode(), orjson.dumps(value))


IMAGES = wire.Dialect("openai", stream, reply, error, fold)


async def _answer(
    http: HttpRequest, request: ImageRequest, ignored: tuple[str, ...], streams: bool, **extra: Any
) -> Response:
    extra |= {"width": request.width or 0, "height": request.height or 0}
    meta = wire.meta_of(http, request, ignored, **extra)
    events = wire.engine_of(http).run(request, wire.caller_of(http, "openai"))
    return await wire.respond(http, events, IMAGES, meta, stream=streams)


@router.post(
    "/v1/images/generations",
    summary="Draw pictures",
    responses=example(
        {
            "created": 1_789_000_000,
            "data": [{"b64_json": "iVBORw0KGgo…", "seed": 7}],
            "size": "512x512",
        },
        also=(EVENTS,),
    ),
)
async def generations(body: ImagesBody, http: HttpRequest) -> Response:
    request = parse(body)
    return await _answer(
        http,
        request,
        body.ignored("openai"),
        bool(body.stream),
        kind="image_generation",
        format=body.output_format or "png",
        compression=body.output_compression,
        url=body.response_format == "url",
        partial=count_of(body.partial_images, "partial_images", PARTIAL, 0),
    )


Files = Annotated[list[UploadFile] | None, File()]


@router.post(
    "/v1/images/edits",
    summary="Draw a picture anew, everywhere or under a mask",
    responses=example(
        {"created": 1_789_000_000, "data": [{"b64_json": "iVBORw0KGgo…"}], "size": "512x512"},
        also=(EVENTS,),
    ),
)
async def edits(
    http: HttpRequest,
    prompt: Annotated[str, Form()],
    image: Files = None,
    images: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
    mask: Annotated[
        UploadFile | None, File(description="Transparent where it is to be painted.")
    ] = None,
    model: Annotated[str | None, Form()] = None,
    n: Annotated[int | None, Form()] = None,
    size: Annotated[str | None, Form()] = None,
    response_format: Annotated[Literal["b64_json", "url"] | None, Form()] = None,
    output_format: Annotated[Format | None, Form()] = None,
    stream: Annotated[bool, Form()] = False,
    partial_images: Annotated[int | None, Form()] = None,
    seed: Annotated[int | None, Form()] = None,
    negative_prompt: Annotated[str, Form()] = "",
    steps: Annotated[int | None, Form()] = None,
    strength: Annotated[float, Form(description="How much may change; an extra.")] = 0.75,
) -> Response:
    given = [*(image or ()), *(images or ())]
    if len(given) != 1:
        raise BadValue("image: send exactly one picture.", param="image")
    picture = await given[0].read()
    masked = await asyncio.to_thread(alpha_mask, await mask.read() if mask else picture)
    if mask is not None and masked is None:
        raise BadValue(
            "mask: nothing in it is transparent, so nothing would be painted.", param="mask"
        )
    request = build(
        ImageRequest,
        model=model,
        prompt=prompt,
        negative=negative_prompt,
        image=picture,
        mask=masked,
        seed=seed,
        steps=steps,
        strength=1.0 if masked else strength,
        count=count_of(n),
        preview=bool(stream and partial_images),
        **size_of(size),
    )
    sent = [*(await http.form())]
    return await _answer(
        http,
        request,
        ignored_names("openai", [name for name in sent if name not in TAKEN]),
        stream,
        kind="image_edit",
        format=output_format or "png",
        compression=None,
        url=response_format == "url",
        partial=count_of(partial_images, "partial_images", PARTIAL, 0),
    )
