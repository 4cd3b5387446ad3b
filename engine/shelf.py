"""The files of stored documents: one folder each, whole or not there at all. Knows paths; nothing of what is inside."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import Unavailable, Unknown

FILE = "file"
PART = ".part"
SETTLED = 3600.0  # seconds after which a folder that no row knows is nobody's


class Shelf:
    """Folders below `folder`, named after a document's id. Every method blocks.

    Raises:
        Unavailable: the disk is full or cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, id: str, data: bytes) -> None:
        """Keep a new document's file; it is on the disk when this returns."""
        part = self._folder / (id + PART)
        with _translated():
            try:
                part.mkdir(mode=0o700, parents=True)
                _write(part / FILE, data)
                part.rename(self._folder / id)
                _sync(self._folder)
            except OSError:
                shutil.rmtree(part, ignore_errors=True)
                raise

    def read(self, id: str) -> bytes:
        """A document's file. Unknown: it is gone."""
        try:
            return (self._folder / id / FILE).read_bytes()
        except FileNotFoundError:
            raise Unknown("The document's file is gone. Add it again.", param="id") from None
        except OSError as error:
            raise Unavailable("The document's file cannot be read. Try again later.") from error

    def keep(self, id: str, name: str, data: bytes) -> None:
        """Keep something small that can be made again beside a document; a full disk is no matter."""
        file = self._folder / id / name
        part = file.with_name(name + PART)
        try:
            part.write_bytes(data)
            part.replace(file)
        except OSError:
            part.unlink(missing_ok=True)

    def kept(self, id: str, name: str) -> bytes | None:
        """What `keep` kept; None where it is not there."""
        try:
            return (self._folder / id / name).read_bytes()
        except OSError:
            return None

    def remove(self, id: str) -> None:
        """Delete a document's folder; harmless where there is none."""
        shutil.rmtree(self._folder / id, ignore_errors=True)

    def sweep(self, known: Collection[str]) -> int:
        """Delete what a crash left behind: folders of an hour ago whose ids are not known. How many."""
        gone = 0
        for place in self._folder.iterdir() if self._folder.is_dir() else ():
            if place.name in known:
                continue
            try:
                settled = time.time() - place.stat().st_mtime > SETTLED
            except OSError:
                continue
            if settled:
                shutil.rmtree(place, ignore_errors=True)
                gone += 1
        return gone


def _write(file: Path, data: bytes) -> None:
    with file.open("xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    """Have a renaming survive a power cut, where folders can be synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable(
                "The disk is full, so the document cannot be kept. Free some space and try again.",
                retry_after=60,
            ) from error
        raise Unavailable(
            "The document cannot be kept. Correct the permissions of the data folder, or name another "
            "with ATELIER_DATA_DIR."
        ) from error
