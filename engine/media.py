"""Films, sounds, pictures and pages of the web: what they are, taking them into the files, passing them on.

What is taken is a job with a ticket, in `engine.jobs`. Every byte comes through `engine.fetch`; where it is kept is
`engine.files`' affair. Knows no HTTP of ours and no page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import visitors
from engine.addresses import read_url
from engine.errors import AtelierError, BadValue, Conflict, InferenceFailed, NoRoom, Unknown
from engine.events import Done, Progress
from engine.fetch import Answer, Fetcher
from engine.files import Files
from engine.jobs import Jobs, Ticket, Track
from engine.media_kinds import ENDINGS, Format, Found, Taken, file_name
from engine.media_looks import PAGE, Looks, check_type, read_head
from engine.names import parts_of
from engine.settings import Settings
from engine.uploads import Upload

AT_ONCE = 4  # that are taken at the same time; more wait
KEPT = 200  # results that are remembered
TELL = 0.25  # seconds between two reports
RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
PIECE = 1 << 20  # bytes that are copied at once


@dataclass(slots=True)
class _Taking:
    """A job on its way, and what came of it."""

    track: Track
    task: asyncio.Task[None] | None = None
    taken: Taken | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Passing:
    """An answer that is passed on: status 200, 206 or 416, headers in small letters, and its bytes."""

    status: int
    headers: dict[str, str]
    pieces: AsyncIterator[bytes]


class Media:
    """The web's media, for REST and the page alike.

    Args:
        files: where everything that is taken goes.

    Attributes:
        fetcher: the one guarded fetcher.
    """

    def __init__(
        self, settings: Settings, jobs: Jobs, files: Files, fetcher: Fetcher | None = None
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._files = files
        self.fetcher = fetcher or Fetcher(settings)
        self._looks = Looks(settings, self.fetcher)
        self._takings: OrderedDict[str, _Taking] = OrderedDict()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def analyze(self, url: str) -> Found:
        """What lies at an address.

        Raises:
            BadValue, Forbidden, TooLarge, TimedOut, Unavailable: see `Fetcher.open`.
        """
        return await self._looks.look(url)

    async def picture(self, found: Found) -> bytes:
        """A small WebP of what was found; empty where there is none, or none that can be read."""
        return await self._looks.picture(found.thumbnail)

    # Taking

    def begin(
        self, url: str, *, session: str = "", format: str = "", folder: str = "", keep: bool = True
    ) -> Ticket:
        """Begin to take what lies at an address.

        Args:
            format: a format's id, "audio" for the sound alone, "" for the best.
            folder: where to put it, below the files root.
            keep: also keep a page's text as a file.

        Raises:
            BadValue: no address, or no folder.
        """
        target = read_url(url)
        parts_of(folder)
        name = f"media-{secrets.token_hex(8)}"
        taking = _Taking(self._jobs.begin(name, "media", target.text, "", session))
        taking.track.halt = lambda: self._halt(taking)
        self._takings[name] = taking
        while len(self._takings) > KEPT and next(iter(self._takings.values())).track.over:
            self._takings.popitem(last=False)
        work = self._take(taking, url, format, folder, keep)
        taking.task = asyncio.create_task(work)
        taking.task.add_done_callback(lambda _: self._ended(taking))
        return taking.track.ticket()

    async def finished(self, id: str) -> Taken:
        """What was taken, once it is. Raises Unknown, Conflict (cancelled), and what made it fail."""
        taking = self._find(id)
        await taking.over.wait()
        return self.result(id)

    def result(self, id: str) -> Taken:
        """What was taken. Raises Unknown; Conflict: not yet, or cancelled; what made it fail."""
        taking = self._find(id)
        if taking.track.error is not None:
            raise taking.track.error
        if taking.taken is None:
            how = "was cancelled" if taking.track.over else "is still running"
            raise Conflict(f"This job {how}.", param="id")
        return taking.taken

    def _find(self, id: str) -> _Taking:
        if id not in self._takings:
            raise Unknown("There is no such job. It may have ended a while ago.", param="id")
        return self._takings[id]

    def _halt(self, taking: _Taking) -> bool:
        return taking.task is not None and taking.task.cancel()

    def _ended(self, taking: _Taking) -> None:
        """A job that was cancelled before its first step has not said so itself."""
        self._jobs.end(taking.track, "cancelled")
        taking.over.set()

    async def close(self) -> None:
        """End what is being taken; nothing of it stays."""
        tasks = [one.task for one in self._takings.values() if one.task and not one.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, taking: _Taking, url: str, format: str, folder: str, keep: bool) -> None:
        """The work of a job, from its place in the queue to its ticket's end."""
        track = taking.track
        try:
            async with self._room:
                track.phase = "downloading"
                taking.taken = await self._taken(track, url, format, folder, keep)
            track.put(Done())
            self._jobs.end(track, "done")
        except asyncio.CancelledError:
            self._jobs.end(track, "cancelled")
        except AtelierError as error:
            self._jobs.end(track, "failed", error)
        except OSError:
            self._jobs.end(track, "failed", NoRoom("The disk is full or cannot be written."))
        finally:
            taking.over.set()

    async def _taken(self, track: Track, url: str, format: str, folder: str, keep: bool) -> Taken:
        found = await self._looks.look(url)
        track.title = found.title[:80]
        track.wake()
        if found.live:
            raise BadValue(
                "This is being sent live and has no end. Take it when it is over.", param="url"
            )
        async with visitors.working_folder(self._looks.folder) as work:
            if found.by_site:
                return await self._from_site(track, found, format, folder, work)
            if found.type == "page":
                return await self._page(found, folder, work, keep)
        return await self._file(track, found, folder)

    async def _page(self, found: Found, folder: str, work: Path, keep: bool) -> Taken:
        async with self.fetcher.open(found.link, limit=1 << 60) as answer:
            data = await read_head(answer, PAGE)
        if found.content_type == "text/html":
            told = await self._looks.page(data, found.link, work, text=True)
            text = str(told.get("text") or "")
        else:
            text = data.decode("utf-8", "replace")
        path = ""
        if keep:
            file = work / "page.md"
            title = (
                f"# {found.title}\n\n<{found.link}>\n\n"
                if found.content_type == "text/html"
                else ""
            )
            await asyncio.to_thread(file.write_text, title + text, "utf-8")
            path = await self._keep(folder, file_name(found.title, "md"), file)
        return Taken(found, path, "text/markdown", len(text.encode()), text)

    async def _from_site(
        self, track: Track, found: Found, format: str, folder: str, work: Path
    ) -> Taken:
        """What yt-dlp fetches, in a child."""
        size = next((one.size for one in found.formats if one.id == format), found.size)
        await self._check_room(size or 0)
        most = self._settings.media_bytes
        told: dict[str, Any] = {}
        async with (
            self._looks.order("take", found.link, work, most, format=format) as order,
            aclosing(visitors.follow(order, self._settings.media_seconds)) as reports,
        ):
            async for told in reports:
                if "done" in told:
                    await self._check_room(max(0, told["total"] - told["done"]))
                    track.speed = float(told["speed"])
                    track.put(Progress(told["done"], told["total"]))
        if not told.get("ended"):
            raise InferenceFailed("Taking this failed. Try again.")
        track.put(Progress(told["bytes"], told["bytes"]))
        file = work / Path(told["file"]).name
        ending = file.suffix[1:]
        name = file_name(found.title, ending)
        path = await self._keep(folder, name, file)
        kind = next((kind for kind, each in ENDINGS.items() if each == ending), "")
        if not told["video"]:
            kind = kind.replace("video/", "audio/")
        return Taken(found, path, kind, told["bytes"], codecs=tuple(told["codecs"]))

    async def _file(self, track: Track, found: Found, folder: str) -> Taken:
        """A file as it lies there."""
        ending = ENDINGS.get(found.content_type) or Path(found.title).suffix[1:9].lower()
        most, seconds = self._settings.media_bytes, self._settings.media_seconds
        async with (
            self._files.upload(found.size or 0) as upload,
            self.fetcher.open(found.link, limit=most, seconds=seconds) as answer,
        ):
            await upload.begin(file_name(found.title, ending))
            size = await self._written(track, answer, upload, found)
            await upload.end()
            [entry] = await upload.land(folder, "rename")
        return Taken(found, entry.path, found.content_type, size)

    async def _written(self, track: Track, answer: Answer, upload: Upload, found: Found) -> int:
        """Write an answer's bytes into a file; how many."""
        loop = asyncio.get_running_loop()
        began = told = loop.time()
        done = 0
        held: list[bytes] = []
        async for piece in answer.pieces():
            if not done:
                check_type(piece, found.content_type)
            done += len(piece)
            held.append(piece)
            if sum(map(len, held)) >= PIECE:
                await upload.write(held)
                held = []
            if loop.time() - told >= TELL:
                told = loop.time()
                track.speed = done / (told - began)
                track.put(Progress(done, answer.size or 0))
        await upload.write(held)
        track.put(Progress(done, done))
        return done

    async def _keep(self, folder: str, name: str, file: Path) -> str:
        """Copy a finished file into the files under a free name; its path there."""
        async with self._files.upload(await asyncio.to_thread(os.path.getsize, file)) as upload:
            await upload.begin(name)
            with contextlib.closing(await asyncio.to_thread(file.open, "rb")) as source:
                while piece := await asyncio.to_thread(source.read, PIECE):
                    await upload.write([piece])
            await upload.end()
            [entry] = await upload.land(folder, "rename")
        return str(entry.path)

    async def _check_room(self, missing: int) -> None:
        """Raises NoRoom: the files would have none, or the disk on which they are made."""
        await self._files.run(self._files.room.need, missing)

    # Passing on

    @asynccontextmanager
    async def stream(self, url: str, wanted: str = "", format: str = "") -> AsyncIterator[Passing]:
        """The bytes at an address, or those of a format that yt-dlp finds there.

        Args:
            wanted: a Range header; one range is honoured, whether the server there does or not.
            format: a format's id, or "best".

        Raises:
            AtelierError: see `Fetcher.open`. BadValue: no such format that lies in one file.
        """
        link, headers = url, {}
        if format:
            chosen = _progressive(await self._looks.look(url), format)
            link = chosen.url
            headers = {"Referer": chosen.referer} if chosen.referer else {}
        first, last = _range_of(wanted)
        if first is not None or last is not None:
            headers["Range"] = (
                f"bytes={'' if first is None else first}-{'' if last is None else last}"
            )
        most, seconds = self._settings.media_bytes, self._settings.media_seconds
        async with (
            self.fetcher.open(link, headers=headers, limit=most, seconds=seconds) as answer,
            aclosing(answer.pieces()) as pieces,
        ):
            yield _passed(answer, pieces, first, last)


