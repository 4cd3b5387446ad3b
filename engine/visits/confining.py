"""The rights of a visit, given away before any foreign byte is seen.

It may start nothing, connect to one loopback port alone (our proxy, which judges every address), write into its own
folder alone and read little else.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

CPU_SECONDS = {"page": 30, "probe": 30, "look": 120, "take": 3600}
MEMORY = 3 << 30  # bytes of addresses
STARTS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.")
CHANGES = frozenset({
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
    "os.truncate", "os.utime", "shutil.move", "shutil.rmtree", "shutil.copyfile",
})  # fmt: skip


class Failed(Exception):
    """An end that has a name; the parent makes a sentence of it."""

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(text or kind)
        self.kind = kind


def limit(do: str, most: int) -> None:
    """Die of a bomb instead of taking the machine's memory, disk or processor."""
    if sys.platform == "win32":
        return
    import resource

    bounds = {
        resource.RLIMIT_CORE: 0, resource.RLIMIT_AS: MEMORY, resource.RLIMIT_CPU: CPU_SECONDS[do],
        resource.RLIMIT_FSIZE: most + (64 << 20), resource.RLIMIT_NOFILE: 256,
    }  # fmt: skip
    for name, bound in bounds.items():
        resource.setrlimit(name, (bound, bound))


def confine(folder: Path, port: int) -> None:
    """Give rights away, for good: an audit hook cannot be taken out again.

    Args:
        folder: where files may be written.
        port: of the proxy on 127.0.0.1; 0: no connection at all.
    """
    home = os.path.realpath(folder)
    readable = [home, *(os.path.realpath(path) for path in _readable() if path)]

    def below(path: Any, roots: list[str]) -> bool:
        if isinstance(path, int):  # open already
            return True
        real = os.path.realpath(os.fsdecode(path))
        return any(real == root or real.startswith(root + os.sep) for root in roots)

    def allowed(event: str, args: tuple[Any, ...]) -> bool:
        if event == "open":
            writes = isinstance(args[2], int) and args[2] & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            )
            return args[0] is None or below(args[0], [home] if writes else readable)
        if event == "socket.connect":
            return bool(port) and tuple(args[1][:2]) == ("127.0.0.1", port)
        if event == "socket.getaddrinfo":
            return args[0] in ("127.0.0.1", b"127.0.0.1")
        if event in ("socket.bind", "socket.sendto", "socket.sendmsg", "socket.gethostbyname"):
            return False
        if event in CHANGES:
            paths = args[:2] if event in _PAIRS else args[:1]
            return all(below(path, [home]) for path in paths)
        return not event.startswith(STARTS)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not allowed(event, args):
            raise PermissionError(f"not allowed here: {event}")

    sys.addaudithook(hook)


_PAIRS = frozenset({"os.rename", "os.link", "os.symlink", "shutil.move", "shutil.copyfile"})


def _readable() -> list[str]:
    """Python itself, what TLS and time zones need, and nothing else of the machine."""
    import sysconfig

    system = (
        "/etc/ssl", "/usr/lib/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
        "/usr/share/zoneinfo", "/etc/localtime", "/etc/mime.types", "/dev/null", "/dev/urandom",
    )  # fmt: skip
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [*python, *system, os.environ.get("SSL_CERT_FILE", "")]
