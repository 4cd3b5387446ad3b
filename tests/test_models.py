"""Models over HTTP: catalog, plan, load, unload, pin, default, add, remove; who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine import Engine, Settings
from tests import tiny
from tests.serving import Served, serve, until

pytestmark = pytest.mark.slow  # a server


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
        for model in ("echo", "echo-batch"):
            client.post("/v1/models/pin", json={"model": model, "pinned": False})
            client.post("/v1/models/unload", json={"model": model})


def post(client: httpx.Client, path: str, status: int = 200, **body: object) -> dict:
    answer = client.post(f"/v1/models/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_the_catalog_tells_of_every_model(client):
    answer = client.get("/v1/models/catalog").json()
    assert answer["tier"] == "cpu-8"
    card = next(card for card in answer["models"] if card["id"] == "echo")
    assert card["does"] == ["chat"] and card["default_of"] == ["chat"]
    assert card["present"] and card["resident"] is None and not card["own"]
    assert card["plan"]["model"] == "echo" and card["plan"]["sentence"]
    assert client.get("/v1/models/catalog?capability=embed").json()["models"] == []
    assert client.get("/v1/models/catalog?capability=dance").status_code == 422


def test_load_pin_unload(client):
    assert post(client, "load", model="echo", keep_alive="10m")["status"] == "loaded"
    post(client, "pin", model="echo")
    card = next(c for c in client.get("/v1/models/catalog").json()["models"] if c["id"] == "echo")
    assert card["resident"]["pinned"] and card["resident"]["keep_alive"] == 600
    assert card["plan"]["resident"]
    post(client, "pin", model="echo", pinned=False)
    assert post(client, "unload", model="echo") == {"status": "unloaded", "model": "echo"}
    assert post(client, "unload", model="echo")["status"] == "not_loaded"


def test_a_dry_run_changes_nothing(client, server):
    answer = post(client, "load", model="echo", dry_run=True)
    planned = post(client, "plan", model="echo")
    moving = {"free", "sentence"}  # other programs take and give memory meanwhile
    assert answer["status"] == "planned" and answer["plan"].keys() == planned.keys()
    assert all(answer["plan"][key] == planned[key] for key in planned.keys() - moving)
    assert server.engine.status().resident == ()


def test_the_default_is_chosen(client):
    assert post(client, "default", model="echo-batch")["default_of"] == ["chat"]
    assert post(client, "default", model="echo", capability="chat")["default_of"] == ["chat"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("plan", {"model": "ekho"}, 404, "Nearest: echo"),
        ("plan", {"model": "echo", "quantisation": "int8"}, 400, "its family does not quantise"),
        ("load", {"model": "echo", "offload": True}, 400, "cannot be offloaded here"),
        ("load", {"model": "echo", "quantisation": "int3"}, 422, "quantisation"),
        ("load", {"model": "echo", "keep_alive": "soon"}, 400, "keep_alive"),
        ("default", {"model": "echo", "capability": "embed"}, 400, "cannot embed"),
        ("add", {"source": "/nowhere/at/all"}, 400, "no folder 'all'"),
        ("add", {}, 422, "source"),
        ("pin", {"model": ""}, 422, "model"),
    ],
)
def test_what_cannot_be_is_refused_in_our_words(client, path, body, status, said):
    answer = post(client, path, status, **body)
    assert said in answer["detail"] and answer["error"]


def test_unknown_fields_are_named(client):
    answer = client.post("/v1/models/plan", json={"model": "echo", "colour": "red"})
    assert answer.headers["x-ignored-params"] == "colour"


def test_openais_own_paths_are_still_openais(client):
    assert client.get("/v1/models/echo").json()["object"] == "model"
    assert client.delete("/v1/models/nothing").json()["error"]["code"] == "model_not_found"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mine"
    return tiny.make_checkpoint(folder, "qwen3", hidden_size=128, intermediate_size=512)


def test_a_folder_is_added_used_quantised_and_removed(tmp_path, checkpoint):
    """As a user would: paste, look, load smaller, ask, remove."""
    settings = Settings(data_dir=tmp_path, device="cpu", _env_file=None)  # type: ignore[call-arg]
    with serve(settings, engine=Engine.build(settings)) as server, server.client() as client:
        (card,) = post(client, "add", source=str(checkpoint))["models"]
        assert card["id"] == "mine" and card["own"] and card["present"]
        whole = post(client, "load", model="mine")
        small = post(client, "load", model="mine", quantisation="int8")
        assert (whole["form"], small["form"]) == ("float32", "int8")
        assert small["memory"] < whole["memory"]
        body = {"model": "mine", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.json()["usage"]["completion_tokens"] > 0
        plan = post(client, "plan", model="mine")
        assert plan["resident"] and plan["quantisation"] == "int8"
        assert client.delete("/v1/models/mine").json()["deleted"]
        assert until(lambda: not server.engine.status().resident)
        assert checkpoint.is_dir()
        post(client, "plan", 404, model="mine")


def test_adding_and_removing_need_the_admin(tmp_path):
    settings = Settings(
        data_dir=tmp_path, device="cpu", token="user", admin_token="admin", _env_file=None
    )  # type: ignore[call-arg]
    with serve(settings) as server, server.client() as client:
        for token, status in (("user", 403), ("admin", 400)):
            headers = {"Authorization": f"Bearer {token}"}
            added = client.post("/v1/models/add", json={"source": "/nowhere"}, headers=headers)
            assert added.status_code == status
        user = {"Authorization": "Bearer user"}
        assert client.delete("/v1/models/echo", headers=user).status_code == 403
        assert client.post("/v1/models/plan", json={"model": "echo"}, headers=user).is_success
