"""A web site of a test's own, with an article, a film and whatever else it is given."""

from __future__ import annotations

import asyncio
import functools
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine import Settings
from engine.files import Files
from engine.jobs import Jobs
from engine.media import Media
from tests.strangers import Stranger, plain, stranger

FFMPEG = shutil.which("ffmpeg") or ""
needs_ffmpeg = pytest.mark.skipif(not FFMPEG, reason="no ffmpeg: apt-get install ffmpeg")
WORDS = "The river rose in the night, and by morning the lower streets were under water. "
ARTICLE = (
    "<!doctype html><html lang='en'><head><title>High water</title>"
    "<meta property='og:description' content='A short report.'></head><body><nav>Menu Home About</nav>"
    f"<article><h1>High water</h1><p>{WORDS}{'Boats went where buses go. ' * 8}</p>"
    "<p>Nobody was hurt, and the bridge was open again on Friday at noon, the town says.</p></article>"
    "<footer>Imprint</footer></body></html>"
)


@functools.cache
def film(folder: Path, *more: str) -> bytes:
    """A film of a second, made by ffmpeg; its index is at its end, as ffmpeg leaves it."""
    file = folder / "film.mp4"
    subprocess.run(
        [FFMPEG, "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10",
         "-f", "lavfi", "-i", "sine=440", "-t", "1", "-pix_fmt", "yuv420p", *more, str(file)],
        check=True,
    )  # fmt: skip
    return file.read_bytes()


def tone(folder: Path) -> bytes:
    import wave

    file = folder / "tone.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(16000))
    return file.read_bytes()


class Site:
    """A web site of a test's own: paths to (body, media type); ranges are honoured."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[bytes, str]] = {}
        self.away: dict[str, str] = {}
        self.host: Stranger

    def url(self, path: str) -> str:
        return self.host.url + path

    async def say(self, path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        body, kind = self.pages.get(path.partition("?")[0], (b"", ""))
        if path in self.away:
            writer.write(plain(b"", status="302 Found", more=f"Location: {self.away[path]}\r\n"))
        elif not kind:
            writer.write(plain(b"no", status="404 Not Found"))
        elif "range" in headers:
            first, _, last = headers["range"].removeprefix("bytes=").partition("-")
            start, end = int(first or 0), int(last or len(body) - 1)
            told = f"Content-Range: bytes {start}-{end}/{len(body)}\r\n"
            writer.write(plain(body[start : end + 1], kind, "206 Partial Content", told))
        else:
            writer.write(plain(body, kind, more="Accept-Ranges: bytes\r\n"))
        await writer.drain()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    one = Site()
    async with stranger(one.say) as one.host:
        yield one


@pytest.fixture
async def media(settings: Settings, site: Site) -> AsyncIterator[Media]:
    own = settings.model_copy(update={"fetch_hosts": f"127.0.0.1:{site.host.port}"})
    files = Files(own)
    one = Media(own, Jobs(own), files)
    yield one
    await one.close()
    await files.close()
    assert not list((own.data_dir / "media").glob("*")), "something was left behind"
