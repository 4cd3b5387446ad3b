"""The machine now and over the last hour: looked at every other second by a thread of its own.

So whoever asks never waits: not for a driver, not for a disk, and a percentage needs no second look. Knows no
model and no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.devices import Cpu, free_ram
from engine.status import EngineStatus

EVERY = 2.0  # seconds between two looks
HOUR = 3600.0
BEAT = 0.25  # seconds between two looks at the event loop
# What the history keeps of a sample; GPU figures are the busiest card's.
SERIES = (
    "time", "cpu_percent", "memory_percent", "gpu_percent", "gpu_memory_percent", "received_s", "sent_s",
    "process_memory", "models_memory", "running", "waiting", "tokens_s", "loop_lag_ms",
)  # fmt: skip
log = logging.getLogger("atelier.system")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine; bytes, percent, °C and watts. None: its driver does not tell."""

    index: int
    name: str
    total: int
    used: int
    utilization: float | None
    temperature: float | None
    power: float | None
    power_limit: float | None

    @property
    def percent(self) -> float:
        return 100 * self.used / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Process:
    """This process. `loop_lag_s`: the longest its event loop kept somebody waiting since the last look."""

    pid: int
    cpu_percent: float
    memory: int
    threads: int
    open_files: int
    uptime_s: float
    loop_lag_s: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the machine: bytes, percent of all cores together, bytes a second.

    Args:
        time: seconds since the epoch.
        load: processes that want a core, over one, five and fifteen minutes; zeros where that is not known.
        memory_total, memory_available: what a container may use, where this is one.
        disk_total …: of the disk that the data folder lies on.
        received, sent: bytes since the machine's start, all interfaces but loopback.
        tokens_s: tokens made a second by the models of this process.
    """

    time: float
    cpu_percent: float
    cores: int
    load: tuple[float, float, float]
    memory_total: int
    memory_available: int
    disk_total: int
    disk_used: int
    disk_free: int
    received: int
    sent: int
    received_s: float
    sent_s: float
    gpus: tuple[Gpu, ...]
    process: Process
    engine: EngineStatus
    tokens_s: float

    @property
    def memory_percent(self) -> float:
        total = self.memory_total
        return 100 * (total - self.memory_available) / total if total else 0.0

    @property
    def disk_percent(self) -> float:
        usable = self.disk_used + self.disk_free
        return 100 * self.disk_used / usable if usable else 0.0

    def point(self) -> tuple[float, ...]:
        """What the history keeps, in the order of SERIES."""
        lanes = self.engine.lanes
        return (
            self.time,
            self.cpu_percent,
            self.memory_percent,
            max((gpu.utilization or 0.0 for gpu in self.gpus), default=0.0),
            max((gpu.percent for gpu in self.gpus), default=0.0),
            self.received_s,
            self.sent_s,
            self.process.memory,
            sum(lane.held for lane in lanes),
            self.engine.running,
            self.engine.waiting,
            self.tokens_s,
            1000 * self.process.loop_lag_s,
        )


class System:
    """The sampler.

    Args:
        folder: somewhere on the disk that matters.
        status: the engine's own state.
        made: tokens made since the start.
        told: called with every sample, on the sampler's thread.
    """

    def __init__(
        self,
        folder: Path,
        status: Callable[[], EngineStatus],
        made: Callable[[], int] = lambda: 0,
        told: Callable[[Sample], None] = lambda sample: None,
        every: float = EVERY,
    ) -> None:
        self._folder, self._status, self._made, self._told = folder, status, made, told
        self._every = every
        self._points: deque[tuple[float, ...]] = deque(maxlen=int(HOUR / every))
        self._latest: Sample | None = None
        self._end = threading.Event()
        self._looking = threading.Lock()
        self._thread: threading.Thread | None = None
        self._beats: asyncio.Task[None] | None = None
        self._lag = 0.0
        self._before: tuple[float, int, int, int] | None = None
        self._own: Any = None
        self._handles: list[Any] | None = None
        self._born = time.monotonic()

    def start(self) -> None:
        """Begin to look, and to listen to the running event loop's beat."""
        self._end.clear()
        self._beats = asyncio.create_task(self._listen())
        self._thread = threading.Thread(target=self._serve, name="atelier-system", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more; does not wait for a driver that hangs."""
        self._end.set()
        if self._beats is not None:
            self._beats.cancel()

    async def now(self) -> Sample:
        """The newest sample; only before the first does anybody wait."""
        if self._latest is None:
            return await asyncio.to_thread(self.look)
        return self._latest

    def history(self, seconds: float = HOUR, points: int = 1800) -> dict[str, list[float]]:
        """The last seconds as columns named as in SERIES, each of at most `points` numbers, oldest first.

        Where there are more, neighbours are put together: of the queue and the event loop the most, else the mean.
        """
        after = time.time() - seconds
        rows = [row for row in tuple(self._points) if row[0] > after]
        size = -(-len(rows) // max(1, points)) or 1
        groups = [rows[at : at + size] for at in range(0, len(rows), size)]
        peaks = ("running", "waiting", "loop_lag_ms")
        columns: dict[str, list[float]] = {}
        for place, name in enumerate(SERIES):
            values = ([row[place] for row in group] for group in groups)
            columns[name] = [
                round(max(v) if name in peaks else v[-1] if name == "time" else sum(v) / len(v), 2)
                for v in values
            ]
        return columns

    # The sampler's thread

    def _serve(self) -> None:
        wait = 0.2  # the first percentage needs a moment to be of
        with suppress(ImportError):
            self.look()
        while not self._end.wait(wait):
            wait = self._every
            try:
                self.look(keep=True)
            except OSError as error:
                log.warning("The machine could not be looked at: %s", error)

    def look(self, keep: bool = False) -> Sample:
        """Look at everything now. Blocks for a few milliseconds, or as long as a driver does."""
        with self._looking:
            sample = self._sample()
            self._latest = sample
            if keep:
                self._points.append(sample.point())
        self._told(sample)
        return sample

    def _sample(self) -> Sample:
        import psutil

        disk = psutil.disk_usage(str(_existing(self._folder)))
        received, sent = _network()
        made, now = self._made(), time.monotonic()
        before = self._before or (now - self._every, received, sent, made)
        self._before = (now, received, sent, made)
        passed = max(0.001, now - before[0])
        return Sample(
            time=time.time(),
            cpu_percent=psutil.cpu_percent(None),
            cores=psutil.cpu_count() or 1,
            load=os.getloadavg() if hasattr(os, "getloadavg") else (0.0, 0.0, 0.0),
            memory_total=Cpu.find().total,
            memory_available=free_ram(),
            disk_total=disk.total,
            disk_used=disk.used,
            disk_free=disk.free,
            received=received,
            sent=sent,
            received_s=max(0, received - before[1]) / passed,
            sent_s=max(0, sent - before[2]) / passed,
            gpus=self._gpus(),
            process=self._process(),
            engine=self._status(),
            tokens_s=max(0, made - before[3]) / passed,
        )

    def _process(self) -> Process:
        import psutil

        own = self._own = self._own or psutil.Process()
        lag, self._lag = self._lag, 0.0
        with own.oneshot():
            return Process(
                pid=own.pid,
                cpu_percent=own.cpu_percent(None),
                memory=own.memory_info().rss,
                threads=own.num_threads(),
                open_files=own.num_fds() if hasattr(own, "num_fds") else own.num_handles(),
                uptime_s=time.monotonic() - self._born,
                loop_lag_s=lag,
            )

    def _gpus(self) -> tuple[Gpu, ...]:
        if self._handles is None:
            self._handles = _handles()
        return tuple(_gpu(index, handle) for index, handle in enumerate(self._handles))

    # The event loop

    async def _listen(self) -> None:
        """How late the loop comes to somebody who wanted to be called."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT
            await asyncio.sleep(BEAT)
            self._lag = max(self._lag, loop.time() - due)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _network() -> tuple[int, int]:
    import psutil

    cards = psutil.net_io_counters(pernic=True)
    far = [counted for name, counted in cards.items() if name != "lo"]
    return sum(c.bytes_recv for c in far), sum(c.bytes_sent for c in far)


def _handles() -> list[Any]:
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
    except ImportError:
        return []
    except pynvml.NVMLError:  # no driver, no card
        return []


def _gpu(index: int, handle: Any) -> Gpu:
    import pynvml

    def told(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except pynvml.NVMLError:  # this card does not tell
            return None

    memory = told(partial(pynvml.nvmlDeviceGetMemoryInfo, handle))
    usage = told(partial(pynvml.nvmlDeviceGetUtilizationRates, handle))
    heat = partial(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    power = told(partial(pynvml.nvmlDeviceGetPowerUsage, handle))
    limit = told(partial(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle))
    return Gpu(
        index=index,
        name=str(told(partial(pynvml.nvmlDeviceGetName, handle)) or "GPU"),
        total=int(memory.total) if memory else 0,
        used=int(memory.used) if memory else 0,
        utilization=float(usage.gpu) if usage else None,
        temperature=told(heat),
        power=power / 1000 if power is not None else None,
        power_limit=limit / 1000 if limit is not None else None,
    )
