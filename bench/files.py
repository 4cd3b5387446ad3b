"""Files and large bodies: beside nginx, in memory, against a model, and killed at random.

`python -m bench.files [--megabytes 100] [--repeats 5] [--cases 10000] [--kills 200] [--only transfers kills]`
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.report import MB, median, table
from bench.servers import ROOT, Server, free_port, serve

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;
  client_body_temp_path {folder}/temp; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port}; root {folder}/www;
    location /put/ {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """Its own nginx on a free port, over `folder`/www."""
    port = free_port()
    (folder / "www" / "put").mkdir(parents=True)
    folder.chmod(0o755)
    config = "user root;\n" + NGINX if os.geteuid() == 0 else NGINX
    (folder / "nginx.conf").write_text(config.format(folder=folder, port=port))
    with subprocess.Popen(
        ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    ) as process:
        try:
            for _ in range(500):
                with contextlib.suppress(OSError):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
                    connection.request("GET", "/")
                    connection.getresponse().read()
                    break
                time.sleep(0.02)
            yield port
        finally:
            process.send_signal(signal.SIGQUIT)


@contextlib.contextmanager
def ours(folder: Path, **env: str) -> Iterator[Server]:
    """Our server over a data folder of its own."""
    port = free_port()
    given = {
        "ATELIER_DATA_DIR": str(folder / "data"), "ATELIER_PROBE_LOCAL": "false", "ATELIER_FILES_SPARE": "0",
        "OMP_NUM_THREADS": "1", **env,
    }  # fmt: skip
    with serve([sys.executable, "app.py", "--port", str(port)], port, given) as server:
        server.wait("/ready")
        server.wait(
            "/", accept="text/html"
        )  # the page is built: it does not take processor time later
        yield server


class Peak:
    """How much the server's memory grew at most while the block ran."""

    def __init__(self, process: int) -> None:
        self._status = Path(f"/proc/{process}/status")
        self._clear = Path(f"/proc/{process}/clear_refs")
        self.growth = 0

    def __enter__(self) -> Peak:
        self._clear.write_text("5")  # the high-water mark begins anew
        self._before = self._read("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.growth = self._read("VmHWM") - self._before

    def _read(self, name: str) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024


@contextlib.contextmanager
def looped(folder: Path) -> Iterator[Server]:
    """The same, with a watch on its event loop."""
    port = free_port()
    given = {
        "ATELIER_DATA_DIR": str(folder / "data"),
        "ATELIER_PROBE_LOCAL": "false",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "bench.looped", str(port), str(folder / "stalls")]
    with serve(command, port, given) as server:
        server.wait("/ready")
        server.wait("/", accept="text/html")
        yield server


def seconds(command: list[str], count: int = 1) -> float:
    """How long so many of these take at once."""
    began = time.perf_counter()
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(count)]
    codes = [process.wait() for process in running]
    assert not any(codes), codes
    return time.perf_counter() - began


@contextlib.contextmanager
def side_by_side(size: int, place: str | None) -> Iterator[tuple[Server, str, str, Path]]:
    """Our server and nginx over one file of `size` bytes: the addresses of both files' folders, and ours."""
    with tempfile.TemporaryDirectory(dir=place) as held:
        folder = Path(held)
        with nginx(folder) as port, ours(folder) as server:
            root = folder / "data" / "files"
            root.mkdir(parents=True, exist_ok=True)
            (root / "big.bin").write_bytes(random.randbytes(size))
            shutil.copy(root / "big.bin", folder / "www" / "big.bin")
            yield server, f"{server.url}/v1/files", f"http://127.0.0.1:{port}", root


def transfers(size: int, repeats: int) -> list[list[str]]:
    """Downloads and an upload beside nginx's, in turn; the first round is not counted."""
    rows = []
    curl = ["curl", "-sSf", "-o", "/dev/null"]
    with side_by_side(size, None) as (server, mine, theirs, _):
        for title, count in (("download", 1), ("8 downloads at once", 8)):
            mine_ = partial(seconds, [*curl, f"{mine}/download/big.bin"], count)
            theirs_ = partial(seconds, [*curl, f"{theirs}/big.bin"], count)
            pair = mine_, theirs_
            rows.append(compare(title, size * count, *pair, repeats, server, "≥ 0.85×, < 8 MB"))
    with side_by_side(size, _memory()) as (server, mine, theirs, root):
        source = root / "big.bin"
        form = ["-F", "path=in", "-F", "existing=replace", "-F", f"files=@{source}"]
        put = ["-T", str(source), f"{theirs}/put/up.bin"]
        pair = partial(seconds, [*curl, *form, f"{mine}/upload"]), partial(seconds, [*curl, *put])
        rows.append(
            compare("upload (form; nginx: PUT)", size, *pair, repeats, server, "≥ 0.7×, < 8 MB")
        )
        assert (root / "in" / "big.bin").read_bytes() == source.read_bytes()
    return rows


def compare(
    title: str, size: int, mine: Callable[[], float], theirs: Callable[[], float], repeats: int,
    server: Server, goal: str,
) -> list[str]:  # fmt: skip
    rounds, growths = [], []
    for _ in range(repeats + 1):
        with Peak(server.process.pid) as peak:
            took = mine()
        rounds.append((took, theirs()))
        growths.append(peak.growth)
    rounds, growths = rounds[1:], growths[1:]
    rates = [f"{size / MB / median(values):.0f} MB/s" for values in zip(*rounds, strict=True)]
    ratio = median(b / a for a, b in rounds)
    return [title, *rates, f"{ratio:.2f}×", f"{max(growths) / MB:.1f} MB", goal]


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# Large bodies


