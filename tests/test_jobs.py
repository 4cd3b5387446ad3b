"""Tickets: phases, replay from any point, bounds, cancel; and the same over HTTP with its access rules."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from engine import Caller, Engine, Settings, Text
from engine.errors import InferenceFailed, Unknown
from engine.events import Done, Event, Image, Loading, Progress, Queued
from engine.jobs import Jobs, Track
from tests.conftest import asking, collect
from tests.hub import Hub
from tests.serving import Served, until

pytestmark = pytest.mark.slow  # servers


def jobs(**values: Any) -> Jobs:
    return Jobs(Settings(_env_file=None, **values))  # type: ignore[call-arg]


async def seen(track: Track, after: int = 0) -> list[tuple[int, Event]]:
    return [item async for item in track.follow(after)]


def text_of(items: list[tuple[int, Event]]) -> str:
    return "".join(event.delta for _, event in items if isinstance(event, Text))


# Without a server


async def test_events_are_replayed_from_any_point():
    track = jobs().begin("a", "request", "hi", "echo")
    for event in (Queued(2), Queued(1), Loading("echo", 0.5), Text("a"), Text("b"), Done()):
        track.put(event)
    track.end("done")
    whole = await seen(track)
    assert [number for number, _ in whole] == [3, 4, 5, 6]  # replaced states leave no trace
    assert [event for _, event in whole] == [Loading("echo", 0.5), Text("a"), Text("b"), Done()]
    for number in range(7):
        assert await seen(track, number) == [item for item in whole if item[0] > number]


async def test_many_follow_at_their_own_pace():
    track = jobs().begin("a", "request", "hi", "echo")

    async def slowly(pause: float, after: int) -> str:
        found = []
        async for item in track.follow(after):
            found.append(item)
            await asyncio.sleep(pause)
        return text_of(found)

    readers = [asyncio.create_task(slowly(0.002 * n, n)) for n in range(4)]
    for n in range(50):
        track.put(Text(f"{n} "))
        await asyncio.sleep(0)
    track.put(Done())
    track.end("done")
    texts = await asyncio.gather(*readers)
    assert texts == ["".join(f"{n} " for n in range(after, 50)) for after in range(4)]


async def test_a_failure_comes_after_what_was_said():
    track = jobs().begin("a", "request", "hi", "echo")
    track.put(Text("so far"))
    track.end("failed", InferenceFailed("It broke. Ask again."))
    found = []
    with pytest.raises(InferenceFailed):
        async for item in track.follow():
            found.append(item)
    assert text_of(found) == "so far" and track.ticket().error == "It broke. Ask again."


def test_memory_is_bounded():
    kept = jobs(replay_bytes=40_000)
    track = kept.begin("a", "request", "hi", "echo")
    for _ in range(10_000):
        track.put(Text("word "))
    assert track.size <= 10_000 and len(track._entries) < 50
    track.put(Image(b"x" * 1_000_000, "image/png", 1))
    assert len(track._entries) == 1  # the last event is always there
    for n in range(100):
        one = kept.begin(f"r{n}", "request", "", "echo")
        for _ in range(20):
            one.put(Text("word "))
        kept.end(one, "done")
    assert sum(t.kind == "request" for t in kept.list()) < 15
    assert kept._held <= 40_000 and kept.get("a").phase == "running"


def test_the_ended_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch):
    kept = jobs(replay_seconds=10)
    kept.end(kept.begin("a", "request", "", "echo"), "done")
    assert kept.get("a").phase == "done"
    later = time.time() + 11
    monkeypatch.setattr("engine.jobs.time.time", lambda: later)
    assert kept.list() == []
    with pytest.raises(Unknown):
        kept.get("a")


def test_an_id_that_runs_is_not_taken_again():
    kept = jobs()
    names = [kept.begin("a", "request", "", "echo").id for _ in range(3)]
    assert names == ["a", "a-2", "a-3"]
    kept.end(kept._tracks["a"], "done")
    assert kept.begin("a", "request", "", "echo").id == "a"


@pytest.mark.parametrize(
    ("events", "phase", "ahead", "done", "total"),
    [
        ([], "queued", 0, 0, 0),
        ([Queued(3)], "queued", 3, 0, 0),
        ([Queued(3), Loading("m")], "loading", 0, 0, 0),
        ([Loading("m", 0.25)], "loading", 0, 25, 100),
        ([Loading("m", 0.25), Text("a")], "running", 0, 0, 0),
        ([Progress(3, 20)], "running", 0, 3, 20),
    ],
)
def test_phases(events: list[Event], phase: str, ahead: int, done: int, total: int):
    track = jobs().begin("a", "request", "", "m")
    for event in events:
        track.put(event)
    ticket = track.ticket()
    found = (ticket.phase, ticket.ahead if phase == "queued" else 0, ticket.done, ticket.total)
    assert found == (phase, ahead, done, total)


def test_a_token_costs_next_to_nothing():
    track = jobs().begin("a", "request", "", "m")
    event = Text("token")
    best = min(_timed(lambda: [track.put(event) for _ in range(2000)]) for _ in range(5)) / 2000
    assert best < 5e-6


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


# Behind the door


async def test_a_request_has_a_ticket(engine: Engine):
    caller = Caller(session="s", request_id="r1")
    answer = asyncio.create_task(collect(engine, asking("!slow one two three four"), caller))
    await asyncio.sleep(0.05)
    while engine.jobs.get("r1").phase != "running":
        await asyncio.sleep(0.005)
    ticket = engine.jobs.get("r1")
    assert (ticket.kind, ticket.model, ticket.session) == ("request", "echo", "s")
    assert ticket.title == "!slow one two three four"
    replayed = [item async for item in engine.jobs.follow("r1")]
    assert text_of(replayed) == "echo: !slow one two three four"
    await answer
    ended = engine.jobs.get("r1")
    assert ended.phase == "done" and ended.seconds_left is None
    assert text_of([i async for i in engine.jobs.follow("r1", replayed[1][0])]) in text_of(replayed)


async def test_one_that_reads_its_prompt_runs(engine: Engine):
    job = engine.lane.submit(engine.registry.find("echo"), asking("hi"), Caller())
    track = engine.jobs.begin("a", "request", "", "echo")
    track.put(Loading("echo"))
    track.job = job
    async for _ in job:
        pass
    assert job.started is not None and track.ticket().phase == "running"


async def test_cancel_ends_it_with_what_is_there(engine: Engine):
    caller = Caller(request_id="r1")
    answer = asyncio.create_task(collect(engine, asking("!slow !long"), caller))
    while not any(t.phase == "running" for t in engine.jobs.list()):
        await asyncio.sleep(0.005)
    assert engine.jobs.cancel("r1")
    events = await asyncio.wait_for(answer, 5)
    assert isinstance(events[-1], Done) and len(events) < 400
    assert engine.jobs.get("r1").phase == "cancelled" and not engine.jobs.cancel("r1")


async def test_failed_and_abandoned_requests(engine: Engine):
    with pytest.raises(InferenceFailed):
        await collect(engine, asking("!fail please"), Caller(request_id="bad"))
    assert engine.jobs.get("bad").phase == "failed" and engine.jobs.get("bad").error
    async with aclosing(engine.run(asking("!slow !long"), Caller(request_id="left"))) as events:
        async for event in events:
            if isinstance(event, Text):
                break
    assert engine.jobs.get("left").phase == "cancelled"


async def test_texts_that_are_not_kept_give_no_title(build: Callable[..., Engine]):
    engine = build(keep_text=False)
    await engine.start()
    await collect(engine, asking("a secret"), Caller(request_id="r1"))
    assert engine.jobs.get("r1").title == "chat"
    await engine.close()


# Over HTTP


def ask(client: httpx.Client, text: str, id: str, session: str) -> httpx.Response:
    body = {"model": "echo", "messages": [{"role": "user", "content": text}]}
    headers = {"x-request-id": id, "x-session-id": session}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def frames(text: str) -> list[dict[str, str]]:
    """SSE frames as dictionaries of their fields."""
    found = []
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.split("\n") if line[:1] not in ("", ":")]
        if lines:
            found.append({key: value for key, _, value in lines})
    return found


def test_events_over_http_go_on_after_any_id(server: Served):
    with server.client() as client:
        answer = ask(client, "one two three", "http-1", "s")
        assert answer.headers["x-request-id"] == "http-1"
        whole = frames(client.get("/v1/jobs/http-1/events").text)
        assert whole[-1] == {"event": "end", "data": "[DONE]"}
        said = [json.loads(f["data"]) for f in whole if f.get("event") == "text"]
        assert "".join(s["delta"] for s in said) == "echo: one two three"
        first = next(f["id"] for f in whole if f.get("event") == "text")
        rest = [f for f in whole if int(f.get("id", 10**9)) > int(first)]
        assert frames(client.get(f"/v1/jobs/http-1/events?after={first}").text) == rest
        again = client.get("/v1/jobs/http-1/events", headers={"last-event-id": first})
        assert frames(again.text) == rest
        assert server.rows()[0].request_id == "http-1"


def test_another_client_follows_live_and_cancels(server: Served):
    with server.client() as client, server.client() as other:
        import threading

        asked = threading.Thread(target=ask, args=(client, "!slow !long", "live", "s"))
        asked.start()
        assert until(lambda: other.get("/v1/jobs/live").status_code == 200)
        with other.stream("GET", "/v1/jobs/live/events") as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if line.startswith("event: text"))
            listed = other.get("/v1/jobs").json()["jobs"]
            assert next(j for j in listed if j["id"] == "live")["phase"] == "running"
            with server.client() as third:
                assert third.delete("/v1/jobs/live").json() == {"cancelled": True}
            assert [*lines][-2:] == ["data: [DONE]", ""]
        asked.join(10)
        assert other.get("/v1/jobs/live").json()["phase"] == "cancelled"


def test_failures_end_the_stream_in_words(server: Served):
    with server.client() as client:
        ask(client, "!fail now", "failing", "s")
        *_, failed, end = frames(client.get("/v1/jobs/failing/events").text)
        assert failed["event"] == "error" and json.loads(failed["data"])["error"]
        assert end == {"event": "end", "data": "[DONE]"}
        missing = client.get("/v1/jobs/nothing/events")
        assert missing.status_code == 404 and missing.json()["error"] == "NOT_FOUND"
        assert client.post("/v1/jobs/failing/pause").status_code == 404


def test_sessions_see_their_own(served: Callable[..., Served]):
    server = served(token="user-token", admin_token="admin-token")
    mine = {"authorization": "Bearer user-token", "x-session-id": "mine"}
    others = {"authorization": "Bearer user-token", "x-session-id": "others"}
    admin = {"authorization": "Bearer admin-token", "x-session-id": "boss"}
    body = {"model": "echo", "messages": [{"role": "user", "content": "my secret"}]}
    with server.client() as client:
        assert client.get("/v1/jobs").status_code == 401
        client.post("/v1/chat/completions", json=body, headers={**mine, "x-request-id": "r1"})
        (seen,) = client.get("/v1/jobs", headers=mine).json()["jobs"]
        assert (seen["id"], seen["title"], seen["own"]) == ("r1", "my secret", True)
        (hidden,) = client.get("/v1/jobs", headers=others).json()["jobs"]
        assert (hidden["id"], hidden["title"], hidden["own"]) == ("", "", False)
        assert "secret" not in json.dumps(hidden) and "mine" not in json.dumps(hidden)
        for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
            answer = client.request(method, f"/v1/jobs/r1{path}", headers=others)
            assert answer.status_code == 404
        assert client.get("/v1/jobs/r1", headers=admin).json()["title"] == "my secret"


def test_a_download_over_http(hub: Hub, served: Callable[..., Served]):
    from tests.fetching import small

    hub.add("org/one", small(2 << 20))
    hub.faults.rate = 2 << 20
    server = served(token="user-token", admin_token="admin-token")
    downloads = server.engine.downloads
    downloads._offers._families = downloads._families = frozenset({"hf_chat"})
    mine = {"authorization": "Bearer user-token", "x-session-id": "mine"}
    others = {**mine, "x-session-id": "others"}
    with server.client(headers=mine) as client:
        url = "/v1/models/download"
        offer = client.post(url, json={"model": "org/one", "dry_run": True}).json()
        assert (offer["licence"], offer["present"]) == ("apache-2.0", False)
        assert offer["size"] > 2 << 20 and "model.safetensors" in offer["files"]
        refused = client.post(url, json={"model": "org/one"})
        assert (refused.status_code, refused.json()["error"]) == (403, "LICENCE_NEEDED")
        assert client.post(url, json={}).status_code == 422
        assert client.post(url, json={"model": "org/absent"}).status_code == 404
        begun = client.post(url, json={"model": "org/one", "accept_licence": True})
        assert begun.status_code == 202
        job = f"/v1/jobs/{begun.json()['id']}"
        assert client.post(f"{job}/pause").json()["phase"] == "paused"
        assert client.post(f"{job}/pause").status_code == 409
        assert client.get(job, headers=others).json()["title"] == "org/one"
        assert client.delete(job, headers=others).status_code == 403
        assert client.post(f"{job}/retry").status_code == 409
        assert until(lambda: client.post(f"{job}/resume").status_code == 200)
        *states, done, end = frames(client.get(f"{job}/events").text)
        assert done["event"] == "done" and end["event"] == "end"
        assert json.loads(states[-1]["data"])["ticket"]["total"] == offer["size"]
        assert client.get(job).json()["phase"] == "done"
