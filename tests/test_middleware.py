"""Each middleware on its own, over a small app, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engine import Access, AtelierError, Settings
from middleware.body import Body
from middleware.fetches import Fetches, fetches
from middleware.front import Front
from middleware.gate import COOKIE, Gate
from middleware.hosts import Hosts, host_name
from middleware.ids import Ids
from middleware.origins import Origins
from middleware.safety import Safety
from middleware.sending import SendsFiles


def refuse(path: str, error: AtelierError) -> Response:
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
    return Response(json.dumps({"error": error.code}), error.status, headers)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body's length and what the middleware put into the state."""
    body = await Request(scope, receive).body()
    rank = scope.get("state", {}).get("rank")
    await PlainTextResponse(f"{len(body)} {rank}")(scope, receive, send)


def client(app: ASGIApp, host: str = "127.0.0.1:7860") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}")


# Body ---------------------------------------------------------------------------------------------


async def test_a_body_within_the_limit_passes():
    async with client(Body(echo, refuse, 10)) as http:
        assert (await http.post("/", content=b"x" * 10)).text == "10 None"


async def test_an_announced_body_is_refused_unread():
    async def unread(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("reached")

    async with client(Body(unread, refuse, 10)) as http:
        assert (await http.post("/", content=b"x" * 11)).status_code == 413


async def test_a_chunked_body_is_refused_when_it_grows_too_long():
    read = 0

    async def drip() -> Any:
        nonlocal read
        for _ in range(1000):
            read += 4
            yield b"xxxx"

    async with client(Body(echo, refuse, 10)) as http:
        assert (await http.post("/", content=drip())).status_code == 413
    assert read < 50


@pytest.mark.parametrize("length", ["-1", "1e3", "ten", "٣"])
async def test_a_wrong_length_is_refused(length: str):
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(b"content-length", length.encode("utf-8"))],
    }  # fmt: skip
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await Body(echo, refuse, 10)(scope, receive, send)
    assert sent[0]["status"] == 400


# Ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "é", "<script>"])
async def test_senseless_ids_are_replaced(bad: str):
    async with client(Ids(echo)) as http:
        headers = {"x-session-id": bad.encode("latin-1"), "x-request-id": bad.encode("latin-1")}
        answer = await http.get("/", headers=headers)
    assert answer.headers["x-session-id"] != bad and len(answer.headers["x-request-id"]) >= 16


# Hosts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("localhost", True), ("LOCALHOST:7860", True), ("localhost.", True), ("127.0.0.1:1", True),
        ("[::1]:7860", True), ("192.168.1.5", True), ("my.box:7860", True), ("a.localhost", True),
        ("evil.example", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False),
        ("", False), ("my.box.evil", False), ("a b", False),
    ],
)  # fmt: skip
def test_hosts(host: str, fine: bool):
    assert Hosts(echo, refuse, ["my.box"]).accepts(host) is fine


def test_any_host():
    assert Hosts(echo, refuse, ["*"]).accepts("evil.example")


def test_host_names():
    assert [host_name(host) for host in ("A:1", "[::1]:2", "b")] == ["a", "[::1]", "b"]


# Gate ---------------------------------------------------------------------------------------------


def gate(settings: Settings, access: Access | None = None) -> ASGIApp:
    origins = Origins(settings)
    inner = Gate(
        echo, refuse, access or Access(settings), origins, {"/free"}, [("*", "/admin/"), ("DELETE", "/models/")]
    )  # fmt: skip
    return Ids(inner)


