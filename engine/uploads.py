"""Files that arrive piece by piece, hidden until they are whole and synced; and how much room there is for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadValue, NoRoom
from engine.jail import FileEntry, Jail, Parts, told
from engine.landing import Existing, Staging, Step
from engine.names import parts_of
from engine.syscalls import start_writing
from engine.trash import contents, empty, keep

LOOK = 16_000_000  # bytes between two looks at the room that is left
VECTOR = 1024  # pieces that one system call may write
FRESH = 30.0  # seconds for which a count of all bytes is believed
Piece = bytes | memoryview
Run = Callable[..., Awaitable[Any]]


@dataclass(slots=True)
class Room:
    """How much the files may still grow.

    Args:
        quota: bytes that they may take, the trash included; 0: what the disk has.
        spare: bytes of the disk that they leave free.
    """

    jail: Jail
    quota: int
    spare: int
    _used: int = 0
    _counted: float = -FRESH

    def left(self) -> int:
        """Bytes that may still be written; below zero where too much is there already."""
        free = self.jail.free() - self.spare
        if not self.quota:
            return free
        if time.monotonic() - self._counted > FRESH:
            self._used, self._counted = self.jail.used(), time.monotonic()
        return min(free, self.quota - self._used)

    def note(self, size: int) -> None:
        """So many bytes were written."""
        self._used += size

    def need(self, size: int) -> None:
        """Make sure that so many bytes can be written; what lies longest in the trash goes first.

        Raises:
            NoRoom: they cannot.
        """
        if self.left() >= size:
            return
        now = time.time()
        for gone in reversed(contents(self.jail)):
            empty(self.jail, older=now - gone.removed.timestamp())
            self._counted = -FRESH
            if self.left() >= size:
                return
        why = "ATELIER_FILES_QUOTA allows no more" if self.quota else "the disk is full"
        raise NoRoom(f"There is no room for this: {why}. Remove files, or empty the trash.")


@dataclass(slots=True)
class Upload:
    """Files on their way in. Its methods are called one after the other.

    Args:
        run: runs a function that may wait for the disk.
    """

    staging: Staging
    room: Room
    run: Run
    steps: list[Step] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    _fd: int = -1
    _written: int = 0
    _looked: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def begin(self, name: str) -> None:
        """A new file comes; `name` may hold folders.

        Raises:
            BadValue: the name is refused.
        """
        parts = parts_of(name, "files")
        if not parts:
            raise BadValue("files: a file has no name. Give it one.", param="files")
        made = f"{len(self.steps)}.part"
        with told(name, "files"):
            self._fd = await self.run(self.staging.create, made)
        self.steps.append(Step(made, parts))
        self._written = self._looked = 0

    async def write(self, pieces: Sequence[Piece]) -> None:
        """More of the file. Raises NoRoom."""
        with told("", "files"):
            await self.run(self._write, pieces)

    def _write(self, pieces: Sequence[Piece]) -> None:
        size = sum(map(len, pieces))
        with self._lock:  # nobody closes the file meanwhile
            self.room.note(size)
            self._written += size
            while pieces:  # not joined first: that copies, and holds up the other threads
                pieces = _after(pieces, os.writev(self._fd, pieces[:VECTOR]))
        if self._written - self._looked >= LOOK:
            self.room.need(0)
            start_writing(self._fd, self._looked, self._written - self._looked)
            self._looked = self._written

    async def end(self) -> None:
        """The file is whole: have it on the disk."""
        with told("", "files"):
            await self.run(self._end)

    def _end(self) -> None:
        with self._lock:
            os.fsync(self._fd)
        self.close()
        self.sizes.append(self._written)

    async def land(self, folder: str, existing: Existing = "refuse") -> list[FileEntry]:
        """Put all files into a folder, which is made where it is missing.

        Args:
            existing: what happens to files that are there; see `Staging.land`.
        Raises:
            BadValue: a path is refused. Conflict: a name is taken; nothing was put in place then.
        """
        parts = parts_of(folder)
        steps = [Step(s.made, parts_of("/".join((*parts, *s.parts)), "files")) for s in self.steps]
        names = [step.parts for step in steps]
        if existing != "rename" and len(set(names)) < len(names):
            raise BadValue("files: two files have the same name. Rename one.", param="files")
        shown = "/".join(next(iter(names), parts))
        with told(shown, "files"):
            found: list[FileEntry] = await self.run(self._land, steps, existing)
        return found

    def _land(self, steps: Sequence[Step], existing: Existing) -> list[FileEntry]:
        jail = self.staging.jail

        def kept(parts: Parts) -> None:
            keep(jail, parts)

        return [jail.entry(parts) for parts in self.staging.land(steps, existing, kept)]

    def close(self) -> None:
        """Close the file that is being written; its bytes go with the hidden folder."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _after(pieces: Sequence[Piece], count: int) -> Sequence[Piece]:
    """What is left of the pieces without their first `count` bytes."""
    for number, piece in enumerate(pieces):
        if count < len(piece):
            return [piece[count:], *pieces[number + 1 :]]
        count -= len(piece)
    return ()
