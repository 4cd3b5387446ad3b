"""The page behind the wait: what it reads, what it opens, how it starts and fails."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from middleware.page import sweep
from tests import probes
from tests.serving import Served

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def server(server: Served) -> Served:
    """The module's server, once its page is there."""
    server.call(server.app.page.ready())
    return server


def check_no_file_is_read(served: Served, tmp_path: Path, canary: http.server.HTTPServer) -> None:
    """Send paths that are none of the sender's business to every event of the page."""
    served.call(served.app.page.ready())
    secret = b"SECRET-5e1f"
    own, outside = served.engine.settings.data_dir / "own.txt", tmp_path / "outside.txt"
    for file in (own, outside):
        file.write_bytes(secret)
    hostname = Path("/etc/hostname").read_bytes()
    targets = [
        str(own),
        str(outside),
        "/etc/hostname",
        "/proc/self/environ",
        f"{tmp_path}/x/../outside.txt",
    ]
    targets.append(f"http://127.0.0.1:{canary.server_port}/x.png")
    with served.client(timeout=20) as client, ThreadPoolExecutor(8) as pool:
        found = probes.events(client)
        assert found

        def probe(asked: tuple[int, int, Any]) -> bool:
            number, inputs, shape = asked
            said = probes.send(client, number, [shape] * inputs)
            return secret.decode() not in said and "PATH=/" not in said

        hidden = [shape for target in targets for shape in probes.shapes(target)]
        asked = [(number, inputs, shape) for number, inputs in found for shape in hidden]
        told = pool.map(probe, asked)
        assert [one for one, kept in zip(asked, told, strict=True) if not kept] == []
        for target in targets:
            served_file = client.get(f"/gradio_api/file={target}")
            assert served_file.status_code in {403, 404}, target
            assert secret not in served_file.content
    uploads = served.app.page.folder
    assert probes.leaked(uploads, secret) == probes.leaked(uploads, b"PATH=/") == []
    # A host's name may be so short that any picture holds it: a copy is looked for, not a part.
    assert not hostname or all(
        file.read_bytes() != hostname for file in uploads.rglob("*") if file.is_file()
    )
    assert canary.hits == 0  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.timeout(600)  # thousands of calls
def test_no_event_of_our_page_reads_a_file(
    served: Serve, tmp_path: Path, canary: http.server.HTTPServer
):
    check_no_file_is_read(served(None), tmp_path, canary)


def test_no_event_reads_a_file(served: Serve, tmp_path: Path, canary: http.server.HTTPServer):
    check_no_file_is_read(served(), tmp_path, canary)


def test_an_upload_is_read_and_swept(served: Serve):
    server = served()
    server.call(server.app.page.ready())
    with server.client() as client:
        [path] = client.post("/gradio_api/upload", files={"files": ("a.txt", b"mine")}).json()
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        assert "a.txt" in probes.send(client, 2, [file, None, []])
    folder = server.app.page.folder
    assert Path(path).is_relative_to(folder) and folder.stat().st_mode & 0o777 == 0o700
    os.utime(path, (1, 1))
    assert sweep(folder, 86_400) >= 1 and not Path(path).exists()


def test_a_page_that_takes_long_says_so(served: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("middleware.page.PATIENCE", 0.2)
    go = threading.Event()

    def slow() -> Any:
        from tests.serving import tiny_page

        go.wait(20)
        return tiny_page()

    running = served(slow)
    waiting = httpx.get(running.url, headers=HTML)
    assert waiting.status_code == 503 and 'http-equiv="refresh"' in waiting.text
    assert httpx.get(f"{running.url}/config").json()["error"] == "UNAVAILABLE"
    assert httpx.get(f"{running.url}/ready").status_code == 200
    go.set()
    running.call(running.app.page.ready())
    assert httpx.get(running.url, headers=HTML, timeout=30).status_code == 200


def test_a_page_that_fails_leaves_the_api(served: Serve, caplog: pytest.LogCaptureFixture):
    def broken() -> Any:
        raise RuntimeError("no page at /home/x")

    running = served(broken)
    running.call(running.app.page.ready())
    answer = httpx.get(running.url, headers=HTML)
    assert answer.status_code == 503 and "/home/x" not in answer.text
    assert httpx.get(f"{running.url}/v1/models").status_code == 200


def test_the_queue_runs(server: Served):
    """Gradio's own start-up ran although it was mounted late."""
    with server.client() as client:
        said = probes.send(client, 1, [2])
    assert '"success":true' in said.replace(" ", "")


def test_a_page_that_opened_is_forgotten_but_for_its_state(server: Served):
    """Gradio's own ways keep a description of every component, with what it last held, for each page that opened."""
    with server.client() as client:
        assert '"success":true' in probes.send(client, 1, [2]).replace(" ", "")
    sessions = server.app.page.app.state_holder.session_data  # type: ignore[union-attr]
    assert sessions and all(session.config_values == {} for session in sessions.values())
