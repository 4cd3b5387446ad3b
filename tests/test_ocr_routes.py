"""Our OCR paths over HTTP: reading at once in every form, stored documents from sending to deleting, their jobs."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from engine import Engine, Settings
from tests import echo, onlooker, typist
from tests.serving import Served, serve, until
from tests.test_jobs import frames
from tests.test_reading import ROWS

pytestmark = pytest.mark.slow  # servers

GOING = {"queued", "running"}
MINE = {"x-session-id": "mine"}


@contextmanager
def running(settings: Settings) -> Iterator[Served]:
    families = {"typist": typist, "echo": echo, "onlooker": onlooker}
    specs = (*typist.SPECS, *echo.SPECS, *ROWS)
    with serve(settings, engine=Engine.build(settings, families=families, specs=specs)) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("ocr")
    with running(Settings(data_dir=folder, device="cpu", _env_file=None)) as served:  # type: ignore[call-arg]
        yield served


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with server.client(headers=MINE) as client:
        yield client


def tiffs(*pages: int) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"scan-{n}.tiff", typist.tiff(n))) for n in pages]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Reading at once ----------------------------------------------------------------------------------


def test_a_form_is_read(client: httpx.Client, server: Served):
    fields = {"model": "typist", "pages": "2-3", "language": "en", "dpi": "", "colour": "red"}
    answer = client.post("/v1/ocr/read", files=tiffs(3), data=fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-ignored-params"] == "colour"
    body = answer.json()
    assert (body["model"], body["language"], body["stopped"]) == ("typist", "en", False)
    assert [page["number"] for page in body["pages"]] == [2, 3]
    line = body["pages"][0]["lines"][1]
    assert line["text"] == "Page 2, line 1" and len(line["box"]) == 4 and line["score"] == 0.9
    assert body["text"].startswith("Page 2, line 0") and body["processing_time"] >= 0
    assert body["pages"][0]["error"] is None
    row = server.rows()[0]
    assert (row.dialect, row.task, row.model, row.status) == ("ocr", "ocr", "typist", "ok")


def test_json_is_read_as_well(client: httpx.Client):
    sent = {"documents": [b64(typist.tiff(1)), "data:image/tiff;base64," + b64(typist.tiff(2))]}
    body = client.post("/v1/ocr/read", json=sent).json()
    assert [(p["document"], p["number"]) for p in body["pages"]] == [(0, 1), (1, 1), (1, 2)]
    assert body["model"] == "ocr"


@pytest.mark.parametrize(
    ("format", "media", "starts"),
    [
        ("text", "text/plain", b"Page 1, line 0"),
        ("markdown", "text/markdown", b"Page 1, line 0"),
        ("hocr", "text/html", b"<"),
        ("pdf", "application/pdf", b"%PDF"),
    ],
)
def test_files_come_back(client: httpx.Client, format: str, media: str, starts: bytes):
    answer = client.post("/v1/ocr/read", files=tiffs(2), data={"format": format})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(media)
    assert answer.content.startswith(starts)
    if format == "pdf":
        assert 'filename="scan-2.pdf"' in answer.headers["content-disposition"]


def test_pages_stream_as_they_are_read(client: httpx.Client):
    fields = {"model": "slow", "stream": "true"}
    with client.stream("POST", "/v1/ocr/read", files=tiffs(4), data=fields) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert found[-1] == "[DONE]"
    events = [json.loads(one) for one in found[:-1]]
    assert [e["number"] for e in events if e["type"] == "page"] == [1, 2, 3, 4]
    assert [e["done"] for e in events if e["type"] == "progress"][-1] == 4
    assert events[-1]["type"] == "done" and events[-1]["model"] == "slow"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"files": tiffs(1), "data": {"model": "nobody"}}, 404, "NOT_FOUND"),
        ({"files": tiffs(1), "data": {"model": "echo"}}, 400, "BAD_VALUE"),
        ({"files": tiffs(1), "data": {"pages": "7"}}, 400, "BAD_VALUE"),
        ({"files": tiffs(1), "data": {"dpi": "9"}}, 422, "INVALID_BODY"),
        ({"files": tiffs(1), "data": {"format": "docx"}}, 422, "INVALID_BODY"),
        ({"files": tiffs(1), "data": {"format": "pdf", "stream": "1"}}, 400, "BAD_VALUE"),
        ({"files": [("files", ("a.svg", b"<svg></svg>"))]}, 415, "BAD_FORMAT"),
        ({"files": [("files", ("a.pdf", b"%PDF-1.4 no"))]}, 415, "BAD_FORMAT"),
        ({"files": [("files", ("a.pdf", b""))]}, 400, "BAD_VALUE"),
        (
            {"data": {"model": "typist"}},
            422,
            "INVALID_BODY",
        ),  # a form without files is not multipart
        ({"json": {}}, 400, "BAD_VALUE"),
        ({"json": {"documents": ["!"]}}, 400, "BAD_VALUE"),
        ({"json": {"documents": "x"}}, 422, "INVALID_BODY"),
        ({"json": []}, 422, "INVALID_BODY"),
        ({"content": b"{"}, 422, "INVALID_BODY"),
    ],
)
def test_what_is_refused(client: httpx.Client, sent: dict[str, Any], status: int, code: str):
    answer = client.post("/v1/ocr/read", **sent)
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.text
    assert answer.json()["detail"]


def test_one_bad_document_among_good_ones(client: httpx.Client):
    files = [*tiffs(1), ("files", ("b.bin", b"nonsense"))]
    body = client.post("/v1/ocr/read", files=files, data={"model": "looker"}).json()
    assert [(p["document"], p["number"], bool(p["error"])) for p in body["pages"]] == [
        (0, 1, False), (1, 0, True),
    ]  # fmt: skip
    assert body["pages"][1]["error"]["code"] == "BAD_FORMAT"
    failed = client.post("/v1/ocr/read", files=files, data={"model": "looker", "format": "text"})
    assert failed.headers["x-failed-pages"] == "2.0"


def test_hanging_up_stops_the_reading(client: httpx.Client, server: Served):
    fields = {"model": "slow", "stream": "true"}
    with client.stream("POST", "/v1/ocr/read", files=tiffs(150), data=fields) as answer:
        next(line for line in answer.iter_lines() if line.startswith("data: "))
    assert until(lambda: server.running == 0, 5) and not server.running


# Stored documents ---------------------------------------------------------------------------------


def kept(client: httpx.Client, pages: int = 3, **fields: str) -> dict[str, Any]:
    answer = client.post("/v1/ocr/documents", files=tiffs(pages), data=fields)
    assert answer.status_code == 202, answer.text
    (paper,) = answer.json()["documents"]
    return paper


def over(client: httpx.Client, id: str) -> dict[str, Any]:
    """The document once it is read."""
    wanted = {"done", "failed", "cancelled"}
    until(lambda: client.get(f"/v1/ocr/documents/{id}").json()["phase"] in wanted, 20)
    return client.get(f"/v1/ocr/documents/{id}").json()


def test_a_document_from_sending_to_deleting(client: httpx.Client):
    paper = kept(client, language="ru", model="slow")
    assert (paper["name"], paper["count"], paper["phase"]) == ("scan-3.tiff", 3, "queued")
    url = f"/v1/ocr/documents/{paper['id']}"
    assert over(client, paper["id"])["done"] == 3
    assert paper["id"] in [p["id"] for p in client.get("/v1/ocr/documents").json()["documents"]]
    pages = client.get(f"{url}/pages").json()["pages"]
    assert [page["number"] for page in pages] == [1, 2, 3]
    assert client.get(f"{url}/pages/2").json() == pages[1]
    assert client.get(f"{url}/pages/4").status_code == 404
    picture = client.get(f"{url}/pages/2/picture?width=30")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content.startswith(b"\xff\xd8")
    assert client.get(f"{url}/pages/2/picture?width=1").status_code == 422
    corrected = client.post(f"{url}/pages/2/lines/0", json={"text": "Исправлено"})
    assert corrected.json()["lines"][0] == {
        **pages[1]["lines"][0],
        "text": "Исправлено",
        "score": 1.0,
    }
    assert client.get(f"{url}/pages/2?original=true").json() == pages[1]
    text = client.get(f"{url}/export?format=text")
    assert (
        "Исправлено" in text.text and 'filename="scan-3.txt"' in text.headers["content-disposition"]
    )
    assert client.get(f"{url}/export?format=pdf").content.startswith(b"%PDF")
    assert client.get(f"{url}/export?format=docx").status_code == 422
    again = client.post(f"{url}/again", json={"model": "looker"})
    assert [r["model"] for r in again.json()["readings"]] == ["slow", "looker"]
    over(client, paper["id"])
    assert client.get(f"{url}/pages/1?model=looker").json()["text"].startswith("First line")
    assert client.get(f"{url}/pages?model=nobody").status_code == 404
    assert client.delete(url).json() == {"id": paper["id"], "deleted": True}
    assert client.get(url).status_code == client.delete(url).status_code == 404


def test_several_documents_and_a_bad_one(client: httpx.Client):
    files = [*tiffs(1, 2), ("files", ("b.bin", b"nonsense"))]
    body = client.post("/v1/ocr/documents", files=files).json()
    assert [paper["count"] for paper in body["documents"]] == [1, 2]
    assert [(one["name"], one["error"]) for one in body["failed"]] == [("b.bin", "BAD_FORMAT")]
    alone = client.post("/v1/ocr/documents", files=files[2:])
    assert (alone.status_code, alone.json()["error"]) == (415, "BAD_FORMAT")
    named = client.post(
        "/v1/ocr/documents", json={"documents": [b64(typist.tiff(1))], "name": "a.tif"}
    )
    assert named.json()["documents"][0]["name"] == "a.tif"


def test_pausing_and_going_on_here_and_under_jobs(client: httpx.Client):
    paper = kept(client, 60, model="slow")
    url, job = f"/v1/ocr/documents/{paper['id']}", f"/v1/jobs/{paper['id']}"
    ticket = client.get(job).json()
    assert (ticket["kind"], ticket["title"], ticket["own"]) == ("document", "scan-60.tiff", True)
    assert client.post(f"{url}/pause").json()["phase"] == "paused"
    assert client.get(job).json()["phase"] == "paused"
    assert client.post(f"{job}/resume").json()["phase"] in GOING
    assert client.post(f"{url}/resume").status_code == 409
    assert client.post(f"{job}/pause").json()["phase"] == "paused"
    assert client.post(f"{url}/resume").json()["phase"] in GOING
    assert client.delete(job).json() == {"cancelled": True}
    assert over(client, paper["id"])["phase"] == "cancelled"
    assert client.post(f"{url}/cancel").status_code == 409
    assert client.post(f"{url}/resume").json()["phase"] in GOING
    assert client.post(f"{url}/cancel").json()["phase"] == "cancelled"


def test_its_events_are_followed(client: httpx.Client):
    paper = kept(client, 4, model="slow")
    whole = frames(client.get(f"/v1/jobs/{paper['id']}/events").text)
    values = [json.loads(one["data"]) for one in whole if one.get("event") == "page"]
    assert [value["number"] for value in values] == [1, 2, 3, 4]
    assert values[0]["lines"][0]["text"] == "Page 1, line 0"
    assert whole[-1]["event"] == "end" and whole[-2]["event"] == "done"
    number = next(one["id"] for one in whole if one.get("event") == "page")
    rest = frames(client.get(f"/v1/jobs/{paper['id']}/events?after={number}").text)
    assert [one.get("id") for one in rest] == [
        one.get("id") for one in whole if one.get("id", "z") > number
    ]


def test_other_sessions_see_nothing(client: httpx.Client, server: Served):
    paper = kept(client, 2)
    over(client, paper["id"])
    url = f"/v1/ocr/documents/{paper['id']}"
    with server.client(headers={"x-session-id": "others"}) as other:
        assert other.get("/v1/ocr/documents").json() == {"documents": []}
        for method, path in (
            ("GET", ""), ("GET", "/pages"), ("GET", "/pages/1"), ("GET", "/pages/1/picture"), ("GET", "/export"),
            ("POST", "/cancel"), ("POST", "/pause"), ("POST", "/resume"), ("DELETE", ""),
        ):  # fmt: skip
            assert other.request(method, url + path).status_code == 404, path
        body = {"text": "x"}
        assert other.post(f"{url}/pages/1/lines/0", json=body).status_code == 404
        assert other.post(f"{url}/again", json={"model": "typist"}).status_code == 404
    assert client.get(url).json()["phase"] == "done"


def test_jobs_of_documents_are_private(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tokens")
    settings = Settings(
        data_dir=folder, device="cpu", token="user-token", admin_token="boss", _env_file=None
    )  # type: ignore[call-arg]
    with running(settings) as server:
        mine = {"authorization": "Bearer user-token", **MINE}
        with server.client(headers=mine) as client:
            paper = kept(client, 2)
            over(client, paper["id"])
            others = {**mine, "x-session-id": "others"}
            listed = client.get("/v1/jobs", headers=others).json()["jobs"]
            assert "scan" not in json.dumps(listed) and paper["id"] not in json.dumps(listed)
            for method, path in (
                ("GET", ""),
                ("GET", "/events"),
                ("DELETE", ""),
                ("POST", "/pause"),
            ):
                answer = client.request(method, f"/v1/jobs/{paper['id']}{path}", headers=others)
                assert answer.status_code == 404
            assert client.get("/v1/ocr/documents", headers={"authorization": ""}).status_code == 401


def test_the_paths_are_described(client: httpx.Client):
    paths = client.get("/openapi.json").json()["paths"]
    read = paths["/v1/ocr/read"]["post"]
    assert read["tags"] == ["OCR"]
    content = read["requestBody"]["content"]
    assert "files" in content["multipart/form-data"]["schema"]["properties"]
    assert content["application/json"]["example"]["documents"]
