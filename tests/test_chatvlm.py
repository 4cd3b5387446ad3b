"""The ChatVLM dialect: what the service is, its health, its models."""

from __future__ import annotations

from datetime import datetime

import httpx
import pytest

from tests.serving import Served


def test_root(server: Served):
    answer = httpx.get(server.url).json()
    assert answer["docs"] == "/docs" and answer["health"] == "/health"
    assert answer["message"] and answer["version"]


def test_health_is_the_union_of_both(server: Served):
    httpx.post(f"{server.url}/v1/ai/load_model", json={"model_name": "echo"})
    answer = httpx.get(f"{server.url}/health").json()
    assert answer["status"] == "healthy" and answer["backend"] == "cpu"
    assert answer["gpu_available"] is False and answer["gpu_name"] is None
    assert answer["loaded_models"] == ["echo"] and answer["models_loaded"] == 1
    assert answer["time"].endswith("Z") and datetime.fromisoformat(answer["time"])


def test_ready(server: Served):
    assert httpx.get(f"{server.url}/ready").json() == {"status": "ready"}
    server.app.api.state.ready = False
    try:
        answer = httpx.get(f"{server.url}/ready")
    finally:
        server.app.api.state.ready = True
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_models_and_unload(server: Served):
    httpx.post(f"{server.url}/v1/ai/load_model", json={"model_name": "echo"})
    answer = httpx.get(f"{server.url}/models").json()
    assert [row["id"] for row in answer["available"]] == ["echo", "echo-batch"]
    assert all(row.keys() >= {"id", "name", "params"} for row in answer["available"])
    assert answer["loaded"] == ["echo"]
    gone = httpx.delete(f"{server.url}/models/echo").json()
    assert gone == {"status": "success", "message": "Model echo unloaded"}
    assert httpx.get(f"{server.url}/models").json()["loaded"] == []
    again = httpx.delete(f"{server.url}/models/echo").json()
    assert again == {"status": "success", "message": "Model echo was not loaded"}


@pytest.mark.parametrize("name", ["nope", "org/nope:7b", "%2e%2e%2fetc", "é"])
def test_unknown_models(server: Served, name: str):
    answer = httpx.delete(f"{server.url}/models/{name}")
    assert answer.status_code == 404 and answer.json()["error"] == "NOT_FOUND"
