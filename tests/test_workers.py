"""Several real server processes over one data folder and one Redis are one server; a kill costs its own requests."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bench.servers import free_port
from tests.serving import until
from tests.stores import redis_server
from tests.test_shutdown import ECHO, process, up

pytestmark = pytest.mark.slow
TOKEN = {"authorization": "Bearer secret"}


@dataclass
class Stream:
    """A streamed answer that is read in the background."""

    url: str
    session: str
    text: str
    id: str = ""
    said: str = ""
    ended: bool = False
    thread: threading.Thread | None = None

    def start(self) -> Stream:
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        assert until(lambda: self.said.count(" ") > 5, 20), self.said
        return self

    def _read(self) -> None:
        body = {
            "model": "echo-batch",
            "stream": True,
            "messages": [{"role": "user", "content": self.text}],
        }
        headers = {**TOKEN, "x-session-id": self.session}
        with (
            suppress(httpx.HTTPError),
            httpx.stream(
                "POST", f"{self.url}/v1/chat/completions", json=body, headers=headers, timeout=60
            ) as answer,
        ):
            self.id = answer.headers["x-request-id"]
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    self.said += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                self.ended = self.ended or line == "data: [DONE]"

    def whole(self) -> str:
        assert self.thread is not None
        self.thread.join(60)
        return self.said


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], list[Any]]]:
    """Two servers of one data folder and one Redis; one that was killed is started anew when it is next asked for."""
    folder = tmp_path_factory.mktemp("workers")
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(free_port(), folder))
        env = {
            "ATELIER_TOKEN": "secret",
            "ATELIER_REDIS_URL": url,
            "ATELIER_DATA_DIR": str(folder / "data"),
        }
        running: list[Any] = [None, None]

        def both() -> list[Any]:
            for number, server in enumerate(running):
                if server is None or server.poll() is not None:
                    port = free_port()
                    server = stack.enter_context(process("-c", ECHO, "--port", str(port), **env))
                    server.url = f"http://127.0.0.1:{port}"
                    server.ledger = folder / "data" / "atelier.db"
                    running[number] = server
            assert all(up(server.url, 60) for server in running)
            return running

        yield both


def slow(words: int) -> str:
    return "!slow " + " ".join(f"w{n}" for n in range(words))


def test_a_sign_in_counts_in_both(pair: Callable[[], list[Any]]) -> None:
    one, two = pair()
    ours = {"sec-fetch-site": "same-origin"}
    signed = httpx.post(f"{one.url}/signin", data={"token": "secret"}, headers=ours)
    cookie = {"cookie": f"atelier_session={signed.cookies['atelier_session']}"}
    there = f"{two.url}/v1/models"
    assert until(lambda: httpx.get(there, headers=ours | cookie).status_code == 200, 5)
    httpx.post(f"{two.url}/signout", headers=ours | cookie)
    here = f"{one.url}/v1/models"
    assert until(lambda: httpx.get(here, headers=ours | cookie).status_code == 401, 5)


def test_a_session_has_its_model_in_both(pair: Callable[[], list[Any]]) -> None:
    one, two = pair()
    headers = {**TOKEN, "x-session-id": "mine"}
    body = {"model_name": "echo-batch"}
    assert httpx.post(f"{one.url}/v1/ai/load_model", json=body, headers=headers).status_code == 200

    def chosen() -> str:
        return str(httpx.get(f"{two.url}/v1/ai/session", headers=headers).json()["current_model"])

    assert until(lambda: chosen() == "echo-batch", 5), chosen()


def test_stop_reaches_the_one_that_works(pair: Callable[[], list[Any]]) -> None:
    one, two = pair()
    mine, other = (Stream(one.url, session, slow(2000)).start() for session in ("mine", "another"))
    headers = {**TOKEN, "x-session-id": "mine"}
    assert httpx.post(f"{two.url}/v1/ai/stop", headers=headers).json() == {"stopped": 1}
    assert len(mine.whole()) < len(mine.text) and mine.ended, "it ends properly with what is there"
    assert not other.ended
    gone = httpx.delete(f"{two.url}/v1/jobs/{other.id}", headers=TOKEN)
    assert gone.json() == {"cancelled": True}
    assert len(other.whole()) < len(other.text) and other.ended
    assert httpx.delete(f"{two.url}/v1/jobs/nonsense", headers=TOKEN).status_code == 404


def noted(ledger: Path, request_id: str) -> bool:
    """Whether the ledger has a row of the request."""
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as base,
    ):
        found = base.execute("select 1 from ledger where request_id = ?", (request_id,))
        return found.fetchone() is not None
    return False


def test_a_kill_costs_its_own_requests_alone(pair: Callable[[], list[Any]]) -> None:
    one, two = pair()
    lost, kept = Stream(one.url, "a", slow(400)).start(), Stream(two.url, "b", slow(60)).start()
    assert until(lambda: noted(one.ledger, lost.id), 20), "its row is written beside the answer"
    os.kill(one.pid, signal.SIGKILL)
    one.wait(10)
    lost.whole()
    assert not lost.ended
    assert kept.whole() == f"echo: {kept.text}" and kept.ended
    assert httpx.get(f"{two.url}/v1/models", headers=TOKEN).status_code == 200
    one, two = pair()
    rows = httpx.get(f"{one.url}/api/v1/admin/dashboard", headers=TOKEN).json()
    statuses = {row["request_id"]: row["status"] for row in rows}
    assert statuses[kept.id] == "ok" and statuses[lost.id] == "interrupted"


def test_workers_share_a_port_and_one_that_is_killed_comes_back(tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as stack:
        url = stack.enter_context(redis_server(free_port(), tmp_path))
        env = {"ATELIER_TOKEN": "secret", "ATELIER_REDIS_URL": url, "WORKERS": "2"}
        command = ("app.py", "--port", str(port), "--data-dir", str(tmp_path / "d"), "--offline")
        server = stack.enter_context(process(*command, **env))
        here = f"http://127.0.0.1:{port}"
        assert up(here, 60)

        def workers() -> set[int]:
            found = set()
            for child in psutil.Process(server.pid).children():
                with suppress(psutil.Error):  # one that ends just now
                    if "spawn_main" in " ".join(child.cmdline()):
                        found.add(child.pid)
            return found

        assert until(lambda: len(workers()) == 2, 30)
        ours = {"sec-fetch-site": "same-origin"}
        cookie = httpx.post(f"{here}/signin", data={"token": "secret"}, headers=ours).cookies
        before = workers()
        os.kill(min(before), signal.SIGKILL)
        assert until(lambda: len(workers()) == 2 and workers() != before, 30)

        def answers() -> int:
            """Each call is a new connection, so both workers are met."""
            found = [
                httpx.get(f"{here}/v1/models", cookies=cookie, headers=ours) for _ in range(20)
            ]
            return sum(answer.status_code == 200 for answer in found)

        assert until(lambda: answers() == 20, 30), "signed in before, and still"
