"""Server processes for the benchmarks and the tests: started, waited for, measured and ended.

Knows processes and sockets; not what the servers do.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
DELIBERATE = frozenset({502, 503, 504, 507})  # another server, busy, too late, the disk is full
COUNTED = re.compile(
    r'^atelier_http_requests_total\{[^}]*status="(5\d\d)"[^}]*\} (\S+)$', re.MULTILINE
)


class NotReady(RuntimeError):
    """A server ended or stayed silent; the message holds the end of what it printed."""


@dataclass(slots=True)
class Server:
    """A running process that listens on a loopback port."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    started: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, path: str = "/health", accept: str = "*/*", seconds: float = 120) -> float:
        """Seconds from the process's start until `path` answers 200. Raises NotReady."""
        while time.perf_counter() - self.started < seconds:
            if self.process.poll() is not None:
                raise NotReady(f"ended with {self.process.returncode}\n{self.printed()}")
            if _status(self.port, path, accept) == 200:
                return time.perf_counter() - self.started
            time.sleep(0.005)
        raise NotReady(f"no answer on {path} after {seconds} s\n{self.printed()}")

    def printed(self, size: int = 3000) -> str:
        """The end of what it wrote to stdout and stderr."""
        return self.log.read_text("utf-8", "replace")[-size:]

    def memory(self) -> int:
        """Resident bytes of the process and its children."""
        return sum(p.memory_info().rss for p in self._family())

    def mistakes(self, token: str = "") -> int:
        """Answers with 5xx so far that are no deliberate ones, by the server's own count."""
        request = urllib.request.Request(f"{self.url}/metrics")
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
        found = COUNTED.findall(text)
        return sum(int(float(count)) for status, count in found if int(status) not in DELIBERATE)

    def cpu(self) -> float:
        """Seconds of processor time that it and its children used so far (utime + stime)."""
        times = [process.cpu_times() for process in self._family()]
        return float(sum(spent.user + spent.system for spent in times))

    def _family(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self, seconds: float = 10) -> float:
        """End it, gently first; the seconds it took."""
        began = time.perf_counter()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.perf_counter() - began


def _status(port: int, path: str, accept: str) -> int:
    """The status of one GET; 0 where nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def serve(
    command: Sequence[str], port: int, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[Server]:
    """Start a command that listens on `port`; ended when the block ends."""
    with tempfile.TemporaryDirectory(prefix="atelier-server-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as out:
            started = time.perf_counter()
            process = subprocess.Popen(
                list(command), cwd=cwd, env={**os.environ, **(env or {})}, stdout=out, stderr=out,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        server = Server(process, port, log, started)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def atelier(*flags: str, env: Mapping[str, str] | None = None, rows: str = "") -> Iterator[Server]:
    """`python app.py` on a free port with a data folder of its own; `rows` is its models.toml."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="atelier-data-") as data:
        (Path(data) / "models.toml").write_text(rows, "utf-8")
        command = [sys.executable, "app.py", "--port", str(port), "--data-dir", data, *flags]
        clean = {"ATELIER_TOKEN": "", "ATELIER_OFFLINE": "true", **(env or {})}
        with serve(command, port, clean) as server:
            yield server


def raise_limit(files: int = 20_000) -> None:
    """Let this process and those it starts open so many files, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
