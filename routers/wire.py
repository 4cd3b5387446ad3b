"""From a stream of events to an HTTP answer, whole or streamed, and nothing else twice.

Knows HTTP and the engine's events, no dialect: each brings its four functions in a `Dialect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from fastapi import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine import (
    WAITING,
    AtelierError,
    Caller,
    Engine,
    Event,
    Loading,
    Priority,
    Progress,
    Queued,
    Request,
    Result,
    Unavailable,
    fold,
)

T = TypeVar("T")
E = TypeVar("E")
HOLD = 3.0  # seconds for which headers wait while the model only waits or loads
SILENCE = 10.0  # seconds without a byte after which a stream says that it lives
DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Meta:
    """What an answer says besides the model's words.

    Args:
        id: the request's id.
        model: the catalog id that answers.
        ignored: names of the body's fields that nothing reads.
        created: seconds since the epoch.
        started: the monotonic clock when the request came.
        extra: what one dialect alone needs.
    """

    id: str
    model: str
    ignored: tuple[str, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))
    started: float = field(default_factory=time.perf_counter)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Seconds since the request came."""
        return time.perf_counter() - self.started


@dataclass(frozen=True, slots=True)
class Dialect:
    """The functions by which one dialect speaks.

    Args:
        name: for the ledger.
        stream: events to frames of bytes; ends properly by itself.
        reply: the whole answer; a str is sent as plain text, the rest as JSON.
        error: the body of an error.
        fold: events to what `reply` takes.
        frame: one value as a frame of the stream.
        end: what closes a stream, after an error too.
        waits: whether an event only reports a state (queued, loading, progress).
        pulse: what is sent in silence; empty where the dialect has no word for it.
        media: the stream's content type.
        cut: the stream has no words for an error: it is broken off, so that nobody takes it for whole.
    """

    name: str
    stream: Callable[[AsyncIterator[Any], Meta], AsyncGenerator[bytes]]
    reply: Callable[[Any, Meta], Any]
    error: Callable[[AtelierError], dict[str, Any]]
    fold: Callable[[AsyncIterator[Any]], Awaitable[Any]] = fold
    frame: Callable[[Any], bytes] = lambda value: b"data: " + orjson.dumps(value) + b"\n\n"
    end: bytes = DONE
    waits: Callable[[Any], bool] = lambda event: isinstance(event, WAITING)
    pulse: bytes = b":\n\n"
    media: str = "text/event-stream"
    cut: bool = False


@dataclass(slots=True)
class Pace:
    """How often streams send: few at once as they please, many at most `rate` frames a second together.

    What the model says meanwhile comes merged in the next frame. A frame costs a dozen calls and a
    system call however short it is, so without this, hundreds of streams would starve everything else.
    """

    rate: float = 500.0
    least: float = 0.01  # seconds; gaps shorter than a fast model's token are not worth a timer
    most: float = 0.1  # seconds; longer gaps would be seen
    running: int = 0

    @property
    def gap(self) -> float:
        """Seconds from one frame of a stream to its next; 0: at once."""
        share = self.running / self.rate
        return 0.0 if share <= self.least else min(share, self.most)


class Gone(Exception):
    """The client hung up; there is nobody to answer."""


def caller_of(
    http: HttpRequest, dialect: str, tags: Mapping[str, str | None] | None = None
) -> Caller:
    """Who asks, for the engine. Fairness counts by address."""
    return Caller(
        name=http.client.host if http.client else "local",
        dialect=dialect,
        session=http.state.session,
        priority=Priority.API,
        request_id=http.state.request_id,
        tags={key: value for key, value in (tags or {}).items() if value is not None},
    )


def engine_of(http: HttpRequest) -> Engine:
    """The one engine."""
    engine: Engine = http.app.state.engine
    return engine


def meta_of(
    http: HttpRequest, request: Request, ignored: tuple[str, ...] = (), **extra: Any
) -> Meta:
    """The answer's facts; resolves the model, so Unknown or BadValue is raised here at the latest."""
    model = engine_of(http).resolve(request, http.state.session).id
    return Meta(id=http.state.request_id, model=model, ignored=ignored, extra=extra)


async def respond(
    http: HttpRequest, events: AsyncGenerator[Any], dialect: Dialect, meta: Meta, *, stream: bool
) -> Response:
    """The answer to a request whose events these are.

    The first content is awaited before any header goes out (for a few seconds at most), so what the
    engine or the model refuses is a real status.
    Whatever happens, `events` is closed, which stops the work.
    """
    headers = ignored_header(meta.ignored)
    if not stream:
        body = dialect.reply(await whole(http, events, dialect.fold), meta)
        return text(body, headers) if isinstance(body, str) else json(body, headers=headers)
    try:
        opening = await until_gone(http.receive, open_stream(events, dialect.waits))
    except BaseException:
        await events.aclose()
        raise
    return Stream(opening, events, dialect, meta, headers, http.app.state.pace)


async def whole(
    http: HttpRequest,
    events: AsyncGenerator[E],
    fold: Callable[[AsyncIterator[E]], Awaitable[T]],
) -> T:
    """The folded answer of a stream; its work stops when the client hangs up.

    Raises:
        Gone: it did.
    """
    async with contextlib.aclosing(events):
        return await until_gone(http.receive, fold(events))


