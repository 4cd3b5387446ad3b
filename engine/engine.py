"""The one door: `engine.run(request, caller)`. Admission, the ledger row and the log line happen here, once.

Knows no HTTP and no page; `routers/` and `ui/` know only this.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import Any

from engine.admission import check_pictures, check_sound
from engine.adopt import Adoption
from engine.answers import Answers
from engine.callers import Caller
from engine.cards import Cards
from engine.chain import Chains
from engine.chores import keep_house
from engine.composed import Composed
from engine.conversations import Conversations
from engine.creatures import Creatures
from engine.database import Database
from engine.devices import Device, calm_threads, find_device
from engine.dialogues import Dialogues
from engine.discovery import Servers
from engine.documents import Documents
from engine.download_rows import DownloadRows
from engine.downloads import Downloads
from engine.elsewhere import Elsewhere
from engine.errors import AtelierError
from engine.events import Done, Event, Loading, Result, Usage
from engine.files import Files
from engine.footprints import Choices, Footprints
from engine.gallery import Gallery
from engine.job import Job
from engine.jobs import Jobs, Phase, Track
from engine.lane import Lane
from engine.media import Media
from engine.models import Models
from engine.monitor import Monitor
from engine.network import set_switches
from engine.reading import choose_reader
from engine.registry import ModelSpec, Registry, discover
from engine.remote_lane import RemoteLane
from engine.requests import ChatRequest, Request, SpeakRequest
from engine.sessions import Sessions
from engine.settings import Settings
from engine.shared import Shared
from engine.speaking import find_speaker
from engine.status import EngineStatus
from engine.translating import Translates
from engine.turns import Turns
from engine.usage import MEASURES, Ledger, Row

VERSION = "0.1.0"
BEGUN_AFTER = 1.0  # seconds; longer requests are in the ledger should the server die over them
log = logging.getLogger("atelier.engine")


@dataclass(slots=True)
class Engine(Models, Composed, Chains, Translates, Elsewhere):
    """Everything behind the door. Build it with `Engine.build`; use it between `start` and `close`.

    Attributes:
        registry: the catalog.
        families: what loads models, by name.
        adoption: what the user adds to the catalog.
        sessions: what belongs to an X-Session-ID: the model it chose.
        usage: the ledger, one row for each inference.
        conversations: chats kept on the server.
        jobs: the tickets of all requests and downloads.
        downloads: models on their way to this machine.
        cards: what files tell of models.
        servers: other servers, whose models are in the catalog as well.
        turns: answers being written into a conversation, detached from any page.
        answers: those that may be given once more within the hour.
        shared: what several processes of this server tell each other.
        documents: stored ones, read in the background.
        files: the files area.
        monitor: the machine, numbers for Prometheus, the log's last lines, containers.
        dialogues: spoken conversations by session.
        creatures: small fantasy animals, with name and rarity.
        gallery: pictures that were drawn on the page.
    """

    settings: Settings
    registry: Registry
    lane: Lane
    remote: RemoteLane
    database: Database
    families: Mapping[str, ModuleType | Any]
    choices: Choices
    servers: Servers
    usage: Ledger
    conversations: Conversations
    jobs: Jobs
    downloads: Downloads
    cards: Cards
    sessions: Sessions = field(default_factory=Sessions)
    dialogues: Dialogues = field(default_factory=Dialogues)
    turns: Turns = field(init=False)
    answers: Answers = field(init=False)
    shared: Shared = field(init=False)
    documents: Documents = field(init=False)
    media: Media = field(init=False)
    files: Files = field(init=False)
    creatures: Creatures = field(init=False)
    gallery: Gallery = field(init=False)
    adoption: Adoption = field(init=False)
    monitor: Monitor = field(init=False)
    _made: int = 0
    _running: dict[str, tuple[Caller, Track]] = field(default_factory=dict)
    _born: float = field(default_factory=time.monotonic)
    _opening: asyncio.Task[None] | None = None
    _chores: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.adoption = Adoption(self.settings, self.registry, self.families, self.servers)
        self.answers = Answers(self.settings.redis_url)
        self.shared = Shared(self.settings.redis_url)
        self.join_others()
        self.files = Files(self.settings)
        self.monitor = Monitor(self.settings, VERSION, self.status, self.made)
        self.lane.hear(self.monitor.metrics)
        self.media = Media(self.settings, self.jobs, self.files)
        self.gallery = Gallery(self.settings)
        self.creatures = Creatures(self.settings, self.registry, self.servers, self.run)
        self.documents = Documents(
            self.settings, self.database, self.jobs, partial(choose_reader, self), self.read
        )
        self.downloads.ollama_url = self._find_ollama
        self.downloads.pulled = self._look_again
        self.turns = Turns(
            self.conversations, self.run, self.settings.reattach_seconds, halt=self.stop_request
        )

    @classmethod
    def build(
        cls,
        settings: Settings,
        *,
        families: Mapping[str, ModuleType | Any] | None = None,
        specs: Iterable[ModelSpec] | None = None,
        device: Device | None = None,
    ) -> Engine:
        """The engine of these settings. Cheap: nothing heavy is imported, no file is opened.

        Args:
            families, specs, device: in place of those that are found.
        """
        set_switches(settings)
        calm_threads()
        found = discover() if families is None else families
        registry = Registry(specs) if specs is not None else Registry.build(settings, found)
        database = Database(settings.database_url, settings.data_dir)
        lane = Lane(device or find_device(settings), found, settings, Footprints(database))
        remote = RemoteLane(found, settings, find=registry.find)
        choices = Choices(database)
        jobs = Jobs(settings, nudges=(lane.nudge, remote.nudge))
        return cls(
            settings=settings,
            registry=registry,
            lane=lane,
            remote=remote,
            database=database,
            families=found,
            choices=choices,
            servers=Servers(settings, registry, choices, able="remote" in found),
            usage=Ledger(database, settings),
            conversations=Conversations(database),
            jobs=jobs,
            downloads=Downloads(settings, registry, found, jobs, DownloadRows(database)),
            cards=Cards(registry),
        )

    async def start(self) -> None:
        """Open the database in the background and begin the hourly chores."""
        self._opening = asyncio.create_task(asyncio.to_thread(self.database.open))
        self._chores = asyncio.create_task(keep_house(self, self._opening))
        self.servers.start(self._opening)
        self.files.start()
        self.monitor.start()
        self.creatures.start()
        await self.shared.start()

    async def close(self) -> None:
        """End what runs, unload the models, write the last rows."""
        if self._chores is not None:
            self._chores.cancel()
            with suppress(asyncio.CancelledError):
                await self._chores
        await self.shared.close()
        await self.media.close()
        await self.files.close()
        await self.servers.close()
        await self.documents.close()
        await self.downloads.close()
        await self.turns.close()
        await self.answers.close()
        await self.remote.close()
        await self.monitor.close()
        await asyncio.to_thread(self.lane.close)
        await asyncio.sleep(0)  # lets cancelled streams write their rows
        if self._opening is not None:
            await asyncio.wait([self._opening])
        await asyncio.to_thread(self.database.close)

    async def run(self, request: Request, caller: Caller) -> AsyncGenerator[Event]:
        """Answer a request: events, the last of them Done. Closing the generator stops the work.

        Raises:
            AtelierError: at the first step when it cannot start, later when it failed.
        """
        spec = self.resolve(request, caller.session)
        await check_pictures(request, lambda: self._must_load(spec))
        await check_sound(request, spec)
        ticket = caller.request_id or secrets.token_hex(8)
        row = self._row(ticket, spec, request, caller)
        track = self.jobs.begin(ticket, "request", self._title(row), spec.id, caller.session)
        began = time.monotonic()
        result = Result()
        job: Job | None = None
        failed: AtelierError | None = None
        row.status = "cancelled"
        self._running[row.id] = (caller, track)
        try:
            if self.settings.auto_download and spec.repo:
                async for state in self._fetched(spec, track):
                    yield state
            if track.stopped:
                row.status = "stopped"
                track.put(Done(stopped=True))
                yield Done(stopped=True)
                return
            job = track.job = self._lane(spec).submit(spec, request, caller)
            begun = asyncio.get_running_loop().call_later(
                BEGUN_AFTER, self.usage.write, replace(row, status="started")
            )
            async for event in job:
                result.add(event)
                track.put(event)
                yield event
            row.status = "stopped" if job.stopped else "ok"
        except AtelierError as error:
            row.status, failed = error.code, error
            raise
        finally:
            if job is not None:
                begun.cancel()
                job.cancel()
                if not job.over:
                    self._lane(spec).nudge()
            usage = job.usage if job is not None else Usage()
            self._running.pop(row.id, None)
            phase: Phase = "failed" if failed else "done" if row.status == "ok" else "cancelled"
            self.jobs.end(track, phase, failed)
            self._record(row, usage, result, time.monotonic() - began)

    def _must_load(self, spec: ModelSpec) -> bool:
        """True for a model of this machine that is not in memory yet."""
        held = {resident.id for resident in self.lane.status().resident}
        return spec.lane != "remote" and spec.id not in held

    async def _fetched(self, spec: ModelSpec, track: Track) -> AsyncGenerator[Event]:
        """Fetch the model first where that is allowed and needed; says how far it is."""
        async with aclosing(self.downloads.provide(spec)) as tickets:
            async for ticket in tickets:
                if track.stopped:
                    return
                track.phase = "downloading"
                event = Loading(spec.id, ticket.done / ticket.total if ticket.total else None)
                track.put(event)
                yield event
        track.phase = "queued"

    def _find_ollama(self) -> str:
        """Where the Ollama server is that pulls models; "" when none is known."""
        return next((s.url for s in self.servers.list() if s.kind == "ollama"), "")

    async def _look_again(self) -> None:
        """Another server has a new model: bring the catalog up to date."""
        await (self.servers.refresh() if self._find_ollama() else self.servers.probe())

    def _title(self, row: Row) -> str:
        """What a ticket is called: the last thing that was said, where texts may be kept."""
        return row.input[-1]["content"] if row.input and self.settings.keep_text else row.task

    def resolve(self, request: Request, session: str = "") -> ModelSpec:
        """The model that answers: the one asked for, else the session's if it can, else the default.

        Pictures go to a model that accepts them; see `Registry.default`.

        Raises:
            Unknown: no such model. BadValue: it cannot do this. Unavailable: see `served`.
        """
        does, accepting = request.capability, request.accepting
        if not request.model and session and (chosen := self.sessions.get(session).model):
            spec = self.registry.find(chosen)
            if does in spec.does and (not accepting or accepting in spec.accepts):
                return self.served(spec)
        if isinstance(request, SpeakRequest) and not request.model:
            return find_speaker(self, request)
        spec = self.registry.resolve(request.model, does, accepting)
        if not request.model and spec.repo and not self.registry.is_chosen(does, accepting):
            is_present = self.downloads.is_present  # what is here goes before what must be fetched
            rows = [spec, *self.registry.models(does, accepting)]
            spec = next((row for row in rows if is_present(row)), spec)
        return self.served(spec)

    def _row(self, ticket: str, spec: ModelSpec, request: Request, caller: Caller) -> Row:
        return Row(
            id=secrets.token_hex(12),
            started_at=datetime.now(UTC),
            request_id=ticket,
            dialect=caller.dialect,
            model=spec.id,
            task=request.capability,
            caller=caller.name,
            session=caller.session,
            priority=caller.priority.name.lower(),
            project=caller.tags.get("project", ""),
            process_id=caller.tags.get("process_id", ""),
            subprocess_id=caller.tags.get("subprocess_id", ""),
            user_key=caller.tags.get("user_key", ""),
            input=_asked(request),
        )

    def _record(self, row: Row, usage: Usage, result: Result, seconds: float) -> None:
        for name in MEASURES:
            setattr(row, name, getattr(usage, name))
        row.seconds = seconds
        row.output = result.text
        self.usage.write(row)
        self._made += usage.output_tokens
        self.monitor.metrics.inferred(row)
        log.info(
            "%s %s %s in=%d out=%d %.2fs",
            row.task, row.model, row.status, row.input_tokens, row.output_tokens, seconds,
            extra={
                "request_id": row.request_id, "dialect": row.dialect, "task": row.task, "model": row.model,
                "status": row.status, "input_tokens": row.input_tokens,
                "output_tokens": row.output_tokens, "seconds": round(seconds, 3),
            },
        )  # fmt: skip

    def stop(self, session: str) -> int:
        """Stop what this session runs or waits for; its streams end with what is there. How many."""
        return self._stop(lambda caller: bool(session) and caller.session == session)

    def stop_request(self, request_id: str) -> bool:
        """Stop one request by its id. False: it is not running."""
        return self._stop(lambda caller: bool(request_id) and caller.request_id == request_id) > 0

    def _stop(self, meant: Any) -> int:
        stopped = [track.stop() for caller, track in list(self._running.values()) if meant(caller)]
        self.lane.nudge()
        self.remote.nudge()
        return sum(stopped)

    def status(self) -> EngineStatus:
        """Devices, queue and loaded models; cheap."""
        uptime = time.monotonic() - self._born
        lanes = (self.lane.status(), self.remote.status())
        return EngineStatus(version=VERSION, uptime_s=uptime, lanes=lanes)

    def made(self) -> int:
        """Tokens made since the start, those of running requests included; any thread may ask."""
        jobs = [track.job for _, track in list(self._running.values())]
        return self._made + sum(job.usage.output_tokens for job in jobs if job is not None)


def _asked(request: Request) -> list[dict[str, str]] | None:
    """What was asked, as the ledger keeps it: roles and texts, no pictures."""
    if not isinstance(request, ChatRequest):
        return None
    if request.prompt is not None:
        return [{"role": "user", "content": request.prompt}]
    return [{"role": message.role, "content": message.text} for message in request.messages]
