"""What Prometheus reads: names, labels, their bounds, several processes as one, and the dashboard that asks."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine import EngineStatus, LaneStatus, ResidentModel
from engine.meters import COUNTERS, GAUGES, HISTOGRAMS, NAMES
from engine.metrics import KNOWN, Metrics
from engine.system import System
from engine.usage import Row

ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")


def read(text: str) -> dict[str, float]:
    """Values by name and labels, as `name{labels}`."""
    found = (LINE.match(line) for line in text.splitlines() if line and not line.startswith("#"))
    return {f"{m[1]}{{{m[2] or ''}}}": float(m[3]) for m in found if m}


@pytest.fixture
def metrics(tmp_path: Path) -> Metrics:
    return Metrics(tmp_path, "1.2")


def told(metrics: Metrics) -> dict[str, float]:
    body, kind = metrics.text()
    assert kind.startswith("text/plain")
    return read(body.decode())


def test_what_happens_is_counted_also_before_there_is_something_to_count_with(
    metrics: Metrics,
) -> None:
    metrics.served("GET", "/v1/models", 200, 0.02)
    metrics.loaded("m", 2.0)
    metrics.open()
    metrics.served("GET", "/v1/models", 200, 0.2)
    metrics.served("BREW", "/v1/models", 418, 0.2)
    metrics.failed("m")
    metrics.unloaded("m", "room for n")
    metrics.unloaded("m", "the server stops")
    metrics.inferred(
        Row(
            model="m",
            task="chat",
            status="ok",
            input_tokens=3,
            output_tokens=5,
            audio_s=1.5,
            run_s=2.0,
            first_s=0.1,
        )
    )
    metrics.inferred(Row(model="m", task="chat", status="OUT_OF_MEMORY"))
    metrics.logged("ERROR")
    values = told(metrics)
    assert values['atelier_http_requests_total{method="GET",route="/v1/models",status="200"}'] == 2
    assert (
        values['atelier_http_requests_total{method="OTHER",route="/v1/models",status="418"}'] == 1
    )
    assert values['atelier_model_loads_total{model="m",outcome="ok"}'] == 1
    assert values['atelier_model_loads_total{model="m",outcome="failed"}'] == 1
    assert [k for k in values if "evictions" in k] == [
        'atelier_model_evictions_total{model="m",reason="room"}'
    ]
    assert values['atelier_usage_total{model="m",unit="output_tokens"}'] == 5
    assert values['atelier_usage_total{model="m",unit="audio_seconds"}'] == 1.5
    assert values['atelier_device_seconds_total{model="m",task="chat"}'] == 2
    assert values['atelier_errors_total{code="OUT_OF_MEMORY"}'] == 1
    assert values['atelier_build_info{version="1.2"}'] == 1
    assert not [k for k in values if "_created" in k]


def test_models_without_end_share_a_label(metrics: Metrics) -> None:
    metrics.open()
    for n in range(KNOWN + 20):
        metrics.inferred(Row(model=f"m{n}", task="chat", status="ok"))
    values = told(metrics)
    labels = {k for k in values if k.startswith("atelier_inference_requests_total")}
    assert len(labels) == KNOWN + 1
    assert values['atelier_inference_requests_total{model="other",status="ok",task="chat"}'] == 20


def test_a_model_that_left_holds_nothing(metrics: Metrics, tmp_path: Path) -> None:
    metrics.open()
    model = ResidentModel("m", 700, 1, 0, None, False, 1.0)
    for resident in ((model,), ()):
        lane = LaneStatus("cuda:0", "H200", 1000, 800, 900, 700, 2, 1, resident)
        System(
            tmp_path, lambda lane=lane: EngineStatus("1", 1.0, (lane,)), told=metrics.gauge
        ).look()  # type: ignore[misc]
        values = told(metrics)
        held = 700 if resident else 0
        assert values['atelier_model_memory_bytes{device="cuda:0",model="m"}'] == held
    assert values['atelier_queue_waiting{device="cuda:0"}'] == 2
    assert values["atelier_memory_total_bytes{}"] > 0


def test_counting_is_cheap(metrics: Metrics) -> None:
    metrics.open()
    row = Row(
        model="m", task="chat", status="ok", input_tokens=3, output_tokens=5, run_s=1.0, first_s=0.1
    )
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(200):
            metrics.served("POST", "/v1/chat/completions", 200, 0.5)
            metrics.inferred(row)
        best = min(best, (time.perf_counter() - began) / 200)
    assert best < 0.0005, f"{best * 1e6:.0f} µs a request"


def expressions(board: Any) -> Iterator[str]:
    if isinstance(board, dict):
        if "expr" in board:
            yield board["expr"]
        for value in board.values():
            yield from expressions(value)
    elif isinstance(board, list):
        for value in board:
            yield from expressions(value)


def test_the_dashboard_asks_for_what_there_is() -> None:
    found = list(expressions(json.loads((ROOT / "deploy/grafana.json").read_text("utf-8"))))
    asked = {name for expression in found for name in re.findall(r"\batelier_\w+", expression)}
    parts = {f"{name}_{end}" for name in HISTOGRAMS for end in ("bucket", "sum", "count")}
    assert len(found) > 25 and asked <= {*COUNTERS, *GAUGES, *parts}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    unseen = NAMES - bases - {"atelier_build_info", "atelier_gpu_memory_total_bytes"}
    assert unseen == set(), "no panel shows these"
    labels = {
        label
        for group in (COUNTERS, HISTOGRAMS, GAUGES)
        for _, row, *_ in group.values()
        for label in row
    }
    for expression in found:
        for names in re.findall(r"by \(([^)]*)\)", expression):
            assert {n.strip() for n in names.split(",")} <= labels | {"le"}, expression


def test_the_readme_of_deploy_names_real_metrics() -> None:
    text = (ROOT / "deploy/README.md").read_text("utf-8")
    for name in re.findall(r"`(atelier_[a-z_*]+)`", text):
        assert any(re.fullmatch(name.replace("*", "\\w+"), real) for real in NAMES), name


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_answer_as_one(tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "app.py",
        "--port",
        str(port),
        "--workers",
        "2",
        "--data-dir",
        str(tmp_path),
    ]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    name = 'atelier_http_requests_total{method="GET",route="/v1/models",status="200"}'
    seen: set[float] = set()
    try:
        end = time.monotonic() + 180
        while time.monotonic() < end:
            try:
                if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        pids = set()
        while time.monotonic() < end and len(pids) < 2:  # a connection each, so both get some
            pids.add(
                httpx.get(f"{url}/v1/monitor/system/stats", timeout=20).json()["process"]["pid"]
            )
        assert len(pids) == 2
        for _ in range(20):
            assert httpx.get(f"{url}/v1/models", timeout=20).status_code == 200
        for _ in range(8):
            values = read(httpx.get(f"{url}/metrics", timeout=20).text)
            seen.add(values[name])
        assert seen == {20.0}
        assert values['atelier_build_info{version="0.1.0"}'] == 1
        assert values["atelier_process_memory_bytes{}"] > 100_000_000  # of both together
    finally:
        server.terminate()
        server.wait(60)
    assert [folder.name.count("+") for folder in (tmp_path / "metrics").iterdir()] == [2]