def bodies(size: int, repeats: int) -> list[list[str]]:
    """A JSON body of base64 to three dialects: the memory it takes, and how long the loop stands still."""
    raw = small_picture() + random.randbytes(size * 3 // 4)
    text = base64.b64encode(raw)[: size - 400].decode()
    text = text[: len(text) - len(text) % 4]
    chat = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}},
    ]
    asked = {
        "model": "starter-vision",
        "messages": [{"role": "user", "content": chat}],
        "max_tokens": 4,
    }
    told = {"role": "user", "content": "What is it?", "images": [text]}
    calls: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": asked,
        "/api/chat": {
            "model": "starter-vision",
            "messages": [told],
            "options": {"num_predict": 4},
            "stream": False,
        },
        "/v1/ai/image/analyze": {"image": text, "labels": ["a cat"]},
        "/v1/ocr/read": {"documents": [text], "model": "ocr"},
    }
    rows = []
    with tempfile.TemporaryDirectory(dir=_memory()) as place, looped(Path(place)) as server:
        for path, value in calls.items():
            body = json.dumps(value).encode()
            small = (
                json.dumps(value).replace(text, base64.b64encode(small_picture()).decode()).encode()
            )
            alone = 0
            for _ in range(3):  # the first loads the model
                with Peak(server.process.pid) as peak:
                    post(server, path, small)
                alone = peak.growth
            peaks, stalls, statuses = [], [], set()
            for _ in range(repeats):
                with Peak(server.process.pid) as peak, Stalls(Path(place)) as stall:
                    statuses.add(post(server, path, body))
                peaks.append((peak.growth - alone) / len(body))
                stalls.append((stall.work, stall.wall))
            work, wall = (f"{1000 * max(values):.0f} ms" for values in zip(*stalls, strict=True))
            codes = ", ".join(map(str, sorted(statuses)))
            rows.append([path, f"{len(body) / MB:.0f} MB", codes, f"{max(peaks):.2f}×", work, wall])
    return rows


def small_picture() -> bytes:
    return (ROOT / "assets" / "samples" / "shapes.png").read_bytes()


def post(server: Server, path: str, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("POST", path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


class Stalls:
    """The longest time for which the server's event loop did nothing else: what it worked, and by the clock."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stalls"
        self.work = self.wall = 0.0

    def __enter__(self) -> Stalls:
        self._file.unlink(missing_ok=True)
        while not self._file.exists():
            time.sleep(0.01)
        self._file.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink()  # what it held was written before
        while not self._file.exists():
            time.sleep(0.01)
        self.work, self.wall = json.loads(self._file.read_text())


# Cases and kills


def cases(count: int) -> list[str]:
    """The generated cases of the test, in its own process: twelve steps an example."""
    env = {**os.environ, "FILES_EXAMPLES": str(max(1, count // 12)), "OMP_NUM_THREADS": "1"}
    began = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "0", "tests/test_files_model.py"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    took = f"{time.perf_counter() - began:.0f} s"
    return ["generated cases", f"{count:,}", "0 escapes, 0 half-done, 0 unexplained errors", took]


def kills(count: int) -> list[str]:
    """A server killed over uploads, moves, extractions and deletes; what it had acknowledged must be there."""
    random.seed(7)
    kept = 0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=_memory()) as place:
        folder = Path(place)
        for _ in range(count):
            kept += one_kill(folder)
        wrong = look(folder)
    assert not wrong, wrong
    took = f"{time.perf_counter() - began:.0f} s"
    return ["kill -9", f"{count}", f"{kept:,} acknowledged, 0 lost, 0 half-visible", took]


def one_kill(folder: Path) -> int:
    """Start a worker over the folder, kill it at some time; how many things it had acknowledged so far."""
    command = [sys.executable, "-m", "tests.filing", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(random.uniform(0.0, 0.25))
        worker.kill()
        told = worker.stdout.read().splitlines()
    with (folder / "told").open("a") as file:
        file.writelines(f"{line}\n" for line in told if line.endswith("."))
    return len(told)


def look(folder: Path) -> list[str]:
    from tests.filing import wrongs

    return wrongs(folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=["transfers", "bodies", "cases", "kills"])
    given = parser.parse_args()
    size = given.megabytes * MB
    if "transfers" in given.only:
        head = ["", "Atelier", "nginx", "ratio", "memory growth", "goal"]
        note = (
            "Median of the rounds, curl on loopback, both in turn; what is sent lies in the disk's cache, the upload"
            " goes to memory. Growth: the largest one."
        )
        table("Files beside nginx", head, transfers(size, given.repeats), note)
    if "bodies" in given.only:
        head = [
            "call",
            "body",
            "status",
            "peak memory over the body",
            "longest stall: work",
            "by the clock",
        ]
        note = (
            "Goal: ≤ 1.2× and < 20 ms. Memory: beyond what the same call needs for a picture of 8 KB. Work: processor"
            " time of the loop's thread between two turns; by the clock, other programs count as well."
        )
        table("Base64 in a JSON body", head, bodies(size, max(1, given.repeats // 2)), note)
    rows = []
    if "cases" in given.only:
        rows.append(cases(given.cases))
    if "kills" in given.only:
        rows.append(kills(given.kills))
    if rows:
        table(
            "Files that hold",
            ["", "count", "found", "took"],
            rows,
            "Goal: nothing lost, nothing half-visible.",
        )


if __name__ == "__main__":
    main()
