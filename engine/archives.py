"""ZIP files: written as a stream, and read with suspicion.

An archive is refused when an entry leaves its folder, is a link, shares bytes with another, lies about itself, or
grows beyond what it may; by the bytes that were really written, whatever the archive says.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.errors import BadFormat, BadValue, Conflict, TooLarge
from engine.jail import FOLDER, NEW, addressable, kind_of, names_in, open_file
from engine.names import HIDDEN, parts_of

PIECE = 256 * 1024
ENTRIES = 100_000
DIRECTORY = 16_000_000  # bytes of an archive's list of entries
RATIO = 250  # times the archive's own size, once it grows beyond ROOMY
ROOMY = 100_000_000
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
PACKED = {
    "7z", "aac", "avif", "br", "bz2", "docx", "flac", "gif", "gz", "heic", "jpeg", "jpg", "m4a", "m4v", "mkv", "mov",
    "mp3", "mp4", "ogg", "opus", "pdf", "png", "pptx", "rar", "safetensors", "webm", "webp", "woff2", "xlsx", "xz",
    "zip", "zst",
}  # fmt: skip
Halted = Callable[[], None]  # raises when the work is to end


class _Sink(io.RawIOBase):
    """Takes what a ZIP writer writes, to be carried on piece by piece."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._held.append(bytes(data))
        self.size += len(data)
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._held)
        self._held.clear()
        self.size = 0
        return taken


def pack(folder: int, names: list[str] | None, halted: Halted) -> Iterator[bytes]:
    """The ZIP of what lies in an open folder, in pieces.

    Args:
        names: only these files and folders; None: everything, our hidden folder aside.
    Raises:
        Conflict: a file changed meanwhile. OSError.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", allowZip64=True) as packed:
        for path, fd in _tree(folder, "", names):
            halted()
            if fd is None:
                info = zipfile.ZipInfo(path, _date(None))
                info.external_attr = (0o40755 << 16) | 0x10
                packed.writestr(info, b"")
            else:
                for _ in _add(packed, path, fd, halted):
                    if sink.size >= PIECE:
                        yield sink.take()
            if sink.size >= PIECE:
                yield sink.take()
    yield sink.take()


def _add(packed: zipfile.ZipFile, path: str, fd: int, halted: Halted) -> Iterator[None]:
    found = os.fstat(fd)
    info = zipfile.ZipInfo(path, _date(found.st_mtime))
    info.external_attr = 0o100644 << 16
    ending = path.rpartition(".")[2].lower()
    info.compress_type = zipfile.ZIP_STORED if ending in PACKED else zipfile.ZIP_DEFLATED
    left = found.st_size
    with packed.open(info, "w", force_zip64=left >= 2**31 - PIECE) as target:
        while data := os.read(fd, PIECE):
            left -= len(data)
            if left < 0:
                break
            halted()
            target.write(data)
            yield
    after = os.fstat(fd)
    if left or after.st_mtime_ns != found.st_mtime_ns:
        raise Conflict(f'"{path}" changed while it was packed. Try again.', param="path")


def _tree(fd: int, above: str, names: list[str] | None) -> Iterator[tuple[str, int | None]]:
    """The files (open) and folders (None) below an open folder, in a fixed order."""
    for name in sorted(names_in(fd) if names is None else names):
        if (not above and name == HIDDEN) or not addressable(name):
            continue
        kind = kind_of(os.stat(name, dir_fd=fd, follow_symlinks=False))
        if kind == "file":
            file = open_file(name, fd)
            try:
                yield above + name, file
            finally:
                os.close(file)
        elif kind == "directory":
            below = os.open(name, FOLDER, dir_fd=fd)
            try:
                yield f"{above}{name}/", None
                yield from _tree(below, f"{above}{name}/", None)
            finally:
                os.close(below)


def _date(seconds: float | None) -> tuple[int, int, int, int, int, int]:
    """The time as a ZIP can hold it: from 1980 to 2107."""
    then = time.localtime(time.time() if seconds is None else max(0.0, min(seconds, 4e9)))
    year = min(max(then.tm_year, 1980), 2107)
    return (year, then.tm_mon, then.tm_mday, then.tm_hour, then.tm_min, min(then.tm_sec, 59))


# Reading


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an archive held: the names at its top, its files and their bytes."""

    names: tuple[str, ...]
    files: int
    size: int


def unpack(archive: int, into: int, limit: int, above: int, halted: Halted) -> Unpacked:
    """Write what an archive (open) holds into an open, empty folder.

    Args:
        limit: bytes that may be written.
        above: how many folders deep it will lie.
    Raises:
        BadFormat: it is no ZIP, broken, encrypted or packed in a way that is not read.
        BadValue: an entry is refused. TooLarge: it grows too large, or has too many entries. OSError.
    """
    size = os.fstat(archive).st_size
    limit = min(limit, max(ROOMY, RATIO * size))
    with os.fdopen(os.dup(archive), "rb") as file:
        try:
            _check_end(file, size)
            file.seek(0)
            with zipfile.ZipFile(file) as packed:
                entries = _entries(packed, above)
                _check_places(file, packed)
                files, written = _write(packed, entries, into, limit, halted)
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, KeyError,
                NotImplementedError, UnicodeError, OverflowError) as error:  # fmt: skip
            raise BadFormat("This is no ZIP archive, or it is broken.", param="path") from error
    tops = tuple(dict.fromkeys(parts[0] for parts, _ in entries))
    return Unpacked(tops, files, written)


