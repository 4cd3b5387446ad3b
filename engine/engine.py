"""The one door: `engine.run(request, caller)`. Admission, the ledger row and the log line happen here, once.

Knows no HTTP and no page; `routers/` and `ui/` know only this.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from engine.callers import Caller
from engine.conversations import Conversations
from engine.database import Database
from engine.devices import Device, find_device
from engine.errors import AtelierError
from engine.events import Event, Result, Usage
from engine.footprints import Choices, Footprints
from engine.job import Job
from engine.lane import Lane
from engine.network import set_switches
from engine.registry import ModelSpec, Registry, discover
from engine.remote_lane import RemoteLane
from engine.requests import Capability, ChatRequest, Request
from engine.sessions import Sessions
from engine.settings import Settings
from engine.status import EngineStatus
from engine.turns import Turns
from engine.usage import Ledger, Row

VERSION = "0.1.0"
BEGUN_AFTER = (
    1.0  # seconds; a request that takes longer is in the ledger should the server die over it
)
log = logging.getLogger("atelier.engine")


@dataclass(slots=True)
class Engine:
    """Everything behind the door. Build it with `Engine.build`; use it between `start` and `close`.

    Attributes:
        registry: the catalog.
        sessions: what belongs to an X-Session-ID: the model it chose.
        usage: the ledger, one row for each inference.
        conversations: chats kept on the server.
        turns: answers being written into a conversation, detached from any page.
    """

    settings: Settings
    registry: Registry
    lane: Lane
    remote: RemoteLane
    database: Database
    choices: Choices
    usage: Ledger
    conversations: Conversations
    sessions: Sessions = field(default_factory=Sessions)
    turns: Turns = field(init=False)
    _jobs: dict[str, tuple[Caller, Job]] = field(default_factory=dict)
    _born: float = field(default_factory=time.monotonic)
    _opening: asyncio.Task[None] | None = None
    _chores: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
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
        found = discover() if families is None else families
        registry = Registry(specs) if specs is not None else Registry.build(settings, found)
        database = Database(settings.database_url, settings.data_dir)
        lane = Lane(device or find_device(settings), found, settings, Footprints(database))
        return cls(
            settings=settings,
            registry=registry,
            lane=lane,
            remote=RemoteLane(found, settings),
            database=database,
            choices=Choices(database),
            usage=Ledger(database, settings),
            conversations=Conversations(database),
        )

    async def start(self) -> None:
        """Open the database in the background and begin the hourly chores."""
        self._opening = asyncio.create_task(asyncio.to_thread(self.database.open))
        self._chores = asyncio.create_task(self._keep_house(self._opening))

    async def close(self) -> None:
        """End what runs, unload the models, write the last rows."""
        if self._chores is not None:
            self._chores.cancel()
            with suppress(asyncio.CancelledError):
                await self._chores
        await self.turns.close()
        await self.remote.close()
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
        ticket = caller.request_id or secrets.token_hex(8)
        row = self._row(ticket, spec, request, caller)
        began = time.monotonic()
        result = Result()
        job: Job | None = None
        row.status = "cancelled"
        try:
            job = self._lane(spec).submit(spec, request, caller)
            self._jobs[row.id] = (caller, job)
            begun = asyncio.get_running_loop().call_later(
                BEGUN_AFTER, self.usage.write, replace(row, status="started")
            )
            async for event in job:
                result.add(event)
                yield event
            row.status = "stopped" if job.stopped else "ok"
        except AtelierError as error:
            row.status = error.code
            raise
        finally:
            usage = job.usage if job is not None else Usage()
            if job is not None:
                begun.cancel()
                job.cancel()
                if not job.over:
                    self._lane(spec).nudge()
            self._jobs.pop(row.id, None)
            self._record(row, usage, result, time.monotonic() - began)

    def _lane(self, spec: ModelSpec) -> Lane | RemoteLane:
        return self.remote if spec.lane == "remote" else self.lane

    def resolve(self, request: Request, session: str = "") -> ModelSpec:
        """The model that answers: the one asked for, else the session's if it can, else the default.

        Raises:
            Unknown: no such model. BadValue: it cannot do this.
        """
        if not request.model and session:
            chosen = self.sessions.get(session).model
            if chosen and request.capability in self.registry.find(chosen).does:
                return self.registry.find(chosen)
        return self.registry.resolve(request.model, request.capability)

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
        row.input_tokens, row.output_tokens = usage.input_tokens, usage.output_tokens
        row.cached_tokens = usage.cached_tokens
        row.queued_s, row.load_s = usage.queued_s, usage.load_s
        row.first_s, row.run_s = usage.first_s, usage.run_s
        row.seconds = seconds
        row.output = result.text
        self.usage.write(row)
        log.info(
            "%s %s %s in=%d out=%d %.2fs",
            row.task, row.model, row.status, row.input_tokens, row.output_tokens, seconds,
            extra={"request_id": row.request_id, "dialect": row.dialect},
        )  # fmt: skip

    def stop(self, session: str) -> int:
        """Stop what this session runs or waits for; its streams end with what is there. How many."""
        return self._stop(lambda caller: bool(session) and caller.session == session)

    def stop_request(self, request_id: str) -> bool:
        """Stop one request by its id. False: it is not running."""
        return self._stop(lambda caller: bool(request_id) and caller.request_id == request_id) > 0

    def _stop(self, meant: Any) -> int:
        stopped = [job.stop() for caller, job in list(self._jobs.values()) if meant(caller)]
        self.lane.nudge()
        self.remote.nudge()
        return sum(stopped)

    def models(self, capability: Capability | None = None) -> list[ModelSpec]:
        """The catalog's rows, or those of one capability."""
        return self.registry.models(capability)

    async def load(self, model: str, keep_alive: float | None = None) -> float:
        """Load a model; the seconds it took, 0 when it was loaded already.

        Raises:
            Unknown, DoesNotFit, LoadFailed, NotDownloaded.
        """
        spec = self.registry.find(model)
        before = {resident.id for resident in self.lane.status().resident}
        job = self._lane(spec).submit(spec, None, Caller(dialect="engine"))
        try:
            async for _ in job:
                pass
        finally:
            job.cancel()
        if spec.id in before:
            return 0.0
        return next((r.load_s for r in self.lane.status().resident if r.id == spec.id), 0.0)

    async def evict(self, model: str) -> bool:
        """Unload a model once its running requests ended. False: it was not loaded. Unknown: no such model."""
        spec = self.registry.find(model)
        return await asyncio.wrap_future(self._lane(spec).evict(spec.id))

    def pin(self, model: str, pinned: bool) -> None:
        """Keep a model in memory, or let it go again."""
        spec = self.registry.find(model)
        self._lane(spec).pin(spec.id, pinned)

    def choose(self, capability: Capability, model: str) -> ModelSpec:
        """Make a model the default of a capability, also after a restart."""
        spec = self.registry.set_default(capability, model)
        self.choices.set(f"default.{capability}", spec.id)
        return spec

    def status(self) -> EngineStatus:
        """Devices, queue and loaded models; cheap."""
        uptime = time.monotonic() - self._born
        lanes = (self.lane.status(), self.remote.status())
        return EngineStatus(version=VERSION, uptime_s=uptime, lanes=lanes)

    async def _keep_house(self, opening: asyncio.Task[None]) -> None:
        """Once the database is open, restore what was chosen; then forget old texts every hour."""
        try:
            await asyncio.shield(opening)
        except AtelierError as error:
            log.error("Nothing can be kept: %s", error)
            return
        chosen = self.settings.default_chat or self.choices.get("default.chat")
        if chosen:
            try:
                self.registry.set_default("chat", chosen)
            except AtelierError as error:
                log.warning("The default chat model: %s", error)
        while True:
            try:
                await self.usage.prune(datetime.now(UTC))
            except AtelierError as error:
                log.warning("Old texts stay for now: %s", error)
            await asyncio.sleep(3600)


def _asked(request: Request) -> list[dict[str, str]] | None:
    """What was asked, as the ledger keeps it: roles and texts, no pictures."""
    if not isinstance(request, ChatRequest):
        return None
    if request.prompt is not None:
        return [{"role": "user", "content": request.prompt}]
    return [{"role": message.role, "content": message.text} for message in request.messages]
