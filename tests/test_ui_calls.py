"""The page's endpoints as `gradio_client` sees them, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from engine import Settings
from tests.serving import Served, serve, until

pytestmark = pytest.mark.slow  # a server with the page

PUBLIC = {
    "/image", "/creature",
    "/cancel", "/chat", "/container", "/containers", "/converse", "/detect", "/download",
    "/files_compress", "/files_create", "/files_decompress", "/files_delete", "/files_list",
    "/files_move", "/files_restore", "/files_upload", "/job", "/jobs", "/label", "/load",
    "/models", "/ocr", "/plan", "/speak", "/status", "/system", "/transcribe", "/translate",
    "/unload", "/usage", "/vision",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("calls")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    with serve(settings, None) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[Any]:
    made = server.gradio()
    yield made
    made.close()


def test_what_clients_are_offered(client: Any) -> None:
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert set(named) == PUBLIC
    given = {p["parameter_name"]: p["parameter_has_default"] for p in named["/chat"]["parameters"]}
    assert given.pop("message") is False and all(given.values())
    assert {"history", "model", "system", "temperature", "stop", "seed", "max_tokens"} <= set(given)


def test_files(client: Any, tmp_path: Any) -> None:
    from gradio_client import handle_file

    (tmp_path / "a.txt").write_text("hello")
    sent = client.predict(handle_file(tmp_path / "a.txt"), "box", api_name="/files_upload")
    assert (sent["place"], sent["size"]) == ("box/a.txt", 5)
    client.predict("box/in", api_name="/files_create")
    assert client.predict("box/a.txt", "box/in", api_name="/files_move")["place"] == "box/in/a.txt"
    assert client.predict("box", "b", api_name="/files_compress")["place"] == "b.zip"
    assert client.predict("b.zip", api_name="/files_decompress")["place"] == "b"
    gone = client.predict("box", api_name="/files_delete")
    assert [row["name"] for row in client.predict(api_name="/files_list")] == ["b", "b.zip"]
    assert client.predict(gone, api_name="/files_restore")["place"] == "box"
    with pytest.raises(Exception, match="go up"):
        client.predict("../x", api_name="/files_list")


def test_chat_streams_and_ends_with_the_whole(client: Any, server: Served) -> None:
    job = client.submit("!slow one two three four five six", api_name="/chat")
    assert job.result(timeout=30) == "echo: !slow one two three four five six"
    updates = [text for text in job.outputs() if text]
    assert len(set(updates)) > 2 and all(updates[-1].startswith(text) for text in updates)
    row = server.rows(limit=1)[0]
    assert (row.dialect, row.model, row.status) == ("gradio", "echo", "ok")


def test_every_parameter_arrives(client: Any) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    options = {"model": "echo-batch", "system": "s", "max_tokens": 2, "temperature": 0.5, "seed": 1}
    answer = client.predict("one two", history=said, stop=["zzz"], api_name="/chat", **options)
    assert answer == "echo: one"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "nothing"}, "not in the catalog"),
        ({"temperature": 9}, "temperature"),
        ({"history": [{"role": "robot", "content": "x"}]}, "history"),
        ({"history": ["x"]}, "history"),
    ],
)
def test_refusals_say_why(client: Any, options: dict[str, Any], said: str) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=said):
        client.predict("hi", api_name="/chat", **options)


def test_a_cancelled_call_stops_the_engine(client: Any, server: Served) -> None:
    job = client.submit("!slow " + "word " * 2000, api_name="/chat")
    assert until(lambda: server.running)
    job.cancel()
    assert until(lambda: not server.running) is True


def test_models_and_status(client: Any) -> None:
    models = {row["id"]: row for row in client.predict(api_name="/models")}
    assert models["echo"]["starter"] is True and models["echo"]["does"] == ["chat"]
    status = client.predict(api_name="/status")
    assert status["devices"][0]["total"] > 0 and status["devices"][0]["waiting"] == 0


def test_models_are_planned_loaded_and_let_go(client: Any, server: Served) -> None:
    plan = client.predict(model="echo-batch", api_name="/plan")
    assert plan["fits"] == "fits" and plan["unloads"] == [] and plan["needed"] > 0
    loaded = client.predict(model="echo-batch", keep_alive=-1, api_name="/load")
    assert loaded["model"] == "echo-batch"
    held = {model.id: model.keep_alive for model in server.engine.status().resident}
    assert held["echo-batch"] == -1
    assert client.predict(model="echo-batch", api_name="/unload") is True
    assert client.predict(model="echo-batch", api_name="/unload") is False


def test_a_job_is_followed_from_elsewhere_and_cancelled(client: Any, server: Served) -> None:
    asked = client.submit("!slow " + "word " * 2000, api_name="/chat")
    assert until(lambda: server.running)
    ticket = next(job for job in client.predict(api_name="/jobs") if job["phase"] == "running")
    assert ticket["own"] and ticket["kind"] == "request" and "session" not in ticket
    watching = client.submit(id=ticket["id"], api_name="/job")
    assert until(lambda: [u for u in watching.outputs() if "word" in u["text"]])
    assert client.predict(id=ticket["id"], api_name="/cancel") is True
    last = watching.result(timeout=30)
    assert last["phase"] == "cancelled" and asked.result(timeout=30).startswith(last["text"][:40])
    assert client.predict(id=ticket["id"], api_name="/cancel") is False


@pytest.mark.parametrize(
    ("call", "given", "said"),
    [
        ("/plan", {"model": "nothing"}, "not in the catalog"),
        ("/load", {"model": "nothing"}, "not in the catalog"),
        ("/unload", {"model": "nothing"}, "not in the catalog"),
        ("/download", {"model": "no model"}, "hub id"),
        ("/job", {"id": "x"}, "no such job"),
        ("/cancel", {"id": "x"}, "no such job"),
    ],
)
def test_calls_refuse_with_a_reason(
    client: Any, call: str, given: dict[str, Any], said: str
) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=said):
        client.predict(**given, api_name=call)
