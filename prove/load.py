"""Load on the real server with the starter models: streams held, more offered than fits, clients that hang up.

Knows what is promised and how it is counted; clients and servers are the benchmarks'.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping
from typing import Any

import httpx

from bench.load import Broken, Stream, get, many
from bench.report import quantile
from bench.servers import Server, atelier, raise_limit
from bench.streams import Held, bodies_of, measure_paced, measure_starter, paced, remote_row
from bench.upstream import MODEL
from prove.figure import Reached, Run, judged

PACE = 20.0  # tokens a second of the paced model
HEALTH = 0.25  # seconds that /health may take at the 99th percentile
STOPPED = 0.3  # seconds after a hang-up until the device stops, at the 99th percentile
ENDLESS = {"prompt": ",", "max_tokens": 4000, "temperature": 0, "stream": True}


def streams(run: Run) -> Reached:
    """Streams held at once, each checked token by token, and `/health` meanwhile."""
    raise_limit()
    count, tokens = run.of(200, 50), run.of(100, 40)
    found = [measure_paced(count, tokens), measure_starter(count, tokens)]
    for held in found:
        run.mistakes[f"streams, {held.name}"] = held.mistakes
    lost, mixed = sum(held.lost for held in found), sum(held.mixed for held in found)
    said = f"2 × {count} streams, {lost} lost, {mixed} mixed up"
    return judged(said, lost == mixed == 0, *map(_told, found))


def health(run: Run) -> Reached:
    """`/health` while the streams run."""
    raise_limit()
    held = measure_paced(run.of(200, 50), run.of(100, 40))
    run.mistakes["health"] = held.mistakes
    said = f"p99 {held.health * 1e3:.0f} ms beside {held.streams} streams"
    return judged(said, held.health < HEALTH, _told(held))


def _told(held: Held) -> str:
    return " · ".join(held.row())


def overload(run: Run) -> Reached:
    """Far more at once than run and may wait: everyone is answered, or told when to come back."""
    raise_limit()
    offered = run.of(1000, 300)
    with atelier("--parallel", "16", "--max-waiting", "64") as server:
        server.wait()
        bodies = bodies_of("", ["Who are you?"] * offered, 20)
        url = f"{server.url}/v1/chat/completions"
        try:
            found = asyncio.run(asyncio.wait_for(many(url, bodies), 180))
        except TimeoutError:
            return judged(f"{offered} offered, some hung for 180 s", False)
        run.mistakes["overload"] = server.mistakes()
        alive = asyncio.run(get(f"{server.url}/health"))[0] == 200
    served = [one for one in found if isinstance(one, Stream)]
    refused = [one for one in found if isinstance(one, Broken) and _busy(str(one))]
    others = [str(one)[:200] for one in found if one not in served and one not in refused]
    texts = {stream.text for stream in served}
    said = f"{offered} offered: {len(served)} answered, {len(refused)} × 503 with Retry-After, {len(others)} else"
    good = not others and len(texts) == 1 and bool(refused) and alive
    return judged(said, good, *others[:5])


def _busy(answer: str) -> bool:
    return " 503 " in answer.partition("\r\n")[0] and "retry-after:" in answer.lower()


def disconnects(run: Run) -> Reached:
    """Clients that hang up in the middle of an answer: how long the model still works for nobody.

    Over REST on the starter model; through the page's queue on a paced one, since the starter has ended by then.
    """
    trials, chance = run.of(500, 60), random.Random(run.seed)
    with paced(PACE) as upstream, atelier(rows=remote_row(upstream)) as server:
        server.wait("/", accept="text/html")
        rest = asyncio.run(_hang_up(server, trials, chance))
        page = asyncio.run(_leave_page(server, max(10, trials // 5), chance))
        run.mistakes["disconnects"] = server.mistakes()
    late = {name: quantile(took, 0.99) for name, took in (("REST", rest), ("page", page))}
    said = ", ".join(f"{name} p99 {seconds * 1e3:.0f} ms" for name, seconds in late.items())
    worst = f"worst {max(*rest, *page) * 1e3:.0f} ms"
    return judged(
        f"{said}, {worst} in {len(rest)} + {len(page)} trials", max(late.values()) < STOPPED
    )


async def _hang_up(server: Server, trials: int, chance: random.Random) -> list[float]:
    """Seconds from each hang-up until the server says that the request ended; one trial after the other."""
    took = []
    for number in range(trials):
        ticket = f"prove-{number}"
        reader, writer = await _ask(server, ENDLESS, ticket)
        for _ in range(chance.randrange(3, 12)):
            await reader.readline()
        writer.close()
        began = time.perf_counter()
        while not await _ended(server, ticket):
            if time.perf_counter() - began > 30:
                break
        took.append(time.perf_counter() - began)
    return took


async def _leave_page(server: Server, trials: int, chance: random.Random) -> list[float]:
    """The same through Gradio's queue: the connection that brings its events is closed."""
    took = []
    said = {"message": "a question", "model": MODEL, "max_tokens": 4000}
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        for _ in range(trials):
            joined = await http.post("/gradio_api/call/v2/chat", json=said)
            left, seen = chance.randrange(2, 6), 0
            where = f"/gradio_api/call/v2/chat/{joined.json()['event_id']}"
            async with http.stream("GET", where) as answer:
                async for line in answer.aiter_lines():
                    seen += line.startswith("data:")
                    if seen > left:
                        break
            began = time.perf_counter()
            while await _working(http) and time.perf_counter() - began < 30:
                await asyncio.sleep(0.005)
            took.append(time.perf_counter() - began)
    return took


async def _working(http: httpx.AsyncClient) -> bool:
    """Whether any request's ticket is open."""
    jobs = (await http.get("/v1/jobs")).json()["jobs"]
    return any(job["phase"] not in ("done", "failed", "cancelled") for job in jobs)


async def _ask(
    server: Server, body: Mapping[str, Any], ticket: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    data = json.dumps(body).encode()
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        + f"X-Request-ID: {ticket}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    assert b" 200 " in await reader.readline()
    return reader, writer


async def _ended(server: Server, ticket: str) -> bool:
    """Whether the request's ticket says that it is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET /v1/jobs/{ticket} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    ticket_now = json.loads(answer.partition(b"\r\n\r\n")[2])
    return bool(ticket_now["phase"] == "cancelled")
