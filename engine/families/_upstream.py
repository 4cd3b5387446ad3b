"""One other server: its address, its connections, our patience with it, and its refusals as our errors.

Knows HTTP and lines of bytes; nothing of dialects, models or requests.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies

import orjson

from engine.errors import (
    AtelierError,
    BadValue,
    InferenceFailed,
    Limited,
    TimedOut,
    TooLarge,
    Unavailable,
    Unknown,
)
from engine.registry import RemoteEmit
from engine.settings import Settings

LINE_BYTES = 32_000_000  # a line longer than this is no answer of a language model
STALE_SECONDS = 1.0  # an idle connection that was closed meanwhile says so at once
DRAIN_SECONDS = 0.5  # a server that ended its answer and not its response is hung up on
IDLE_SECONDS = 4.0  # uvicorn closes idle connections after 5: ours must never be the older one


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: to connect, until the first content, and between two pieces after it."""

    connect: float
    first: float
    between: float

    @classmethod
    def of(cls, settings: Settings) -> Patience:
        """What the settings allow."""
        return cls(settings.connect_timeout, settings.first_token_timeout, settings.openai_timeout)


class Reading(Protocol):
    """Takes an answer in, line by line.

    Attributes:
        begun: its first content has come.
        over: its end was published; what follows is read only to keep the connection.
        emit: where it goes; nothing is read while its reader is behind.
    """

    begun: bool
    over: bool
    emit: RemoteEmit

    def take(self, line: bytes) -> None:
        """Publish what a line says."""

    def end(self) -> bool:
        """The connection ended without a last line. False: this cannot have been all."""


def address(url: str, suffix: str = "") -> str:
    """An address as people write it, made whole: "box:11434" becomes "http://box:11434".

    Args:
        suffix: the path that belongs to the dialect ("/v1"), put behind an address without a path.

    Raises:
        BadValue: it is none.
    """
    text = url.strip().rstrip("/")
    if "://" not in text:
        text = f"http://{text}"
    parts = urlsplit(text)
    try:
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        fine = False
    if not fine or parts.query or parts.fragment or parts.username or " " in text:
        raise BadValue(
            'This is not the address of a server. Write it like "http://127.0.0.1:11434".',
            param="url",
        )
    text = text.replace("://0.0.0.0", "://127.0.0.1", 1)  # an address to listen on, not to call
    return text if parts.path else text + suffix


