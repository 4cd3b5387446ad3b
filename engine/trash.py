"""What was removed from the files area and can still be brought back. Each thing lies in a folder of its own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from engine.jail import FOLDER, NEW, Jail, Kind, Parts, clear, kind_of, names_in
from engine.landing import STAGING
from engine.names import HIDDEN, is_id
from engine.syscalls import rename_new

TRASH = "trash"
THING = "thing"
NOTE = "note.json"
SLACK = 60.0  # seconds after which a place without a thing was given up


@dataclass(frozen=True, slots=True)
class Removed:
    """Something in the trash: its id, where it was, what it is, its bytes (0 for a folder) and when it went."""

    id: str
    path: str
    type: Kind
    size: int
    removed: datetime


def remove(jail: Jail, parts: Parts, wanted: Kind) -> Removed:
    """Take something out of sight, at once and as a whole.

    Raises:
        OSError: it is not there; EISDIR, ENOTDIR where it is the other kind.
    """
    with jail.inside_root(parts[:-1]) as folder, jail.room(TRASH) as trash:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        kind = kind_of(found)
        if kind is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if kind != wanted:
            raise OSError(
                *((errno.EISDIR, "a folder") if kind == "directory" else (errno.ENOENT, "a file"))
            )
        size = found.st_size if kind == "file" else 0
        gone = _gone(parts, kind, size)
        with _place(gone, trash) as fd:
            os.rename(parts[-1], THING, src_dir_fd=folder, dst_dir_fd=fd)
    return gone


def keep(jail: Jail, parts: Parts) -> Removed | None:
    """Keep a second name of a file that is about to be replaced; None where the disk has no such names."""
    with jail.inside_root(parts[:-1]) as folder, jail.room(TRASH) as trash:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        gone = _gone(parts, "file", found.st_size)
        try:
            with _place(gone, trash) as fd:
                os.link(parts[-1], THING, src_dir_fd=folder, dst_dir_fd=fd, follow_symlinks=False)
        except OSError:
            return None
    return gone


def _gone(parts: Parts, kind: Kind, size: int) -> Removed:
    """What goes now; its id begins with the time."""
    now = time.time_ns()
    path, when = "/".join(parts), datetime.fromtimestamp(now / 1e9, UTC)
    return Removed(f"{now:016x}{secrets.token_hex(4)}", path, kind, size, when)


@contextlib.contextmanager
def _place(gone: Removed, trash: int) -> Any:
    """A folder with a note, open; gone again when what follows fails."""
    os.mkdir(gone.id, 0o700, dir_fd=trash)
    fd = os.open(gone.id, FOLDER, dir_fd=trash)
    try:
        note = {"path": gone.path, "type": gone.type, "size": gone.size}
        with os.fdopen(os.open(NOTE, NEW, 0o600, dir_fd=fd), "w", encoding="utf-8") as file:
            json.dump(note, file)
        yield fd
    except BaseException:
        clear(gone.id, trash)
        raise
    finally:
        os.close(fd)


def restore(jail: Jail, id: str) -> str:
    """Bring something back to where it was; its path. Folders that are missing on the way are made.

    Raises:
        OSError: ENOENT where it is not in the trash any more, EEXIST where its place is taken.
    """
    with jail.room(TRASH) as trash:
        gone = _read(id, trash)
        if gone is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        parts = gone.path.split("/")
        with (
            jail.inside_root((HIDDEN, TRASH, id)) as place,
            jail.inside_root(parts[:-1], make=True) as to,
        ):
            rename_new(THING, parts[-1], place, to)
        clear(id, trash)
    return gone.path


def contents(jail: Jail) -> list[Removed]:
    """What can be brought back, newest first."""
    with jail.room(TRASH) as trash:
        found = [gone for name in names_in(trash) if (gone := _read(name, trash))]
    return sorted(found, key=lambda gone: gone.id, reverse=True)


def _read(id: str, trash: int) -> Removed | None:
    if not is_id(id):
        return None
    try:
        fd = os.open(id, FOLDER, dir_fd=trash)
    except OSError:
        return None
    try:
        os.stat(THING, dir_fd=fd, follow_symlinks=False)
        with os.fdopen(
            os.open(NOTE, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd), encoding="utf-8"
        ) as file:
            note = json.load(file)
        when = datetime.fromtimestamp(int(id[:16], 16) / 1e9, UTC)
        return Removed(id, note["path"], note["type"], note["size"], when)
    except (OSError, ValueError, KeyError):
        return None
    finally:
        os.close(fd)


def empty(jail: Jail, older: float = 0.0) -> int:
    """Remove for good what lies here longer than so many seconds, and places that hold nothing. How many things.

    Each is first moved where no `restore` finds it, so that nobody gets half of it back.
    """
    count = 0
    with jail.room(TRASH) as trash, jail.room(STAGING) as rooms:
        for lying in sorted(names_in(trash)):
            gone = _read(lying, trash)
            age = _age(lying, trash, gone)
            if age >= (older if gone else max(older, SLACK)):
                name = secrets.token_hex(8)
                with contextlib.suppress(OSError):
                    os.rename(lying, name, src_dir_fd=trash, dst_dir_fd=rooms)
                    clear(name, rooms)
                    count += gone is not None
    return count


def discard(jail: Jail, id: str) -> None:
    """Remove one thing for good."""
    with jail.room(TRASH) as trash:
        clear(id, trash)


def _age(id: str, trash: int, gone: Removed | None) -> float:
    if gone is not None:
        return time.time() - gone.removed.timestamp()
    try:
        return time.time() - os.stat(id, dir_fd=trash, follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
