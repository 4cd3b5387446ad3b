"""Tickets: one for each request, download and stored document, with its phase, its events and a way to cancel it.

Events are kept so that anybody may follow from any point, also for a while after the end. Knows no HTTP, and
of the work itself only what it is told.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from engine.errors import AtelierError, Unknown
from engine.events import (
    WAITING,
    Audio,
    Event,
    Image,
    Loading,
    Page,
    Progress,
    Queued,
    Reasoning,
    Text,
    Vector,
)
from engine.job import Job
from engine.settings import Settings

Kind = Literal["request", "download", "document", "media"]
Phase = Literal[
    "queued", "downloading", "loading", "running", "paused", "done", "failed", "cancelled"
]
OVER = frozenset({"done", "failed", "cancelled"})
PHASES = frozenset(get_args(Phase))
KEPT = 1000  # tickets kept after their end, at most
EVENT_BYTES = 250  # what an event costs beside its contents
TITLE = 80  # characters


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job as it stands now.

    Args:
        id: a request's own id (X-Request-ID, and in the ledger), a download's or a document's.
        title: what was asked, shortened, or what is fetched; for its own session's eyes.
        ahead: how many go first, while it is queued.
        done, total: bytes of a download or of media, pages of a document; tokens, steps or per cent of a loading; total
            is 0 where it is not known.
        speed: bytes a second of a download, else pages, tokens or steps a second.
        seconds_left: None where it cannot be told.
        error: why it failed, a sentence for people.
        session: whom it belongs to; "" for what the server began.
    """

    id: str
    kind: Kind
    title: str
    model: str
    phase: Phase
    ahead: int
    done: int
    total: int
    speed: float
    seconds_left: float | None
    error: str
    created_at: datetime
    session: str


class Track:
    """A job on its way, kept by whoever does the work. One event loop only.

    Attributes:
        phase, ahead, done, total, speed: as in `Ticket`; `put` keeps them for a request.
        error: why it failed.
        job: a request's place in its lane, once it has one.
        halt: ends a download or a document's reading; False when there was nothing to end.
        stopped: somebody asked for its end.
    """

    __slots__ = (
        "_began", "_entries", "_last", "_limit", "_news", "ahead", "born", "done", "ended", "error",
        "halt", "id", "job", "kind", "model", "phase", "session", "size", "speed", "stopped",
        "title", "total",
    )  # fmt: skip

    def __init__(
        self, id: str, kind: Kind, title: str, model: str, session: str, limit: int
    ) -> None:
        self.id = id
        self.kind: Kind = kind
        self.title = title
        self.model = model
        self.session = session
        self.phase: Phase = "queued"
        self.ahead = self.done = self.total = 0
        self.speed = 0.0
        self.error: AtelierError | None = None
        self.job: Job | None = None
        self.halt: Callable[[], bool] | None = None
        self.stopped = False
        self.born = time.time()
        self.ended: float | None = None
        self.size = 0  # about how many bytes its events hold
        self._limit = limit
        self._entries: deque[tuple[int, Event]] = deque()
        # Numbers of what outlives a restart go on growing, so who followed it finds its place again.
        self._last = 0 if kind == "request" else int(self.born * 1000)
        self._began = 0.0  # when it began to run
        self._news: asyncio.Event | None = None

    def put(self, event: Event) -> None:
        """Keep an event and tell those who follow. Costs about half a microsecond for a token."""
        self._last += 1
        if type(event) is Text and not event.logprobs:  # what there are most of
            if self.phase != "running":
                self._run()
            self.size += EVENT_BYTES + len(event.delta)
        else:
            self._put_other(event)
        self._entries.append((self._last, event))
        if self.size > self._limit:
            self._shorten()
        if self._news is not None:
            self.wake()

    def _put_other(self, event: Event) -> None:
        entries = self._entries
        if isinstance(event, WAITING):  # takes the place of an older one
            self._note(event)
            if entries and isinstance(entries[-1][1], WAITING):
                self.size -= EVENT_BYTES + _weight(entries.pop()[1])
        else:
            self._run()
        self.size += EVENT_BYTES + _weight(event)

    def _note(self, event: Event) -> None:
        """What a state says of the phase."""
        match event:
            case Queued(ahead):
                self.phase, self.ahead = "queued", ahead
            case Loading(_, fraction):
                if self.phase != "downloading":
                    self.phase = "loading"
                if fraction is not None:
                    self.done, self.total = int(fraction * 100), 100
            case Progress(done, total):
                self._run()
                self.done, self.total = done, total

    def _run(self) -> None:
        if self.kind == "request" and self.phase != "running":
            self.phase, self.ahead, self.done, self.total = "running", 0, 0, 0
            self._began = time.monotonic()

    def _shorten(self) -> None:
        """Forget the oldest events; who follows from before them begins where they end."""
        while self.size > self._limit * 0.9 and len(self._entries) > 1:
            _, event = self._entries.popleft()
            self.size -= EVENT_BYTES + _weight(event)

    def end(self, phase: Phase, error: AtelierError | None = None) -> None:
        """Nothing comes any more."""
        self.phase, self.error, self.job = phase, error, None
        self.ended = time.time()
        self.wake()

    def stop(self) -> bool:
        """End the work; a request's reader gets what is there. False when it was over."""
        if self.over:
            return False
        self.stopped = True
        if self.halt is not None:
            return self.halt()
        return self.job.stop() if self.job is not None else True

    def wake(self) -> None:
        """Tell those who follow to look again."""
        if self._news is not None:
            news, self._news = self._news, None
            news.set()

    @property
    def over(self) -> bool:
        return self.phase in OVER

    def ticket(self) -> Ticket:
        """How it stands."""
        done, total, speed = self.done, self.total, self.speed
        if self.job is not None and self.job.started is not None and not self.over:
            self._run()  # it reads the prompt and has said nothing yet
        if self.kind == "request" and self.phase == "running":
            if self.job is not None and not total:
                done = self.job.usage.output_tokens
                total = getattr(self.job.request, "max_tokens", None) or 0
            speed = done / max(0.001, time.monotonic() - self._began)
        left = (total - done) / speed if speed > 0 and total > done and not self.over else None
        return Ticket(
            id=self.id,
            kind=self.kind,
            title=self.title,
            model=self.model,
            phase=self.phase,
            ahead=self.ahead,
            done=done,
            total=total,
            speed=speed,
            seconds_left=left if self.phase in ("running", "downloading") else None,
            error=self.error.message if self.error else "",
            created_at=datetime.fromtimestamp(self.born, UTC),
            session=self.session,
        )

    async def follow(self, after: int = 0) -> AsyncGenerator[tuple[int, Event]]:
        """Numbered events beyond number `after`, those that come too, to the end.

        Numbers grow; a state that a newer one replaced, and what was too old to keep, is left out.

        Raises:
            AtelierError: it failed; raised after the last event.
        """
        seen = after
        while True:
            for number, event in self._beyond(seen):
                seen = number
                yield number, event
            if self._entries and self._entries[-1][0] > seen:
                continue
            if self.over:
                break
            if self._news is None:
                self._news = asyncio.Event()
            await self._news.wait()
        if self.phase == "failed" and self.error is not None:
            raise self.error

    def _beyond(self, seen: int) -> list[tuple[int, Event]]:
        found = []
        for entry in reversed(self._entries):
            if entry[0] <= seen:
                break
            found.append(entry)
        return found[::-1]


