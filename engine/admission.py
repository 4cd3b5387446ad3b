"""What a request must hold to be taken in: pictures that are pictures, sound that is sound. Knows no queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.pictures import PIXELS, check_pixels, measure, open_picture
from engine.registry import ModelSpec
from engine.requests import (
    ChatRequest,
    DetectRequest,
    ImageRequest,
    LabelRequest,
    Request,
    SpeakRequest,
    TranscribeRequest,
)
from engine.sounds import probe
from engine.speech import choose_language


async def check_pictures(request: Request, whole: Callable[[], bool]) -> None:
    """Refuse pictures that nobody can see, before anything is queued or loaded for them.

    Args:
        whole: whether to decode them, which finds those that are broken further on. Otherwise their first
            bytes alone are looked at, and whoever sees them finds the rest.

    Raises:
        BadValue: one is empty. BadFormat: no picture, a format that is not read, or broken.
        TooLarge: too many pixels.
    """
    if isinstance(request, ChatRequest):
        pictures, param = request.pictures, "messages"
    elif isinstance(request, LabelRequest | DetectRequest):
        pictures, param = (request.image,), "image"
    elif isinstance(request, ImageRequest):
        given = (request.image, request.mask)
        pictures, param = tuple(data for data in given if data is not None), "image"
    else:
        return
    if pictures:
        await asyncio.to_thread(_check, pictures, param, whole())


async def check_sound(request: Request, spec: ModelSpec) -> None:
    """Refuse sound that nobody can hear, and languages that a model is known not to know, before it is queued.

    Raises:
        BadValue: it is empty, without sound, or in no language of the model's. BadFormat: no recording, or broken.
        TooLarge: too long.
    """
    if isinstance(request, TranscribeRequest):
        if spec.languages:
            choose_language(request.language, spec.languages)
        await asyncio.to_thread(probe, request.audio)
    elif isinstance(request, SpeakRequest) and request.reference is not None:
        await asyncio.to_thread(probe, request.reference, "reference")


def _check(pictures: tuple[bytes, ...], param: str, whole: bool) -> None:
    for data in pictures:
        if whole:
            open_picture(data, param)
        else:
            size = measure(data, param)
            check_pixels(size.width, size.height, PIXELS, "The picture", param)
