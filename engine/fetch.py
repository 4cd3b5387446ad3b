"""The one guarded fetcher: every address on the web that somebody else names is opened here, and nowhere else.

An address is read once (`engine.addresses`), its host looked up once, every number it has is judged, and exactly
those are connected to; redirects start over. No cookie, no credential and no proxy takes part. Bytes are bounded after
decompression, seconds in all, and a server that only drips is left.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from engine.addresses import Ip, Rules, Target, read_url, target_of
from engine.errors import BadFormat, BadValue, Busy, Forbidden, TimedOut, TooLarge, Unavailable
from engine.settings import Settings

if TYPE_CHECKING:
    import aiohttp

HOPS = 5  # redirects that are followed
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECT = 6.0  # seconds to look a host up, and to connect
OPENING = 20.0  # seconds until an answer's headers are there, redirects included
SILENCE = 20.0  # seconds without a byte
GRACE = 12.0  # seconds of waiting after which a server must have sent …
PACE = 1024  # … so many bytes for each of them
PIECE = 128 * 1024  # bytes that are inflated at once
AT_ONCE = 64  # answers that may be open
CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
AGENT = "Atelier/0.1"
log = logging.getLogger("atelier.fetch")
Lookup = Callable[[str, int], Awaitable[list[str]]]


async def look_up(host: str, port: int) -> list[str]:
    """The numbers of a host, by the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


@dataclass(slots=True)
class Answer:
    """An open answer: its headers are there, its body is read by `pieces`.

    Args:
        target: where it came from at last.
        kind: the media type it claims, in small letters, without parameters; "" none.
        size: bytes the whole thing has as far as the server says; None where it does not.
        name: what it is called there, for people; not a safe file name.
        headers: of the answer, names in small letters.
    """

    target: Target
    status: int
    kind: str
    size: int | None
    name: str
    headers: Mapping[str, str]
    limit: int
    until: float
    param: str
    _response: aiohttp.ClientResponse = field(repr=False)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body, decompressed, as it comes.

        Raises:
            TooLarge: more bytes than allowed. TimedOut: too slow. Unavailable: it broke off.
            BadFormat: its compression is broken.
        """
        inflate = self._inflater()
        total = 0
        async for raw in self._raw():
            for piece in inflate(raw):
                total += len(piece)
                self.check(total)
                yield piece
                await asyncio.sleep(0)  # a bomb may not hold up everybody else

    def check(self, size: int) -> None:
        """Raises TooLarge for more bytes than are accepted."""
        if size > self.limit:
            raise TooLarge(
                f"{self.param}: what lies at this address has more than {_bytes(self.limit)}.",
                param=self.param,
            )

    async def _raw(self) -> AsyncIterator[bytes]:
        import aiohttp

        loop = asyncio.get_running_loop()
        waited, came = 0.0, 0
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(max(0.0, min(SILENCE, self.until - began))):
                    piece = await self._response.content.readany()
            except TimeoutError:
                raise _slow(self.param) from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise Unavailable("The server of this address broke off. Try again.") from error
            if not piece:
                return
            waited, came = waited + loop.time() - began, came + len(piece)
            if waited > GRACE and came < PACE * waited:
                raise _slow(self.param)
            yield piece

    def _inflater(self) -> Callable[[bytes], Iterator[bytes]]:
        coding = self.headers.get("content-encoding", "").strip().lower()
        if coding in {"", "identity"}:
            return lambda raw: iter((raw,))
        if coding not in CODINGS:
            raise BadFormat(
                f"{self.param}: the server compresses in a way that is not read here.",
                param=self.param,
            )
        return _Inflater(self.param).feed


class _Inflater:
    """gzip and zlib, at most PIECE bytes at a time."""

    def __init__(self, param: str) -> None:
        self._state = zlib.decompressobj(47)  # the header tells which of the two
        self._param = param

    def feed(self, raw: bytes) -> Iterator[bytes]:
        while not self._state.eof:
            try:
                piece = self._state.decompress(raw, PIECE)
            except zlib.error:
                raise BadFormat(
                    f"{self._param}: what the server sent is broken.", param=self._param
                ) from None
            raw = self._state.unconsumed_tail
            if piece:
                yield piece
            if not raw and len(piece) < PIECE:
                return


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was read from an address; see `Answer`."""

    url: str
    kind: str
    name: str
    data: bytes = field(repr=False)


