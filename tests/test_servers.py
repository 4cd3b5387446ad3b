"""Other servers over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from engine import Engine, Settings
from engine.families import remote
from tests import echo
from tests.serving import Served, serve

pytestmark = pytest.mark.slow  # servers


@pytest.fixture
def near(settings: Settings) -> Iterator[Served]:
    families = {"echo": echo, "remote": remote}
    with serve(settings, engine=Engine.build(settings, families=families, specs=[])) as running:
        yield running


def test_a_server_is_added_listed_used_and_forgotten(near: Served, server: Served):
    with httpx.Client(base_url=near.url, timeout=30) as client:
        added = client.post(
            "/v1/servers",
            json={"url": f"{server.url}/v1", "name": "far", "key": "s3cret", "mood": 1},
        )
        assert added.status_code == 200, added.text
        assert added.headers["x-ignored-params"] == "mood"
        assert "s3cret" not in added.text
        assert added.json()["healthy"] is True
        assert "far/echo" in [model["id"] for model in added.json()["models"]]
        assert [s["name"] for s in client.get("/v1/servers").json()["servers"]] == ["far"]
        said = client.post(
            "/v1/chat/completions",
            json={"model": "far/echo", "messages": [{"role": "user", "content": "hi"}]},
        )
        assert said.json()["choices"][0]["message"]["content"] == "echo: hi"
        again = client.post("/v1/servers/refresh").json()["servers"]
        assert again[0]["checked"] >= added.json()["checked"]
        assert client.delete("/v1/servers/far").json() == {"name": "far", "deleted": True}
        assert client.get("/v1/servers").json() == {"servers": []}
        assert client.delete("/v1/servers/far").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"url": "not an address"}, 400, "address"),
        ({"url": "http://127.0.0.1:9", "kind": "ftp"}, 422, "kind"),
        ({}, 422, "url"),
        ({"url": "http://127.0.0.1:9"}, 503, "running"),
    ],
)
def test_bad_servers_are_refused(near: Served, body: dict[str, str], status: int, word: str):
    answer = httpx.post(f"{near.url}/v1/servers", json=body, timeout=30)
    assert answer.status_code == status
    assert word in answer.json()["detail"]


def test_changing_servers_is_the_administrators(served: Callable[..., Served]):
    url = served(token="user", admin_token="chief").url
    user = {"Authorization": "Bearer user"}
    body = {"url": "http://127.0.0.1:9"}
    assert httpx.get(f"{url}/v1/servers", headers=user).status_code == 200
    assert httpx.post(f"{url}/v1/servers", json=body, headers=user).status_code == 403
    assert httpx.delete(f"{url}/v1/servers/x", headers=user).status_code == 403