def _check_end(file: io.BufferedReader, size: int) -> None:
    """Look at the end of the archive, before anything is made of its list of entries."""
    tail_size = min(size, 22 + 65_535)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile("no end")
    count, length = struct.unpack_from("<HI", tail, at + 10)
    place = size - tail_size + at - 20
    if place >= 0:
        file.seek(place)
        signature, _, end, _ = struct.unpack("<4sIQI", file.read(20))
        if signature == b"PK\6\7" and end < size:
            file.seek(end)
            large = file.read(56)
            if len(large) == 56 and large[:4] == b"PK\6\6":
                count = max(count, struct.unpack_from("<Q", large, 32)[0])
                length = max(
                    length if length != 2**32 - 1 else 0, struct.unpack_from("<Q", large, 40)[0]
                )
    if count > ENTRIES or length > DIRECTORY:
        raise TooLarge(
            f"The archive has too many entries. At most {ENTRIES:,} are taken.", param="path"
        )


Entries = list[tuple[tuple[str, ...], zipfile.ZipInfo]]


def _entries(packed: zipfile.ZipFile, above: int) -> Entries:
    """The entries with their checked paths. Raises BadValue, BadFormat, TooLarge."""
    infos = packed.infolist()
    if len(infos) > ENTRIES:
        raise TooLarge(
            f"The archive has too many entries. At most {ENTRIES:,} are taken.", param="path"
        )
    found: Entries = []
    files: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for info in infos:
        parts = _parts(info, above)
        if not parts:
            continue  # the folder itself
        folders.update(parts[:n] for n in range(1, len(parts)))
        if info.is_dir():
            folders.add(parts)
        elif parts in files:
            raise BadValue(
                f'The archive holds "{_shown(info)}" twice. It is refused.', param="path"
            )
        else:
            files.add(parts)
        found.append((parts, info))
    if twice := files & folders:
        shown = "/".join(min(twice))[:200]
        raise BadValue(
            f'In the archive "{shown}" is a file and a folder. It is refused.', param="path"
        )
    return found


def _parts(info: zipfile.ZipInfo, above: int) -> tuple[str, ...]:
    name = info.orig_filename
    mode = info.external_attr >> 16
    if (
        name.startswith("/")
        or "\\" in name
        or "\0" in name
        or ".." in name.split("/")
        or name[1:2] == ":"
    ):
        raise BadValue(
            f'The entry "{_shown(info)}" leads out of the archive. It is refused.', param="path"
        )
    if mode and stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise BadValue(
            f'The entry "{_shown(info)}" is a link or a device. It is refused.', param="path"
        )
    if info.flag_bits & 1:
        raise BadFormat(
            "The archive is protected by a password. Unpack it yourself first.", param="path"
        )
    if info.compress_type not in METHODS:
        raise BadFormat(
            "The archive is packed in a way that is not read here. Use plain ZIP.", param="path"
        )
    try:
        parts_of("/".join(("x",) * above) + "/" + name)  # not too deep where it will lie
        return parts_of(name)
    except BadValue as error:
        raise BadValue(
            f'The entry "{_shown(info)}" is refused: {error.message}', param="path"
        ) from error


def _shown(info: zipfile.ZipInfo) -> str:
    return "".join(c if c.isprintable() else "?" for c in info.orig_filename)[:200]


def _check_places(file: io.BufferedReader, packed: zipfile.ZipFile) -> None:
    """Refuse entries whose bytes overlap: one small kernel could be counted a thousand times."""
    places = []
    for info in packed.infolist():
        file.seek(info.header_offset)
        head = file.read(30)
        if len(head) < 30 or head[:4] != b"PK\3\4":
            raise zipfile.BadZipFile("no header")
        name, extra = struct.unpack_from("<HH", head, 26)
        places.append(
            (info.header_offset, info.header_offset + 30 + name + extra + info.compress_size)
        )
    places.sort()
    end = 0
    for begin, after in places:
        if begin < end:
            raise BadValue("Entries of the archive overlap. It is refused.", param="path")
        end = after
    if end > packed.start_dir:
        raise BadValue("Entries of the archive overlap its list. It is refused.", param="path")


def _write(
    packed: zipfile.ZipFile, entries: Entries, into: int, limit: int, halted: Halted
) -> tuple[int, int]:
    written = files = 0
    made: set[tuple[str, ...]] = set()
    for parts, info in entries:
        halted()
        folder = parts if info.is_dir() else parts[:-1]
        fd = _folder(into, folder, made)
        try:
            if not info.is_dir():
                files += 1
                written += _extract(packed, info, parts[-1], fd, limit - written, halted)
        finally:
            os.close(fd)
    return files, written


def _folder(into: int, parts: tuple[str, ...], made: set[tuple[str, ...]]) -> int:
    """A folder below the open one, open; made where it is missing."""
    fd = os.dup(into)
    for n, name in enumerate(parts, 1):
        if parts[:n] not in made:
            made.add(parts[:n])
            os.mkdir(name, dir_fd=fd)
        below = os.open(name, FOLDER, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def _extract(
    packed: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    name: str,
    folder: int,
    limit: int,
    halted: Halted,
) -> int:
    """Write one entry; its bytes."""
    size = 0
    with (
        packed.open(info) as source,
        os.fdopen(os.open(name, NEW, 0o644, dir_fd=folder), "wb", 0) as target,
    ):
        while data := source.read(PIECE):
            halted()
            size += len(data)
            if size > limit:
                raise TooLarge(
                    "The archive unpacks to more than is allowed (ATELIER_UNPACK_LIMIT, or"
                    f" {RATIO} times its own size). It is refused.", param="path",
                )  # fmt: skip
            target.write(data)
    if size != info.file_size:
        raise zipfile.BadZipFile("another size")
    return size
