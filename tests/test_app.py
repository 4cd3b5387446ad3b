"""The whole application: the front door, the gate over every path, the page behind it, the start."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import app as application
from engine import Settings
from tests import probes
from tests.serving import Served, echo_engine, serve

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ASSETS = {"swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js", "favicon.png"}


@pytest.fixture(scope="module")
def server(server: Served) -> Served:
    """The module's server, once its page is there."""
    server.call(server.app.page.ready())
    return server


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a token, once its page is there."""
    folder = tmp_path_factory.mktemp("guarded")
    with serve(Settings(data_dir=folder, device="cpu", token="secret")) as running:
        running.call(running.app.page.ready())
        yield running


# The front door -----------------------------------------------------------------------------------


def test_the_root_is_json_or_the_page(server: Served):
    plain = httpx.get(server.url)
    assert plain.json().keys() >= {"message", "version", "docs", "health"}
    page = httpx.get(server.url, headers=HTML, timeout=30)
    assert page.headers["content-type"].startswith("text/html") and "gradio" in page.text.lower()
    assert "Accept" in plain.headers["vary"] and "Accept" in page.headers["vary"]
    assert httpx.head(server.url).headers["content-type"] == "application/json"


def test_gradio_client_works(server: Served):
    client = server.gradio()
    assert client.predict("abc", api_name="/shout") == "ABC"
    assert list(client.submit(3, api_name="/count")) == [0, 1, 2]


def test_gradio_client_works_with_a_token(guarded: Served):
    client = guarded.gradio(headers={"Authorization": "Bearer secret"})
    assert client.predict("abc", api_name="/shout") == "ABC"
    with pytest.raises(Exception):  # noqa: B017  (it raises what it likes)
        guarded.gradio()


@pytest.mark.parametrize("path", ["/v1/nothing", "/api/nothing", "/v1/models/none/at/all"])
def test_unknown_api_paths_are_json(server: Served, path: str):
    answer = httpx.get(server.url + path, headers=HTML)
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/json"


def test_wrong_methods(server: Served):
    for method, path in probes.our_operations(server):
        answer = httpx.request("PATCH", server.url + path)
        assert answer.status_code == 405, (method, path)
        assert answer.headers["content-type"] == "application/json"
        assert method in answer.headers["allow"]


def test_every_operation_is_documented(server: Served):
    schema = httpx.get(f"{server.url}/openapi.json").json()
    tags = {tag["name"] for tag in schema["tags"]}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert set(operation["tags"]) <= tags and operation["tags"], where
            assert operation["summary"], where
            content = operation["responses"]["200"]["content"]
            assert any("example" in media for media in content.values()), where
            for kind, media in operation.get("requestBody", {"content": {}})["content"].items():
                name = media["schema"].get("$ref", "").rpartition("/")[2]
                body = schema["components"]["schemas"][name] if name else media["schema"]
                told = body.get("examples") or media.get("example")
                assert body["properties"] if kind.endswith("form-data") else told, where


def test_the_documentation_loads_nothing_from_elsewhere(server: Served):
    for path in ("/docs", "/redoc"):
        text = httpx.get(server.url + path).text
        assert "//" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    for name in ASSETS:
        assert len(httpx.get(f"{server.url}/docs/{name}").content) > 1000
    assert b"cdn.redoc" not in httpx.get(f"{server.url}/docs/redoc.standalone.js").content
    for name in ("x", "../app.py", "..%2fapp.py"):
        assert httpx.get(f"{server.url}/docs/{name}").status_code == 404


# Hosts, origins, bodies ---------------------------------------------------------------------------


def test_foreign_hosts_are_refused(server: Served):
    for path in ("/", "/health", "/config", "/v1/models"):
        assert httpx.get(server.url + path, headers={"host": "evil.example"}).status_code == 400
        assert (
            httpx.get(server.url + path, headers={"host": "localhost:9"}, timeout=30).status_code
            == 200
        )


def test_foreign_origins_get_nothing_from_the_page(server: Served):
    evil = {"origin": "https://evil.example"}
    for path in ("/config", "/v1/models", "/"):
        answer = httpx.get(server.url + path, headers=evil, timeout=30)
        assert "access-control-allow-origin" not in answer.headers, path
    body = {"data": ["x"], "fn_index": 0, "session_hash": "s"}
    assert (
        httpx.post(f"{server.url}/gradio_api/queue/join", json=body, headers=evil).status_code
        == 403
    )
    upload = httpx.post(f"{server.url}/gradio_api/upload", files={"files": b"x"}, headers=evil)
    assert upload.status_code == 403


def test_a_body_of_101_mb_is_refused(server: Served):
    import requests

    big = b"x" * 101_000_000
    began = time.monotonic()
    for path in ("/v1/chat/completions", "/v1/ai/generate", "/gradio_api/upload"):
        answer = requests.post(server.url + path, data=big, timeout=60)
        assert answer.status_code == 413, path

        def pieces() -> Iterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            for _ in range(101):
                yield big[:1_000_000]

        kind = "multipart/form-data; boundary=b" if "upload" in path else "application/json"
        chunked = httpx.post(
            server.url + path, content=pieces(), headers={"content-type": kind}, timeout=60
        )
        assert chunked.status_code == 413, path
    assert time.monotonic() - began < 30
    assert isinstance(answer.json()["detail"], str)


def test_every_answer_is_safe(server: Served):
    for path in ("/", "/v1/models", "/v1/nothing", "/config", "/docs", "/gradio_api/nothing"):
        headers = httpx.get(server.url + path, timeout=30).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers and "x-request-id" in headers
    evil = httpx.get(f"{server.url}/health", headers={"host": "evil.example"})
    assert "x-request-id" in evil.headers and "content-security-policy" in evil.headers


# The start ----------------------------------------------------------------------------------------

FIRST = """
import asyncio, sys
import httpx
from engine import Settings
import app
async def main():
    made = app.create_app(Settings.from_args(["--data-dir", sys.argv[1]]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://localhost") as http:
        assert (await http.get("/")).status_code == 200
asyncio.run(main())
print(*[name for name in sys.modules if "." not in name])
"""


def test_nothing_heavy_is_imported_before_the_first_answer(tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, "-c", FIRST, str(tmp_path)], capture_output=True, text=True, check=True,
        cwd=application.ROOT, timeout=60,
    )  # fmt: skip
    heavy = {
        "gradio",
        "torch",
        "transformers",
        "sqlalchemy",
        "alembic",
        "openai",
        "pandas",
        "numpy",
        "limits",
    }
    assert heavy & set(ran.stdout.split()) == set()


def test_api_app_is_the_application(monkeypatch: pytest.MonkeyPatch):
    import api

    assert isinstance(api.app, application.Application)
    assert api.app is api.app
    with pytest.raises(AttributeError):
        _ = api.nothing


@pytest.mark.parametrize(
    ("values", "warns"),
    [
        ({}, False), ({"host": "0.0.0.0"}, True), ({"host": "0.0.0.0", "token": "x"}, False),
        ({"host": "192.168.1.2"}, True), ({"share": True}, True), ({"host": "::1"}, False),
    ],
)  # fmt: skip
def test_the_warning(values: dict[str, Any], warns: bool):
    text = application.warning(Settings(**values))
    assert bool(text) is warns
    assert len({len(line) for line in text.splitlines()}) <= 1
    assert not warns or "ATELIER_TOKEN" in text


def test_the_banner(settings: Settings):
    text = application.banner(echo_engine(settings), 7860, False)
    for word in ("http://127.0.0.1:7860/", str(settings.data_dir), "CPU", "/v1"):
        assert word in text
    assert "https://[::1]:1/" in application.banner(
        echo_engine(settings.model_copy(update={"host": "::1"})), 1, True
    )


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(application, "ROOT", tmp_path)
    assert application.certificates(Settings()) is None
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "cert.pem").touch()
    with pytest.raises(FileNotFoundError, match=r"key\.pem"):
        application.certificates(Settings())
    (tmp_path / "certs" / "key.pem").touch()
    assert application.certificates(Settings()) == (
        tmp_path / "certs" / "cert.pem",
        tmp_path / "certs" / "key.pem",
    )


def test_settings_reach_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    application._hand_down(
        Settings.from_args(["--workers", "2", "--token", "t", "--data-dir", str(tmp_path)])
    )
    assert (Settings().token, Settings().data_dir) == ("t", tmp_path)


def test_a_share_link_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Any):
    from gradio import networking

    def fail(*_: Any) -> str:
        raise RuntimeError("Could not get share link from Gradio API Server.")

    monkeypatch.setattr(networking, "setup_tunnel", fail)
    with pytest.raises(RuntimeError, match="cannot be reached"):
        application.share(1)
