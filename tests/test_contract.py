"""The published description says what the server does: errors, forms, methods, and JSON read as JSON."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.serving import Served

SAY = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def described(server: Served) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/openapi.json").json()
    return found


def test_every_operation_says_how_it_refuses(server: Served, described: dict[str, Any]):
    shapes = set()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert "422" not in answers and {"4XX", "5XX"} <= set(answers), (method, path)
            schema = answers["4XX"]["content"]["application/json"]["schema"]
            shapes.add(tuple(sorted(schema["required"])))
    assert shapes == {("error",), ("detail", "error")}
    assert "HTTPValidationError" not in str(described)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/chat/completions", {"model": "nobody", "messages": SAY}),
        ("POST", "/v1/chat/completions", {"messages": 1}),
        ("POST", "/api/chat", {"model": "nobody", "messages": SAY}),
        ("POST", "/v1/ai/generate", {"messages": 1}),
        ("GET", "/v1/jobs/nothing", None),
    ],
)
def test_a_refusal_has_the_shape_that_is_described(
    server: Served, described: dict[str, Any], method: str, path: str, body: Any
):
    answer = httpx.request(method, server.url + path, json=body)
    assert 400 <= answer.status_code < 500
    told = described["paths"].get(path) or described["paths"]["/v1/jobs/{id}"]
    schema = told[method.lower()]["responses"]["4XX"]["content"]["application/json"]["schema"]
    assert sorted(answer.json()) == sorted(schema["properties"])
    if schema["properties"]["error"]["type"] == "object":
        inner = schema["properties"]["error"]["properties"]
        assert sorted(answer.json()["error"]) == sorted(inner)


def test_forms_hold_no_null_and_lists_of_files_are_not_empty(described: dict[str, Any]):
    components = described["components"]["schemas"]
    forms = 0
    for path, operations in described["paths"].items():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            form = content.get("multipart/form-data", {}).get("schema")
            if form is None:
                continue
            forms += 1
            schema = components[form["$ref"].rpartition("/")[2]] if "$ref" in form else form
            assert "'null'" not in str(schema["properties"]), path
            for name in schema.get("required", ()):
                field = schema["properties"][name]
                assert field.get("type") != "array" or field["minItems"] == 1, (path, name)
    assert forms > 8


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/models/load/x/../../load", None),
        ("PATCH", "/v1/models/load", "POST"),
        ("PATCH", "/v1/models/starter", "DELETE, GET"),
        ("POST", "/v1/monitor/containers/x/logs", "GET"),
        ("GET", "/v1/monitor/containers/x/start", "POST"),
        ("DELETE", "/v1/chat/completions", "POST"),
    ],
)
def test_the_methods_of_a_path_are_its_own(
    server: Served, method: str, path: str, allowed: str | None
):
    answer = httpx.request(method, server.url + path)
    if allowed is None:
        assert answer.status_code != 405
        return
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"messages": SAY, "stream": 0}, 400),
        ("/v1/chat/completions", {"messages": SAY, "max_tokens": "5"}, 400),
        ("/v1/chat/completions", {"messages": SAY, "max_tokens": True}, 400),
        ("/v1/chat/completions", {"messages": SAY, "max_tokens": 5.5}, 400),
        ("/v1/chat/completions", {"messages": SAY, "max_tokens": 5.0, "temperature": 1}, 200),
        ("/api/chat", {"messages": SAY, "stream": False, "options": {"top_p": False}}, 400),
        ("/api/chat", {"messages": SAY, "stream": False, "options": {"num_predict": 4.0}}, 200),
        ("/v1/ai/generate", {"messages": SAY, "stream": "false"}, 422),
        ("/v1/ai/generate", {"messages": SAY, "stream": False}, 200),
        ("/api/v1/ai/ask_sync", {"content": "hi", "process_id": False}, 422),
        ("/api/v1/ai/ask_sync", {"content": "hi", "process_id": 7}, 200),
    ],
)
def test_json_is_read_as_json(server: Served, path: str, body: dict[str, Any], status: int):
    answer = httpx.post(server.url + path, json=body)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "source", ["0" * 5000, "a\0b", "/a\0b", "~nobody-of-that-name/x", "/" + "x" * 5000]
)
def test_a_name_that_no_file_can_have_is_refused(server: Served, source: str):
    answer = httpx.post(f"{server.url}/v1/models/add", json={"source": source})
    assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("until", "status"),
    [
        ("2026-01-02T03:04:05Z", 200), ("2026-01-02", 200), ("0.5", 200), ("1790000000", 200),
        ("-1", 422), ("4000000001", 422), ("1e300", 422), ("yesterday", 422),
    ],
)  # fmt: skip
def test_a_moment_is_a_date_or_seconds(server: Served, until: str, status: int):
    answer = httpx.get(f"{server.url}/api/v1/admin/usage", params={"until": until})
    assert answer.status_code == status, answer.text