TOKENS = Settings(token="user", admin_token="admin")
OPEN = Settings()
BEARER: Callable[[str], dict[str, str]] = lambda token: {"authorization": f"Bearer {token}"}  # noqa: E731


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/free", {}, 200),
        ("GET", "/free/", {}, 401),
        ("GET", "//free", {}, 401),
        ("GET", "/x", {}, 401),
        ("GET", "/x", BEARER("user"), 200),
        ("GET", "/x", {"authorization": "bearer user"}, 200),
        ("GET", "/x", {"authorization": "Basic user"}, 401),
        ("GET", "/x", {"authorization": "user"}, 401),
        ("GET", "/x", BEARER("nope"), 401),
        ("GET", "/x?token=user", {}, 401),
        ("GET", "/admin/x", BEARER("user"), 403),
        ("GET", "/admin/x", BEARER("admin"), 200),
        ("DELETE", "/models/m", BEARER("user"), 403),
        ("DELETE", "/models/m", BEARER("admin"), 200),
        ("GET", "/models/m", BEARER("user"), 200),
        ("POST", "/x", {**BEARER("user"), "origin": "https://evil.example"}, 200),
        ("POST", "/x", {"origin": "https://evil.example"}, 401),
    ],
)
async def test_the_gate_with_tokens(method: str, path: str, headers: dict[str, str], status: int):
    async with client(gate(TOKENS)) as http:
        assert (await http.request(method, path, headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("POST", {}, 200),
        ("POST", {"origin": "http://127.0.0.1:7860"}, 200),
        ("POST", {"origin": "http://localhost:3000"}, 200),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": "http://localhost.evil.example"}, 403),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("DELETE", {"origin": "https://evil.example"}, 403),
        ("GET", {"origin": "https://evil.example"}, 200),
    ],
)
async def test_the_gate_without_tokens(method: str, headers: dict[str, str], status: int):
    async with client(gate(OPEN)) as http:
        assert (await http.request(method, "/x", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"origin": "http://127.0.0.1:3000"}, 401),
        ("GET", {"sec-fetch-site": "cross-site"}, 401),
        ("GET", {"sec-fetch-site": "same-site"}, 401),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ("POST", {}, 403),
        ("POST", {"origin": "http://127.0.0.1:7860"}, 200),
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ("POST", {"origin": "http://127.0.0.1:3000"}, 403),
        ("POST", {"origin": "null"}, 403),
    ],
)
async def test_a_cookie_serves_our_own_pages_alone(
    method: str, headers: dict[str, str], status: int
):
    access = Access(TOKENS)
    cookie = {"cookie": f"{COOKIE}={await access.sign_in('user', 'a')}"}
    async with client(gate(TOKENS, access)) as http:
        assert (await http.request(method, "/x", headers=headers | cookie)).status_code == status


