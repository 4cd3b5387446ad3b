"""What watches over a server: the machine's sampler, numbers for Prometheus, the last of the log, the containers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.containers import Containers
from engine.logs import Ring
from engine.metrics import Metrics
from engine.settings import Settings
from engine.status import EngineStatus
from engine.system import System


class Monitor:
    """One of everything, for an engine.

    Attributes:
        system: the machine now and over the last hour.
        metrics: what Prometheus reads.
        logs: the last records of this process.
        containers: those of a Docker-compatible engine that may be seen.

    Args:
        status: the engine's own state.
        made: tokens made since the start.
    """

    def __init__(
        self,
        settings: Settings,
        version: str,
        status: Callable[[], EngineStatus],
        made: Callable[[], int],
    ) -> None:
        self.metrics = Metrics(settings.data_dir, version)
        self.logs = Ring(settings, self.metrics.logged)
        self.system = System(settings.data_dir, status, made, self.metrics.gauge)
        self.containers = Containers(settings)
        self._opening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch; returns at once."""
        self.logs.attach()
        self.system.start()
        self._opening = asyncio.create_task(asyncio.to_thread(self.metrics.open))

    async def close(self) -> None:
        """Watch no more."""
        self.system.close()
        self.containers.close()
        self.logs.detach()
        if self._opening is not None:
            await asyncio.wait([self._opening])
