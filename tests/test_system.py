"""The machine's sampler: what a sample holds, an hour of them, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import EngineStatus, LaneStatus
from engine.system import SERIES, Gpu, Sample, System, _gpu

LANE = LaneStatus("cpu", "CPU", 100, 50, 80, 25, 3, 1, ())
STATUS = EngineStatus("1", 1.0, (LANE,))


def system(folder: Path, **options: Any) -> System:
    return System(folder / "not" / "made", lambda: STATUS, **options)


async def test_a_sample_tells_of_everything(tmp_path: Path) -> None:
    made = iter((100, 160, 160))
    watched = system(tmp_path, made=lambda: next(made))
    await asyncio.to_thread(watched.look)
    await asyncio.sleep(0.1)
    sample = await asyncio.to_thread(watched.look)
    assert 0 <= sample.cpu_percent <= 100 and sample.cores > 0
    assert 0 < sample.memory_available < sample.memory_total and 0 < sample.memory_percent < 100
    assert (
        sample.disk_used + sample.disk_free <= sample.disk_total and 0 < sample.disk_percent < 100
    )
    assert sample.process.memory > 1_000_000 and sample.process.threads > 0
    assert sample.received_s >= 0 and sample.engine is STATUS
    assert 0 < sample.tokens_s <= 600
    assert await watched.now() is sample


def filled(folder: Path, count: int, every: float = 2.0) -> System:
    watched = system(folder)
    now = time.time()
    for n in range(count):
        row = [0.0] * len(SERIES)
        row[0], row[1], row[10] = now - every * (count - n), float(n), float(n)
        watched._points.append(tuple(row))
    return watched


def test_the_history_is_an_hour_and_comes_as_coarse_as_it_is_wanted(tmp_path: Path) -> None:
    watched = filled(tmp_path, 4000)
    whole = watched.history()
    assert set(whole) == set(SERIES) and 1790 <= len(whole["time"]) <= 1800
    coarse = watched.history(points=100)
    assert len(coarse["time"]) <= 100 and coarse["time"] == sorted(coarse["time"])
    assert coarse["waiting"][-1] == 3999 and coarse["cpu_percent"][-1] < 3999  # peaks, and means
    assert 25 <= len(watched.history(60)["time"]) <= 31
    assert system(tmp_path).history() == {name: [] for name in SERIES}


async def test_nobody_waits_for_a_driver_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = system(tmp_path, every=0.05)
    watched.start()
    try:
        while watched._latest is None:
            await asyncio.sleep(0.01)
        hang = threading.Event()
        monkeypatch.setattr(watched, "_gpus", lambda: hang.wait(30) and ())
        await asyncio.sleep(0.3)  # the sampler's thread hangs in the driver by now
        began = time.perf_counter()
        for _ in range(100):
            await watched.now()
            watched.history(600, 100)
        assert (time.perf_counter() - began) / 100 < 0.05
    finally:
        hang.set()
        watched.close()


async def test_a_blocked_event_loop_is_noticed(tmp_path: Path) -> None:
    watched = system(tmp_path, every=30)
    watched.start()
    await asyncio.sleep(0.1)
    time.sleep(0.6)  # on the loop
    await asyncio.sleep(0.3)
    sample = await asyncio.to_thread(watched.look)
    watched.close()
    assert sample.process.loop_lag_s > 0.2


def test_a_card_that_tells_little(monkeypatch: pytest.MonkeyPatch) -> None:
    pynvml = pytest.importorskip("pynvml")

    def silent(*args: Any) -> Any:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for name in ("UtilizationRates", "Temperature", "PowerUsage", "EnforcedPowerLimit"):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}", silent)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", lambda handle: "H200")
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(total=100, used=25)
    )
    card = _gpu(1, object())
    assert card == Gpu(1, "H200", 100, 25, None, None, None, None) and card.percent == 25.0


def test_points_and_their_names_belong_together(tmp_path: Path) -> None:
    sample: Sample = system(tmp_path).look()
    assert len(sample.point()) == len(SERIES)
    values = dict(zip(SERIES, sample.point(), strict=True))
    assert values["models_memory"] == 25 and values["running"] == 1 and values["waiting"] == 3
