"""What watching costs: a look at the machine over HTTP, one sample, one reading by Prometheus, one request counted."""

from __future__ import annotations

import argparse
import http.client
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psutil

from bench.report import median, quantile, table
from bench.servers import Server, atelier
from engine.metrics import Metrics
from engine.status import EngineStatus
from engine.system import System
from engine.usage import Row


def timed(work: Callable[[], Any], times: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - began))
    return found


def over_http(server: Server, times: int) -> list[list[str]]:
    parts = urlsplit(server.url)
    process = psutil.Process(server.process.pid)

    def spent() -> float:
        used = process.cpu_times()
        return 1000 * float(used.user + used.system)

    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def get(path: str) -> bytes:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body[:200]
        return body

    found = []
    for path in ("/v1/monitor/system/stats", "/v1/monitor/system/history", "/metrics"):
        get(path)
        before = spent()
        took = timed(lambda path=path: get(path), times)  # type: ignore[misc]
        found.append([f"GET {path}", *shown(took), f"{(spent() - before) / times:.2f}"])
    return found


def in_process(times: int) -> list[list[str]]:
    with TemporaryDirectory() as folder:
        system = System(Path(folder), lambda: EngineStatus("0", 0.0, ()))
        system.look()
        began = time.process_time()
        for _ in range(times):
            system.look()
        look = 1000 * (time.process_time() - began) / times
        metrics = Metrics(Path(folder), "0")
        metrics.open()
        row = Row(model="m", task="chat", status="ok", input_tokens=9, output_tokens=90, run_s=2.0)
        began = time.process_time()
        for _ in range(times):
            metrics.served("POST", "/v1/chat/completions", 200, 2.0)
            metrics.inferred(row)
        count = 1000 * (time.process_time() - began) / times
    return [
        ["one sample of the machine", "", "", "", f"{look:.3f}"],
        ["one request and its inference counted", "", "", "", f"{count:.3f}"],
    ]


def shown(took: list[float]) -> list[str]:
    return [f"{value:.2f}" for value in (median(took), quantile(took, 0.95), max(took))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=500)
    given = parser.parse_args()
    with atelier() as server:
        server.wait("/", accept="text/html")
        rows = over_http(server, given.times)
    rows += in_process(given.times)
    table(
        "Watching the server",
        ("what", "ms, median", "95 %", "most", "processor time, ms"),
        rows,
        "Over one kept connection from the same machine; the sampler looks every two seconds.",
    )


if __name__ == "__main__":
    main()
