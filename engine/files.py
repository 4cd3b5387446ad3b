"""The files area: one folder that everybody who may use this server shares, and everything that is done in it.

Paths are text relative to its root. What they mean is `engine.jail`'s; here it is done, in threads of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from engine import archives, trash
from engine.errors import BadValue, Conflict, Forbidden, NoRoom, TooLarge, Unknown
from engine.jail import FOLDER, FileEntry, Jail, Kind, Parts, depth, entry_of, told
from engine.landing import Existing, Step, staging, sweep
from engine.names import DEPTH, another, name_of, parts_of
from engine.settings import Settings
from engine.syscalls import rename_new
from engine.trash import Removed
from engine.uploads import Room, Upload

__all__ = ["Existing", "Files", "Opened", "Removed", "Upload"]
T = TypeVar("T")
THREADS = 8
DAY = 86_400.0
log = logging.getLogger("atelier.files")


class _Halted(Exception):
    """Nobody waits for this work any more."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file, open for reading; whoever got it closes it. It stays the same file whatever its name does."""

    fd: int
    entry: FileEntry
    found: os.stat_result

    def close(self) -> None:
        os.close(self.fd)

    @property
    def changed(self) -> bool:
        """Whether its bytes are others than when it was opened."""
        now = os.fstat(self.fd)
        return (now.st_mtime_ns, now.st_size) != (self.found.st_mtime_ns, self.found.st_size)


