"""Where files are made before anybody may see them, and how they are put in place: all of them, or none.

Each operation has a hidden folder of its own, locked while its process lives. Several files are put in place by a
written plan, so that a process that dies over it leaves something that the next start brings to its end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.jail import FOLDER, NEW, Jail, Parts, clear, names_in
from engine.names import another
from engine.syscalls import rename_new

STAGING = "staging"
PLAN = "plan.json"
Existing = Literal["refuse", "replace", "rename"]
Keep = Callable[[Parts], object]
TRIES = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to be put in place: its name in the hidden folder, and the path that it is to have."""

    made: str
    parts: Parts


@dataclass(frozen=True, slots=True)
class Staging:
    """The hidden folder of one operation; `fd` is the folder, open."""

    jail: Jail
    name: str
    fd: int

    def create(self, name: str) -> int:
        """A new file in here, open for writing. Raises OSError."""
        return os.open(name, NEW, 0o644, dir_fd=self.fd)

    def land(
        self, steps: Sequence[Step], existing: Existing = "refuse", keep: Keep = lambda parts: None
    ) -> list[Parts]:
        """Put everything in place; the paths that they got. Folders that are missing are made.

        Args:
            existing: what happens to files that are there: nothing may be, they go, or ours get a number.
            keep: called before a file is replaced, so that it can be brought back.
        Raises:
            OSError: EEXIST where a name is taken; nothing was put in place then.
        """
        if existing == "refuse":
            self._check(steps)
        if len(steps) > 1:
            self._write_plan(steps, existing)
        done: list[tuple[str, Parts]] = []
        try:
            for step in steps:
                done.append((step.made, self._place(step, existing, keep)))
        except OSError:
            for made, parts in reversed(done):
                with contextlib.suppress(OSError), self.jail.inside_root(parts[:-1]) as folder:
                    rename_new(parts[-1], made, folder, self.fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(PLAN, dir_fd=self.fd)
            raise
        for above in {parts[:-1] for _, parts in done}:
            with self.jail.inside_root(above) as folder:
                os.fsync(folder)
        return [parts for _, parts in done]

    def _check(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if self.jail.kind(step.parts) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _write_plan(self, steps: Sequence[Step], existing: Existing) -> None:
        plan = {"existing": existing, "steps": [[step.made, step.parts] for step in steps]}
        with os.fdopen(self.create(PLAN + ".part"), "wb") as file:
            file.write(json.dumps(plan).encode())
            file.flush()
            os.fsync(file.fileno())
        os.rename(PLAN + ".part", PLAN, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def _place(self, step: Step, existing: Existing, keep: Keep) -> Parts:
        above, wanted = step.parts[:-1], step.parts[-1]
        with self.jail.inside_root(above, make=True) as folder:
            if existing == "replace" and self.jail.kind(step.parts) == "file":
                keep(step.parts)
                os.rename(step.made, wanted, src_dir_fd=self.fd, dst_dir_fd=folder)
                return step.parts
            for number in range(1, TRIES):
                name = wanted if number == 1 else another(wanted, number)
                try:
                    rename_new(step.made, name, self.fd, folder)
                    return (*above, name)
                except FileExistsError:
                    if existing != "rename":
                        raise
        raise FileExistsError(errno.EEXIST, "no free name")


@contextlib.contextmanager
def staging(jail: Jail) -> Iterator[Staging]:
    """A hidden folder for one operation; it is gone afterwards, with all that was not put in place."""
    with jail.room(STAGING) as rooms:
        name, fd = _begin(rooms)
        try:
            yield Staging(jail, name, fd)
        finally:
            clear(name, rooms)
            os.close(fd)


def _begin(rooms: int) -> tuple[str, int]:
    """A new folder, locked. A start that sweeps may take one before it is locked: then another."""
    while True:
        name = secrets.token_hex(8)
        os.mkdir(name, 0o700, dir_fd=rooms)
        try:
            fd = os.open(name, FOLDER, dir_fd=rooms)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(name, dir_fd=rooms), os.fstat(fd)):
                return name, fd
        except OSError:
            pass
        os.close(fd)


def sweep(jail: Jail) -> int:
    """After a start: bring written plans to their end and remove what dead processes left. How much there was."""
    count = 0
    with jail.room(STAGING) as rooms:
        for name in names_in(rooms):
            with contextlib.suppress(OSError):
                fd = os.open(name, FOLDER, dir_fd=rooms)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # else its process lives
                    _finish(Staging(jail, name, fd))
                    clear(name, rooms)
                    count += 1
                finally:
                    os.close(fd)
    return count


def _finish(left: Staging) -> None:
    """Go on with a plan, if there is one: what has not been put in place yet still lies in the hidden folder."""
    try:
        fd = os.open(PLAN, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=left.fd)
    except FileNotFoundError:
        return
    with os.fdopen(fd, "rb") as file:
        plan = json.loads(file.read())
    existing: Existing = "replace" if plan["existing"] == "replace" else "rename"
    for made, parts in plan["steps"]:
        with contextlib.suppress(FileNotFoundError):
            left._place(Step(made, tuple(parts)), existing, lambda parts: None)
