"""Which host names this server answers to.

A page of another site can make its own name point here (DNS rebinding) and would then count as our
own origin. That needs a name, so addresses are always fine and names must be known.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from engine import BadValue
from middleware.scope import Refuse, header, path_of


class Hosts:
    """Refuses a `Host` that is neither an address, a loopback name nor in `names` ("*": any)."""

    def __init__(self, app: ASGIApp, refuse: Refuse, names: Iterable[str]) -> None:
        self.app = app
        self._refuse = refuse
        self._names = {name.lower().rstrip(".") for name in names} | {"localhost"}

    def accepts(self, host: str) -> bool:
        """Whether a `Host` header, port included, names this server."""
        name = host_name(host)
        if "*" in self._names or name in self._names or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def add(self, name: str) -> None:
        """Answer to one more name: a share link's, once it is open."""
        self._names.add(name.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.accepts(header(scope, b"host")):
            await self.app(scope, receive, send)
            return
        name = host_name(header(scope, b"host"))[:100] or "(none)"
        error = BadValue(
            f"This server does not answer to the name '{name}'. Add it to ATELIER_HOSTS."
        )
        await self._refuse(path_of(scope), error)(scope, receive, send)


def host_name(host: str) -> str:
    """The name in a `Host` header, without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).rstrip(".")
