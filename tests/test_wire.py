"""What all dialects share: statuses before the first byte, frames after it, and hang-ups that stop the work."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from engine import BadValue, ChatRequest, Text
from engine.errors import InferenceFailed
from engine.events import Done, Event, Loading, Progress, Queued
from routers import wire
from routers.bodies import Sampling, build, bytes_of, seconds_of
from tests.serving import Served, until

SLOW = "!slow " + "la " * 400  # 20 ms a word: eight seconds


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}], **more}


# Statuses and frames ------------------------------------------------------------------------------


def test_a_refusal_is_a_status_even_for_a_stream(server: Served):
    answer = httpx.post(
        f"{server.url}/v1/ai/generate", json=ask("hi", stream=True) | {"model": "eco"}
    )
    assert answer.status_code == 404
    assert answer.json()["error"] == "NOT_FOUND"
    assert "echo" in answer.json()["detail"]


def test_a_late_failure_is_a_frame_and_the_stream_ends_properly(server: Served):
    answer = httpx.post(f"{server.url}/v1/ai/generate", json=ask("!fail now please", stream=True))
    assert answer.status_code == 200
    frames = [f for f in answer.text.split("\n\n") if f.startswith("data: ")]
    assert json.loads(frames[0][6:])["content"].startswith("echo:")
    assert json.loads(frames[-2][6:])["error"] == "INFERENCE_FAILED"
    assert frames[-1] == "data: [DONE]"
    assert "/etc/secret" not in answer.text


def test_a_failure_of_a_whole_answer_is_a_status(server: Served):
    answer = httpx.post(f"{server.url}/v1/ai/generate", json=ask("!fail now please"))
    assert answer.status_code == 500
    assert answer.json()["error"] == "INFERENCE_FAILED"
    assert "/etc/secret" not in answer.text and "Traceback" not in answer.text


def test_unknown_fields_are_named(server: Served):
    body = ask("hi", mirostat=2, num_ctx=7) | {"bad name\n": 1}
    answer = httpx.post(f"{server.url}/v1/ai/generate", json=body)
    assert answer.headers["x-ignored-params"] == "mirostat, num_ctx"
    assert (
        "x-ignored-params" not in httpx.post(f"{server.url}/v1/ai/generate", json=ask("hi")).headers
    )


def test_ids_are_returned(server: Served):
    sent = {"X-Session-ID": "mine", "X-Request-ID": "r-1"}
    for path in ("/health", "/v1/nothing", "/v1/ai/session"):
        answer = httpx.get(server.url + path, headers=sent)
        assert (answer.headers["x-session-id"], answer.headers["x-request-id"]) == ("mine", "r-1")
    made = [httpx.get(f"{server.url}/health").headers["x-session-id"] for _ in range(2)]
    assert made[0] != made[1] and min(map(len, made)) >= 24


# Hang-ups -----------------------------------------------------------------------------------------


def post(server: Served, path: str, body: dict[str, Any], session: str) -> socket.socket:
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-Session-ID: {session}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection = server.connect()
    connection.sendall(head.encode() + data)
    return connection


def row_of(server: Served, session: str) -> Any:
    return until(lambda: next(iter(server.rows(session=session)), None))


@pytest.mark.parametrize("path", ["/v1/ai/generate", "/v1/chat/completions"])
def test_a_stream_that_hangs_up_stops_the_work(server: Served, path: str):
    session = f"up-{path[4:6]}"
    connection = post(server, path, ask(SLOW, stream=True), session)
    got = b""
    while got.count(b" la") < 3:
        got += connection.recv(4096)
    connection.close()
    began = time.monotonic()
    assert until(lambda: not server.running, 2)
    assert time.monotonic() - began < 0.5
    row = row_of(server, session)
    assert row.status == "cancelled"
    assert row.output_tokens < 30


def test_a_plain_request_that_hangs_up_stops_the_work(server: Served):
    connection = post(server, "/v1/ai/generate", ask(SLOW), "plain-up")
    assert until(lambda: server.running, 2)
    connection.close()
    began = time.monotonic()
    assert until(lambda: not server.running, 2)
    assert time.monotonic() - began < 0.5
    row = row_of(server, "plain-up")
    assert row.status == "cancelled" and row.output_tokens < 60


def test_choices_that_hang_up_all_stop(server: Served):
    connection = post(server, "/v1/chat/completions", ask(SLOW, n=3), "three")
    assert until(lambda: server.running == 3, 2)
    connection.close()
    assert until(lambda: not server.running, 2)
    assert until(lambda: [r.status for r in server.rows(session="three")] == ["cancelled"] * 3)


# The parts ----------------------------------------------------------------------------------------


async def speak(*events: Event | Exception, pause: float = 0) -> AsyncGenerator[Event]:
    for event in events:
        await asyncio.sleep(pause)
        if isinstance(event, Exception):
            raise event
        yield event


class Fake:
    """A client of one ASGI response."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent)


