"""The devices models run on, and how much memory they have. Asks the drivers, never torch."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from engine.errors import BadValue
from engine.settings import Settings


class Device(Protocol):
    """A place for models. All figures are bytes.

    Attributes:
        name: as torch names it: "cpu", "cuda:0".
        title: for people.
        total: memory of the whole device.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def total(self) -> int: ...

    def used(self) -> int:
        """In use on the device now, other programs included."""

    def held(self) -> int:
        """Held by this process; differences of it measure a model."""

    def release(self) -> None:
        """Hand freed memory back to the system, so that the next figure is true."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor and the RAM; inside a container, the RAM its control group allows."""

    name: str
    title: str
    total: int

    @classmethod
    def find(cls) -> Cpu:
        import psutil

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        total = min(psutil.virtual_memory().total, _cgroup_limit())
        return cls("cpu", f"CPU · {cores} cores", total)

    def used(self) -> int:
        import psutil

        memory = psutil.virtual_memory()
        return min(self.total, int(memory.total - memory.available))

    def held(self) -> int:
        import psutil

        return int(psutil.Process().memory_info().rss)

    def release(self) -> None:
        gc.collect()
        if sys.platform == "linux":  # glibc keeps freed pages unless told
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)


@dataclass(frozen=True, slots=True)
class Cuda:
    """One NVIDIA GPU, asked through NVML."""

    name: str
    title: str
    total: int
    index: int

    @classmethod
    def find(cls, index: int = 0) -> Cuda | None:
        """The GPU with this index among those visible to the process, or None."""
        try:
            import pynvml

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(_physical(index))
            title = pynvml.nvmlDeviceGetName(handle)
            total = pynvml.nvmlDeviceGetMemoryInfo(handle).total
        except (ImportError, IndexError):
            return None
        except pynvml.NVMLError:  # no driver, or no such GPU
            return None
        return cls(f"cuda:{index}", title, int(total), index)

    def used(self) -> int:
        import pynvml

        handle = pynvml.nvmlDeviceGetHandleByIndex(_physical(self.index))
        return max(0, int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) - self._idle())

    def _idle(self) -> int:
        """What torch keeps for itself although nothing of ours lies in it: it is there for the next model."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return 0
        return int(torch.cuda.memory_reserved(self.index) - torch.cuda.memory_allocated(self.index))

    def held(self) -> int:
        torch = sys.modules.get("torch")
        return int(torch.cuda.memory_allocated(self.index)) if torch is not None else 0

    def release(self) -> None:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def free_ram() -> int:
    """Bytes of memory that programs may still take."""
    import psutil

    cpu = Cpu.find()
    return max(0, min(int(psutil.virtual_memory().available), cpu.total - cpu.used()))


@lru_cache(maxsize=1)
def fast_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 itself. Known on Linux; elsewhere no is assumed."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(name in flags for name in ("avx512_bf16", "amx_bf16"))


def find_device(settings: Settings) -> Device:
    """The device of `settings.device`.

    Raises:
        BadValue: a GPU was asked for by name and is not there.
    """
    wanted = settings.device
    if wanted in {"auto", "cuda"} or wanted.startswith("cuda:"):
        index = int(wanted.partition(":")[2] or 0)
        gpu = Cuda.find(index)
        if gpu is not None:
            return gpu
        if wanted != "auto":
            raise BadValue(f"Device {wanted} is not here. Set ATELIER_DEVICE to auto or cpu.")
    return Cpu.find()


def _physical(index: int) -> int:
    """NVML counts all GPUs; CUDA_VISIBLE_DEVICES shows some. Raises IndexError when it hides this one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return index
    numbers = [int(part) for part in visible.split(",") if part.strip().isdigit()]
    return numbers[index]


def _cgroup_limit() -> int:
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(file).read_text())
        except (OSError, ValueError):
            continue
    return sys.maxsize


SPINS = "2000"  # turns of an empty loop, a few microseconds


def calm_threads() -> None:
    """Have a processor's worker threads sleep soon while they wait for each other; before torch and numpy are imported.

    OpenMP's spin for long by default. That is a little faster on an idle machine and ruinous on a busy one:
    beside two busy programs on two cores, a step of an 88M model took 881 ms, and with this 57. OpenBLAS's, which
    numpy wakes for its small products, spin too and cannot be told not to: it does without. On two cores a spoken
    turn took 138 ms then, and 200 with them.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
