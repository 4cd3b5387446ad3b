"""What an attacker would send to a mounted Gradio page, and every route there is to send it to."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import Served

PARAMETER = re.compile(r"{[^}]*}")


def gradio_paths(served: Served) -> list[str]:
    """Every path of the mounted page, its parameters filled in."""
    paths = {PARAMETER.sub("x", path) for path in _paths(served.app.page.app.routes)}  # type: ignore[union-attr]
    known = {"/config", "/gradio_api/info", "/gradio_api/queue/join", "/gradio_api/upload"}
    assert known <= paths, "Gradio's routes are not where they were"
    return sorted(path for path in paths if path)


def _paths(routes: Any) -> Iterator[str]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _paths(inner.routes)
        elif hasattr(route, "path"):
            yield route.path


def our_operations(served: Served) -> list[tuple[str, str]]:
    """(method, path) of every documented operation, its parameters filled in."""
    found = served.app.api.openapi()["paths"]
    return [(m.upper(), PARAMETER.sub("x", path)) for path, ops in found.items() for m in ops]


def shapes(path: str) -> Iterator[Any]:
    """The ways a path hides in an event's input."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}
    yield file
    yield [file]
    yield {"text": "x", "files": [file]}
    yield [{"role": "user", "content": [{"type": "file", "file": file}]}]
    yield [{"image": file, "caption": None}]
    yield {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}, "is_stream": True}
    yield {"background": file, "layers": [file], "composite": file}
    yield {"video": file, "subtitles": file}
    yield path


def events(client: httpx.Client) -> list[tuple[int, int]]:
    """(number, count of inputs) of every event of the page, private ones included."""
    config = client.get("/config").json()
    return [
        (event["id"], len(event["inputs"]))
        for event in config["dependencies"]
        if event["backend_fn"]
    ]


def send(client: httpx.Client, number: int, data: list[Any]) -> str:
    """Everything the page answers to an event called with this data."""
    session = f"probe{threading.get_ident()}"  # a new one takes Gradio long
    body = {"data": data, "fn_index": number, "session_hash": session, "trigger_id": None}
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    said = ""
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as answer:
        for line in answer.iter_lines():
            said += line
            if line.startswith("data:") and json.loads(line[5:]).get("msg") in {
                "process_completed", "close_stream", "unexpected_error",
            }:  # fmt: skip
                break
    return said


def leaked(folder: Path, secret: bytes) -> list[str]:
    """The files below a folder that hold the secret."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return [str(file) for file in files if secret in file.read_bytes()]


class Canary(http.server.BaseHTTPRequestHandler):
    """A server that no page may make us open."""

    def do_GET(self) -> None:
        self.server.hits += 1  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def canary() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Canary)
    server.hits = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()  # else its socket is found open in somebody else's test
