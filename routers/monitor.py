"""The machine, its containers, the log's last lines, and what Prometheus reads.

Knows HTTP and the engine's monitor; what may be seen is decided there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine import AtelierError, Container, Load, Sample
from routers import wire
from routers.bodies import example
from routers.refusals import plain

PATHS = ("/v1/monitor/",)
ADMIN = (("POST", "/v1/monitor/containers/"), ("*", "/v1/monitor/logs"))
error = plain
router = APIRouter(tags=["Monitoring"])
Action = Literal["start", "stop", "restart"]
ACTIONS: tuple[Action, ...] = ("start", "stop", "restart")
Tail = Annotated[int, Query(ge=1, le=5000, description="Lines from the end.")]

LOAD = {
    "cpu_percent": 1.5,
    "memory_percent": 0.4,
    "memory_usage": 839680,
    "memory_limit": 8589934592,
}
CONTAINER = {
    "id": "4f2d5c…", "name": "brenda-ollama", "status": "running", "image": "ollama/ollama:latest",
    "created": "2026-11-12T20:42:11+00:00", "ports": {"11434/tcp": [{"HostIp": "127.0.0.1", "HostPort": "11434"}]},
    "uptime": "Up 3 hours", "stats": LOAD,
}  # fmt: skip
STATS = {
    "cpu_percent": 12.5,
    "cpu": {"cores": 16, "load": [1.2, 0.9, 0.7]},
    "memory": {"total": 25276502016, "available": 20276502016, "percent": 19.8},
    "disk": {"total": 64000000000, "used": 12000000000, "free": 52000000000, "percent": 18.8},
    "network": {"received": 123456, "sent": 65432, "received_s": 1024.0, "sent_s": 512.0},
    "gpus": [
        {
            "index": 0, "name": "NVIDIA H200", "utilization": 83.0, "temperature": 54, "power": 412.5,
            "power_limit": 700.0,
            "memory": {"total": 150754820096, "used": 42949672960, "free": 107805147136, "percent": 28.5},
        }
    ],
    "process": {
        "pid": 4711, "cpu_percent": 30.1, "memory": 812345678, "threads": 24, "open_files": 61,
        "uptime_s": 3600.5, "loop_lag_s": 0.001,
    },
    "models": [{"id": "starter-chat", "device": "cpu", "memory": 44000000, "leases": 1}],
    "queue": {"running": 1, "waiting": 0},
    "tokens_s": 41.5,
    "time": 1790000000.0,
}  # fmt: skip


# The machine


@router.get(
    "/v1/monitor/system/stats",
    summary="Processor, memory, disk, network, GPUs, this process, models and queue",
    responses=example(STATS),
)
async def stats(http: HttpRequest) -> Response:
    return wire.json(shown(await wire.engine_of(http).monitor.system.now()))


@router.get(
    "/v1/monitor/system/history",
    summary="The same over the last hour, as columns",
    responses=example({"time": [1790000000.0], "cpu_percent": [12.5], "tokens_s": [41.5]}),
)
async def history(
    http: HttpRequest,
    seconds: Annotated[float, Query(gt=0, le=3600)] = 3600,
    points: Annotated[int, Query(ge=1, le=1800)] = 1800,
) -> Response:
    return wire.json(wire.engine_of(http).monitor.system.history(seconds, points))


def shown(sample: Sample) -> dict[str, Any]:
    """A sample as it is answered."""
    return {
        "cpu_percent": round(sample.cpu_percent, 1),
        "cpu": {"cores": sample.cores, "load": [round(load, 2) for load in sample.load]},
        "memory": {
            "total": sample.memory_total,
            "available": sample.memory_available,
            "percent": round(sample.memory_percent, 1),
        },
        "disk": {
            "total": sample.disk_total,
            "used": sample.disk_used,
            "free": sample.disk_free,
            "percent": round(sample.disk_percent, 1),
        },
        "network": {
            "received": sample.received,
            "sent": sample.sent,
            "received_s": round(sample.received_s, 1),
            "sent_s": round(sample.sent_s, 1),
        },
        "gpus": [_gpu(gpu) for gpu in sample.gpus],
        "process": asdict(sample.process),
        "models": [
            {"id": model.id, "device": lane.name, "memory": model.memory, "leases": model.leases}
            for lane in sample.engine.lanes
            for model in lane.resident
        ],
        "queue": {"running": sample.engine.running, "waiting": sample.engine.waiting},
        "tokens_s": round(sample.tokens_s, 1),
        "time": sample.time,
    }


def _gpu(gpu: Any) -> dict[str, Any]:
    return {
        "index": gpu.index,
        "name": gpu.name,
        "utilization": gpu.utilization,
        "temperature": gpu.temperature,
        "power": gpu.power,
        "power_limit": gpu.power_limit,
        "memory": {
            "total": gpu.total,
            "used": gpu.used,
            "free": gpu.total - gpu.used,
            "percent": round(gpu.percent, 1),
        },
    }


# Containers


def described(container: Container) -> dict[str, Any]:
    """A container as it is answered; what it uses is called `stats`."""
    value = asdict(container)
    used = value.pop("load")
    return {**value, "stats": used}


@router.get(
    "/v1/monitor/containers",
    summary="The containers that may be seen, with what they use",
    responses=example([CONTAINER]),
)
async def containers(http: HttpRequest) -> Response:
    found = await wire.engine_of(http).monitor.containers.list()
    return wire.json([described(container) for container in found])


def _acting(action: Action) -> None:
    """The route of one action."""

    @router.post(
        f"/v1/monitor/containers/{{container_id}}/{action}",
        summary=f"{action.capitalize()} a container",
        responses=example({"status": "success", "action": action, "container": CONTAINER}),
        operation_id=f"{action}_container",
    )
    async def act(container_id: str, http: HttpRequest) -> Response:
        container = await wire.engine_of(http).monitor.containers.act(container_id, action)
        return wire.json({"status": "success", "action": action, "container": described(container)})


for each in ACTIONS:
    _acting(each)


@router.get(
    "/v1/monitor/containers/{container_id}/stats",
    summary="What a container uses now",
    responses=example(LOAD),
)
async def load(container_id: str, http: HttpRequest) -> Response:
    used: Load = await wire.engine_of(http).monitor.containers.stats(container_id)
    return wire.json(asdict(used))


@router.get(
    "/v1/monitor/containers/{container_id}/logs",
    summary="The end of a container's output; with follow, what comes as well, as plain text",
    responses=example({"id": "4f2d5c…", "logs": "listening\n"}),
)
async def logs(
    container_id: str, http: HttpRequest, tail: Tail = 200, follow: bool = False
) -> Response:
    theirs = wire.engine_of(http).monitor.containers
    if not follow:
        return wire.json({"id": container_id, "logs": await theirs.logs(container_id, tail)})
    pieces = theirs.follow(container_id, tail)
    first = asyncio.ensure_future(anext(pieces, ""))
    try:  # what is refused is a real status; a silent container has nothing to say for a while
        await asyncio.wait((first,), timeout=1.0)
        if first.done():
            first.result()
    except BaseException:
        await pieces.aclose()
        raise
    return Following(first, pieces)


class Following(Response):
    """Plain text as it comes; the work behind it ends when the client hangs up."""

    def __init__(self, first: asyncio.Future[str], pieces: AsyncGenerator[str]) -> None:
        super().__init__(media_type="text/plain; charset=utf-8")
        self.raw_headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        self._first, self._pieces = first, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

        async def write() -> None:
            try:
                await _say(send, await self._first)
                async for piece in self._pieces:
                    await _say(send, piece)
            except AtelierError as failed:
                await _say(send, f"\n[{failed.code}: {failed.message}]")
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            with suppress(wire.Gone):
                await wire.until_gone(receive, write())
        finally:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
            async with aclosing(self._pieces):
                pass


async def _say(send: Send, text: str) -> None:
    if text:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


# The log, and Prometheus


@router.get(
    "/v1/monitor/logs",
    summary="The log's last records of this process, newest first",
    responses=example(
        [
            {
                "number": 7, "time": 1790000000.0, "level": "INFO", "logger": "atelier.engine",
                "message": "chat starter-chat ok in=3 out=41 0.32s", "request_id": "5f0e…", "error": "", "extra": {},
            }
        ]
    ),
)  # fmt: skip
async def records(
    http: HttpRequest,
    limit: Annotated[int, Query(ge=1, le=2000)] = 200,
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "DEBUG",
    text: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    ring = wire.engine_of(http).monitor.logs
    found = ring.entries(limit=limit, level=level, text=text, after=after)
    return wire.json([asdict(entry) for entry in found])


@router.get(
    "/metrics",
    summary="Everything that is counted, for Prometheus",
    responses=example('atelier_queue_waiting{device="cpu"} 0.0', "text/plain"),
)
async def metrics(http: HttpRequest) -> Response:
    numbers, accept = wire.engine_of(http).monitor.metrics, http.headers.get("accept", "")
    body, kind = await asyncio.to_thread(numbers.text, accept)
    return Response(body, headers={"content-type": kind})
