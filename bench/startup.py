"""From the command to the first answer, and the memory then, beside Open WebUI.

`python -m bench.startup [--open-webui PATH/open-webui] [--repeats 3]`
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.report import MB, median, table
from bench.servers import Server, free_port, serve

SILENT = {"OFFLINE_MODE": "True", "HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "False"}
Run = dict[str, float]


def start_atelier(data: str) -> contextlib.AbstractContextManager[Server]:
    port = free_port()
    command = [sys.executable, "app.py", "--port", str(port), "--data-dir", data, "--offline"]
    return serve(command, port)


@contextlib.contextmanager
def start_open_webui(
    program: str, data: str, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`open-webui serve` without sign-in and without reaching out, as its users start it otherwise."""
    port = free_port()
    own = {"DATA_DIR": data, "WEBUI_AUTH": "False", "WEBUI_SECRET_KEY": "bench", **SILENT}
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with serve(command, port, {**own, **(env or {})}, cwd=Path(data)) as server:
        yield server


def measure_atelier(data: str) -> Run:
    with start_atelier(data) as server:
        api = server.wait("/", accept="application/json")
        api_memory = server.memory()
        page = server.wait("/", accept="text/html")
        return {"api": api, "api_memory": api_memory, "page": page, "page_memory": server.memory()}


def measure_open_webui(program: str, data: str) -> Run:
    with start_open_webui(program, data) as server:
        api = server.wait("/health", seconds=300)
        api_memory = server.memory()
        page = server.wait("/", accept="text/html", seconds=300)
        return {"api": api, "api_memory": api_memory, "page": page, "page_memory": server.memory()}


def repeat(program: str, repeats: int) -> tuple[list[Run], list[Run]]:
    """Both in turn; the first round only fills page caches and makes their databases."""
    ours: list[Run] = []
    theirs: list[Run] = []
    with tempfile.TemporaryDirectory() as mine, tempfile.TemporaryDirectory() as other:
        for _ in range(repeats + 1):
            ours.append(measure_atelier(mine))
            if program:
                theirs.append(measure_open_webui(program, other))
    return ours[1:], theirs[1:]


def row(label: str, key: str, ours: list[Run], theirs: list[Run]) -> list[str]:
    unit, scale = ("MB", MB) if key.endswith("memory") else ("s", 1.0)
    mine = median(run[key] for run in ours) / scale
    worst = max(run[key] for run in ours) / scale
    cells = [label, f"{mine:.3g} {unit} (worst {worst:.3g})"]
    if theirs:
        other = median(run[key] for run in theirs) / scale
        return [*cells, f"{other:.3g} {unit}", f"{mine / other:.3f}×"]
    return [*cells, "not run", "–"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--open-webui", default="", help="its program, in an environment of its own"
    )
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    ours, theirs = repeat(given.open_webui, given.repeats)
    table(
        "Start-up",
        ["figure", "Atelier", "Open WebUI", "ratio"],
        [
            row("first 200 of the API", "api", ours, theirs),
            row("first 200 of the page", "page", ours, theirs),
            row("memory at the API's first answer", "api_memory", ours, theirs),
            row("memory at the page's first answer", "page_memory", ours, theirs),
        ],
        f"Medians of {given.repeats} starts each, in turn, after one unmeasured start each. Atelier: "
        "`python app.py`, engine, API and page, no model loaded. Open WebUI: `open-webui serve` from "
        "PyPI with sign-in and telemetry off; it has no model of its own to load. API: `GET /` as JSON "
        "and `GET /health`; page: `GET /` as HTML. Memory: resident, children included.",
    )


if __name__ == "__main__":
    main()
