"""The jail of the files area: every path is walked name by name from the root, and no link is ever followed.

Whoever holds an open folder (a file descriptor) works below the root whatever happens to the names meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from engine.errors import (
    AtelierError,
    BadValue,
    Conflict,
    Forbidden,
    NoRoom,
    Unavailable,
    Unknown,
)
from engine.names import DEPTH, HIDDEN, parts_of

Parts = tuple[str, ...]
Kind = Literal["file", "directory"]
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe may not hold us up
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file or a folder as a list shows it; `size` in bytes, 0 for a folder. `path` is relative to the root."""

    name: str
    path: str
    type: Kind
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Jail:
    """A root folder, and our own hidden folder in it; `room` names a folder in there."""

    root: Path

    @contextlib.contextmanager
    def inside_root(self, parts: Sequence[str], make: bool = False) -> Iterator[int]:
        """The folder at this path, open.

        Args:
            make: folders that are missing are made.
        Raises:
            OSError: it is not there, or something on the way is no folder; see `told`.
        """
        fd = self._base()
        try:
            for name in parts:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=fd)
                below = os.open(name, FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def room(self, name: str) -> Iterator[int]:
        """One of our own folders: what is being written, or what was removed."""
        with self.inside_root((HIDDEN, name), make=True) as fd:
            yield fd

    def _base(self) -> int:
        """The root, open; made where it is missing. The root itself may be a link: its owner chose it."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            return os.open(self.root, flags)
        except FileNotFoundError:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self.root, flags)

    @contextlib.contextmanager
    def opened(self, parts: Sequence[str]) -> Iterator[int]:
        """A regular file, open for reading. Raises OSError; EISDIR where it is a folder."""
        with self.inside_root(parts[:-1]) as folder:
            fd = open_file(parts[-1], folder) if parts else os.dup(folder)
        try:
            if not parts:
                raise IsADirectoryError(errno.EISDIR, "folder")
            yield fd
        finally:
            os.close(fd)

    def kind(self, parts: Sequence[str]) -> Kind | None:
        """What is at this path; None where there is nothing that we serve."""
        if not parts:
            return "directory"
        try:
            with self.inside_root(parts[:-1]) as folder:
                return kind_of(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise

    def entry(self, parts: Parts) -> FileEntry:
        """One file or folder. Raises OSError."""
        with self.inside_root(parts[:-1]) as folder:
            name = parts[-1] if parts else "."
            found = entry_of(parts, os.stat(name, dir_fd=folder, follow_symlinks=False))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "neither file nor folder")
        return found

    def entries(self, parts: Parts) -> tuple[list[FileEntry], int]:
        """What a folder holds, folders first, and how much it holds that no path can name. Raises OSError."""
        found, hidden = [], 0
        with self.inside_root(parts) as fd:
            for name in names_in(fd):
                if not parts and name == HIDDEN:
                    continue
                try:
                    given = entry_of(
                        (*parts, name), os.stat(name, dir_fd=fd, follow_symlinks=False)
                    )
                except FileNotFoundError:
                    continue
                if given is not None and addressable(name):
                    found.append(given)
                else:
                    hidden += 1
        found.sort(key=lambda entry: (entry.type == "file", entry.name.casefold(), entry.name))
        return found, hidden

    def folders(self, most: int) -> list[str]:
        """The paths of folders below the root, the root first; not more than `most`."""
        found: list[str] = []
        with self.inside_root(()) as fd:
            for path, below, _, _ in os.fwalk(".", dir_fd=fd, follow_symlinks=False):
                below[:] = sorted(n for n in below if n != HIDDEN and addressable(n))
                found.append(path[2:])
                if len(found) >= most:
                    break
        return sorted(found, key=lambda path: (path.casefold(), path))

    def used(self) -> int:
        """Bytes of all files below the root, those that are written and those in the trash included."""
        with self.inside_root(()) as fd:
            return sum(size for _, size in _sizes(fd))

    def free(self) -> int:
        """Bytes free on the root's file system."""
        with self.inside_root(()) as fd:
            found = os.fstatvfs(fd)
        return found.f_bavail * found.f_frsize


def _sizes(fd: int) -> Iterator[tuple[int, int]]:
    for _, _, names, folder in os.fwalk(".", dir_fd=fd, follow_symlinks=False):
        for name in names:
            with contextlib.suppress(OSError):
                yield folder, os.stat(name, dir_fd=folder, follow_symlinks=False).st_size


def names_in(fd: int) -> list[str]:
    """The names in an open folder."""
    with os.scandir(fd) as found:
        return [entry.name for entry in found]


def depth(name: str, folder: int) -> int:
    """How many levels a folder has, itself included. Raises OSError."""
    deepest = 1
    for path, _, _, _ in os.fwalk(name, dir_fd=folder, follow_symlinks=False):
        deepest = max(deepest, 1 + path[len(name) :].count("/"))
        if deepest > DEPTH:
            break
    return deepest


def addressable(name: str) -> bool:
    """Whether a path could name this; others' files may be called anything."""
    try:
        return parts_of(name) == (name,)
    except (BadValue, UnicodeEncodeError):
        return False


def kind_of(found: os.stat_result) -> Kind | None:
    """ "file" or "directory"; None for links, pipes and the like, which are not there for us."""
    if stat.S_ISREG(found.st_mode):
        return "file"
    return "directory" if stat.S_ISDIR(found.st_mode) else None


def entry_of(parts: Sequence[str], found: os.stat_result) -> FileEntry | None:
    """The entry of what was found; None where it is neither file nor folder."""
    kind = kind_of(found)
    if kind is None:
        return None
    return FileEntry(
        name=parts[-1] if parts else "",
        path="/".join(parts),
        type=kind,
        size=found.st_size if kind == "file" else 0,
        modified=datetime.fromtimestamp(max(0.0, found.st_mtime), UTC),
    )


def open_file(name: str, folder: int) -> int:
    """A regular file in an open folder, open for reading. Raises OSError, also where it is something else."""
    fd = os.open(name, FILE, dir_fd=folder)
    kind = kind_of(os.fstat(fd))
    if kind != "file":
        os.close(fd)
        code = errno.EISDIR if kind else errno.ENOENT
        raise OSError(code, os.strerror(code))
    return fd


def clear(name: str, folder: int) -> None:
    """Remove a file or a whole folder for good, as far as it can be."""
    with contextlib.suppress(OSError, RecursionError):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
THERE = {errno.EEXIST, errno.ENOTEMPTY}
BARRED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextlib.contextmanager
def told(path: str, param: str = "path") -> Iterator[None]:
    """Turns the system's errors into ours: the one place where that happens."""
    try:
        yield
    except OSError as error:
        raise _meaning(error, path, param) from error


def _meaning(error: OSError, path: str, param: str) -> AtelierError:
    shown = f'"{path[:200]}"' if path else "the files"
    if error.errno in GONE:
        return Unknown(f"There is no {shown} in the files. Look at /v1/files/list.", param=param)
    if error.errno in THERE:
        return Conflict(f"{shown} is there already. Choose another name.", param=param)
    if error.errno in FULL:
        return NoRoom("The disk is full. Remove files, or empty the trash.")
    if error.errno in BARRED:
        return Forbidden(f"The server may not do that with {shown}: its rights forbid it.")
    if error.errno == errno.EISDIR:
        return BadValue(f"{shown} is a folder. This call is for files.", param=param)
    if error.errno == errno.EINVAL:
        return BadValue("A folder cannot be moved into itself.", param=param)
    if error.errno == errno.ENAMETOOLONG:
        return BadValue(f"{param}: this name is too long for the disk. Use another.", param=param)
    if error.errno == errno.EXDEV:
        return Conflict(f"{shown} lies on another disk. Copy it, then delete it here.", param=param)
    return Unavailable("The disk does not answer as it should. Try again.", retry_after=5)
