"""Encoded pictures: what they are, how large, and their pixels. Knows formats, not models or dialects."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from engine.errors import AtelierError, BadFormat, BadValue, TooLarge
from engine.requests import ChatRequest, ImagePart, Part

if TYPE_CHECKING:
    from PIL import Image

FRAMES = 10_000  # of a moving picture or a TIFF; to count more takes seconds
PIXELS = 64_000_000  # what a picture may have, however few bytes it takes
WANTED = "Send PNG, JPEG, WebP, BMP or TIFF."
# What is read, and the one decoder each is given to: a file's name or claim never chooses it.
DECODERS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
# What is recognised to be refused by its name.
REFUSED = {
    "image/gif": "a GIF",
    "image/svg+xml": "an SVG drawing",
    "image/heic": "a HEIC picture",
    "image/avif": "an AVIF picture",
    "image/jxl": "a JPEG XL picture",
    "image/jp2": "a JPEG 2000 picture",
    "image/x-icon": "an icon",
    "image/vnd.adobe.photoshop": "a Photoshop file",
    "image/vnd.djvu": "a DjVu document",
    "application/postscript": "a PostScript (EPS) file",
    "application/pdf": "a PDF document",
    "application/zip": "an archive or an office document",
}
_STARTS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+", "image/tiff"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL ", "image/jxl"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"AT&TFORM", "image/vnd.djvu"),
    (b"%!PS", "application/postscript"),
    (b"\xc5\xd0\xd3\xc6", "application/postscript"),
    (b"PK\x03\x04", "application/zip"),
)
_BRANDS = {b"avif": "image/avif", b"avis": "image/avif"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A picture's size in pixels as it is seen (upright), its format ("PNG"), and how many frames it has."""

    width: int
    height: int
    format: str
    frames: int = 1


