"""Downloads: begun, paused, resumed, cancelled and tried again by anybody, owned by the server.

Each is a ticket in `engine.jobs`, a row in the database and a courier that fetches. Knows no HTTP, and no hub beside
what `engine.hub` says of a repository.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from typing import Literal

from engine import checkpoints, hub
from engine.download_rows import DownloadRow, DownloadRows
from engine.errors import (
    AtelierError,
    BadValue,
    Conflict,
    DownloadFailed,
    LicenceNeeded,
    Unknown,
)
from engine.events import Done, Progress
from engine.jobs import Jobs, Phase, Ticket, Track
from engine.offers import Offer, Offers, bytes_here, check_space, sweep
from engine.registry import ModelSpec, Registry
from engine.settings import Settings
from engine.transfers import Transfer, carry

Source = Literal["hub", "ollama"]
Accepts = Callable[[hub.Licence], bool]
OLLAMA = "http://127.0.0.1:11434"
log = logging.getLogger("atelier.downloads")


class Downloads:
    """All downloads. Use it on one event loop, between `start` and `close`.

    Args:
        families: names of the families there are; they decide what can be run.
        patience: seconds before each try that follows one without a byte; empty: the courier's own.

    Attributes:
        on_done: called with the ticket and, for a hub model, its catalog row; the row is in the registry by then.
        ollama_url: where the Ollama server listens that pulls; "" for Ollama's usual port here.
        pulled: awaited when it has pulled a model, before the ticket says so.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        families: Collection[str],
        jobs: Jobs,
        rows: DownloadRows,
        patience: Sequence[float] = (),
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._families = frozenset(families)
        self._offers = Offers(settings, registry, self._families)
        self._jobs = jobs
        self._rows = rows
        self._patience = patience
        self._all: dict[str, Transfer] = {}
        self._turn = asyncio.Semaphore(settings.parallel_downloads)
        self._asking: dict[tuple[str, str, str], asyncio.Lock] = {}
        self._known: dict[str, str] = {}  # the row of each model that was fetched
        self._closing = False
        self.on_done: list[Callable[[Ticket, ModelSpec | None], None]] = []
        self.ollama_url: Callable[[], str] = lambda: ""
        self.pulled: Callable[[], Awaitable[None]] = _nothing

    # What there is

    def is_present(self, spec: ModelSpec) -> bool:
        """Whether the model can be loaded without fetching anything; looks at this machine alone."""
        if spec.lane == "remote" or checkpoints.is_present(spec):
            return True
        folder = checkpoints.cached_snapshot(spec.repo, spec.revision) if not spec.path else None
        return folder is not None and (folder / hub.PIPELINE).is_file()

    async def look(self, model: str, revision: str = "") -> Offer:
        """What fetching a model of the hub would mean: licence, files, bytes, room on the disk.

        Raises:
            BadValue: it cannot be run here. Unknown, Gated, Unavailable: the hub does not give it.
        """
        return await self._offers.look(model, revision)

    async def begin(
        self,
        model: str,
        *,
        revision: str = "",
        accept_licence: bool = False,
        source: Source = "hub",
        session: str = "",
    ) -> Ticket:
        """Begin a download, or return the one of the same model that is under way (a paused one goes on).

        Args:
            model: a catalog id or a hub id; with source "ollama" the name that server pulls by.
            accept_licence: the asker has seen the licence (`look`) and accepts it.

        Raises:
            LicenceNeeded: names the licence. NoSpace: says how much is missing.
            BadValue, Unknown, Gated, Unavailable: see `look`.
        """
        return await self._begin(model, revision, source, session, lambda _: accept_licence)

    async def _begin(
        self, model: str, revision: str, source: Source, session: str, accepts: Accepts
    ) -> Ticket:
        if source == "ollama":
            key = ("ollama", _checked(model), "")
        else:
            _, repo, revision = self._offers.name(model, revision)
            key = ("hub", repo, revision)
        async with self._asking.setdefault(key, asyncio.Lock()):
            if self._closing:
                raise Conflict("The server is stopping. Ask again when it is back.")
            same = next((d for d in self._all.values() if d.key == key and not d.track.over), None)
            if same is not None:
                return (
                    self.resume(same.row.id) if same.row.phase == "paused" else same.track.ticket()
                )
            if source == "ollama":
                row = DownloadRow(secrets.token_hex(12), "ollama", model, session=session)
            else:
                row = await self._plan(model, revision, accepts)
                row.session = session
            track = self._open(row)
            await self._rows.flush()  # who has its ticket finds it again, whatever happens
            return track.ticket()

    async def _plan(self, model: str, revision: str, accepts: Accepts) -> DownloadRow:
        """The row of a download that may begin."""
        offer = await self._offers.look(model, revision)
        if not offer.present and not accepts(offer.licence):
            name = (
                f"the licence '{offer.licence.name}'" if offer.licence.name else "no stated licence"
            )
            raise LicenceNeeded(
                f"'{offer.repo}' comes under {name}. Read it at {offer.licence.link} and, if you accept "
                "it, ask again with accept_licence.",
                param="accept_licence",
            )
        check_space(offer.missing, offer.free)
        return DownloadRow(
            id=secrets.token_hex(12),
            source="hub",
            model=offer.model,
            repo=offer.repo,
            revision=offer.revision,
            commit=offer.commit,
            licence=offer.licence.name,
            files=list(offer.files),
            total=offer.size,
        )

    # What is done with it

    def pause(self, id: str) -> Ticket:
        """Stop fetching and keep what came. Raises Unknown; Conflict when it does not run."""
        download = self._find(id)
        if download.row.phase not in ("queued", "downloading"):
            raise Conflict(f"This download is {download.row.phase}, so it cannot be paused.")
        self._finish(download, "paused")
        return download.track.ticket()

    def resume(self, id: str) -> Ticket:
        """Go on where it was paused. Raises Unknown; Conflict when it is not paused."""
        download = self._find(id)
        if download.row.phase != "paused":
            raise Conflict(f"This download is {download.row.phase}, not paused.")
        return self._go_on(download)

    def retry(self, id: str) -> Ticket:
        """Try a failed one again; what came is kept. Raises Unknown; Conflict when it has not failed."""
        download = self._find(id)
        if download.row.phase != "failed":
            raise Conflict(
                f"This download is {download.row.phase}, so there is nothing to try again."
            )
        return self._go_on(download)

    def cancel(self, id: str) -> bool:
        """End it and throw away what is not whole. False: it was over. Raises Unknown."""
        download = self._find(id)
        if download.row.phase in ("done", "cancelled"):
            return False
        self._finish(download, "cancelled")
        return True

    def _go_on(self, download: Transfer) -> Ticket:
        if self._closing:
            raise Conflict("The server is stopping. Ask again when it is back.")
        self._jobs.reopen(download.track)
        self._start(download)
        return download.track.ticket()

    def _find(self, id: str) -> Transfer:
        if id not in self._all:
            raise Unknown("There is no such download.", param="id")
        return self._all[id]

    # The work

    async def start(self) -> None:
        """Once the database is open: go on with what was running, remember what was paused or failed."""
        for row in await self._rows.read():
            if row.id in self._all:
                continue
            if row.phase == "done":
                await self._remember(row)
            else:
                self._restore(row)

    async def _remember(self, row: DownloadRow) -> None:
        """A model that was fetched earlier is in the catalog as long as its files are here."""
        if row.source != "hub":
            return
        if await self._learn(row) is None:
            self._rows.delete(row.id)

    def _restore(self, row: DownloadRow) -> None:
        phase = row.phase
        download = self._add(row)
        if phase in ("queued", "downloading"):
            self._start(download)
        elif phase == "failed":
            self._jobs.end(download.track, "failed", DownloadFailed(row.error))
        else:
            download.track.phase = "paused"
        download.track.done = 0 if row.source != "hub" else bytes_here(row.repo, row.files)

    def _open(self, row: DownloadRow) -> Track:
        download = self._add(row)
        self._start(download)
        return download.track

    def _add(self, row: DownloadRow) -> Transfer:
        for old in [d for d in self._all.values() if d.row.phase in ("done", "cancelled")]:
            if not old.running:
                del self._all[old.row.id]
        track = self._jobs.begin(row.id, "download", row.repo or row.model, row.model, row.session)
        track.total, track.born = row.total, row.created.timestamp()
        download = self._all[row.id] = Transfer(row, track)
        track.halt = lambda: self.cancel(row.id)
        return download

    def _start(self, download: Transfer) -> None:
        before = download.task if download.running else None
        download.begin()
        download.track.ahead = sum(d.row.phase == "queued" for d in self._all.values() if d.running)
        self._set(download, "queued")
        download.task = asyncio.get_running_loop().create_task(self._work(download, before))
        download.task.add_done_callback(lambda task: self._settle(download, task))

    def _set(self, download: Transfer, phase: Phase, error: AtelierError | None = None) -> None:
        """Change the phase, keep it, and tell those who follow."""
        row, track = download.row, download.track
        row.phase, row.error = phase, error.message if error else ""
        row.code = error.code if error else ""
        if phase == "cancelled":
            self._rows.delete(row.id)
        else:
            self._rows.save(row)
        track.speed = 0.0
        if phase in ("done", "failed", "cancelled"):
            if phase == "done":
                track.put(Done())
            self._jobs.end(track, phase, error)
        else:
            track.phase = phase
            track.put(Progress(track.done, track.total))

    def _finish(self, download: Transfer, phase: Phase) -> None:
        """End the task as `phase`; one that has no task ends at once."""
        if download.task is not None and download.running:
            if not download.ending:
                download.task.cancel()
            download.ending = phase
        elif phase == "cancelled":
            sweep(download.row.repo, download.row.files)
        self._set(download, phase)

    async def _work(self, download: Transfer, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:  # its courier is still ending
                await asyncio.wait([before])
            async with self._turn:
                self._set(download, "downloading")
                ollama = self.ollama_url() or OLLAMA
                async with aclosing(
                    carry(download.row, self._settings, self._patience, ollama)
                ) as pieces:
                    async for done, total in pieces:
                        download.tell(done, total)
            await self._arrived(download)
        except AtelierError as error:
            log.warning("download of %s: %s", download.row.model, error)
            self._set(download, "failed", error)

    def _settle(self, download: Transfer, task: asyncio.Task[None]) -> None:
        """The courier is gone: clean up after a cancel, and say what nobody expected."""
        if download.task is task and download.ending == "cancelled":
            sweep(download.row.repo, download.row.files)
        if not task.cancelled() and (fault := task.exception()):
            log.error("A download broke off.", exc_info=fault)
            self._set(download, "failed", DownloadFailed("The download broke off. Try it again."))

    async def _arrived(self, download: Transfer) -> None:
        """Everything is there: the model can be used by its id from now on."""
        spec = None
        if download.row.source == "hub":
            spec = await self._learn(download.row)
        else:
            await self.pulled()
        download.track.done = download.track.total
        self._set(download, "done")
        for tell in self.on_done:
            tell(download.track.ticket(), spec)

    async def _learn(self, row: DownloadRow) -> ModelSpec | None:
        """The catalog row of what was fetched, added where there is none; None: its files are gone."""
        folder = checkpoints.cached_snapshot(row.repo, row.commit)
        if folder is None:
            return None
        if (older := self._known.get(row.model, row.id)) != row.id:
            self._rows.delete(older)
        self._known[row.model] = row.id
        try:
            return self._registry.find(row.model)
        except Unknown:
            pass
        try:
            spec = await asyncio.to_thread(
                hub.describe_folder, folder, row.model, row.repo, row.revision,
                families=self._families, licence=row.licence,
            )  # fmt: skip
        except BadValue as error:  # a family was removed since
            log.warning("%s", error)
            return None
        self._registry.add(spec)
        return spec

    # For a request whose model is not here

    async def provide(self, spec: ModelSpec) -> AsyncGenerator[Ticket]:
        """Fetch a model that a request waits for; yields its ticket now and then until it is here.

        Nothing is yielded where nothing is fetched: the files are here, or `auto_download` is off.

        Raises:
            LicenceNeeded: its licence is not an open one. DownloadFailed and the rest of `begin`.
        """
        if not self._settings.auto_download or self._settings.offline or self.is_present(spec):
            return
        ticket = await self._begin(spec.id, "", "hub", "", lambda licence: licence.is_open)
        download = self._find(ticket.id)
        while True:
            if download.row.phase == "done":
                return
            if download.row.phase in ("failed", "cancelled"):
                raise download.track.error or DownloadFailed(
                    f"The download of '{spec.id}' was cancelled. Begin it again."
                )
            yield download.track.ticket()
            await asyncio.sleep(0.25)

    async def close(self) -> None:
        """End the couriers at once; what runs goes on at the next start."""
        self._closing = True
        tasks = [d.task for d in self._all.values() if d.task is not None and d.running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _nothing() -> None:
    """There is nobody to tell."""


def _checked(model: str) -> str:
    if not model or len(model) > 300 or any(c.isspace() for c in model):
        raise BadValue("Name the model as Ollama does, for instance qwen3:0.6b.", param="model")
    return model
