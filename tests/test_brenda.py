"""The Brenda dialect's language models: sessions, load, generate, stop."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
import requests

from tests.serving import Served, until


class Brenda:
    """A client with a session of its own."""

    def __init__(self, server: Served, session: str | None = None) -> None:
        self.url = f"{server.url}/v1/ai"
        self.headers = {"X-Session-ID": session} if session else {}

    def get(self, path: str) -> Any:
        return requests.get(f"{self.url}/{path}", headers=self.headers, timeout=30)

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        return requests.post(
            f"{self.url}/{path}", json=body, headers=self.headers, timeout=30, **more
        )

    def generate(self, text: str, **more: Any) -> Any:
        return self.post("generate", {"messages": [{"role": "user", "content": text}], **more})


def test_models(server: Served):
    assert Brenda(server).get("models").json() == {"models": ["echo", "echo-batch"]}


def test_generate(server: Served):
    answer = Brenda(server).generate("salut toi", model="echo").json()
    assert answer["message"] == {"role": "assistant", "content": "echo: salut toi"}
    assert answer["usage"] == {"input_tokens": 2, "output_tokens": 3}
    assert answer["model"] == "echo" and 0 <= answer["processing_time"] < 5


def test_stream(server: Served):
    answer = Brenda(server).generate("salut toi", model="echo", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    chunks = [json.loads(frame) for frame in frames[:-1]]
    assert all(chunk.keys() == {"content"} for chunk in chunks)
    assert "".join(chunk["content"] for chunk in chunks) == "echo: salut toi"


def test_a_session_remembers_its_model(server: Served):
    mine, other = Brenda(server, "mine"), Brenda(server, "other")
    loaded = mine.post("load_model", {"model_name": "echo-batch"}).json()
    assert (
        loaded["status"] == "success"
        and loaded["model"] == "echo-batch"
        and loaded["load_time"] >= 0
    )
    assert mine.get("session").json() == {
        "session_id": "mine",
        "current_model": "echo-batch",
        "has_model_loaded": True,
    }
    assert mine.generate("x").json()["model"] == "echo-batch"
    assert other.get("session").json()["current_model"] == "echo"
    assert other.generate("x").json()["model"] == "echo"


def test_a_session_is_made(server: Served):
    answer = Brenda(server).get("session")
    assert answer.json()["session_id"] == answer.headers["x-session-id"]


def test_a_model_that_is_not_loaded(server: Served):
    requests.delete(f"{server.url}/models/echo", timeout=30)
    assert Brenda(server).get("session").json()["has_model_loaded"] is False


def test_stop_ends_this_session_s_answers_alone(server: Served):
    mine, other = Brenda(server, "stopper"), Brenda(server, "bystander")
    long = "!slow " + "la " * 100
    answers: dict[str, Any] = {}

    def run(name: str, client: Brenda, text: str, **more: Any) -> None:
        answers[name] = client.generate(text, **more)

    threads = [
        threading.Thread(target=run, args=("plain", mine, long), kwargs={"model": "echo-batch"}),
        threading.Thread(target=run, args=("stream", mine, long), kwargs={"model": "echo-batch", "stream": True}),
        threading.Thread(target=run, args=("other", other, "!slow a b c d"), kwargs={"model": "echo-batch"}),
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    assert until(lambda: server.running == 3, 5)
    time.sleep(0.1)
    began = time.monotonic()
    assert mine.post("stop").json() == {"stopped": 2}
    for thread in threads[:2]:
        thread.join()
    assert time.monotonic() - began < 0.5
    threads[2].join()
    plain = answers["plain"].json()
    assert answers["plain"].status_code == 200
    assert 0 < plain["usage"]["output_tokens"] < 90
    assert len(plain["message"]["content"].split()) == plain["usage"]["output_tokens"]
    assert answers["stream"].text.endswith("data: [DONE]\n\n")
    assert answers["other"].json()["message"]["content"] == "echo: !slow a b c d"
    rows = until(lambda: len(r := server.rows(session="stopper")) == 2 and r)
    assert {row.status for row in rows} == {"stopped"}
    assert mine.post("stop").json() == {"stopped": 0}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (
            "generate",
            {"model": "nope", "messages": [{"role": "user", "content": "x"}]},
            404,
            "NOT_FOUND",
        ),
        ("generate", {"messages": []}, 400, "BAD_VALUE"),
        ("generate", {"messages": [{"role": "robot", "content": "x"}]}, 422, "INVALID_BODY"),
        ("generate", {"messages": [{"role": "user"}]}, 422, "INVALID_BODY"),
        ("generate", {"messages": {"role": "user"}}, 422, "INVALID_BODY"),
        ("generate", {"model": "echo"}, 422, "INVALID_BODY"),
        (
            "generate",
            {"messages": [{"role": "user", "content": "x"}], "temperature": -1},
            400,
            "BAD_VALUE",
        ),
        ("load_model", {"model_name": "nope"}, 404, "NOT_FOUND"),
        ("load_model", {}, 422, "INVALID_BODY"),
        ("load_model", None, 422, "INVALID_BODY"),
    ],
)
def test_bad_input(server: Served, path: str, body: Any, status: int, code: str):
    answer = Brenda(server).post(path, body)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert isinstance(answer.json()["detail"], str) and answer.json()["detail"]