async def test_a_browser_is_sent_to_sign_in():
    async with client(gate(TOKENS)) as http:
        answer = await http.get("/a b?c=d&e", headers={"accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/signin?next=%2Fa%20b%3Fc%3Dd%26e"


async def test_an_admin_token_alone():
    async with client(gate(Settings(admin_token="admin"))) as http:
        assert (await http.get("/x")).text == "0 user"
        assert (await http.get("/admin/x")).status_code == 401
        assert (await http.get("/admin/x", headers=BEARER("admin"))).text == "0 admin"


# Fetches ------------------------------------------------------------------------------------------

URLS = [
    "http://127.0.0.1:1/x",
    "https://a",
    "HTTP://a",
    "hTtP:/a",
    "ftp://a",
    "//a/b",
    "\\\\a\\b",
    "a",
]
FORMS = [
    "/gradio_api/file={}", "/gradio_api/proxy={}", "//gradio_api/file={}", "/gradio_api//file={}",
    "/gradio_api/FILE={}", "/x/gradio_api/file={}", "/gradio_api/file={}#/tmp/a",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("url", URLS)
def test_urls_are_not_fetched(form: str, url: str):
    plain = form.format(url)
    assert fetches(plain)
    every = "".join(f"%{ord(c):02x}" if c in ":/.=" else c for c in plain[1:])
    assert fetches("/" + every)
    assert fetches(("/" + every).replace("%", "%25"))
    assert fetches(plain.replace("http", "ht\ttp").replace("=", "=\n"))


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/tmp/gradio/a b.png",
        "/gradio_api/file=/data/uploads/100%.png",
        "/v1/x",
        "/",
    ],
)
def test_files_are_served(path: str):
    assert not fetches(path)


async def test_fetching_is_forbidden():
    async with client(Fetches(echo, refuse)) as http:
        assert (await http.get("/gradio_api/file=http://127.0.0.1/")).status_code == 403
        assert (await http.get("/gradio_api/file=/tmp/a.png")).status_code == 200


# Origins, Safety, Front ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "origin", "fine"),
    [
        ({}, "http://localhost:3000", True),
        ({}, "http://[::1]:3000", True),
        ({}, "https://evil.example", False),
        ({}, "http://localhost.evil.example", False),
        ({}, "http://127.0.0.1.evil.example", False),
        ({}, "http://evil.example/http://localhost", False),
        ({"token": "t"}, "https://anything.example", True),
        ({"token": "t", "cors_origins": "https://a.example"}, "https://b.example", False),
        ({"cors_origins": "https://a.example, https://b.example"}, "https://b.example", True),
        ({"cors_origins": "https://a.example"}, "http://localhost", False),
        ({"cors_origins": "https://a.example"}, "https://aXexample", False),
        ({"cors_origins": "*"}, "https://evil.example", True),
    ],
)
async def test_cors(values: dict[str, str], origin: str, fine: bool):
    async with client(Origins(Settings(**values)).cors(echo)) as http:
        ask = {
            "origin": origin,
            "access-control-request-method": "DELETE",
            "access-control-request-headers": "x-a",
        }
        before = await http.options("/", headers=ask)
        answer = await http.get("/", headers={"origin": origin})
    expected = origin if fine else None
    assert before.headers.get("access-control-allow-origin") == expected
    assert answer.headers.get("access-control-allow-origin") == expected
    assert before.status_code == (200 if fine else 400)
    if fine:
        assert before.headers["access-control-allow-credentials"] == "true"
        assert "DELETE" in before.headers["access-control-allow-methods"]
        assert "PUT" not in before.headers["access-control-allow-methods"]
        assert "x-session-id" in answer.headers["access-control-expose-headers"].lower()


async def test_every_answer_is_safe():
    async with client(Safety(echo)) as http:
        headers = (await http.get("/")).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe-eval" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    async with client(Safety(echo, "https://huggingface.co")) as http:
        headers = (await http.get("/")).headers
    assert "frame-ancestors https://huggingface.co" in headers["content-security-policy"]
    assert "x-frame-options" not in headers


@pytest.mark.parametrize(
    ("method", "path", "accept", "page"),
    [
        ("GET", "/", "text/html,*/*;q=0.8", True),
        ("HEAD", "/", "text/html", True),
        ("GET", "/", "*/*", False),
        ("GET", "/", "", False),
        ("GET", "/", "application/json", False),
        ("POST", "/", "text/html", False),
        ("GET", "/health", "text/html", False),
    ],
)
async def test_the_front_door(method: str, path: str, accept: str, page: bool):
    async with client(Front(PlainTextResponse("api"), PlainTextResponse("page"))) as http:
        answer = await http.request(method, path, headers={"accept": accept})
    assert answer.headers["content-length"] == ("4" if page else "3")
    assert ("Accept" in answer.headers.get("vary", "")) is (path == "/")


def test_a_piece_of_a_body_is_handed_on_as_it_came() -> None:
    protocol: Any = object.__new__(SendsFiles)
    protocol.parser = SimpleNamespace(should_upgrade=lambda: False)
    protocol.flow = SimpleNamespace(pause_reading=lambda: None)
    protocol.cycle = SimpleNamespace(
        body=bytearray(), response_complete=False, message_event=asyncio.Event()
    )
    piece = b"x" * 100_000
    protocol.on_body(piece)
    assert bytes(protocol.cycle.body) is piece
    protocol.on_body(b"y")
    assert bytes(protocol.cycle.body) == piece + b"y" and protocol.cycle.message_event.is_set()