class Jobs:
    """The tickets of everything that runs, waits or ended lately.

    Args:
        settings: `replay_seconds` and `replay_bytes` bound what is kept after the end.
        nudges: called after a cancel, so that the lanes look whom they work for.
    """

    def __init__(self, settings: Settings, nudges: Sequence[Callable[[], None]] = ()) -> None:
        self._nudges = tuple(nudges)
        self._seconds = settings.replay_seconds
        self._bytes = settings.replay_bytes
        self._tracks: dict[str, Track] = {}
        self._ended: deque[Track] = deque()
        self._held = 0

    def begin(self, id: str, kind: Kind, title: str, model: str, session: str = "") -> Track:
        """A new ticket. Where `id` is that of one that runs, a number is added."""
        self._forget()
        name, count = id, 1
        while (old := self._tracks.get(name)) is not None and not old.over:
            count += 1
            name = f"{id}-{count}"
        track = Track(name, kind, title[:TITLE], model, session, max(1, self._bytes // 4))
        self._tracks[name] = track
        return track

    def end(self, track: Track, phase: Phase, error: AtelierError | None = None) -> None:
        """The end of a ticket; its events are kept for a while."""
        if track.over:
            return
        track.end(phase, error)
        self._ended.append(track)
        self._held += track.size
        self._forget()

    def reopen(self, track: Track) -> None:
        """It goes on after its end: a download that is tried again."""
        if track in self._ended:
            self._ended.remove(track)
            self._held -= track.size
        track.ended, track.error, track.stopped = None, None, False
        self._tracks[track.id] = track

    def list(self) -> list[Ticket]:
        """All tickets, newest first."""
        self._forget()
        tracks = sorted(self._tracks.values(), key=lambda track: -track.born)
        return [track.ticket() for track in tracks]

    def get(self, id: str) -> Ticket:
        """One ticket. Raises Unknown: there is none (any more)."""
        return self._find(id).ticket()

    def follow(self, id: str, after: int = 0) -> AsyncGenerator[tuple[int, Event]]:
        """Its events beyond number `after`, as `Track.follow`. Raises Unknown at once."""
        return self._find(id).follow(after)

    def cancel(self, id: str) -> bool:
        """End it; a request's reader gets what is there. False: it was over. Raises Unknown."""
        stopped = self._find(id).stop()
        for nudge in self._nudges:
            nudge()
        return stopped

    def _find(self, id: str) -> Track:
        track = self._tracks.get(id)
        if track is None:
            raise Unknown("There is no such job. It may have ended a while ago.", param="id")
        return track

    def _forget(self) -> None:
        """Drop what ended long ago, or is too much. Downloads that failed stay: they can be tried again."""
        while self._ended:
            oldest = self._ended[0]
            age = time.time() - (oldest.ended or 0.0)
            if age < self._seconds and self._held <= self._bytes and len(self._ended) <= KEPT:
                return
            self._ended.popleft()
            self._held -= oldest.size
            if self._tracks.get(oldest.id) is oldest and not (
                oldest.kind == "download" and oldest.phase == "failed"
            ):
                del self._tracks[oldest.id]


def _weight(event: Event) -> int:
    """Bytes of an event's contents."""
    match event:
        case Progress(_, _, preview):
            return len(preview or b"")
        case Text(delta, logprobs):
            return len(delta) + 200 * sum(1 + len(each.top) for each in logprobs)
        case Reasoning(delta):
            return len(delta)
        case Image(data) | Audio(data):
            return len(data)
        case Vector(_, values):
            return 32 * len(values)
        case Page(lines=lines, text=text, markdown=markdown):
            return 2 * len(text) + len(markdown) + 200 * len(lines)
    return 0