def _progressive(found: Found, wanted: str) -> Format:
    """A format that lies in one file at one address."""
    usable = [one for one in found.formats if one.protocol in {"http", "https"} and one.url]
    if wanted == "best":
        usable = [one for one in usable if one.audio and (one.video or found.type == "audio")]
    else:
        usable = [one for one in usable if one.id == wanted]
    if not usable:
        raise BadValue(
            "format: there is none of that kind in one file. Take it instead.", param="format"
        )
    return usable[-1]


def _range_of(header: str) -> tuple[int | None, int | None]:
    """First and last byte that are asked for; None, None for everything, and for what is not understood."""
    match = RANGE.fullmatch(header.strip())
    if match is None:
        return None, None
    first, last = (int(text[:18]) if text else None for text in match.groups())
    if first is not None and last is not None and first > last:
        return None, None
    return first, last


def _passed(
    answer: Answer, pieces: AsyncGenerator[bytes], first: int | None, last: int | None
) -> Passing:
    """An answer as it is passed on, cut to the range where its server did not."""
    kept = ("content-range", "etag", "last-modified")
    headers = {name: answer.headers[name] for name in kept if name in answer.headers}
    headers["content-type"] = answer.kind or "application/octet-stream"
    headers["accept-ranges"] = "bytes"
    inflated = answer.headers.get("content-encoding", "identity").lower() != "identity"
    length = answer.headers.get("content-length", "")
    asked = first is not None or last is not None
    if answer.status == 416:
        return Passing(416, headers, _nothing())
    if asked and answer.status == 200 and answer.size is not None and not inflated:
        start = answer.size - min(last or 0, answer.size) if first is None else first
        end = answer.size - 1 if first is None or last is None else min(last, answer.size - 1)
        if start > end:
            return Passing(416, {**headers, "content-range": f"bytes */{answer.size}"}, _nothing())
        headers["content-range"] = f"bytes {start}-{end}/{answer.size}"
        headers["content-length"] = str(end - start + 1)
        return Passing(206, headers, _cut(pieces, start, end))
    if length.isdecimal() and not inflated:
        headers["content-length"] = length
    return Passing(206 if answer.status == 206 else 200, headers, pieces)


async def _cut(pieces: AsyncGenerator[bytes], start: int, end: int) -> AsyncGenerator[bytes]:
    at = 0
    async for piece in pieces:
        part = piece[max(0, start - at) : end + 1 - at]
        at += len(piece)
        if part:
            yield part
        if at > end:
            return


async def _nothing() -> AsyncGenerator[bytes]:
    return
    yield b""
