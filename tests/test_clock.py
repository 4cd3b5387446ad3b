"""The machine's clock is set while answers are written: durations and time limits go by a clock that nobody sets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from middleware.rates import Limiter
from tests.serving import Served, until

TOKEN = {"authorization": "Bearer secret"}
DAY = 86_400.0


@pytest.mark.parametrize("jump", [-400 * DAY, 400 * DAY])
def test_an_answer_is_written_on(
    served: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, jump: float
):
    server = served(token="secret", keep_alive=300, time_limit=60)
    text = "!slow " + " ".join(f"w{n}" for n in range(60))
    body = {"model": "echo-batch", "stream": True, "messages": [{"role": "user", "content": text}]}
    ours = {"sec-fetch-site": "same-origin"}
    with server.client() as client:
        signed = client.post("/signin", data={"token": "secret"}, headers=ours)
        cookie = {"cookie": f"atelier_session={signed.cookies['atelier_session']}"}
    said, ended, real = "", False, time.time
    with (
        server.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body, headers=TOKEN) as answer,
    ):
        asked = answer.headers["x-request-id"]
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                said += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            if said.count(" ") == 5 and time.time is real:
                monkeypatch.setattr(time, "time", lambda: real() + jump)
            ended = ended or line == "data: [DONE]"
    assert ended and said == f"echo: {text}"
    with server.client() as client:
        assert client.get("/v1/models", headers=ours | cookie).status_code == 200, "still signed in"
        ticket = client.get(f"/v1/jobs/{asked}", headers=TOKEN).json()
        assert (ticket["phase"], ticket["seconds_left"]) == ("done", None)
        again = client.post(
            "/v1/chat/completions", json={**body, "stream": False, "max_tokens": 3}, headers=TOKEN
        )
        assert again.json()["choices"][0]["message"]["content"].startswith("echo:")
        resident = server.engine.status().resident
        assert [model.id for model in resident] == ["echo-batch"], "its time to leave has not come"
    assert until(lambda: len(server.rows()) >= 2)
    assert all(row.status == "ok" and 0 <= row.seconds < 60 for row in server.rows())


async def test_a_rate_goes_on_after_the_clock_went_forth(monkeypatch: pytest.MonkeyPatch):
    limiter = Limiter.of("2/minute")
    assert limiter
    real = time.time
    waits = [await limiter.wait("GET", "/v1/x", "a") for _ in range(3)]
    assert waits[:2] == [0.0, 0.0] and 0 < waits[2] <= 60
    monkeypatch.setattr(time, "time", lambda: real() + DAY)
    assert await limiter.wait("GET", "/v1/x", "a") == 0.0
