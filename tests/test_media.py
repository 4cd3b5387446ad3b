"""Media of the web: what lies at an address, taking it, and that yt-dlp's child goes nowhere we would not go."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from engine import AtelierError, Settings
from engine.errors import BadValue, Conflict, Forbidden, NoRoom, TooLarge
from engine.events import Done, Progress
from engine.media import Media
from engine.media_kinds import file_name, sniff
from tests.sites import ARTICLE, FFMPEG, WORDS, Site, film, needs_ffmpeg, tone
from tests.strangers import plain


async def take(media: Media, url: str, **options: Any) -> Any:
    return await media.finished(media.begin(url, **options).id)


def kept(settings: Settings) -> list[str]:
    root = settings.data_dir / "files"
    return sorted(str(f.relative_to(root)) for f in root.rglob("*") if f.is_file())


async def test_an_article_is_read(media: Media, site: Site, settings: Settings):
    site.pages["/news"] = (ARTICLE.encode(), "text/html; charset=utf-8")
    found = await media.analyze(site.url("/news"))
    assert (found.type, found.title, found.by_site) == ("page", "High water", False)
    assert found.description == "A short report."
    taken = await take(media, site.url("/news"), folder="web/pages")
    assert WORDS.strip() in taken.text and "Menu" not in taken.text and "Imprint" not in taken.text
    assert taken.path == "web/pages/High water.md"
    text = (settings.data_dir / "files" / taken.path).read_text()
    assert text.startswith("# High water\n") and site.url("/news") in text
    again = await take(media, site.url("/news"), folder="web/pages")
    assert again.path == "web/pages/High water (2).md"
    assert (await take(media, site.url("/news"), keep=False)).path == ""


@needs_ffmpeg
async def test_a_film_is_seen_by_its_ends_and_taken_whole(
    media: Media, site: Site, settings: Settings, tmp_path: Path
):
    data = film(tmp_path)
    site.pages["/f.mp4"] = (data, "application/octet-stream")
    found = await media.analyze(site.url("/f.mp4"))
    assert (found.type, found.content_type, found.size) == ("video", "video/mp4", len(data))
    assert (found.width, found.height, round(found.duration or 0)) == (160, 120, 1)
    ticket = media.begin(site.url("/f.mp4"), session="s")
    seen = [event async for _, event in media._jobs.follow(ticket.id)]
    assert seen[-1] == Done() and Progress(len(data), len(data)) in seen
    taken = media.result(ticket.id)
    assert (settings.data_dir / "files" / taken.path).read_bytes() == data
    assert media._jobs.get(ticket.id).phase == "done"


@needs_ffmpeg
async def test_a_film_on_a_page_is_found_and_taken(
    media: Media, site: Site, settings: Settings, tmp_path: Path
):
    data = film(tmp_path)
    site.pages["/film.mp4"] = (data, "video/mp4")
    site.pages["/watch"] = (
        b"<html><head><title>Three hills</title></head><body><video src='/film.mp4'></video></body>",
        "text/html",
    )
    found = await media.analyze(site.url("/watch"))
    assert (found.type, found.by_site, [f.ext for f in found.formats]) == ("video", True, ["mp4"])
    taken = await take(media, site.url("/watch"))
    assert (settings.data_dir / "files" / taken.path).read_bytes() == data
    assert taken.path.startswith("Three hills") and set(taken.codecs) == {"h264", "aac"}
    async with media.stream(site.url("/watch"), "bytes=4-7", format="best") as passing:
        assert passing.status == 206
        assert b"".join([piece async for piece in passing.pieces]) == b"ftyp"


@needs_ffmpeg
async def test_a_playlist_is_put_together(
    media: Media, site: Site, settings: Settings, tmp_path: Path
):
    """HLS: its pieces are fetched by yt-dlp itself, without a program."""
    subprocess.run(
        [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10", "-t", "2", "-g", "10",
         "-pix_fmt", "yuv420p", "-hls_time", "1", str(tmp_path / "v.m3u8")],
        check=True,
    )  # fmt: skip
    for file in tmp_path.glob("v*"):
        kind = "application/vnd.apple.mpegurl" if file.suffix == ".m3u8" else "video/mp2t"
        site.pages[f"/{file.name}"] = (file.read_bytes(), kind)
    found = await media.analyze(site.url("/v.m3u8"))
    assert found.type == "video"
    taken = await take(media, site.url("/v.m3u8"))
    assert taken.codecs == ("h264",) and (taken.size or 0) > 1000


async def test_pictures_sounds_and_files(media: Media, site: Site, tmp_path: Path):
    from tests.eyes import picture

    site.pages |= {
        "/a.png": (picture("blue"), "image/png"),
        "/a.wav": (tone(tmp_path), "audio/x-wav"),
        "/a.pdf": (b"%PDF-1.7\n" + bytes(2000), "application/pdf"),
        "/notes.txt": ("Günther".encode(), "text/plain"),
        "/evil.png": (b"<html><script>alert(1)</script>", "image/png"),
    }
    expected = {
        "/a.png": ("image", "image/png", (40, 30)), "/a.wav": ("audio", "audio/wav", (None, None)),
        "/a.pdf": ("file", "application/pdf", (None, None)), "/notes.txt": ("page", "text/plain", (None, None)),
        "/evil.png": ("page", "text/html", (None, None)),
    }  # fmt: skip
    for path, (kind, content, size) in expected.items():
        found = await media.analyze(site.url(path))
        assert (found.type, found.content_type, (found.width, found.height)) == (
            kind,
            content,
            size,
        )
    assert round((await media.analyze(site.url("/a.wav"))).duration or 0) == 1
    assert (await take(media, site.url("/notes.txt"))).text == "Günther"
    assert (await take(media, site.url("/a.pdf"))).path == "a.pdf"


async def test_a_job_can_be_cancelled(media: Media, site: Site, settings: Settings):
    async def slowly(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nContent-Length: 99999999\r\n\r\nPK\3\4"
        )
        while True:
            writer.write(bytes(10_000))
            await writer.drain()
            await asyncio.sleep(0.02)

    site.host.say = slowly
    ticket = media.begin(site.url("/big.zip"))
    async with aclosing(media._jobs.follow(ticket.id)) as events:
        async for _, event in events:
            if isinstance(event, Progress) and event.done > 10_000:
                break
    assert media._jobs.cancel(ticket.id)
    with pytest.raises(Conflict, match="cancelled"):
        await media.finished(ticket.id)
    assert media._jobs.get(ticket.id).phase == "cancelled"
    assert kept(settings) == []


async def test_what_is_too_large_or_has_no_room_is_refused(
    media: Media, site: Site, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    site.pages["/a.zip"] = (b"PK\3\4" + bytes(100_000), "application/zip")
    media._settings = settings.model_copy(update={"media_bytes": 50_000})
    with pytest.raises(TooLarge):
        await take(media, site.url("/a.zip"))
    media._settings = settings
    monkeypatch.setattr(media._files.room, "spare", 1 << 60)
    with pytest.raises(NoRoom):
        await take(media, site.url("/a.zip"))
    assert kept(settings) == []


@pytest.mark.parametrize("folder", ["..", "a/../../b", "a\\b"])
async def test_folders_stay_below_the_root(
    folder: str, media: Media, site: Site, settings: Settings
):
    site.pages["/t.txt"] = (b"x", "text/plain")
    with pytest.raises(BadValue):
        await take(media, site.url("/t.txt"), folder=folder)


async def test_a_linked_folder_is_not_followed(
    media: Media, site: Site, settings: Settings, tmp_path: Path
):
    site.pages["/t.txt"] = (b"x", "text/plain")
    (settings.data_dir / "files").mkdir(parents=True)
    (settings.data_dir / "files" / "out").symlink_to(tmp_path)
    with pytest.raises(AtelierError):
        await take(media, site.url("/t.txt"), folder="out")
    assert not (tmp_path / "t.md").exists()


async def test_ranges_are_honoured_whether_the_server_does_or_not(media: Media, site: Site):
    body = bytes(range(256)) * 40

    async def whole(path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        writer.write(plain(body, "application/octet-stream"))
        await writer.drain()

    async def passed(wanted: str) -> tuple[int, bytes, str]:
        async with media.stream(site.url("/b"), wanted) as passing:
            data = b"".join([piece async for piece in passing.pieces])
            return passing.status, data, passing.headers.get("content-range", "")

    site.pages["/b"] = (body, "application/octet-stream")
    size = len(body)
    for serve in (site.say, whole):
        site.host.say = serve
        assert await passed("") == (200, body, "")
        assert await passed("bytes=10-19") == (206, body[10:20], f"bytes 10-19/{size}")
        assert await passed(f"bytes={size - 5}-") == (
            206,
            body[-5:],
            f"bytes {size - 5}-{size - 1}/{size}",
        )
        assert (await passed("bytes=a-b"))[0] == 200
    assert await passed("bytes=-7") == (206, body[-7:], f"bytes {size - 7}-{size - 1}/{size}")
    assert await passed(f"bytes={size}-") == (416, b"", f"bytes */{size}")


async def test_addresses_inside_are_refused_everywhere(media: Media):
    for url in ("http://127.0.0.1:1/", "http://169.254.169.254/latest/meta-data/"):
        with pytest.raises(Forbidden):
            await media.analyze(url)
        with pytest.raises(Forbidden):
            await take(media, url)
        with pytest.raises(Forbidden):
            async with media.stream(url):
                pass


def test_names_of_files():
    assert file_name("a/b\\c:\u202e*?\x00", "mp4") == "a b c.mp4"
    assert file_name("..", "") == "untitled"
    assert file_name("film.mp4", "mp4") == "film.mp4"
    assert len(file_name("é" * 500, "mp4").encode()) <= 204


def test_first_bytes_tell():
    assert sniff(b"\x00\x00\x00\x20ftypisom", "text/plain") == "video/mp4"
    assert sniff(b"\x00\x00\x00\x20ftypisom", "audio/mp4") == "audio/mp4"
    assert sniff(b"  <!DOCTYPE html><p>", "video/mp4") == "text/html"
    assert sniff(b"hello", "image/png") == "text/plain"
    assert sniff(b"\x00\x01\x02", "") == "application/octet-stream"
    assert sniff(b"{}", "application/json") == "application/json"
