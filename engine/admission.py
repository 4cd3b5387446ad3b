"""What a request must hold to be taken in: pictures that are pictures. Knows no model and no queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.pictures import PIXELS, check_pixels, measure, open_picture
from engine.requests import ChatRequest, DetectRequest, ImageRequest, LabelRequest, Request


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


def _check(pictures: tuple[bytes, ...], param: str, whole: bool) -> None:
    for data in pictures:
        if whole:
            open_picture(data, param)
        else:
            size = measure(data, param)
            check_pixels(size.width, size.height, PIXELS, "The picture", param)