async def lines(events: Any, meta: wire.Meta) -> AsyncGenerator[bytes]:
    async for event in events:
        yield wire.waiting(event) or (event.delta.encode() if isinstance(event, Text) else b"")


PLAIN = wire.Dialect("plain", lines, lambda result, meta: result.text, lambda e: {"e": e.code})
META = wire.Meta(id="1", model="m")


async def test_silence_has_a_pulse(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "SILENCE", 0.05)
    client = Fake()
    events = speak(Text("a"), Done(), pause=0.2)
    stream = wire.Stream(wire.Opening([await anext(events)]), events, PLAIN, META, {})
    await stream({"type": "http"}, client.receive, client.send)
    assert 2 <= client.body.count(b":\n\n") <= 5
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_stream_closes_its_events_whatever_happens():
    closed = []

    async def events() -> AsyncGenerator[Event]:
        try:
            yield Text("a")
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    client, source = Fake(), events()
    stream = wire.Stream(wire.Opening([await anext(source)]), source, PLAIN, META, {})
    task = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
    await asyncio.sleep(0.01)
    client.left.set()
    await task
    assert closed == [True]


async def test_a_cancelled_stream_closes_its_events():
    closed = []

    async def events() -> AsyncGenerator[Event]:
        try:
            yield Text("a")
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    client, source = Fake(), events()
    stream = wire.Stream(wire.Opening([await anext(source)]), source, PLAIN, META, {})
    task = asyncio.create_task(stream({"type": "http"}, client.receive, client.send))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [True]


async def test_late_errors_end_the_stream():
    client = Fake()
    events = speak(Text("a"), InferenceFailed("It broke."))
    await wire.Stream(wire.Opening([await anext(events)]), events, PLAIN, META, {})(
        {"type": "http"}, client.receive, client.send
    )
    assert client.body == b'adata: {"e":"INFERENCE_FAILED"}\n\n' + wire.DONE


async def test_what_fails_while_the_model_loads_is_a_status_and_not_a_frame():
    events = speak(Queued(1), Loading("m"), BadValue("Too long."), pause=0.01)
    with pytest.raises(BadValue):
        await wire.open_stream(events, PLAIN.waits)


async def test_a_long_loading_does_not_hold_the_headers_back_for_ever():
    client = Fake()
    events = speak(Loading("m"), Text("a"), Done(), pause=0.1)
    opening = await wire.open_stream(events, PLAIN.waits, hold=0.15)
    assert opening.seen == [Loading("m")] and opening.step is not None
    stream = wire.Stream(opening, events, PLAIN, META, {})
    await stream({"type": "http"}, client.receive, client.send)
    assert client.body == b": loading\n\na"


async def test_leaving_while_the_headers_wait_closes_the_events():
    closed = []

    async def events() -> AsyncGenerator[Event]:
        try:
            yield Loading("m")
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    source = events()
    task = asyncio.create_task(wire.open_stream(source, PLAIN.waits))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await source.aclose()
    assert closed == [True]


async def test_until_gone_returns_or_raises():
    client = Fake()

    async def answer() -> int:
        return 7

    assert await wire.until_gone(client.receive, answer()) == 7
    client.left.set()
    with pytest.raises(wire.Gone):
        await wire.until_gone(client.receive, asyncio.sleep(60))


def test_states_are_comments():
    assert wire.waiting(Queued(3)) == b": queued, 3 ahead\n\n"
    assert wire.waiting(Loading("m", 0.5)) == b": loading 50%\n\n"
    assert wire.waiting(Loading("m")) == b": loading\n\n"
    assert wire.waiting(Progress(1, 4)) == b": 1 of 4\n\n"
    assert wire.waiting(Text("x")) == b""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (5, 5),
        (-1, -1),
        ("5m", 300),
        ("-1", -1),
        ("300ms", 0.3),
        ("1.5h", 5400),
        ("7", 7),
        ("1h30m", 5400),
        ("5m0s", 300),
        ("-1m0s", -60),
        ("1500us", 0.0015),
    ],
)
def test_durations(value: Any, seconds: float | None):
    assert seconds_of(value) == pytest.approx(seconds) if seconds is not None else True


@pytest.mark.parametrize("value", ["soon", "5 minutes", "", "m5", "5m3", "nan", "--1"])
def test_wrong_durations(value: str):
    with pytest.raises(BadValue, match="keep_alive"):
        seconds_of(value)


@pytest.mark.parametrize(
    "value",
    [
        "http://a/b.png",
        "HTTPS://a",
        "data:image/png,abc",
        "data:x",
        "not base64!",
        "",
        "data:a;base64,",
    ],
)
def test_wrong_pictures(value: str):
    with pytest.raises(BadValue):
        bytes_of(value, "image")


def test_pictures():
    assert bytes_of("data:image/png;base64,AQI=", "image") == b"\1\2" == bytes_of("AQI=", "image")


def test_values_out_of_bounds_name_their_field():
    with pytest.raises(BadValue, match="temperature") as caught:
        build(ChatRequest, prompt="x", **Sampling(temperature=9).sampling())
    assert caught.value.param == "temperature"
