"""Says what lies at an address: by its headers, its first bytes, what a page says of itself, what yt-dlp finds there.

Foreign bytes are parsed in children alone (`engine.visitors`). Keeps nothing but its last answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import visitors
from engine.addresses import read_url
from engine.egress import Egress
from engine.errors import AtelierError, BadFormat, BadValue, InferenceFailed, TimedOut
from engine.fetch import Answer, Fetcher
from engine.media_kinds import ENDINGS, PLAYLISTS, Format, Found, kind_of, sniff
from engine.pictures import encode, measure, open_picture
from engine.settings import Settings

HEAD = 262_144  # bytes that tell what a file is
PAGE = 8_000_000  # of a page that are read; the rest is seldom its text
PICTURE = 10_000_000  # of a preview
LOOK_BYTES = 64_000_000  # that yt-dlp may read to find out what there is
LOOK_SECONDS = 60.0
PARSE_SECONDS = 40.0
REMEMBERED = 300.0  # seconds an answer holds: a stream asks for every piece of it
MOST_REMEMBERED = 64


class Looks:
    """What lies at addresses."""

    def __init__(self, settings: Settings, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._most = settings.media_bytes
        self.sites = settings.listed("media_sites")
        self.folder = settings.data_dir / "media"  # for work; on the disk that files are kept on
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._seen: OrderedDict[str, tuple[float, Found]] = OrderedDict()

    async def look(self, url: str) -> Found:
        """What lies at an address; a little while later the same answer.

        Raises:
            AtelierError: see `Fetcher.open`.
        """
        key = read_url(url).text
        if key in self._seen and time.monotonic() - self._seen[key][0] < REMEMBERED:
            return self._seen[key][1]
        found = await self._looked(url)
        self._seen[key] = (time.monotonic(), found)
        self._seen.move_to_end(key)
        while len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return found

    async def _looked(self, url: str, on_pages: bool = True) -> Found:
        """What lies there; `on_pages`: also what yt-dlp finds on a page."""
        async with visitors.working_folder(self.folder) as folder:
            async with self._fetcher.open(url, limit=1 << 60) as answer:
                head = await read_head(answer, HEAD)
                content_type = sniff(head, answer.kind)
                page = content_type == "text/html"
                if page:
                    head = await read_head(answer, PAGE, head)
            found = _found(url, answer, content_type)
            if page and on_pages:
                return await self._page(found, head, folder)
            if content_type in PLAYLISTS and on_pages:
                return await self._on_site(found, folder)
            if found.type == "image":
                return _measured(found, head)
            if found.type in {"video", "audio"}:
                return await self._probed(found, answer, head, folder)
            return found

    async def _page(self, found: Found, html: bytes, folder: Path) -> Found:
        told = await self.page(html, found.link, folder, text=False)
        found = _titled(found, told)
        if not (told.get("hints") or self._is_known(found.link)) or not self.sites:
            return found
        try:
            return await self._on_site(found, folder)
        except (BadValue, TimedOut, InferenceFailed):  # then it is a page, and nothing more
            return found

    def _is_known(self, link: str) -> bool:
        """Whether the host is called like a site that yt-dlp knows."""
        host = read_url(link).host
        words = [site.split(".")[0].split("*")[0] for site in self.sites]
        return any(
            len(word) > 2 and word not in {"generic", "html5"} and word in host for word in words
        )

    async def page(self, html: bytes, link: str, folder: Path, *, text: bool) -> dict[str, Any]:
        """What an HTML page says of itself; with `text` its article too. See `visits.pages`."""
        file = folder / "page.html"
        await asyncio.to_thread(file.write_bytes, html)
        order = {"do": "page", "file": str(file), "url": link, "folder": str(folder), "text": text}
        return await visitors.ask(order, PARSE_SECONDS)

    async def picture(self, address: str) -> bytes:
        """A small WebP of the picture at an address; empty where there is none, or none that can be read."""
        if not address.lower().startswith(("http://", "https://")):
            return b""
        if address not in self._pictures:
            try:
                fetched = await self._fetcher.read(address, limit=PICTURE)
                small = await asyncio.to_thread(_small, fetched.data)
            except AtelierError:
                small = b""
            self._pictures[address] = small
            while len(self._pictures) > MOST_REMEMBERED:
                self._pictures.popitem(last=False)
        return self._pictures[address]

    async def _on_site(self, found: Found, folder: Path) -> Found:
        async with self.order("look", found.link, folder, LOOK_BYTES) as order:
            told = await visitors.ask(order, LOOK_SECONDS)
        return await self._completed(found.with_site(told))

    async def _completed(self, found: Found) -> Found:
        """A film on an unknown site, with what the file itself tells of its best format."""
        best = found.formats[-1]
        if found.duration or best.protocol not in {"http", "https"}:
            return found
        try:
            inner = await self._looked(best.url, on_pages=False)
        except AtelierError:  # it may want a referer, or to be fetched in pieces
            return found
        return replace(
            found,
            duration=inner.duration,
            size=found.size or inner.size,
            width=found.width or inner.width,
            height=found.height or inner.height,
        )

    @asynccontextmanager
    async def order(
        self, do: str, link: str, folder: Path, most: int, **more: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """What a child with yt-dlp is told; its way out is open meanwhile.

        Args:
            most: bytes that may come in.
        """
        async with Egress(self._fetcher, most) as egress:
            yield {
                "do": do, "url": link, "folder": str(folder), "sites": list(self.sites),
                "proxy": egress.url, "port": egress.port, "most": most, **more,
            }  # fmt: skip

    async def _probed(self, found: Found, answer: Answer, head: bytes, folder: Path) -> Found:
        """A film or a sound, with its duration, as far as its beginning and its end tell."""
        ending = ENDINGS.get(found.content_type)
        if ending is None:
            return found
        file = folder / f"probe.{ending}"
        tail = await self._tail(found, answer)
        await asyncio.to_thread(_write_ends, file, head, tail, found.size or 0)
        try:
            told = await visitors.ask(
                {"do": "probe", "file": str(file), "folder": str(folder), "most": self._most},
                PARSE_SECONDS,
            )
        except AtelierError:  # a part of a file may not be readable; the whole may be
            return found
        return _timed(found, told)

    async def _tail(self, found: Found, answer: Answer) -> bytes:
        """The last bytes, where many films keep what they hold; none where the server sends no ranges."""
        if not found.size or found.size <= HEAD or answer.headers.get("accept-ranges") != "bytes":
            return b""
        with contextlib.suppress(AtelierError):
            headers = {"Range": f"bytes={max(HEAD, found.size - HEAD)}-"}
            async with self._fetcher.open(answer.target, limit=HEAD, headers=headers) as end:
                if end.status == 206:
                    return await read_head(end, HEAD)
        return b""


async def read_head(answer: Answer, most: int, before: bytes = b"") -> bytes:
    """The first `most` bytes of an answer; `before` was read already."""
    data = bytearray(before)
    if len(data) < most:
        async with aclosing(answer.pieces()) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) >= most:
                    break
    return bytes(data[:most])


def _found(url: str, answer: Answer, content_type: str) -> Found:
    return Found(
        url=url,
        link=answer.target.text,
        type=kind_of(content_type),
        content_type=content_type,
        title=answer.name or answer.target.host,
        size=answer.size,
        site=answer.target.host.removeprefix("www."),
    )


def _titled(found: Found, told: dict[str, Any]) -> Found:
    """A page with what it says of itself."""
    return replace(
        found,
        title=told["title"] or found.title,
        author=told.get("author", ""),
        date=told.get("date", ""),
        description=told.get("description", ""),
        site=told.get("sitename") or found.site,
        thumbnail=told.get("image", ""),
    )


def _measured(found: Found, head: bytes) -> Found:
    try:
        size = measure(head)
    except AtelierError:  # of a kind that is not read here, or its size stands further on
        return replace(found, thumbnail=found.link)
    return replace(found, width=size.width, height=size.height, thumbnail=found.link)


def _small(data: bytes) -> bytes:
    image = open_picture(data, "url")
    image.thumbnail((480, 360))
    return encode(image, "webp", 80)


def _timed(found: Found, told: dict[str, Any]) -> Found:
    kind = "video" if told["video"] else "audio" if told["audio"] else found.type
    only = Format(
        id="0", ext=ENDINGS[found.content_type], video=told["video"], audio=told["audio"],
        width=told.get("width"), height=told.get("height"), size=found.size,
    )  # fmt: skip
    return replace(
        found,
        type=kind,
        formats=(only,),
        duration=told.get("duration"),
        width=told.get("width"),
        height=told.get("height"),
    )


def _write_ends(file: Path, head: bytes, tail: bytes, size: int) -> None:
    """A file with its beginning and end in their places, and a hole between them."""
    with file.open("wb") as out:
        out.write(head)
        if tail:
            out.seek(size - len(tail))
            out.write(tail)
        elif size:
            os.truncate(out.fileno(), max(size, len(head)))


def check_type(data: bytes, content_type: str) -> None:
    """Raises BadFormat: a page came where a film or a sound was promised."""
    if sniff(data) == "text/html" and content_type.partition("/")[0] in {"video", "audio", "image"}:
        raise BadFormat("What lies at this address is not what it claims to be.", param="url")
