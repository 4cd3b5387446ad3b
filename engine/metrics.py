"""What Prometheus reads: counters of requests, inferences, units, loadings and errors, and gauges of the last sample.

Several server processes write into files that they share, so any of them answers for all. Knows prometheus_client
and no HTTP. What is counted before `open` has finished is counted then.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.meters import COUNTERS, GAUGES, HISTOGRAMS, PEAK, REASONS, UNITS
from engine.processes import is_dead, name_process

if TYPE_CHECKING:
    from engine.system import Sample
    from engine.usage import Row

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
KNOWN = 500  # models that have a name of their own among the labels
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
log = logging.getLogger("atelier.metrics")


class Metrics:
    """The numbers of one server.

    Args:
        data_dir: where processes that serve together share them.
        version: told by `atelier_build_info`.
    """

    def __init__(self, data_dir: Path, version: str) -> None:
        self._data_dir, self._version = data_dir, version
        self._made: dict[str, Any] | None = None
        self._registry: Any = None
        self._early: list[Callable[[], None]] = []
        self._door = threading.Lock()
        self._models: set[str] = set()
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._children: dict[tuple[str, ...], Any] = {}

    def open(self) -> None:
        """Import what counts and make the meters. Blocks (about 0.1 s); harmless when said twice."""
        if self._made is not None:
            return
        share(self._data_dir)
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            disable_created_metrics,
        )

        disable_created_metrics()
        registry = CollectorRegistry()
        made: dict[str, Any] = {}
        for name, (text, labels) in COUNTERS.items():
            made[name] = Counter(name, text, labels, registry=registry)
        for name, (text, labels, buckets) in HISTOGRAMS.items():
            made[name] = Histogram(name, text, labels, buckets=buckets, registry=registry)
        for name, (text, labels, mode) in GAUGES.items():
            made[name] = Gauge(name, text, labels, registry=registry, multiprocess_mode=mode)
        made["atelier_build_info"].labels(self._version).set(1)
        with self._door:
            self._registry, self._made = registry, made
            early, self._early = self._early, []
        for again in early:
            again()

    def _later(self, again: Callable[[], None]) -> bool:
        """True where there is nothing to count with yet: it is done at `open`."""
        if self._made is not None:
            return False
        with self._door:
            if self._made is None:
                self._early.append(again)
                return True
        return False

    def _meter(self, name: str, *labels: str) -> Any:
        """A meter with these labels; found once, kept after that."""
        key = (name, *labels)
        child = self._children.get(key)
        if child is None:
            assert self._made is not None
            meter = self._made[name]
            child = self._children[key] = meter.labels(*labels) if labels else meter
        return child

    # What happens

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered; `route` is a path's template, never a path."""
        if self._later(partial(self.served, method, route, status, seconds)):
            return
        labels = (method if method in METHODS else "OTHER", route, str(status))
        self._meter("atelier_http_requests_total", *labels).inc()
        self._meter("atelier_http_request_duration_seconds", *labels).observe(seconds)

    def inferred(self, row: Row) -> None:
        """A request ended, however it did; its row says what it used."""
        if self._later(partial(self.inferred, row)):
            return
        model, task = self._named(row.model), row.task
        self._meter("atelier_inference_requests_total", task, model, row.status).inc()
        self._meter("atelier_inference_duration_seconds", task, model).observe(row.seconds)
        self._meter("atelier_inference_queued_seconds", task).observe(row.queued_s)
        self._meter("atelier_device_seconds_total", task, model).inc(row.run_s)
        if row.first_s and row.status in ("ok", "stopped"):
            self._meter("atelier_inference_first_content_seconds", task, model).observe(row.first_s)
        for name, unit in UNITS.items():
            if used := getattr(row, name):
                self._meter("atelier_usage_total", model, unit).inc(used)
        if row.status.isupper():
            self._meter("atelier_errors_total", row.status).inc()

    def broke(self, code: str) -> None:
        """Something failed that was no inference."""
        if not self._later(partial(self.broke, code)):
            self._meter("atelier_errors_total", code).inc()

    def loaded(self, model: str, seconds: float) -> None:
        """A model was loaded."""
        if self._later(partial(self.loaded, model, seconds)):
            return
        self._meter("atelier_model_loads_total", self._named(model), "ok").inc()
        self._meter("atelier_model_load_seconds", self._named(model)).observe(seconds)

    def failed(self, model: str) -> None:
        """A loading failed."""
        if not self._later(partial(self.failed, model)):
            self._meter("atelier_model_loads_total", self._named(model), "failed").inc()

    def unloaded(self, model: str, why: str) -> None:
        """A model left the memory; `why` as the log has it."""
        reason = next((name for start, name in REASONS.items() if why.startswith(start)), "other")
        if reason == "stop" or self._later(partial(self.unloaded, model, why)):
            return
        self._meter("atelier_model_evictions_total", self._named(model), reason).inc()

    def logged(self, level: str) -> None:
        """A warning or an error was logged."""
        if not self._later(partial(self.logged, level)):
            self._meter("atelier_log_records_total", level).inc()

    def gauge(self, sample: Sample) -> None:
        """Take over what a sample says."""
        if self._made is None:
            return
        machine = {
            "atelier_cpu_percent": sample.cpu_percent,
            "atelier_memory_total_bytes": sample.memory_total,
            "atelier_memory_available_bytes": sample.memory_available,
            "atelier_disk_total_bytes": sample.disk_total,
            "atelier_disk_free_bytes": sample.disk_free,
            "atelier_process_memory_bytes": sample.process.memory,
            "atelier_process_open_files": sample.process.open_files,
            "atelier_event_loop_lag_seconds": sample.process.loop_lag_s,
        }
        for name, value in machine.items():
            self._meter(name).set(value)
        self._meter("atelier_event_loop_stall_seconds").observe(sample.process.loop_lag_s)
        resident: dict[tuple[str, ...], float] = {}
        for lane in sample.engine.lanes:
            self._meter("atelier_queue_waiting", lane.name).set(lane.waiting)
            self._meter("atelier_queue_running", lane.name).set(lane.running)
            for kind in ("total", "used", "budget"):
                self._meter("atelier_device_memory_bytes", lane.name, kind).set(getattr(lane, kind))
            self._meter("atelier_models_memory_bytes", lane.name).set(lane.held)
            self._meter("atelier_models_resident", lane.name).set(len(lane.resident))
            resident |= {(lane.name, self._named(m.id)): m.memory for m in lane.resident}
        self._all("atelier_model_memory_bytes", resident)
        for gpu in sample.gpus:
            label = str(gpu.index)
            figures = {
                "memory_used_bytes": gpu.used, "memory_total_bytes": gpu.total,
                "utilization_percent": gpu.utilization, "temperature_celsius": gpu.temperature,
                "power_watts": gpu.power,
            }  # fmt: skip
            for name, number in figures.items():
                if number is not None:
                    self._meter(f"atelier_gpu_{name}", label).set(number)

    def _all(self, name: str, values: dict[tuple[str, ...], float]) -> None:
        """These are all the values of a gauge: what was there before and is not now becomes 0."""
        seen = self._seen.setdefault(name, set())
        seen.update(values)
        for labels in seen:
            self._meter(name, *labels).set(values.get(labels, 0.0))

    def _named(self, model: str) -> str:
        """A model's label; those beyond many share one."""
        if model in self._models or len(self._models) < KNOWN:
            self._models.add(model)
            return model
        return PEAK

    # What is told

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """Everything, of all processes that serve together, and its content type. Blocks."""
        self.open()
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = self._registry
        if FOLDER in os.environ:
            _bury_dead(Path(os.environ[FOLDER]))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        encode, kind = choose_encoder(accept)
        return encode(registry), kind


