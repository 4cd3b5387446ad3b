"""System calls that Python lacks: a rename that never replaces, and writing back that begins early."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from functools import cache
from typing import Any

_NO_REPLACE = 1
_WRITE = 2


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def rename_new(source: str, target: str, source_fd: int, target_fd: int) -> None:
    """Rename inside one file system; both names are in open folders.

    Raises:
        FileExistsError: the target is there. OSError: as `os.rename`.
    """
    call = getattr(_libc(), "renameat2", None)
    if call is not None:
        done = call(source_fd, os.fsencode(source), target_fd, os.fsencode(target), _NO_REPLACE)
        if done == 0:
            return
        code = ctypes.get_errno()
        if code not in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
            raise OSError(code, os.strerror(code))
        if code == errno.EINVAL:  # a folder into itself, or a file system that cannot
            _refuse_ring(source, target, source_fd, target_fd)
    _rename_by_place(source, target, source_fd, target_fd)


def _refuse_ring(source: str, target: str, source_fd: int, target_fd: int) -> None:
    """Raise EINVAL where the target lies inside the source."""
    moved = os.stat(source, dir_fd=source_fd, follow_symlinks=False)
    fd = os.dup(target_fd)
    try:
        while True:
            here = os.fstat(fd)
            if (here.st_dev, here.st_ino) == (moved.st_dev, moved.st_ino):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            above = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = above
            up = os.fstat(fd)
            if (up.st_dev, up.st_ino) == (here.st_dev, here.st_ino):
                return
    finally:
        os.close(fd)


def _rename_by_place(source: str, target: str, source_fd: int, target_fd: int) -> None:
    """The same where the file system knows no such flag: an empty place is taken first, then replaced."""
    folder = stat.S_ISDIR(os.stat(source, dir_fd=source_fd, follow_symlinks=False).st_mode)
    if folder:
        os.mkdir(target, dir_fd=target_fd)
    else:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(target, flags, dir_fd=target_fd))
    try:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
    except OSError:
        with contextlib.suppress(OSError):
            (os.rmdir if folder else os.unlink)(target, dir_fd=target_fd)
        raise


def start_writing(fd: int, offset: int, size: int) -> None:
    """Have the system begin to write these bytes to the disk, so that a later fsync has little to wait for."""
    call = getattr(_libc(), "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(offset), ctypes.c_int64(size), _WRITE)
