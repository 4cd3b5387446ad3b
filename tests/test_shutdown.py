"""A real server process: it starts, holds against slow clients, and is gone in time after a signal."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import app as application
from tests.serving import Served, until

Serve = Callable[..., Served]

# Our server over the echo family and a small page.
ECHO = """
import sys
import app
from engine import Engine, Settings
from tests import echo
from tests.serving import tiny_page

def build(settings, **_):
    return made(settings, families={"echo": echo}, specs=echo.SPECS)

made = Engine.build
Engine.build = staticmethod(build)
app._page_of = lambda engine: tiny_page()
app.run()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, *command],
        cwd=application.ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate()


def up(url: str, seconds: float = 30, **options: Any) -> bool:
    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/health", timeout=5, **options).status_code == 200
        return False

    return bool(until(answers, seconds))


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_a_signal_ends_it_with_streams_and_pages_open(tmp_path: Path, sent: signal.Signals):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with process("-c", ECHO, "--port", str(port), "--data-dir", str(tmp_path / "d")) as server:
        assert up(url)
        page = {"accept": "text/html"}
        assert until(lambda: httpx.get(url, headers=page, timeout=30).status_code == 200, 60)
        pieces: list[bytes] = []

        def read(method: str, path: str, **options: Any) -> None:
            with contextlib.suppress(httpx.HTTPError):
                with httpx.stream(method, url + path, timeout=60, **options) as answer:
                    for piece in answer.iter_raw():
                        pieces.append(piece)

        ask = {
            "model": "echo", "stream": True, "messages": [{"role": "user", "content": "!slow " + "la " * 2000}]
        }  # fmt: skip
        readers = [
            threading.Thread(target=read, args=("POST", "/v1/ai/generate"), kwargs={"json": ask}),
            threading.Thread(target=read, args=("GET", "/gradio_api/heartbeat/a")),
            threading.Thread(target=read, args=("GET", "/gradio_api/queue/data?session_hash=a")),
        ]
        endless = {"data": [1e9], "fn_index": 1, "session_hash": "a"}
        assert httpx.post(f"{url}/gradio_api/queue/join", json=endless).status_code == 200
        for reader in readers:
            reader.start()
        assert until(lambda: b"".join(pieces).count(b" la") > 5)
        assert until(lambda: b"process_generating" in b"".join(pieces))
        began = time.monotonic()
        server.send_signal(sent)
        server.wait(10)
        assert time.monotonic() - began < 6
        for reader in readers:
            reader.join(5)
        assert b'"error":"UNAVAILABLE"' in b"".join(pieces) and b"data: [DONE]" in b"".join(pieces)
        assert "Traceback" not in (server.stderr.read() if server.stderr else "")


@pytest.mark.slow
def test_it_says_where_it_is(tmp_path: Path):
    port = free_port()
    folder = tmp_path / "d"
    with process(
        "-c", ECHO, "--port", str(port), "--data-dir", str(folder), "--host", "0.0.0.0"
    ) as server:
        assert up(f"http://127.0.0.1:{port}")
        server.terminate()
        out, err = server.communicate(timeout=10)
    assert f"http://127.0.0.1:{port}/" in out and str(folder) in out and "CPU" in out
    assert "NO TOKEN IS SET" in err and "WARNING" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("-m", "uvicorn", "api:app", "--workers", "2"),
        ("-m", "gunicorn", "-k", "uvicorn.workers.UvicornWorker", "-w", "2", "api:app"),
        ("app.py", "--workers", "2"),
    ],
    ids=["uvicorn", "gunicorn", "app.py"],
)
def test_the_seeds_commands(tmp_path: Path, command: tuple[str, ...]):
    port = free_port()
    where = ("-b", f"127.0.0.1:{port}") if "gunicorn" in command else ("--port", str(port))
    variables = {"ATELIER_DATA_DIR": str(tmp_path), "ATELIER_TOKEN": "secret"}
    with process(*command, *where, **variables) as server:
        url = f"http://127.0.0.1:{port}"
        assert up(url)
        assert httpx.get(f"{url}/v1/models").status_code == 401
        signed = {"authorization": "Bearer secret"}
        assert httpx.get(f"{url}/v1/models", headers=signed).json()["object"] == "list"
        server.terminate()
        server.wait(15)


@pytest.mark.slow
def test_tls(tmp_path: Path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
         "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    flags = ["--tls-cert", str(cert), "--tls-key", str(key), "--token", "secret"]
    with process(
        "-c", ECHO, "--port", str(port), "--data-dir", str(tmp_path / "d"), *flags
    ) as server:
        url = f"https://127.0.0.1:{port}"
        assert up(url, verify=False)
        answer = httpx.post(
            f"{url}/signin", data={"token": "secret"}, verify=False, headers={"origin": url}
        )
        assert "; secure" in answer.headers["set-cookie"].lower()
        server.terminate()
        server.wait(10)


# Slow clients -------------------------------------------------------------------------------------


def closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_half_open_requests_are_closed(served: Serve):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    server = served(header_timeout=1.0)
    slow = [server.connect() for _ in range(800)]
    try:
        for n, connection in enumerate(slow):
            connection.sendall([b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: "][n % 3])
        began = time.monotonic()
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert until(lambda: all(map(closed, slow)), 8)
        assert time.monotonic() - began < 5
    finally:
        for connection in slow:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_dripping_header_is_closed(served: Serve):
    server = served(header_timeout=0.5)
    connection = server.connect()
    began = time.monotonic()
    with contextlib.suppress(OSError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        while not closed(connection) and time.monotonic() - began < 5:
            connection.setblocking(True)
            connection.sendall(b"a: b\r\n")
            time.sleep(0.05)
    assert 0.4 < time.monotonic() - began < 2
    connection.close()


def test_a_slow_body_and_a_long_answer_are_not(served: Serve):
    server = served(header_timeout=0.3)
    body = json.dumps(
        {"model": "echo", "messages": [{"role": "user", "content": "!slow " + "a " * 40}]}
    ).encode()
    connection = server.connect()
    connection.sendall(
        b"POST /v1/ai/generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    for start in range(0, len(body), 40):
        connection.sendall(body[start : start + 40])
        time.sleep(0.2)
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    connection.close()


def test_a_second_request_has_the_same_limit(served: Serve):
    server = served(header_timeout=0.5)
    connection = server.connect()
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    connection.sendall(b"GET /health HTTP/1.1\r\nHo")
    time.sleep(0.2)
    assert not closed(connection)
    assert until(lambda: closed(connection), 3)
    connection.close()
