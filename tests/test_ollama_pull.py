"""Fetching and deleting models through the Ollama dialect, with the `ollama` package, from a hub on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
import pytest

from engine import Engine, Settings
from engine.checkpoints import cached_snapshot
from tests.fetching import small
from tests.hub import Hub
from tests.serving import Served, serve, until

pytestmark = pytest.mark.slow  # servers and downloads

TOKENS = {"token": "user-token", "admin_token": "admin-token"}


@pytest.fixture
def start(settings: Settings, hub: Hub) -> Iterator[Callable[..., Served]]:
    """Starts servers with the real families; they end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def started(**values: Any) -> Served:
            own = settings.model_copy(update={"probe_local": False, **values})
            return stack.enter_context(serve(own, engine=Engine.build(own)))

        yield started


@pytest.fixture
def server(start: Callable[..., Served]) -> Served:
    return start()


@pytest.fixture
def client(server: Served) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as client:
        yield client


def names(client: ollama.Client) -> set[str | None]:
    return {model.model for model in client.list().models}


def test_a_pull_tells_its_progress(hub: Hub, client: ollama.Client):
    hub.add("org/one", small(3 << 20))
    hub.faults.rate = 6 << 20
    assert "org/one:latest" not in names(client)
    lines = list(client.pull("org/one", stream=True))
    said = [line.status for line in lines]
    assert said[0] == "pulling manifest" and said[-1] == "success"
    bars = [line for line in lines if line.digest]
    assert bars and all(line.status == f"pulling {(line.digest or '')[7:19]}" for line in bars)
    done = [line.completed or 0 for line in bars]
    assert (
        done == sorted(done)
        and done[-1] <= (bars[-1].total or 0)
        and (bars[-1].total or 0) > 3 << 20
    )
    assert "org/one:latest" in names(client)


@pytest.mark.parametrize("name", ["org/one", "org/one:latest", "hf.co/org/one"])
def test_a_whole_pull(hub: Hub, client: ollama.Client, name: str):
    hub.add("org/one", small())
    assert client.pull(name).status == "success"
    assert client.pull(name).status == "success"
    assert client.show("org/one").license == "apache-2.0"


def test_what_is_here_needs_no_hub(hub: Hub, client: ollama.Client):
    assert [line.status for line in client.pull("starter-chat", stream=True)] == [
        "pulling manifest",
        "success",
    ]
    assert hub.log == []


def test_a_licence_is_accepted_first(hub: Hub, server: Served, client: ollama.Client):
    hub.add("org/one", small(), card={"license": "other", "license_name": "own-terms"})
    with pytest.raises(ollama.ResponseError, match="own-terms") as caught:
        list(client.pull("org/one", stream=True))
    assert caught.value.status_code == 403
    body = {"model": "org/one", "accept_licence": True, "stream": False}
    assert httpx.post(f"{server.url}/api/pull", json=body, timeout=60).json() == {
        "status": "success"
    }


@pytest.mark.parametrize(("name", "status"), [("llama3", 400), ("org/none", 404), ("a b", 400)])
def test_names_that_lead_nowhere(client: ollama.Client, name: str, status: int):
    with pytest.raises(ollama.ResponseError) as caught:
        client.pull(name)
    assert caught.value.status_code == status


def test_a_failure_on_the_way_is_a_line(hub: Hub, server: Served, client: ollama.Client):
    hub.add("org/one", small())
    hub.faults.wrong.add("model.safetensors")
    server.engine.downloads._patience = (0.01,)
    stream = client.pull("org/one", stream=True)
    assert next(stream).status == "pulling manifest"
    with pytest.raises(ollama.ResponseError):
        list(stream)


def test_a_hang_up_pauses_and_the_next_pull_goes_on(
    hub: Hub, server: Served, client: ollama.Client
):
    hub.add("org/one", small(4 << 20))
    hub.faults.rate = 2 << 20
    stream = client.pull("org/one", stream=True)
    while not (line := next(stream)).completed or line.completed < 1 << 20:
        pass
    stream.close()
    [ticket] = [t for t in server.engine.jobs.list() if t.kind == "download"]
    assert until(lambda: server.engine.jobs.get(ticket.id).phase == "paused")
    assert until(lambda: server.engine.downloads._all[ticket.id].task.done())  # type: ignore[union-attr]
    hub.faults.rate = 0
    assert client.pull("org/one").status == "success"
    spans = hub.asked("/cdn/org/one//model.safetensors")
    assert spans[0] == "" and all(span.startswith("bytes=") for span in spans[1:]) and spans[1:]


def test_who_only_watches_pauses_nothing(hub: Hub, server: Served, client: ollama.Client):
    hub.add("org/one", small(2 << 20))
    hub.faults.rate = 2 << 20
    ticket = server.call(server.engine.downloads.begin("org/one", accept_licence=True))
    stream = client.pull("org/one", stream=True)
    next(stream)
    stream.close()
    assert until(lambda: server.engine.jobs.get(ticket.id).phase == "done", 20)


def test_delete(hub: Hub, client: ollama.Client):
    hub.add("org/one", small())
    client.pull("org/one")
    assert cached_snapshot("org/one")
    assert client.delete("org/one").status == "success"
    assert cached_snapshot("org/one") is None and "org/one:latest" not in names(client)
    for name, status in (("org/one", 404), ("starter-chat", 403)):
        with pytest.raises(ollama.ResponseError) as caught:
            client.delete(name)
        assert caught.value.status_code == status


def test_only_an_admin_pulls_and_deletes(start: Callable[..., Served]):
    server = start(**TOKENS)
    calls = (("POST", "/api/pull"), ("DELETE", "/api/delete"))
    for token, statuses in (
        ("", (401, 401)),
        ("user-token", (403, 403)),
        ("admin-token", (400, 404)),
    ):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        got = [
            httpx.request(how, server.url + path, json={"model": "nope"}, headers=headers)
            for how, path in calls
        ]
        assert tuple(answer.status_code for answer in got) == statuses
        assert all(answer.json().keys() == {"error"} for answer in got)
    with ollama.Client(host=server.url, headers={"Authorization": "Bearer user-token"}) as client:
        assert client.list().models


def test_strangers_delete_nothing(start: Callable[..., Served]):
    server = start(share=True)
    answer = httpx.request("DELETE", f"{server.url}/api/delete", json={"model": "starter-chat"})
    assert answer.status_code == 403 and "ATELIER_TOKEN" in answer.json()["error"]
