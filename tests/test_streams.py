"""Two hundred streams at once: none is lost, none gets another's words, and the server stays awake."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from tests.serving import Served

STREAMS = 200
WORDS = 40


async def read_one(http: httpx.AsyncClient, url: str, number: int) -> None:
    asked = " ".join(f"{number}-{word}" for word in range(WORDS))
    body = {"model": "echo-batch", "stream": True, "messages": [{"role": "user", "content": asked}]}
    said, ended = "", False
    async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                said += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            ended = ended or line == "data: [DONE]"
    assert ended and said == f"echo: {asked}"


@pytest.mark.slow
async def test_two_hundred_streams(server: Served):
    limits = httpx.Limits(max_connections=STREAMS + 10)
    waits = []
    async with httpx.AsyncClient(timeout=90, limits=limits) as http:
        streams = asyncio.gather(*(read_one(http, server.url, n) for n in range(STREAMS)))
        while not streams.done():
            began = time.perf_counter()
            assert (await http.get(f"{server.url}/health")).status_code == 200
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)
        await streams
    assert sorted(waits)[len(waits) // 2] < 1.0
    rows = server.rows(dialect="openai", limit=STREAMS)
    assert len(rows) == STREAMS and {row.status for row in rows} == {"ok"}