def media_type(data: bytes) -> str:
    """The media type that the first bytes tell, also of much that is not accepted; "" unknown."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return "image/heic" if data[8:12] in _HEIC else _BRANDS.get(data[8:12], "")
    if b"%PDF-" in data[:1024]:
        return "application/pdf"
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "image/svg+xml" if head.startswith(b"<") and b"<svg" in head else ""


def measure(data: bytes, param: str = "image") -> Measure:
    """Size, format and number of frames, without decoding a pixel.

    Raises:
        BadValue: there are no bytes. BadFormat: not a picture that is read here, or a broken one.
        TooLarge: it claims more pixels or frames than anything here would open.
    """
    with _opened(data, param) as picture:
        width, height = _upright_size(picture)
        return Measure(width, height, DECODERS[media_type(data)], count_frames(picture, param))


def open_picture(data: bytes, param: str = "image", pixels: int = PIXELS) -> Image.Image:
    """The first frame in RGB, upright, transparent parts over white.

    Args:
        data: PNG, JPEG, WebP, BMP or TIFF; the content decides which.
        param: the field that errors name.
        pixels: more than so many are refused before any is decoded.

    Raises:
        BadValue: there are no bytes. TooLarge: too many pixels. BadFormat: another format, or broken.
    """
    with _opened(data, param, pixels) as picture:
        return upright(picture)


def encode(
    picture: Image.Image, format: Literal["png", "jpeg", "webp"] = "png", quality: int = 90
) -> bytes:
    """The picture as a file; `quality` (1 to 100) counts for JPEG and WebP."""
    out = io.BytesIO()
    match format:
        case "jpeg":
            picture.convert("RGB").save(out, "JPEG", quality=quality)
        case "webp":
            picture.save(out, "WEBP", quality=quality)
        case "png":
            picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def convert(data: bytes, format: Literal["jpeg", "webp"], quality: int | None = None) -> bytes:
    """A picture of ours in another format; its recipe stays behind."""
    return encode(open_picture(data), format, 90 if quality is None else max(1, quality))


def alpha_mask(data: bytes) -> bytes | None:
    """A PNG that is white where a picture is transparent and black elsewhere; None where nothing is.

    Raises:
        BadValue, BadFormat, TooLarge: as `open_picture`.
    """
    with _opened(data, "mask", PIXELS) as picture:
        if not picture.has_transparency_data:
            return None
        alpha = picture.convert("RGBA").getchannel("A")
        mask = alpha.point([255 if value < 128 else 0 for value in range(256)])
        return encode(mask) if mask.getbbox() else None


async def portable(request: ChatRequest) -> ChatRequest:
    """The request with every picture upright and in a format that all servers read.

    Raises:
        BadFormat: a picture is none. TooLarge: it would have to be converted and has too many pixels.
    """
    parts = [part for message in request.messages for part in message.parts]
    if not any(isinstance(part, ImagePart) and _odd(part.data) for part in parts):
        return request
    messages = [
        message.model_copy(update={"parts": tuple([await _portable(p) for p in message.parts])})
        for message in request.messages
    ]
    return request.model_copy(update={"messages": tuple(messages)})


async def _portable(part: Part) -> Part:
    if not isinstance(part, ImagePart) or not _odd(part.data):
        return part
    return await asyncio.to_thread(_converted, part)


def _odd(data: bytes) -> bool:
    """Whether some servers would not read it, or read it lying on its side."""
    kind = media_type(data)
    turned = {"image/jpeg": b"Exif\x00", "image/png": b"eXIf", "image/webp": b"EXIF"}
    return kind not in turned or turned[kind] in data


def _converted(part: ImagePart) -> ImagePart:
    kind = media_type(part.data)
    with _opened(part.data, "messages", PIXELS) as picture:
        if kind in {"image/jpeg", "image/png", "image/webp"} and _orientation(picture) == 1:
            return part
        return ImagePart(data=encode(upright(picture), "jpeg" if kind == "image/jpeg" else "png"))


def upright(picture: Image.Image) -> Image.Image:
    """The frame an open picture stands at, decoded: RGB, upright, over white; a picture of its own."""
    from PIL import Image

    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(_orientation(picture))
    picture.load()
    flat = _grey(picture)
    if flat.has_transparency_data:
        flat = flat.convert("RGBA")
        white = Image.new("RGBA", flat.size, "white")
        flat = Image.alpha_composite(white, flat)
    flat = flat.convert("RGB") if flat.mode != "RGB" else flat.copy()
    flat.info.clear()
    if turned is not None:
        flat = flat.transpose(Image.Transpose(turned))
    return flat


@contextmanager
def broken(param: str, what: str = "The picture") -> Iterator[None]:
    """Whatever a decoder raises over a broken file becomes BadFormat; refusals of ours pass."""
    from PIL import Image

    try:
        yield
    except AtelierError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(PIXELS, what, param) from None
    except Exception:
        raise BadFormat(f"{what} is broken or incomplete. {WANTED}", param=param) from None


def check_type(data: bytes, param: str, what: str = "The picture") -> str:
    """The media type of a picture that is read here.

    Raises:
        BadValue: there are no bytes. BadFormat: another format, named where it is known.
    """
    if not data:
        raise BadValue(f"{what} is empty. {WANTED}", param=param)
    kind = media_type(data)
    if kind not in DECODERS:
        named = REFUSED.get(kind, "not a format that is known here")
        raise BadFormat(f"{what} is {named}, which is not read as a picture. {WANTED}", param=param)
    return kind


def check_pixels(width: int, height: int, pixels: int, what: str, param: str) -> None:
    """Raises TooLarge where a picture has more than so many pixels."""
    if width * height > pixels:
        raise _too_many(pixels, what, param)


def count_frames(picture: Image.Image, param: str) -> int:
    """How many frames an open picture has; a TIFF's are counted one by one. It stands at the first afterwards.

    Raises:
        TooLarge: more than FRAMES.
    """
    count = 1
    if picture.format != "TIFF":
        count = int(getattr(picture, "n_frames", 1))
    else:
        with suppress(EOFError):
            while count <= FRAMES:
                picture.seek(count)
                count += 1
        picture.seek(0)
    if count > FRAMES:
        raise TooLarge(f"The document has more than {FRAMES:,} frames. Send fewer.", param=param)
    return count


@contextmanager
def _opened(data: bytes, param: str, pixels: int | None = None) -> Iterator[Image.Image]:
    from PIL import Image

    kind = check_type(data, param)
    with broken(param):
        if pixels and kind == "image/webp":  # its decoder makes room before it tells the size
            check_pixels(*_webp_size(data), pixels, "The picture", param)
        with Image.open(io.BytesIO(data), formats=[DECODERS[kind]]) as picture:
            if pixels:
                check_pixels(*picture.size, pixels, "The picture", param)
            yield picture


def _too_many(pixels: int, what: str, param: str) -> TooLarge:
    return TooLarge(
        f"{what} has more than {pixels / 1_000_000:.3g} million pixels. Send a smaller one.",
        param=param,
    )


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height as the first chunk of a WebP file tells them; (0, 0) where it does not."""
    body = data[20:30]
    match data[12:16]:
        case b"VP8X":
            return (
                int.from_bytes(body[4:7], "little") + 1,
                int.from_bytes(body[7:10], "little") + 1,
            )
        case b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return (
                int.from_bytes(body[6:8], "little") & 0x3FFF,
                int.from_bytes(body[8:10], "little") & 0x3FFF,
            )
    return 0, 0


def _orientation(picture: Image.Image) -> int:
    """EXIF's number for how the picture lies, 1 upright; TIFF's decoder turns it by itself."""
    if picture.format == "TIFF" or (picture.format == "PNG" and "exif" not in picture.info):
        return 1  # asking a PNG that has none would decode it
    return int(picture.getexif().get(0x0112, 1))


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    width, height = picture.size
    return (height, width) if _orientation(picture) in {5, 6, 7, 8} else (width, height)


def _grey(picture: Image.Image) -> Image.Image:
    """Values of 16 and 32 bits brought to 8; other pictures as they are."""
    from PIL import Image

    if not picture.mode.startswith("I") and picture.mode != "F":
        return picture
    import numpy

    values = numpy.nan_to_num(numpy.asarray(picture, dtype=numpy.float32))
    top = float(values.max(initial=0))
    # Whole numbers have 16 bits unless they are larger; fractions are shares of white, or of 255.
    scales = (1.0, 255.0, 65535.0) if picture.mode == "F" else (65535.0,)
    white = next((scale for scale in scales if top <= scale), top)
    return Image.fromarray((values.clip(0, white) * (255 / white) + 0.5).astype(numpy.uint8))
