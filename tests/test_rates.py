"""Rates: the published figures, one rate for all, and Redis that is lost or hangs."""

from __future__ import annotations

import asyncio

import pytest

from engine import BadValue
from middleware.rates import SEED, Limiter, Rates
from tests.test_middleware import client, echo, refuse


async def test_rates_refuse_with_a_time():
    limiter = Limiter.of("2/minute")
    assert limiter
    async with client(Rates(echo, refuse, limiter)) as http:
        codes = [(await http.get("/v1/models")).status_code for _ in range(3)]
        late = await http.get("/v1/models")
        assert codes == [200, 200, 429]
        assert 1 <= int(late.headers["retry-after"]) <= 60
        assert (await http.get("/gradio_api/queue/data")).status_code == 200
        assert (await http.get("/health")).status_code == 200


async def test_the_published_rates():
    limiter = Limiter.of("seed")
    assert limiter and limiter.rules == SEED
    waits = [await limiter.wait("POST", "/api/v1/ai/vision/analyze", "a") for _ in range(11)]
    assert waits[:10] == [0.0] * 10 and waits[10] > 0
    assert await limiter.wait("POST", "/api/v1/ai/vision/analyze", "b") == 0
    assert await limiter.wait("POST", "/api/v1/ai/vision/models/llava", "b") == 0
    assert await limiter.wait("POST", "/api/v1/ai/vision/models/llama", "b") > 60


def test_no_rates():
    assert Limiter.of("") is None


@pytest.mark.parametrize("rates", ["often", "10/fortnight", "/minute"])
def test_wrong_rates_say_so(rates: str):
    with pytest.raises(BadValue, match="ATELIER_RATE_LIMITS"):
        Limiter.of(rates)


async def test_a_lost_redis_is_replaced():
    limiter = Limiter.of("2/minute", "redis://127.0.0.1:1/0")
    assert limiter
    waits = [await asyncio.wait_for(limiter.wait("GET", "/v1/x", "a"), 3) for _ in range(3)]
    assert waits[:2] == [0.0, 0.0] and waits[2] > 0


async def test_a_hung_redis_does_not_hang_us():
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    limiter = Limiter.of("2/minute", f"redis://127.0.0.1:{port}/0")
    assert limiter
    assert await asyncio.wait_for(limiter.wait("GET", "/v1/x", "a"), 8) == 0
    server.close()
