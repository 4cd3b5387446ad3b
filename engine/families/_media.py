"""Pictures and sound as other servers take them. Knows formats, not dialects."""

from __future__ import annotations

import asyncio
import io

from engine.errors import BadFormat, TooLarge
from engine.requests import AudioPart, ChatRequest, ImagePart, Message, Part

PIXELS = 64_000_000  # a picture that has to be converted may have so many


def picture_type(data: bytes) -> str:
    """The media type of a picture's first bytes; empty where it is none that we know."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"BM"):
        return "image/bmp"
    if data.startswith((b"II*\x00", b"MM\x00*")):
        return "image/tiff"
    return ""


def sound_type(data: bytes) -> str:
    """What OpenAI's dialect calls the format of a recording."""
    return "mp3" if data.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")) else "wav"


async def portable(request: ChatRequest) -> ChatRequest:
    """The request with every picture in a format that all servers read; the same one if all are.

    Raises:
        BadFormat: a picture is none. TooLarge: it would have to be converted and has too many pixels.
    """
    odd = {"image/bmp", "image/tiff", ""}
    parts = [part for message in request.messages for part in message.parts]
    if not any(isinstance(p, ImagePart) and picture_type(p.data) in odd for p in parts):
        return request
    messages = [
        message.model_copy(update={"parts": tuple([await _portable(p) for p in message.parts])})
        for message in request.messages
    ]
    return request.model_copy(update={"messages": tuple(messages)})


async def _portable(part: Part) -> Part:
    if not isinstance(part, ImagePart) or picture_type(part.data) in {
        "image/png", "image/jpeg", "image/webp",
    }:  # fmt: skip
        return part
    return ImagePart(data=await asyncio.to_thread(_png, part.data))


def _png(data: bytes) -> bytes:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > PIXELS:
                raise TooLarge(f"A picture may have {PIXELS // 1_000_000} million pixels.")
            out = io.BytesIO()
            picture.convert("RGBA" if "A" in picture.getbands() else "RGB").save(out, "PNG")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        raise BadFormat(
            "A picture cannot be read. Send PNG, JPEG, WebP, BMP or TIFF.", param="messages"
        ) from None
    return out.getvalue()


def sounds(message: Message) -> bool:
    """True when a message holds a recording."""
    return any(isinstance(part, AudioPart) for part in message.parts)
