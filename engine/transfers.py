"""One download on its way: its row, its ticket, how fast it goes, and the courier that carries it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.couriers import HubCourier, pull
from engine.download_rows import DownloadRow
from engine.events import Progress
from engine.jobs import Phase, Track
from engine.offers import bytes_here, check_space, free_bytes, store_of
from engine.settings import Settings

WINDOW = 5.0  # seconds over which the speed is taken


@dataclass(eq=False)
class Transfer:
    """A download, its task while it runs, and as what the task is to end when it is cancelled."""

    row: DownloadRow
    track: Track
    task: asyncio.Task[None] | None = None
    ending: Phase | Literal[""] = ""
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two downloads the same."""
        return self.row.source, self.row.repo or self.row.model, self.row.revision

    @property
    def running(self) -> bool:
        return self.task is not None and not self.task.done()

    def begin(self) -> None:
        """Forget how fast it went before."""
        self.ending = ""
        self._seen.clear()

    def tell(self, done: int, total: int) -> None:
        """So many bytes are here: the ticket says so, with the speed of the last seconds."""
        now, seen, track = time.monotonic(), self._seen, self.track
        seen.append((now, done))
        while len(seen) > 2 and now - seen[0][0] > WINDOW:
            seen.popleft()
        since, before = seen[0]
        track.speed = max(0.0, (done - before) / (now - since)) if now > since else 0.0
        track.done, track.total, self.row.total = done, total, total
        track.put(Progress(done, total))


async def carry(
    row: DownloadRow, settings: Settings, patience: Sequence[float], ollama: str
) -> AsyncGenerator[tuple[int, int]]:
    """Fetch what a row names; yields (bytes here, bytes in all). Cancelling it ends its courier at once.

    Raises:
        NoSpace: before anything is fetched. The errors of `engine.couriers`.
    """
    if row.source == "ollama":
        async for done, total in pull(ollama.rstrip("/"), row.model):
            yield done, total
        return
    here = await asyncio.to_thread(bytes_here, row.repo, row.files)
    check_space(row.total - here, free_bytes())
    async with HubCourier(row.repo, settings, patience) as courier:
        store = store_of(row.repo)
        async for done in courier.fetch(row.commit, row.revision, row.files, store):
            yield done, row.total
