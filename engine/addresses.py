"""Which addresses on the web may be opened: one reading of a URL, and one rule about where it may lead.

Knows no connection. A host that is a name is only known once it was looked up; what it was found to be is judged by
`Rules.check`, and exactly that is connected to.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import BadValue, Forbidden, Unavailable

if TYPE_CHECKING:
    from yarl import URL

LONGEST = 8000  # characters of an address; servers seldom read more
WRITTEN = 'Write it like "https://example.org/page".'
NAME = re.compile(r"(?=.{1,253}\.?\Z)[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_][a-z0-9_-]*)*\.?", re.ASCII)
NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
# Ports above 1023 where something else than HTTP listens that would take lines of ours for commands.
OTHERS = frozenset({
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, *range(6665, 6670), 6679,
    6697, 10080, 11211,
})  # fmt: skip
NAT64 = ipaddress.ip_network("64:ff9b::/96")
UNICAST = ipaddress.ip_network("2000::/3")  # all that is given out of IPv6
TEREDO = ipaddress.ip_network("2001::/32")
SPECIAL = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(ip: Ip) -> bool:
    """Whether an address belongs to the open internet: no machine of this network can be behind it.

    What carries another address inside (mapped, compatible, 6to4, NAT64) is judged by that one.
    """
    inner = _inside(ip)
    if inner is not None:
        return is_public(inner)
    if ip.version == 6 and (ip.scope_id or ip not in UNICAST or ip in TEREDO):
        return False
    if ip.version == 4 and any(ip in network for network in SPECIAL):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_unspecified or ip.is_reserved)


def _inside(ip: Ip) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if ip.version == 4:
        return None
    if ip.ipv4_mapped or ip.sixtofour:
        return ip.ipv4_mapped or ip.sixtofour
    plain = ipaddress.IPv6Address(int(ip))  # without a zone
    if int(plain) >> 32 == 0 or plain in NAT64:
        return ipaddress.IPv4Address(int(plain) & 0xFFFFFFFF)
    return None


@dataclass(frozen=True, slots=True)
class Target:
    """An address that was read once: what is connected to, and what is asked there.

    Args:
        url: the parsed address, without credentials and fragment; aiohttp takes it as it is.
        host: the name or number, in small ASCII letters.
        literal: the number, where the host is one.
    """

    url: URL
    host: str
    port: int
    literal: Ip | None

    @property
    def text(self) -> str:
        """The address as text."""
        return str(self.url)


def read_url(text: str, param: str = "url") -> Target:
    """An address as people give it, read by one parser.

    Raises:
        BadValue: no http(s) address, or one of the forms that two readers would understand differently.
    """
    text = text.strip(" \t\r\n")
    if not text or len(text) > LONGEST:
        raise BadValue(f"{param}: this is not an address. {WRITTEN}", param=param)
    if any(char == "\\" or char.isspace() or _unseen(char) for char in text):
        raise BadValue(
            f"{param}: the address holds spaces, backslashes or unseen characters. {WRITTEN}",
            param=param,
        )
    from yarl import URL

    try:
        return target_of(URL(text).with_fragment(None), param)
    except (ValueError, UnicodeError, TypeError):
        raise BadValue(f"{param}: this is not an address. {WRITTEN}", param=param) from None


def target_of(url: URL, param: str = "url") -> Target:
    """A parsed address as a target. Raises BadValue as `read_url`."""
    if url.scheme not in {"http", "https"}:
        raise BadValue(f"{param}: only http and https addresses are opened. {WRITTEN}", param=param)
    if url.raw_user is not None or url.raw_password is not None or "@" in url.raw_authority:
        raise BadValue(
            f"{param}: the address holds a user's name or password. Leave them away.", param=param
        )
    host, port = (url.raw_host or "").lower(), url.port or 0
    literal = _literal(host, param)
    if not (0 < port < 65536):
        raise BadValue(f"{param}: the address has no port that can be opened.", param=param)
    return Target(url, host, port, literal)


def _literal(host: str, param: str) -> Ip | None:
    """The number that a host is; None for a name. Raises BadValue: neither is written as it should be."""
    if ":" in host:
        if "%" not in host:
            return ipaddress.IPv6Address(host)  # its ValueError is "not an address"
        raise BadValue(f"{param}: addresses with a zone are not opened.", param=param)
    last = host.rstrip(".").rpartition(".")[2]
    if NUMERIC.match(last):
        try:
            return ipaddress.IPv4Address(host)
        except ValueError:
            raise BadValue(
                f"{param}: write the address of a host in full, like 93.184.216.34.", param=param
            ) from None
    if not NAME.fullmatch(host):
        raise BadValue(f"{param}: the address has no valid host name. {WRITTEN}", param=param)
    return None


def _unseen(char: str) -> bool:
    return unicodedata.category(char) in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}


@dataclass(frozen=True, slots=True)
class Rules:
    """Where this server may go: to the open internet, and to the hosts an admin named.

    Args:
        allowed: "name", "name:port", "10.0.0.5", "[::1]:8080": hosts that may be private.
        offline: nowhere but to this machine's own allowed hosts.
    """

    allowed: frozenset[tuple[str, int]] = frozenset()
    offline: bool = False

    @classmethod
    def of(cls, hosts: Iterable[str], offline: bool = False) -> Rules:
        """Rules that admit these hosts; a port of 0 stands for every port."""
        return cls(frozenset(_host(text) for text in hosts), offline)

    def admits(self, target: Target) -> bool:
        """Whether an admin named this host."""
        return any((target.host.rstrip("."), port) in self.allowed for port in (target.port, 0))

    def check_port(self, target: Target, param: str) -> None:
        """Raises Forbidden: something else than a web server listens at such ports."""
        port = target.port
        if not self.admits(target) and (port in OTHERS or (port < 1024 and port not in {80, 443})):
            raise Forbidden(
                f"{param}: no web server listens at port {port}, so it is not opened.", param=param
            )

    def check(self, target: Target, found: Sequence[Ip], param: str) -> None:
        """Judge all addresses that a host was found to have.

        Raises:
            Forbidden: one of them is not public, and no admin named the host. Unavailable: Atelier is offline.
        """
        if self.admits(target):
            bad = any(ip.is_multicast or ip.is_unspecified for ip in found)
            if not bad and not (self.offline and not all(ip.is_loopback for ip in found)):
                return
        if self.offline:
            raise Unavailable("Atelier is offline. Unset ATELIER_OFFLINE to open addresses.")
        if not found or not all(is_public(ip) for ip in found):
            raise Forbidden(
                f"{param}: the address lies in a private network, which this server does not open."
                " An admin may name its host in ATELIER_FETCH_HOSTS.",
                param=param,
            )


def _host(text: str) -> tuple[str, int]:
    """Host and port of an entry of the allow-list; port 0 where it names none."""
    text = text.strip().lower()
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or (":" in host and not host.endswith("]")):
        host, port = text, "0"
    return host.strip("[]").rstrip("."), int(port)
