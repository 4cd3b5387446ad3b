"""The Ollama Host dialect, driven by `requests`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.serving import Served


def ask(server: Served, how: str = "sync", **body: Any) -> requests.Response:
    return requests.post(f"{server.url}/api/v1/ai/ask_{how}", json=body, timeout=30)


def dashboard(server: Served, **query: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = requests.get(
        f"{server.url}/api/v1/admin/dashboard", params=query, timeout=30
    ).json()
    return rows


def test_models(server: Served):
    assert requests.get(f"{server.url}/api/v1/ai/models", timeout=30).json() == [
        "echo",
        "echo-batch",
    ]


def test_sync(server: Served):
    answer = ask(server, agent="echo", content="olá você", template="seja breve")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "echo: olá você"


def test_async_is_chunked(server: Served):
    body = {"agent": "echo", "content": "!slow olá você"}
    with requests.post(
        f"{server.url}/api/v1/ai/ask_async", json=body, timeout=30, stream=True
    ) as answer:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["transfer-encoding"] == "chunked"
        pieces = list(answer.iter_content(None))
    assert len(pieces) > 1
    assert b"".join(pieces).decode() == "echo: !slow olá você"


def test_a_late_failure_is_readable(server: Served):
    answer = ask(server, "async", agent="echo", content="!fail now please")
    assert answer.status_code == 200
    assert answer.text.startswith("echo:") and "[INFERENCE_FAILED: " in answer.text
    assert "/etc/secret" not in answer.text


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"agent": "nope", "content": "x"}, 404, "NOT_FOUND"),
        ({"agent": "echo", "content": ""}, 400, "BAD_VALUE"),
        ({"agent": "echo", "content": " \n"}, 400, "BAD_VALUE"),
        ({"agent": "echo"}, 422, "INVALID_BODY"),
        ({"agent": "echo", "content": 5}, 422, "INVALID_BODY"),
        ({"agent": ["echo"], "content": "x"}, 422, "INVALID_BODY"),
        ({"agent": "echo", "content": "x", "project": {}}, 422, "INVALID_BODY"),
    ],
)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_bad_input(server: Served, how: str, body: dict[str, Any], status: int, code: str):
    answer = ask(server, how, **body)
    assert answer.status_code == status
    assert answer.json().keys() == {"detail", "error"} and answer.json()["error"] == code


def test_the_dashboard(server: Served):
    before = datetime.now(UTC)
    tags = {"user_key": "111", "project": "p1", "process_id": 7, "subprocess_id": "s1"}
    ask(server, agent="echo", content="one two", template="be kind", **tags)
    ask(server, agent="echo", content="three", **{**tags, "project": "p2"})
    newest, older = dashboard(server, user_key="111")
    assert newest["project"] == "p2" and newest["date"] > older["date"]
    assert older["model_name"] == "echo" and older["output"] == "echo: one two"
    assert older["input"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "one two"},
    ]
    assert (older["input_tokens"], older["output_tokens"], older["total_tokens"]) == (4, 3, 7)
    assert (older["process_id"], older["subprocess_id"]) == ("7", "s1")
    assert isinstance(older["total_seconds"], int)
    assert older["total_seconds"] == round(older["duration_s"] * 1e9) > 0
    assert [row["project"] for row in dashboard(server, project="p1")] == ["p1"]
    assert dashboard(server, project="none") == []
    assert dashboard(server, model="echo-none") == []
    assert len(dashboard(server, limit=1)) == 1
    assert dashboard(server, limit=1, offset=1, user_key="111")[0]["project"] == "p1"
    assert dashboard(server, since=(before + timedelta(days=1)).isoformat()) == []
    assert len(dashboard(server, since=before.isoformat(), user_key="111")) == 2
    assert dashboard(server, until=before.isoformat(), user_key="111") == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=100000", "offset=-1", "since=yesterday"]
)
def test_bad_questions_to_the_dashboard(server: Served, query: str):
    answer = requests.get(f"{server.url}/api/v1/admin/dashboard?{query}", timeout=30)
    assert answer.status_code == 422 and answer.json()["error"] == "INVALID_BODY"