class Fetcher:
    """Opens addresses under the rules of the settings. One event loop.

    Args:
        lookup: what finds a host's numbers.
    """

    def __init__(self, settings: Settings, lookup: Lookup = look_up) -> None:
        self.rules = Rules.of(settings.listed("fetch_hosts"), settings.offline)
        self._bytes = settings.fetch_bytes
        self._seconds = settings.fetch_seconds
        self._lookup = lookup
        self._open = 0

    async def read(self, url: str, *, param: str = "url", limit: int | None = None) -> Fetched:
        """All that lies at an address.

        Args:
            limit: bytes, in place of the settings' own.

        Raises:
            BadValue, Forbidden: the address cannot be opened. TooLarge, TimedOut, Unavailable, BadFormat:
                see `Answer.pieces`.
        """
        data = bytearray()
        async with self.open(url, param=param, limit=limit) as answer:
            async for piece in answer.pieces():
                data += piece
        return Fetched(answer.target.text, answer.kind, answer.name, bytes(data))

    @asynccontextmanager
    async def open(
        self,
        url: str | Target,
        *,
        param: str = "url",
        limit: int | None = None,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Answer]:
        """An answer, its redirects followed, its status one of success (206 too).

        Args:
            limit, seconds: of the body, in place of the settings' own.
            headers: to send besides our own.

        Raises:
            BadValue: no address, or the server says that nothing is there. Forbidden: not for us to open.
            TooLarge: it says itself that it is. TimedOut, Unavailable: slow, or out of reach.
        """
        target = read_url(url, param) if isinstance(url, str) else url
        if self._open >= AT_ONCE:
            raise Busy("Too many addresses are being opened. Try again soon.", retry_after=5)
        self._open += 1
        sessions: list[aiohttp.ClientSession] = []
        try:
            target, response = await self._answered(target, dict(headers or {}), param, sessions)
            until = asyncio.get_running_loop().time() + (seconds or self._seconds)
            answer = _answer(target, response, limit or self._bytes, until, param)
            _check_status(answer)
            if response.headers.get("Content-Encoding", "identity").lower() == "identity":
                answer.check(response.content_length or 0)
            yield answer
        finally:
            self._open -= 1
            for session in sessions:
                await session.close()

    async def reach(self, target: Target, param: str = "url") -> list[Ip]:
        """The numbers of a target's host, all of them judged; looked up once.

        Raises:
            Forbidden: we may not go there. BadValue: there is no such host. Unavailable: it cannot be told.
        """
        self.rules.check_port(target, param)
        found = [target.literal] if target.literal else await self._numbers(target, param)
        self.rules.check(target, found, param)
        return found

    async def _numbers(self, target: Target, param: str) -> list[Ip]:
        if self.rules.offline and not self.rules.admits(target):
            self.rules.check(target, (), param)
        try:
            async with asyncio.timeout(CONNECT):
                texts = await self._lookup(target.host, target.port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME:
                raise BadValue(f"{param}: there is no host of that name.", param=param) from error
            raise Unavailable("Host names cannot be looked up now. Try again.") from error
        except TimeoutError:
            raise Unavailable("Looking the host up takes too long. Try again.") from None
        except (OSError, UnicodeError) as error:
            raise BadValue(f"{param}: there is no host of that name.", param=param) from error
        return [ipaddress.ip_address(text) for text in texts]

    async def _answered(
        self,
        target: Target,
        headers: dict[str, str],
        param: str,
        sessions: list[aiohttp.ClientSession],
    ) -> tuple[Target, aiohttp.ClientResponse]:
        """The first answer that is no redirect."""
        import aiohttp

        try:
            async with asyncio.timeout(OPENING):
                for _ in range(HOPS + 1):
                    numbers = await self.reach(target, param)
                    session = _session(target, numbers)
                    sessions.append(session)
                    response = await session.get(target.url, headers=headers, allow_redirects=False)
                    location = response.headers.get("Location", "")
                    if response.status not in REDIRECTS or not location:
                        return target, response
                    response.close()
                    target = _next(target, location, param)
        except TimeoutError:
            raise TimedOut("The server of this address does not answer in time.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.info("%s: %s", target.host, type(error).__name__)
            raise Unavailable("The server of this address cannot be reached.") from error
        raise BadValue(f"{param}: the address leads from one to the next without end.", param=param)


def _session(target: Target, numbers: list[Ip]) -> aiohttp.ClientSession:
    """A client for one request that connects to these numbers and to nothing else."""
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Fixed(AbstractResolver):
        async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
            return [
                ResolveResult(
                    hostname=host, host=str(ip), port=port, proto=0, flags=socket.AI_NUMERICHOST,
                    family=socket.AF_INET6 if ip.version == 6 else socket.AF_INET,
                )
                for ip in numbers
            ]  # fmt: skip

        async def close(self) -> None:
            pass

    def connects(info: Any) -> socket.socket:
        """The last gate: whatever the client means to connect to was judged, or it gets no socket."""
        family, kind, proto, _, address = info
        if ipaddress.ip_address(address[0]) not in numbers or address[1] != target.port:
            raise PermissionError("not an address that was judged")
        return socket.socket(family, kind, proto)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=Fixed(), use_dns_cache=False, force_close=True, socket_factory=connects
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,  # no proxy, no ~/.netrc
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
        headers={"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
    )


def _next(target: Target, location: str, param: str) -> Target:
    """Where a redirect leads, read and judged like a first address."""
    from yarl import URL

    text = location.strip().replace(" ", "%20")
    if not text.lower().startswith(("http://", "https://")):
        if "\\" in text or text.lower().partition(":")[0] in {"file", "ftp", "data", "gopher"}:
            raise Forbidden(f"{param}: the address leads to one that is not opened.", param=param)
        try:
            return target_of(target.url.join(URL(text)).with_fragment(None), param)
        except (ValueError, UnicodeError, TypeError):
            raise BadValue(f"{param}: the address leads to none.", param=param) from None
    return read_url(text, param)


def _answer(
    target: Target, response: aiohttp.ClientResponse, limit: int, until: float, param: str
) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    size = response.content_length
    whole = headers.get("content-range", "").rpartition("/")[2]
    if response.status == 206:
        size = int(whole) if whole.isdecimal() else None
    disposed = response.content_disposition
    name = (disposed.filename if disposed else "") or unquote(
        target.url.raw_path.rstrip("/").rpartition("/")[2]
    )
    return Answer(
        target, response.status, kind, size, name[:300], headers, limit, until, param, response
    )


def _check_status(answer: Answer) -> None:
    """Raises BadValue, Unavailable: the server refused, or failed."""
    status = answer.status
    if 200 <= status < 300 or status == 416:
        return
    if 400 <= status < 500 and status not in {408, 425, 429}:
        raise BadValue(
            f"{answer.param}: the server of this address answers {status}.", param=answer.param
        )
    raise Unavailable(f"The server of this address answers {status}. Try again later.")


def _slow(param: str) -> TimedOut:
    return TimedOut(f"{param}: the server of this address is too slow.", param=param)


def _bytes(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count < 1e9 else f"{count / 1e9:.3g} GB"