@dataclass(slots=True)
class Files:
    """Everything that can be done in the files area. All calls may raise AtelierError.

    Attributes:
        jail: the root.
        room: what may still be written.
    """

    settings: Settings
    jail: Jail = field(init=False)
    room: Room = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _stops: set[threading.Event] = field(default_factory=set)
    _chores: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        s = self.settings
        self.jail = Jail(s.files_dir or s.data_dir / "files")
        self.room = Room(self.jail, s.files_quota, s.files_spare)
        self._threads = ThreadPoolExecutor(THREADS, "files")

    def start(self) -> None:
        """Bring what a dead process left to an end, then empty the trash by age every hour."""
        self._chores = asyncio.create_task(self._keep_house())

    async def close(self) -> None:
        """End what runs; nothing half-done stays."""
        for stop in list(self._stops):
            stop.set()
        if self._chores is not None:
            self._chores.cancel()
            await asyncio.gather(self._chores, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)

    async def _keep_house(self) -> None:
        await self._tidy(sweep, self.jail)
        while True:
            if self.settings.trash_days:
                await self._tidy(trash.empty, self.jail, self.settings.trash_days * DAY)
            await asyncio.sleep(3600)

    async def _tidy(self, work: Callable[..., int], *given: Any) -> None:
        try:
            if count := await self.run(work, *given):
                log.info("%s: %d", work.__name__, count)
        except (OSError, ValueError, KeyError) as error:
            log.warning("The files cannot be tidied up: %s", error)

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """Run something that may wait for the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    async def _work(self, work: Callable[..., T], *given: Any) -> T:
        """Run something long, which ends soon after nobody waits for it any more."""
        stop = threading.Event()
        self._stops.add(stop)
        try:
            return await self.run(work, *given, _halted(stop))
        except _Halted:
            raise Conflict("The server is stopping. Ask again.") from None
        finally:
            stop.set()
            self._stops.discard(stop)

    # Looking

    async def list(self, path: str = "") -> tuple[Sequence[FileEntry], int]:
        """What a folder holds, and how much more it holds that no path can name (links, odd names)."""
        parts = parts_of(path)
        with told(path):
            return await self.run(self.jail.entries, parts)

    async def look(self, path: str) -> FileEntry:
        """One file or folder. Raises Unknown, BadValue."""
        parts = parts_of(path)
        with told(path):
            return await self.run(self.jail.entry, parts)

    async def folders(self, most: int) -> Sequence[str]:
        """The paths of so many folders at most, the root first."""
        with told(""):
            return await self.run(self.jail.folders, most)

    async def open(self, path: str) -> Opened:
        """A file to be read. Raises Unknown; BadValue where it is a folder."""
        parts = parts_of(path)
        with told(path):
            return await self.run(self._open, parts)

    def _open(self, parts: Parts) -> Opened:
        with self.jail.opened(parts) as fd:
            found = os.fstat(fd)
            entry = entry_of(parts, found)
            assert entry is not None  # only regular files are opened
            return Opened(os.dup(fd), entry, found)

    async def read(self, path: str, most: int) -> bytes:
        """The first bytes of a file."""
        opened = await self.open(path)
        try:
            with told(path):
                return await self.run(os.pread, opened.fd, most, 0)
        finally:
            opened.close()

    # Changing

    async def create(self, path: str) -> FileEntry:
        """A new folder, those above it too. Raises Conflict where something is there."""
        parts = parts_of(path)
        if not parts:
            raise Conflict("The root is there already. Give the new folder a name.", param="path")
        with told(path):
            return await self.run(self._create, parts)

    def _create(self, parts: Parts) -> FileEntry:
        with self.jail.inside_root(parts[:-1], make=True) as folder:
            os.mkdir(parts[-1], dir_fd=folder)
        return self.jail.entry(parts)

    async def move(self, source: str, destination: str, kind: Kind, into: bool = True) -> FileEntry:
        """Move or rename a file or folder. It is never in between.

        Args:
            into: a destination that is a folder means a place in it.
        Raises:
            Unknown: it, or the folder above the destination, is not there. Conflict: the place is taken.
        """
        old, new = parts_of(source, "source"), parts_of(destination, "destination")
        with told(source, "source"):
            await self.run(self._check_kind, old, kind, "source")
        with told(destination, "destination"):
            return await self.run(self._move, old, new, into)

    def _check_kind(self, parts: Parts, kind: Kind, param: str) -> None:
        found = self.jail.kind(parts)
        shown = "/".join(parts)[:200]
        if not parts:
            raise BadValue("The root itself stays where it is. Name something in it.", param=param)
        if found is None:
            raise Unknown(
                f'There is no "{shown}" in the files. Look at /v1/files/list.', param=param
            )
        if found != kind:
            calls = "/v1/files/directory/…" if found == "directory" else "/v1/files/…"
            what = "folder" if found == "directory" else "file"
            raise BadValue(
                f'"{shown}" is a {what}. Use the calls below {calls} for it.', param=param
            )

    def _move(self, old: Parts, new: Parts, into: bool) -> FileEntry:
        if into and self.jail.kind(new) == "directory" and new != old:
            new = parts_of("/".join((*new, old[-1])), "destination")
        if not new or new == old:
            raise Conflict("It is there already. Give another destination.", param="destination")
        if new[: len(old)] == old:
            raise BadValue("A folder cannot be moved into itself.", param="destination")
        with self.jail.inside_root(old[:-1]) as a, self.jail.inside_root(new[:-1]) as b:
            if self.jail.kind(old) == "directory" and len(new) - 1 + depth(old[-1], a) > DEPTH:
                raise BadValue(
                    f"That would be more than {DEPTH} folders deep.", param="destination"
                )
            rename_new(old[-1], new[-1], a, b)
        return self.jail.entry(new)

    def may_remove(self) -> None:
        """Raises Forbidden where others can reach this server without a token: nothing is removed then."""
        if self.settings.is_exposed:
            raise Forbidden(
                "This server is open to others without a token, so nothing can be removed. Set ATELIER_TOKEN."
            )

    async def remove(self, path: str, kind: Kind) -> Removed:
        """Move a file or folder to the trash, at once and as a whole; see `restore`."""
        self.may_remove()
        parts = parts_of(path)
        with told(path):
            await self.run(self._check_kind, parts, kind, "path")
            gone: Removed = await self.run(trash.remove, self.jail, parts, kind)
            if not self.settings.trash_days:
                await self.run(trash.discard, self.jail, gone.id)
        return gone

    async def restore(self, id: str) -> FileEntry:
        """Bring something back from the trash. Raises Unknown; Conflict where its place is taken."""
        try:
            with told(""):
                path = await self.run(trash.restore, self.jail, id)
        except Unknown:
            raise Unknown("This is not in the trash any more.", param="id") from None
        except Conflict:
            raise Conflict(
                "Something else has its place now. Move that first.", param="id"
            ) from None
        return await self.look(path)

    async def trash(self) -> Sequence[Removed]:
        """What can be brought back, newest first."""
        with told(""):
            return await self.run(trash.contents, self.jail)

    async def empty_trash(self, older: float = 0.0) -> int:
        """Remove for good what lies in the trash for longer than so many seconds; how many things."""
        self.may_remove()
        with told(""):
            return await self.run(trash.empty, self.jail, older)

    # Uploads and archives

    @contextlib.asynccontextmanager
    async def upload(self, size: int = 0) -> AsyncIterator[Upload]:
        """Files to be written; see `Upload`. What was not put in place is gone afterwards.

        Args:
            size: bytes that are announced; 0: unknown.
        Raises:
            NoRoom: there is no room for them.
        """
        with told(""):
            await self.run(self.room.need, size)
        place = staging(self.jail)
        with told(""):
            upload = Upload(await self.run(place.__enter__), self.room, self.run)
        try:
            yield upload
        finally:
            await asyncio.shield(self.run(upload.close))
            await asyncio.shield(self.run(place.__exit__, None, None, None))

    async def compress(self, path: str, name: str) -> FileEntry:
        """Pack a folder's contents, or one file, into a ZIP beside it. Raises Conflict where that is there."""
        parts = parts_of(path)
        if not parts:
            raise BadValue("The root itself cannot be packed. Name a folder in it.", param="path")
        name = name_of(name if name.lower().endswith(".zip") else f"{name}.zip", "zip_name")
        with told(path):
            return await self._work(self._compress, parts, (*parts[:-1], name))

    def _compress(self, parts: Parts, target: Parts, halted: Callable[[], None]) -> FileEntry:
        if self.jail.kind(parts) is None:
            raise Unknown(f'There is no "{"/".join(parts)[:200]}" in the files.', param="path")
        if self.jail.kind(target) is not None:
            raise Conflict(
                f'"{target[-1]}" is there already. Choose another name.', param="zip_name"
            )
        with staging(self.jail) as place:
            with os.fdopen(place.create("0.part"), "wb", 0) as file:
                for piece in self._packed(parts, halted):
                    self.room.note(file.write(piece))
                    self.room.need(0)
                os.fsync(file.fileno())
            [landed] = place.land([Step("0.part", target)])
        return self.jail.entry(landed)

    def _packed(self, parts: Parts, halted: Callable[[], None]) -> Generator[bytes]:
        whole = self.jail.kind(parts) == "directory"
        with self.jail.inside_root(parts if whole else parts[:-1]) as folder:
            yield from archives.pack(folder, None if whole else [parts[-1]], halted)

    async def packed(self, path: str) -> AsyncGenerator[bytes]:
        """A folder as a ZIP, piece by piece as it is made; nothing is kept."""
        parts = parts_of(path)
        stop = threading.Event()
        self._stops.add(stop)
        pieces = self._packed(parts, _halted(stop))
        try:
            with told(path):
                while (piece := await self.run(next, pieces, None)) is not None:
                    yield piece
        finally:
            stop.set()
            self._stops.discard(stop)
            await asyncio.shield(self.run(pieces.close))

    async def decompress(
        self, path: str, into: str | None = None
    ) -> tuple[FileEntry, archives.Unpacked]:
        """Unpack a ZIP into a folder, whole or not at all.

        Args:
            into: made where it is missing; None: a new folder beside the archive, called like it.
        Raises:
            BadFormat, BadValue, TooLarge: the archive is refused. Conflict: a name is taken.
        """
        parts = parts_of(path)
        target = None if into is None else parts_of(into, "extract_path")
        with told(path):
            return await self._work(self._decompress, parts, target)

    def _decompress(
        self, parts: Parts, target: Parts | None, halted: Callable[[], None]
    ) -> tuple[FileEntry, archives.Unpacked]:
        if target is None:
            target = self._free(parts)
        left = self.room.left()
        with self.jail.opened(parts) as archive, staging(self.jail) as place:
            os.mkdir("tree", dir_fd=place.fd)
            tree = os.open("tree", FOLDER, dir_fd=place.fd)
            try:
                most = min(self.settings.unpack_limit, max(0, left))
                found = archives.unpack(archive, tree, most, len(target), halted)
            except TooLarge as error:
                if left < self.settings.unpack_limit and "unpacks" in error.message:
                    raise NoRoom(
                        "There is no room for what is in the archive. Remove files."
                    ) from error
                raise
            finally:
                os.close(tree)
            self.room.note(found.size)
            with told("/".join(target), "extract_path"):
                if self.jail.kind(target) is None:
                    place.land([Step("tree", target)])
                else:
                    place.land([Step(f"tree/{name}", (*target, name)) for name in found.names])
        return self.jail.entry(target), found

    def _free(self, parts: Parts) -> Parts:
        """Where an archive is unpacked when nobody said where: a name that is free beside it."""
        stem = parts[-1][:-4] if parts and parts[-1].lower().endswith(".zip") else "archive"
        stem = stem.rstrip(" .") or "archive"
        names = (stem if n == 1 else another(stem, n) for n in range(1, 1000))
        return next(p for name in names if self.jail.kind(p := (*parts[:-1], name)) is None)


def _halted(stop: threading.Event) -> Callable[[], None]:
    def check() -> None:
        if stop.is_set():
            raise _Halted

    return check
