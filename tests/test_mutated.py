"""Files that were damaged in thousands of ways: every one is read or refused by an error of ours.

They are read in a child process, so that a crash of a decoder is a failed test and not the end of all tests.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import AtelierError
from engine.pages import open_document
from engine.pictures import measure, open_picture
from tests.paper import encoded, pdf, sheet, tiff, written

ROOT = Path(__file__).parents[1]
SEED = 20_240_607
MUTATIONS = int(os.environ.get("TEST_MUTATIONS", "5200"))


def seeds() -> dict[str, bytes]:
    """Small files of every kind that is read."""
    picture = written("Aé", (48, 32), 12)
    small = picture.quantize(16)
    deep = Image.new("I;16", (20, 9), 40_000)
    return {
        "png": encoded(picture),
        "png palette": encoded(small, transparency=3),
        "png 16": encoded(deep),
        "jpeg": encoded(picture, "JPEG", exif=oriented()),
        "jpeg progressive": encoded(picture, "JPEG", progressive=True),
        "jpeg cmyk": encoded(picture.convert("CMYK"), "JPEG"),
        "webp": encoded(picture, "WEBP"),
        "webp lossless": encoded(picture, "WEBP", lossless=True),
        "webp moving": encoded(picture, "WEBP", save_all=True, append_images=[picture.rotate(9)]),
        "bmp": encoded(picture, "BMP"),
        "bmp palette": encoded(small, "BMP"),
        "tiff": tiff(picture, small, picture.resize((9, 30))),
        "tiff 16": encoded(deep, "TIFF"),
        "tiff lzw": encoded(picture, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": encoded(picture, "TIFF", compression="jpeg"),
        "tiff fax": encoded(picture.convert("1"), "TIFF", compression="group4"),
        "tiff deflate": encoded(picture, "TIFF", compression="tiff_adobe_deflate"),
    }


def papers() -> dict[str, bytes]:
    """PDFs: each needs a process, so fewer of them are damaged."""
    jpeg = encoded(written("scan", (48, 32), 12), "JPEG")
    return {
        "pdf": sheet("0 0 60 40", b"BT /F 9 Tf 5 20 Td (Some text) Tj ET", count=2),
        "pdf scan": sheet("0 0 60 40", b"q 9 0 0 9 0 0 cm BI /W 2 /H 2 /CS /G /BPC 8 ID abcd EI Q"),
        "pdf lines": sheet("0 0 60 40", b"0 0 m 60 40 l S BT /F 9 Tf (text) Tj ET"),
        "pdf jpeg": pdf([[]], (60, 40), scan=jpeg),
    }


def oriented() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    return exif


def flip(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_head(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 64))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))


def cut(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 4, 100, len(data)))]


def splice(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    other = rng.choice(others)
    at, start = rng.randrange(len(data)), rng.randrange(len(other))
    data[at : at + rng.randrange(64)] = other[start : start + rng.randrange(256)]


def repeat(data: bytearray, rng: random.Random, others: list[bytes]) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randrange(1, 64)] * rng.randrange(1, 9)


WAYS: tuple[Callable[[bytearray, random.Random, list[bytes]], None], ...] = (
    flip, flip_head, cut, splice, repeat,
)  # fmt: skip


def attempt(data: bytes) -> Counter[str]:
    """Reads a file in every way there is; whatever is not an error of ours ends the process."""
    ends: Counter[str] = Counter()

    def drawn() -> None:
        with open_document(data) as document:
            for number in range(1, min(document.count, 3) + 1):
                document.size(number, 50)
                document.layer(number, 50)
                assert document.render(number, 50).mode == "RGB"

    for ask in (lambda: measure(data), lambda: open_picture(data), drawn):
        try:
            ask()
            ends["read"] += 1
        except AtelierError as error:
            assert error.message.endswith("."), error.message
            ends[type(error).__name__] += 1
    return ends


def run(count: int, papers_of_all: int) -> Counter[str]:
    """So many damaged files, one of `papers_of_all` of them a PDF; `kilobytes` is what the process grew by."""
    rng = random.Random(SEED)
    pictures, documents = list(seeds().values()), list(papers().values())
    ends: Counter[str] = Counter()
    for number in range(count):
        kind = documents if number % papers_of_all == 0 else pictures
        data = bytearray(rng.choice(kind))
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if data:
                rng.choice(WAYS)(data, rng, pictures + documents)
        ends += attempt(bytes(data))
        if number == count // 10:  # every library is in by then
            before = peak()
    ends["kilobytes"] = peak() - before
    return ends


def peak() -> int:
    """The most memory this process ever held, in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    ("count", "papers_of_all"),
    [
        (300, 30),
        pytest.param(
            MUTATIONS, 26, marks=[pytest.mark.slow, pytest.mark.timeout(max(300, MUTATIONS // 10))]
        ),
    ],
)
def test_damaged_files_are_read_or_refused(
    count: int, papers_of_all: int, record_property: Callable[[str, object], None]
):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore", "-m", "tests.test_mutated",
         str(count), str(papers_of_all)],
        cwd=ROOT, capture_output=True, text=True, timeout=max(280, count // 10),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    ends = dict(part.split("=") for part in done.stdout.split())
    assert int(ends["read"]) > count / 10 and int(ends["BadFormat"]) > count / 10, ends
    assert int(ends["kilobytes"]) < 200_000
    record_property("files", count)
    record_property("growth_mb", int(ends["kilobytes"]) // 1000)


def test_whole_files_are_read():
    for name, data in (seeds() | papers()).items():
        ends = attempt(data)
        assert ends["read"] == (1 if name.startswith("pdf") else 3), (name, ends)


if __name__ == "__main__":
    print(*(f"{name}={count}" for name, count in run(int(sys.argv[1]), int(sys.argv[2])).items()))