def is_loopback(url: str) -> bool:
    """True when the address is this machine, by its name or its number; nothing is looked up."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Upstream:
    """The connections to one server. They live on the event loop that asks first.

    Args:
        url: what every path is put behind.
        key: the bearer token; empty: none is sent.
        title: what errors call it ("the server of llama3").
    """

    def __init__(self, url: str, key: str, patience: Patience, title: str) -> None:
        import aiohttp

        self.url = url
        self.title = title[:1].upper() + title[1:]
        self._patience = patience
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(connect=patience.connect),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            # proxies only: it also reads ~/.netrc at every request
            trust_env=bool(getproxies()) and not is_loopback(url),
        )

    async def stream(self, path: str, body: Mapping[str, Any], reading: Reading) -> None:
        """Send a request and give the answer's lines to `reading` until it has its last.

        Raises:
            Unavailable: down, unreachable or refusing us. TimedOut: no content in time.
            InferenceFailed: it broke off or fell silent in mid-answer.
            BadValue, Unknown, TooLarge, Limited: what the server itself says.
        """
        import aiohttp

        began = False
        try:
            async with asyncio.timeout(self._patience.first) as clock:
                async with await self._post(path, orjson.dumps(body)) as response:
                    await self._check(response)
                    began = True
                    await self._read(response, reading, clock)
        except aiohttp.ConnectionTimeoutError as error:
            raise self._down(f"cannot be reached in {self._patience.connect:g} s") from error
        except TimeoutError as error:
            raise self._silent(reading.begun) from error
        except aiohttp.ClientError as error:
            raise (self._lost() if began else self._down(_why(error))) from error
        except orjson.JSONDecodeError as error:
            raise self._lost() from error

    async def _read(self, response: Any, reading: Reading, clock: asyncio.Timeout) -> None:
        """The timer is moved on seldom, so that a token costs no timer: it may fire an eighth late."""
        between = self._patience.between
        moved, rest = 0.0, b""
        if response.content_type == "application/json":  # it was asked to stream and will not
            reading.take(await response.read())
        async for piece in response.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                reading.take(line)
            if reading.over:
                await self._drain(response)
                return
            if len(rest) > LINE_BYTES:
                raise self._lost()
            if reading.emit.behind:
                await self._hold(response, reading.emit)
                moved = 0.0
            now = time.monotonic()
            if reading.begun and now >= moved:
                clock.reschedule(asyncio.get_running_loop().time() + between * 1.125)
                moved = now + between / 8
        if rest:
            reading.take(rest)
        if not reading.over and not reading.end():
            raise self._lost()

    async def _hold(self, response: Any, emit: RemoteEmit) -> None:
        """Leave what comes in the kernel until the reader is ready: many tokens then cost one reading."""
        connection = response.connection
        if connection is None:  # the answer is whole
            await emit.taken()
            return
        connection.protocol.pause_reading()
        try:
            await emit.taken()
        finally:
            connection.protocol.resume_reading()

    async def _drain(self, response: Any) -> None:
        """Read past the end, so that the connection can serve the next request."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await response.content.readany()

    async def _post(self, path: str, data: bytes) -> Any:
        """Send; once more where the server had just closed the idle connection that we took."""
        import aiohttp

        began = time.monotonic()
        try:
            return await self._session.post(self.url + path, data=data, allow_redirects=False)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            late = time.monotonic() - began > STALE_SECONDS  # it had begun, and may have died of it
            if late or isinstance(error, aiohttp.ClientConnectorError):
                raise
            return await self._session.post(self.url + path, data=data, allow_redirects=False)

    async def ask(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        method: str = "",
    ) -> Any:
        """The JSON of a whole answer, or None of an empty one; GET without a body.

        Args:
            seconds: for all of it; None: as long as a first token may take.

        Raises:
            As `stream`, and Unavailable where the answer is no JSON.
        """
        import aiohttp

        data = None if body is None else orjson.dumps(body)
        verb = method or ("GET" if body is None else "POST")
        limit = self._patience.first if seconds is None else seconds
        try:
            async with asyncio.timeout(limit):
                async with self._session.request(
                    verb, self.url + path, data=data, allow_redirects=False
                ) as response:
                    await self._check(response)
                    answer = await response.read()
        except TimeoutError as error:
            raise self._down(f"gave no answer in {limit:g} s") from error
        except aiohttp.ClientError as error:
            raise self._down(_why(error)) from error
        try:
            return orjson.loads(answer) if answer.strip() else None
        except orjson.JSONDecodeError as error:
            raise self._down("does not speak this dialect") from error

    async def _check(self, response: Any) -> None:
        if response.status >= 400:
            raise self._refusal(response.status, await response.read(), response.headers)
        if response.status >= 300:
            raise Unavailable(f"{self.title} sends us elsewhere. Give its final address.")
        if response.content_type == "text/html":
            raise Unavailable(
                f"{self.title} answers with a page. Check its address and its dialect."
            )

    def _down(self, how: str) -> AtelierError:
        return Unavailable(
            f"{self.title} {how}. Is it running, and is its address right?", retry_after=5
        )

    def _silent(self, begun: bool) -> AtelierError:
        if begun:
            return InferenceFailed(
                f"{self.title} fell silent for {self._patience.between:g} s in mid-answer. Ask again."
            )
        return TimedOut(
            f"{self.title} gave no token in {self._patience.first:g} s. "
            "Its model may still be loading: ask again, or raise ATELIER_FIRST_TOKEN_TIMEOUT."
        )

    def _lost(self) -> AtelierError:
        return InferenceFailed(f"{self.title} broke off in mid-answer. Ask again.")

    def failed(self, said: str) -> AtelierError:
        """It reported a failure of its own in mid-answer."""
        return InferenceFailed(f"{self.title} failed in mid-answer. It says: {said[:500]}")

    def _refusal(self, status: int, answer: bytes, headers: Mapping[str, str]) -> AtelierError:
        """The other server's status as one of ours; its words are passed on."""
        said = words_of(answer)
        says = f" It says: {said[:500]}" if said else ""
        if status in {401, 403}:
            return Unavailable(f"{self.title} refuses our key. Give it the right one.{says}")
        if status == 404:
            return Unknown(f"{self.title} does not know this model or call.{says}", param="model")
        if status == 413:
            return TooLarge(f"The request is too large for {self._name}.{says}")
        if status == 429:
            return Limited(f"{self.title} is busy.{says}", retry_after=_seconds(headers))
        if status < 500:
            return BadValue(f"{self.title} refuses the request.{says}")
        return Unavailable(f"{self.title} failed ({status}).{says}", retry_after=_seconds(headers))

    @property
    def _name(self) -> str:
        return self.title[:1].lower() + self.title[1:]

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def words_of(answer: bytes) -> str:
    """What an error body says, in whichever of the usual shapes; empty where it says nothing."""
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return ""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or ""
    return str(error or "")


def _seconds(headers: Mapping[str, str]) -> float:
    """The other server's Retry-After where it gives seconds, else 5."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 5.0


def _why(error: Exception) -> str:
    """What is wrong with a connection, for people; aiohttp's own words would show addresses."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "has a name that nobody knows here"
    if isinstance(error, aiohttp.ClientSSLError):
        return "offers a certificate that cannot be trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "does not answer"
    return "closed the connection without an answer"
