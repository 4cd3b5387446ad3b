"""The files over HTTP: every call, ranges, conditions, large uploads, files that change under a download."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from routers import files_answers, files_forms
from tests.areas import DATA, send
from tests.serving import Served, until


@pytest.fixture
def client(area: Served) -> Iterator[httpx.Client]:
    with area.client() as made:
        yield made


def delete(client: httpx.Client, path: str, what: str = "delete") -> httpx.Response:
    return client.request("DELETE", f"/v1/files/{what}", json={"path": path})


def names(client: httpx.Client, path: str = "") -> list[str]:
    return [entry["name"] for entry in client.get(f"/v1/files/list/{path}").json()["entries"]]


def test_a_life(client: httpx.Client) -> None:
    made = client.post("/v1/files/directory/create", json={"path": "life/one", "nonsense": 1})
    assert made.json()["type"] == "directory" and made.headers["x-ignored-params"] == "nonsense"
    sent = send(client, "é.txt", b"hello", path="life/one").json()
    assert sent["status"] == "success" and sent["files"][0]["path"] == "life/one/é.txt"
    listed = client.get("/v1/files/list/life/one").json()
    assert listed["path"] == "life/one"
    assert set(listed["entries"][0]) == {"name", "path", "type", "size", "modified"}
    moved = client.post(
        "/v1/files/move", json={"source": "life/one/é.txt", "destination": "life/ж.txt"}
    )
    assert moved.json()["path"] == "life/ж.txt"
    client.post("/v1/files/directory/move", json={"source": "life/one", "destination": "life/two"})
    assert names(client, "life") == ["two", "ж.txt"]
    packed = client.post(
        "/v1/files/directory/compress", json={"path": "life", "zip_name": "l"}
    ).json()
    assert packed["path"] == "l.zip" and packed["size"] > 0
    done = client.post(
        "/v1/files/decompress", json={"path": "l.zip", "extract_path": "back"}
    ).json()
    assert done["files"] == 1 and names(client, "back") == ["two", "ж.txt"]
    streamed = client.get("/v1/files/download/back")
    assert "back.zip" in streamed.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(streamed.content)) as archive:
        assert archive.namelist() == ["two/", "ж.txt"] and archive.testzip() is None
    gone = delete(client, "back", "directory/delete").json()
    assert gone["path"] == "back" and "back" not in names(client)
    assert client.get("/v1/files/trash").json()["entries"][0]["id"] == gone["id"]
    assert client.post("/v1/files/restore", json={"id": gone["id"]}).json()["path"] == "back"
    assert delete(client, "back/ж.txt").status_code == 200 and names(client, "back") == ["two"]
    assert client.request("DELETE", "/v1/files/trash").json()["removed"] >= 1
    assert client.head("/v1/files/download/back").status_code == 200


REFUSED = [
    ("POST", "directory/create", {"path": "a.bin"}, 409), ("POST", "directory/create", {"path": ""}, 409),
    ("POST", "directory/create", {"path": "../x"}, 400), ("POST", "directory/create", {"path": "a.bin/x"}, 404),
    ("POST", "directory/create", {"path": "x" * 300}, 400), ("POST", "directory/create", {"path": "x/" * 2500}, 400),
    ("POST", "directory/create", {}, 422), ("POST", "directory/create", {"path": 7}, 422),
    ("POST", "move", {"source": "nope", "destination": "x"}, 404),
    ("POST", "move", {"source": "", "destination": "x"}, 400),
    ("POST", "move", {"source": "a.bin", "destination": "no/such/x"}, 404),
    ("POST", "move", {"source": "a.bin", "destination": "a.bin"}, 409),
    ("POST", "directory/move", {"source": "a.bin", "destination": "x"}, 400),
    ("DELETE", "delete", {"path": ""}, 400), ("DELETE", "directory/delete", {"path": ""}, 400),
    ("DELETE", "delete", {"path": "nope"}, 404), ("DELETE", "directory/delete", {"path": "a.bin"}, 400),
    ("POST", "directory/compress", {"path": "nope", "zip_name": "x"}, 404),
    ("POST", "directory/compress", {"path": "", "zip_name": "x"}, 400),
    ("POST", "directory/compress", {"path": "a.bin", "zip_name": "../x.zip"}, 400),
    ("POST", "decompress", {"path": "a.bin", "extract_path": "x"}, 415),
    ("POST", "restore", {"id": "../../x"}, 404), ("GET", "list/nope", None, 404), ("GET", "list/a.bin", None, 404),
    ("GET", "download/..%2f..%2fetc%2fpasswd", None, 400), ("GET", "stream/%2e%2e/secret", None, 400),
    ("GET", "stream/", None, 400), ("GET", "stream/a%00b", None, 400), ("GET", "stream/nope", None, 404),
    ("GET", "picture/a.bin", None, 415), ("PUT", "upload", None, 405),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
def test_refusals(client: httpx.Client, method: str, path: str, body: Any, status: int) -> None:
    answer = client.request(method, f"/v1/files/{path}", json=body)
    assert answer.status_code == status, answer.text
    assert {"detail", "error"} <= set(answer.json()) and str(Path.cwd()) not in answer.text


# Uploads


def test_more_than_other_bodies_may_be(client: httpx.Client, area: Served) -> None:
    data = random.randbytes(5_000_000)
    assert send(client, "large", data, path="big").status_code == 200
    assert client.get("/v1/files/download/big/large").content == data
    assert client.post("/v1/chat/completions", content=bytes(400_000)).status_code == 413
    with area.connect() as wire:
        wire.sendall(head_of("/v1/files/upload", 40_000_000))
        answer = wire.recv(10_000)
    assert b"413" in answer.partition(b"\r\n")[0] and b"ATELIER_UPLOAD_LIMIT" in answer


def head_of(path: str, length: int) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {length}",
        f"Content-Type: {KIND}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def test_several_files_are_all_there_or_none(client: httpx.Client) -> None:
    def many(*given: str) -> httpx.Response:
        return client.post(
            "/v1/files/upload",
            files=[("files", (name, name.encode())) for name in given],
            data={"path": "many"},
        )

    assert many("a", "b/c", "b/d").status_code == 200 and names(client, "many/b") == ["c", "d"]
    assert many("e", "a", "f").status_code == 409 and many("g", "../h").status_code == 400
    assert many("i", "i").status_code == 400
    assert names(client, "many") == ["b", "a"]


KIND = "multipart/form-data; boundary=x"
FORM = (b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n', b"\r\n--x--\r\n")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (FORM[0] % (b"files", b'; filename="p"') + b"data" + FORM[1], KIND, 200),
        (FORM[0] % (b"files", b'; filename="q"') + b"data", KIND, 422),
        (FORM[0] % (b"path", b"") + b"data" + FORM[1], KIND, 422),
        (FORM[0] % (b"path", b"") + b"d" * 30_000 + FORM[1], KIND, 422),
        (FORM[0] % (b"files", b'; filename=""') + FORM[1], KIND, 422),
        (FORM[0] % (b"files", b'; filename="\xff"') + b"1" + FORM[1], KIND, 400),
        (b"no form", KIND, 422), (b"", KIND, 422),
        (b"{}", "application/json", 415), (b"", "multipart/form-data", 415),
        (b"x", "multipart/form-data; boundary=" + "y" * 300, 422),
    ],
)  # fmt: skip
def test_forms(client: httpx.Client, body: bytes, kind: str, status: int, area: Served) -> None:
    before = names(client)
    answer = client.post("/v1/files/upload", content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert (
        names(client) == (sorted([*before, "p"], key=str.casefold) if status == 200 else before)
        or status == 200
    )
    assert staged(area) == []


def staged(area: Served) -> list[str]:
    return os.listdir(area.engine.files.jail.root / ".atelier" / "staging")


def test_a_form_in_any_pieces(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_forms, "HELD", 1000)
    data = random.Random(2).randbytes(20_000).replace(b"\r", b"\r\n--x")
    body = (
        FORM[0] % (b"files", b'; filename="pieces"')
        + data
        + b"\r\n"
        + FORM[0] % (b"existing", b"")
        + b"replace"
        + FORM[1]
    )
    for size in (7, 1000, 100_000):
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        answer = client.post(
            "/v1/files/upload",
            content=pieces,
            headers={"content-type": KIND},
        )
        assert answer.status_code == 200, answer.text
        assert client.get("/v1/files/download/pieces").content == data


def test_a_client_that_hangs_up_leaves_nothing(client: httpx.Client, area: Served) -> None:
    with area.connect() as wire:
        wire.sendall(head_of("/v1/files/upload", 9_000_000))
        wire.sendall(FORM[0] % (b"files", b'; filename="cut"') + bytes(3_000_000))
        assert until(lambda: staged(area))
    assert until(lambda: not staged(area)) and "cut" not in names(client)


# Sending


def raw_get(area: Served, path: str) -> socket.socket:
    wire = area.connect()
    wire.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return wire


@pytest.fixture
def large(client: httpx.Client, area: Served) -> tuple[str, bytes]:
    data = random.Random(4).randbytes(25_000_000)
    send(client, "large.bin", data, existing="replace")
    return "large.bin", data


def test_a_file_that_changes_while_it_is_sent(area: Served, large: tuple[str, bytes]) -> None:
    """Written to: the answer is cut, never a mixture that looks whole. Replaced by another: the old one is sent."""
    name, data = large
    place = area.engine.files.jail.root / name
    for change, whole in (("write", False), ("cut", False), ("replace", True)):
        place.write_bytes(data)
        with raw_get(area, f"/v1/files/download/{name}") as wire:
            got = wire.recv(1000)
            if change == "write":
                with place.open("r+b") as file:
                    file.write(b"changed")
            elif change == "cut":
                os.truncate(place, 1_000_000)
            else:
                os.replace(area.engine.files.jail.root / "a.bin", place)
            while piece := wire.recv(1_000_000):
                got += piece
        body = got.partition(b"\r\n\r\n")[2]
        assert (body == data) is whole, change
        assert whole or len(body) < len(data)
    with area.client() as client:
        send(client, "a.bin", DATA)


@pytest.mark.parametrize("zero_copy", [True, False])
def test_slow_readers_and_many_at_once(
    area: Served, large: tuple[str, bytes], zero_copy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = large
    if not zero_copy:
        monkeypatch.setattr(files_answers, "ZERO_COPY", "no such extension")
    slow = raw_get(area, f"/v1/files/stream/{name}")
    wrong: list[int] = []

    def load() -> None:
        with area.client() as own:
            for _ in range(2):  # the connection goes on after a file
                if own.get(f"/v1/files/stream/{name}").content != data:
                    wrong.append(1)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = b""
    with slow:
        while piece := slow.recv(1_000_000):
            got += piece
    assert wrong == [] and got.endswith(data)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):  # and who hangs up leaves no open file
        raw_get(area, f"/v1/files/stream/{name}").close()
    assert until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)


def test_an_open_server_deletes_nothing(served: Callable[..., Served]) -> None:
    with served(share=True, files_spare=0).client() as open_:
        assert send(open_, "a", b"1").status_code == 200
        assert (
            delete(open_, "a").status_code == 403
            and delete(open_, "a", "directory/delete").status_code == 403
        )
        assert open_.request("DELETE", "/v1/files/trash").status_code == 403
        assert send(open_, "a", b"2", existing="replace").status_code == 403
        assert open_.get("/v1/files/download/a").content == b"1"


def test_the_description_has_the_calls(area: Served) -> None:
    paths = area.app.api.openapi()["paths"]
    assert {"post"} == set(paths["/v1/files/upload"]) and {"get", "delete"} == set(
        paths["/v1/files/trash"]
    )
    assert json.dumps(paths["/v1/files/upload"]).count("binary") == 1
