"""The monitor over HTTP: fields, bounds, ranks, refusals, the request's id everywhere, and how quick it is."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.serving import Served, until

ABSENT = "unix:///nowhere/docker.sock"


def ask(server: Served, text: str = "one two", **fields: Any) -> httpx.Response:
    body = {"agent": "echo", "content": text, **fields}
    with server.client() as client:
        return client.post("/api/v1/ai/ask_sync", json=body, headers=fields.pop("headers", None))


def test_the_machine(server: Served) -> None:
    with server.client() as client:
        value = client.get("/v1/monitor/system/stats").json()
        assert 0 <= value["cpu_percent"] <= 100
        assert set(value["memory"]) == {"total", "available", "percent"}
        assert set(value["disk"]) == {"total", "used", "free", "percent"}
        assert value["memory"]["total"] > value["memory"]["available"] > 0
        assert isinstance(value["gpus"], list) and value["process"]["pid"] > 0
        assert set(value["queue"]) == {"running", "waiting"}
        assert until(lambda: client.get("/v1/monitor/system/history").json()["time"], 30)
        history = client.get("/v1/monitor/system/history?points=2&seconds=60").json()
        assert {len(column) for column in history.values()} <= {1, 2}
        for query in ("points=0", "points=x", "seconds=-1", "seconds=99999"):
            assert client.get(f"/v1/monitor/system/history?{query}").status_code == 422


def test_the_machine_is_told_at_once(server: Served) -> None:
    """The best of many: the figure is the bench's; a busy machine measures itself here."""
    with server.client() as client:
        took = []
        for _ in range(100):
            began = time.perf_counter()
            assert client.get("/v1/monitor/system/stats").status_code == 200
            took.append(time.perf_counter() - began)
    assert sorted(took)[5] < 0.02


def test_no_container_engine(served: Callable[..., Served]) -> None:
    running = served(docker_host=ABSENT)
    with running.client() as client:
        for method, path in (
            ("GET", ""), ("POST", "/brenda-x/start"), ("GET", "/brenda-x/logs"), ("GET", "/brenda-x/stats"),
            ("GET", "/brenda-x/logs?follow=true"),
        ):  # fmt: skip
            answer = client.request(method, f"/v1/monitor/containers{path}")
            assert answer.status_code == 503 and answer.headers["retry-after"] == "30"
            assert "No container engine answers" in answer.json()["detail"]
            assert "nowhere" not in answer.text
        assert client.post("/v1/monitor/containers/x/destroy").status_code == 404
        assert client.get("/v1/monitor/containers/x/logs?tail=0").status_code == 422


def test_who_may(served: Callable[..., Served]) -> None:
    running = served(docker_host=ABSENT, token="user-token", admin_token="admin-token")
    calls = (
        ("GET", "/v1/monitor/system/stats", 200), ("GET", "/metrics", 200), ("GET", "/v1/monitor/logs", 403),
        ("GET", "/v1/monitor/containers", 503), ("POST", "/v1/monitor/containers/x/stop", 403),
        ("GET", "/api/v1/admin/usage", 403), ("GET", "/api/v1/admin/usage/export", 403),
    )  # fmt: skip
    with running.client() as client:
        for method, path, status in calls:
            assert client.request(method, path).status_code == 401
            user, admin = (
                client.request(method, path, headers={"Authorization": f"Bearer {name}-token"})
                for name in ("user", "admin")
            )
            assert user.status_code == status, path
            assert admin.status_code in (200, 503)


def test_a_server_open_to_all_has_no_containers(served: Callable[..., Served]) -> None:
    running = served(docker_host=ABSENT, share=True)
    with running.client() as client:
        for method, path in (("GET", ""), ("POST", "/x/stop"), ("GET", "/x/logs")):
            answer = client.request(method, f"/v1/monitor/containers{path}")
            assert answer.status_code == 403 and "ATELIER_TOKEN" in answer.json()["detail"]