@dataclass(slots=True)
class Opening:
    """How a stream began: what was seen of it, and the step that is still under way."""

    seen: list[Any]
    step: asyncio.Future[Any] | None = None

    async def aclose(self) -> None:
        """End the step; before it has ended its generator cannot be closed."""
        if self.step is not None:
            self.step.cancel()
            await asyncio.gather(self.step, return_exceptions=True)


async def open_stream(
    events: AsyncGenerator[Any], waits: Callable[[Any], bool], hold: float = HOLD
) -> Opening:
    """Read up to the first content, or for `hold` seconds of waiting and loading.

    Raises:
        AtelierError: it failed meanwhile; no header is out yet, so it can be a real status.
    """
    opening = Opening([])
    loop = asyncio.get_running_loop()
    until = loop.time() + hold
    try:
        while True:
            opening.step = asyncio.ensure_future(anext(events))
            await asyncio.wait((opening.step,), timeout=max(0.0, until - loop.time()))
            if not opening.step.done():
                return opening
            event = opening.step.result()
            opening.seen.append(event)
            opening.step = None
            if not waits(event):
                return opening
    except asyncio.CancelledError:
        await opening.aclose()
        raise


class Stream(Response):
    """A streamed answer: frames as they come, a pulse in silence, the work stopped on hang-up."""

    def __init__(
        self,
        opening: Opening,
        events: AsyncGenerator[Any],
        dialect: Dialect,
        meta: Meta,
        headers: Mapping[str, str],
        pace: Pace | None = None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = dialect.media
        self.body = b""
        self.init_headers({**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        self.raw_headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        self._opening = opening
        self._events = events
        self._dialect = dialect
        self._meta = meta
        self._pace = pace or Pace()
        self._last = time.monotonic()
        self._ended = False
        self._flowing = False  # the first content is out: only what follows is paced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._events), contextlib.aclosing(self._opening):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            pulse = asyncio.create_task(self._pulse(send))
            self._pace.running += 1
            try:
                with contextlib.suppress(Gone):
                    await until_gone(receive, self._write(send))
            except asyncio.CancelledError:
                await self._fail(send, Unavailable("The server is stopping. Ask again."))
                raise
            finally:
                self._pace.running -= 1
                pulse.cancel()

    async def _write(self, send: Send) -> None:
        frames = self._dialect.stream(self._all(), self._meta)
        try:
            async with contextlib.aclosing(frames):
                async for frame in frames:
                    if frame:
                        self._last = time.monotonic()
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
                        if self._flowing and (gap := self._pace.gap):
                            await asyncio.sleep(gap)
        except AtelierError as error:
            await self._fail(send, error)
        else:
            await self._end(send, b"")

    async def _end(self, send: Send, frame: bytes) -> None:
        self._ended = True
        await send({"type": "http.response.body", "body": frame, "more_body": False})

    async def _fail(self, send: Send, error: AtelierError) -> None:
        if self._dialect.cut:
            raise Gone
        await self._end(send, self._dialect.frame(self._dialect.error(error)) + self._dialect.end)

    async def _all(self) -> AsyncIterator[Any]:
        for event in self._opening.seen:
            yield event
        if self._opening.step is not None:
            yield await self._opening.step
        async for event in self._events:
            self._flowing = True
            yield event

    async def _pulse(self, send: Send) -> None:
        while self._dialect.pulse:
            await asyncio.sleep(max(0.01, self._last + SILENCE - time.monotonic()))
            if not self._ended and time.monotonic() - self._last >= SILENCE:
                self._last = time.monotonic()
                await send(
                    {"type": "http.response.body", "body": self._dialect.pulse, "more_body": True}
                )


async def until_gone(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`, cancelled when the client hangs up.

    Raises:
        Gone: it did.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.create_task(_hang_up(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()
    finally:
        for each in (task, watch):
            each.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def nobody(http: HttpRequest, error: Exception) -> Response:
    """The handler of Gone: an answer that nobody reads; proxies log this status as "client closed"."""
    return Response(status_code=499)


def waiting(event: Event) -> bytes:
    """A state as an SSE comment; empty for every other event."""
    match event:
        case Queued(ahead):
            return b": queued, %d ahead\n\n" % ahead
        case Loading(_, fraction):
            return (
                b": loading\n\n" if fraction is None else b": loading %d%%\n\n" % (fraction * 100)
            )
        case Progress(done, total):
            return b": %d of %d\n\n" % (done, total)
    return b""


def ignored_header(names: Sequence[str]) -> dict[str, str]:
    """The header that names what nothing reads; none where everything is read."""
    return {"x-ignored-params": ", ".join(names)} if names else {}


def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")


def text(value: str, headers: Mapping[str, str] | None = None) -> Response:
    """A plain text answer, UTF-8."""
    return Response(value, 200, headers, media_type="text/plain; charset=utf-8")


__all__ = [
    "DONE",
    "HOLD",
    "Dialect",
    "Gone",
    "Meta",
    "Opening",
    "Pace",
    "Result",
    "Stream",
    "caller_of",
    "engine_of",
    "ignored_header",
    "json",
    "meta_of",
    "nobody",
    "open_stream",
    "respond",
    "text",
    "until_gone",
    "waiting",
    "whole",
]
