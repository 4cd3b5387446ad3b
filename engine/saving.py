"""Puts a finished file into the files root under a free name: whole or not at all, and never through a link.

The narrow seam between what is fetched and where files live; knows neither.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engine.errors import BadValue, NoSpace

TRIES = 1000


def save(root: Path, folder: str, name: str, source: Path) -> str:
    """Move `source` to `folder/name` below `root`; where the name is taken, to "name (2)".

    Args:
        folder: relative, "a/b"; made where it is missing.
        name: a safe file name.
        source: a whole file on the same disk; gone afterwards.

    Returns:
        The path below the root.

    Raises:
        BadValue: the folder leads out of the root. NoSpace: the disk is full.
    """
    parts = [part for part in folder.split("/") if part]
    if any(part in {".", ".."} or "\\" in part or "\x00" in part for part in parts):
        raise BadValue("folder: it must be a path below the files' own folder.", param="folder")
    place = root
    place.mkdir(parents=True, exist_ok=True)
    try:
        for part in parts:
            place = place / part
            place.mkdir(exist_ok=True)
            if not stat.S_ISDIR(place.lstat().st_mode):
                raise FileExistsError
        _sync(source)
        free = _linked(place, name, source)
        source.unlink()
        _sync(place)
    except FileExistsError:
        raise BadValue("folder: there is a file or a link of that name.", param="folder") from None
    except OSError as error:
        raise NoSpace("The file could not be kept: the disk is full or write-protected.") from error
    return "/".join([*parts, free])


def _linked(place: Path, name: str, source: Path) -> str:
    """Give the file its first free name; a link is made or not, so nobody's file is ever replaced."""
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    for number in range(1, TRIES):
        free = name if number == 1 else f"{stem} ({number}){dot}{ending}"
        try:
            os.link(source, place / free)
            return free
        except FileExistsError:
            continue
    raise FileExistsError


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
