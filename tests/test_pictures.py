"""Pictures of every kind that people send, and of every kind that breaks decoders."""

from __future__ import annotations

import io
import resource

import numpy as np
import pytest
from PIL import Image

from engine.errors import AtelierError, BadFormat, BadValue, TooLarge
from engine.pictures import Measure, encode, measure, media_type, open_picture, portable
from engine.requests import ChatRequest, ImagePart, Message
from tests.paper import encoded, plain, png_claiming, tiff, written

READ = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff"}
ORIENTATION = 0x0112
# What each of EXIF's numbers does to a picture whose upper left corner is red and upper right is blue.
CORNERS = {
    1: ("red", "blue"), 2: ("blue", "red"), 3: (None, None), 4: (None, None),
    5: ("red", None), 6: (None, "red"), 7: (None, "blue"), 8: ("blue", None),
}  # fmt: skip
WEBP_CLAIM = (
    b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xff\x3f\0\xff\x3f\0ANIM\6\0\0\0\0\0\0\0\0\0"
)


@pytest.mark.parametrize("kind", READ)
def test_what_is_read(kind: str):
    data = plain(kind)
    assert media_type(data) == f"image/{READ[kind]}"
    assert measure(data) == Measure(30, 20, kind)
    picture = open_picture(data)
    assert picture.mode == "RGB" and picture.size == (30, 20)
    assert np.allclose(picture.getpixel((15, 10)), (255, 0, 0), atol=3)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (plain("GIF"), "a GIF"),
        (plain("JPEG2000"), "a JPEG 2000"),
        (plain("ICO"), "an icon"),
        (plain("EPS"), "PostScript"),
        (plain("PDF"), "a PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- a -->\n<SVG/>", "an SVG"),
        (b"PK\x03\x04", "an archive"),
        (b"GIF", "not a format that is known"),
        (b"<html>no picture</html>", "not a format that is known"),
    ],
)
@pytest.mark.parametrize("ask", [measure, open_picture])
def test_other_formats_are_named(data: bytes, named: str, ask):
    with pytest.raises(BadFormat, match=named) as error:
        ask(data, "file")
    assert error.value.param == "file" and "Send PNG" in error.value.message


def test_nothing_is_a_bad_value():
    with pytest.raises(BadValue, match="empty"):
        open_picture(b"")


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_cut_off(kind: str, share: float):
    data = encoded(written("cut"), kind)
    with pytest.raises(BadFormat):
        open_picture(data[: max(8, int(share * len(data)))])


@pytest.mark.parametrize("size", [(1, 1), (1, 65535), (65535, 1)])
def test_odd_shapes(size: tuple[int, int]):
    assert open_picture(plain("PNG", size)).size == size


@pytest.mark.parametrize(
    "data", [png_claiming(20_000, 20_000), png_claiming(2**31 - 1, 2**31 - 1), WEBP_CLAIM]
)
def test_bombs_are_refused_before_they_are_decoded(data: bytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge, match="64 million"):
        open_picture(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


def test_the_bound_is_the_callers():
    with pytest.raises(TooLarge):
        open_picture(plain(size=(30, 20)), pixels=599)
    assert open_picture(plain(size=(30, 20)), pixels=600).size == (30, 20)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_the_first_frame_counts(kind: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert measure(data).frames == 3
    assert np.allclose(open_picture(data).getpixel((4, 4)), (255, 0, 0), atol=3)


def test_ink_of_printers():
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red, green, blue = open_picture(data).getpixel((4, 4))
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits(kind: str):
    values = np.array([[0, 0x4000, 0x8000, 0xFFFF]], dtype=np.uint16)
    picture = open_picture(encoded(Image.fromarray(values), kind))
    assert [picture.getpixel((x, 0))[0] for x in range(4)] == [0, 64, 128, 255]


@pytest.mark.parametrize(("values", "grey"), [([0.0, 0.5, 1.0], 128), ([0.0, 100.0, 255.0], 100)])
def test_fractions(values: list[float], grey: int):
    data = encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    assert open_picture(data).getpixel((1, 0)) == (grey, grey, grey)


def clear(mode: str) -> bytes:
    if mode == "P":
        picture = Image.new("P", (4, 4), 0)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        return encoded(picture, "PNG", transparency=0)
    return encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode), "PNG")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_clear_parts_are_white(mode: str):
    assert open_picture(clear(mode)).getpixel((1, 1)) == (255, 255, 255)


def turned(kind: str, orientation: int) -> bytes:
    picture = Image.new("RGB", (40, 20), "black")
    picture.paste("red", (0, 0, 10, 10))
    picture.paste("blue", (30, 0, 40, 10))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(picture, kind, exif=exif)


@pytest.mark.parametrize("orientation", CORNERS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_upright(kind: str, orientation: int):
    data = turned(kind, orientation)
    picture = open_picture(data)
    size = (20, 40) if orientation > 4 else (40, 20)
    assert picture.size == size
    assert (measure(data).width, measure(data).height) == size
    for x, colour in zip((4, picture.width - 5), CORNERS[orientation], strict=True):
        pixel = np.array(picture.getpixel((x, 4)))
        wanted = {"red": 0, "blue": 2, None: None}[colour]
        assert (pixel.max() < 90) if wanted is None else pixel.argmax() == wanted


def test_the_content_decides():
    assert (
        open_picture(plain("PNG")).size == open_picture(plain("JPEG")).size
    )  # names are not asked


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_encode(kind: str):
    data = encode(Image.new("RGB", (9, 7), "red"), kind)
    assert media_type(data) == f"image/{kind}" and measure(data).width == 9


def test_what_comes_out_is_its_own():
    assert open_picture(turned("JPEG", 6)).getexif().get(ORIENTATION) is None


async def sent(data: bytes) -> bytes:
    message = Message(role="user", parts=(ImagePart(data=data),))
    (part,) = (await portable(ChatRequest(messages=(message,)))).messages[0].parts
    assert isinstance(part, ImagePart)
    return part.data


async def test_other_servers_get_pictures_upright():
    data = await sent(turned("JPEG", 6))
    assert media_type(data) == "image/jpeg" and measure(data).height == 40
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.getexif().get(ORIENTATION) is None


@pytest.mark.parametrize("data", [plain("JPEG"), plain("PNG"), turned("JPEG", 1)])
async def test_what_all_servers_read_is_left_alone(data: bytes):
    assert await sent(data) is data


@pytest.mark.parametrize(
    "data", [plain("GIF"), b"no picture", plain("TIFF")[:20], plain("BMP")[:20]]
)
async def test_other_servers_get_no_junk(data: bytes):
    with pytest.raises(AtelierError):
        await sent(data)


def test_pages_of_a_tiff_are_frames():
    assert measure(tiff(*[Image.new("RGB", (8, 8))] * 3)).frames == 3