def share(data_dir: Path) -> None:
    """Have prometheus_client keep its numbers in files where this is one of several processes that serve together:
    started by uvicorn (the parent is a Python process of ours) or by gunicorn. Before its first import."""
    parent = multiprocessing.parent_process()
    forked = os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn")
    if FOLDER in os.environ or not (parent is not None or forked):
        return
    folder = data_dir / "metrics"
    own = folder / _safe(_name_of(os.getppid()))
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    for other in folder.iterdir():  # of servers that run no more
        if other != own and is_dead(_unsafe(other.name), name_process(), local=False):
            shutil.rmtree(other, ignore_errors=True)
    os.environ[FOLDER] = str(own)


def _name_of(pid: int) -> str:
    import psutil

    host = name_process().rsplit("/", 2)[0]
    return f"{host}/{pid}/{psutil.Process(pid).create_time():.0f}"


def _safe(name: str) -> str:
    return name.replace("/", "+")


def _unsafe(name: str) -> str:
    return name.replace("+", "/")


def _bury_dead(folder: Path) -> None:
    """Forget the gauges of processes that ended; what they counted stays."""
    import psutil
    from prometheus_client.multiprocess import mark_process_dead

    pids = {file.stem.rpartition("_")[2] for file in folder.glob("gauge_live*.db")}
    for pid in pids:
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            mark_process_dead(int(pid), str(folder))
