"""Names for server processes that no other ever has, and whether the process of a name still runs."""

from __future__ import annotations

import os
import socket


def name_process() -> str:
    """The name of this process: its host, its id and its birth."""
    import psutil

    pid = os.getpid()
    return f"{socket.gethostname()[:200]}/{pid}/{psutil.Process(pid).create_time():.0f}"


def is_dead(name: str, own: str, local: bool) -> bool:
    """Whether the process of that name is known to run no more; another host's is not known.

    Args:
        own: the name of the process that asks.
        local: only processes of this machine can have such names, whatever host they say.
    """
    import psutil

    if name == own:
        return False
    try:
        host, pid, born = name.rsplit("/", 2)
        number, birth = int(pid), float(born)
    except ValueError:  # nobody's
        return True
    if not local and host != own.rsplit("/", 2)[0]:
        return False
    try:
        return bool(abs(psutil.Process(number).create_time() - birth) > 2)
    except psutil.NoSuchProcess:
        return True