def test_the_requests_id_is_everywhere(server: Served) -> None:
    with server.client() as client:
        name = "tell-tale-0001"
        body = {"agent": "echo", "content": "!fail one two"}
        answer = client.post("/api/v1/ai/ask_sync", json=body, headers={"X-Request-ID": name})
        assert answer.status_code == 500 and answer.headers["x-request-id"] == name
        (row,) = client.get(f"/api/v1/admin/dashboard?request_id={name}").json()
        assert (row["request_id"], row["status"]) == (name, "INFERENCE_FAILED")

        def records() -> list[dict[str, Any]]:
            return client.get(f"/v1/monitor/logs?text={name}").json()

        assert until(lambda: "atelier.faults" in {r["logger"] for r in records()})
        found = {record["logger"]: record for record in records()}
        assert found["atelier.faults"]["error"].startswith("ValueError: the parrot choked")
        assert found["atelier.faults"]["level"] == "ERROR"
        assert all(record["request_id"] == name for record in found.values())
        assert client.get("/v1/monitor/logs?limit=0").status_code == 422
        assert client.get("/v1/monitor/logs?level=LOUD").status_code == 422
        newest = records()[0]["number"]
        assert client.get(f"/v1/monitor/logs?text={name}&after={newest}").json() == []


def test_the_dashboard_pages_and_filters(server: Served) -> None:
    for n in range(5):
        assert ask(server, f"word {n}", project="paged", user_key=f"k{n % 2}").status_code == 200
    with server.client() as client:
        path = "/api/v1/admin/dashboard?project=paged"
        first = client.get(f"{path}&limit=2&count=true")
        assert first.headers["x-next-offset"] == "2" and first.headers["x-total-count"] == "5"
        last = client.get(f"{path}&limit=2&offset=4")
        assert len(last.json()) == 1 and "x-next-offset" not in last.headers
        row = first.json()[0]
        assert row["caller"] == "127.0.0.1" and row["device_seconds"] > 0 and row["pages"] == 0
        for more, count in {
            "user_key=k1": 2,
            "task=chat": 5,
            "task=ocr": 0,
            "status=ok": 5,
            "dialect=host": 5,
        }.items():
            assert len(client.get(f"{path}&{more}").json()) == count, more
        (total,) = client.get("/api/v1/admin/usage?by=project&project=paged").json()
        assert (total["key"], total["requests"], total["failed"]) == ("paged", 5, 0)
        assert total["run_s"] > 0 and total["output_tokens"] == 15
        assert client.get("/api/v1/admin/usage?by=secrets").status_code == 422
        assert client.get(f"{path}&task={'x' * 300}").status_code == 422
        answer = client.get("/api/v1/admin/usage/export?format=csv&project=paged")
        assert answer.headers["content-disposition"] == 'attachment; filename="atelier-usage.csv"'
        assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 5
        parquet = client.get("/api/v1/admin/usage/export?format=parquet&project=paged").content
        assert parquet[:4] == parquet[-4:] == b"PAR1"
        assert client.get("/api/v1/admin/usage/export?format=xls").status_code == 422


def test_prometheus_reads_templates_and_no_secrets(server: Served) -> None:
    with server.client() as client:
        client.get("/v1/models")
        client.get("/v1/models?token=hush-hush")
        client.get("/v1/nothing/hush-hush")
        client.get("/gradio_api/hush-hush")
        client.get("/v1/jobs/hush-hush")
        client.delete("/models/hush-hush")
        ask(server, "hush-hush", project="hush-hush")
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    assert "hush-hush" not in text and "127.0.0.1" not in text
    assert (
        'route="/v1/models",status="200"' in text
        and 'route="/v1/jobs/{id:path}",status="404"' in text
    )
    assert 'route="page",status="404"' in text
    assert 'atelier_inference_requests_total{model="echo",status="ok",task="chat"}' in text
    assert "atelier_event_loop_lag_seconds" in text and "atelier_queue_waiting" in text


def test_openmetrics_too(server: Served) -> None:
    with server.client() as client:
        answer = client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.rstrip().endswith("# EOF")
