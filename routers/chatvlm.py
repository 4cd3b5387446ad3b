"""The ChatVLM dialect: what the service is, whether it works, and which models it holds.

Knows its paths and the engine's status, nothing of access or of how models are loaded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from engine import VERSION, Unavailable
from routers import chatvlm_pictures, wire
from routers.bodies import example

router = APIRouter(tags=["ChatVLM"])
router.include_router(chatvlm_pictures.router)
ROOT = {"message": "Atelier API", "version": VERSION, "docs": "/docs", "health": "/health"}


@router.get("/", summary="What this is (a browser gets the page)", responses=example(ROOT))
async def root() -> Response:
    return wire.json(ROOT)


@router.get(
    "/health",
    summary="Whether the service works, and on what",
    responses=example(
        {
            "status": "healthy",
            "gpu_available": True,
            "gpu_name": "NVIDIA H200",
            "models_loaded": 1,
            "loaded_models": ["qwen3_vl_2b"],
            "time": "2026-11-12T20:42:11Z",
            "backend": "cuda:0",
            "version": VERSION,
        }
    ),
)
async def health(http: HttpRequest) -> Response:
    status = wire.engine_of(http).status()
    gpus = [lane for lane in status.lanes if not lane.name.startswith(("cpu", "remote"))]
    loaded = [model.id for model in status.resident]
    return wire.json(
        {
            "status": "healthy",
            "gpu_available": bool(gpus),
            "gpu_name": gpus[0].title if gpus else None,
            "models_loaded": len(loaded),
            "loaded_models": loaded,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "backend": status.lanes[0].name,
            "version": VERSION,
        }
    )


@router.get(
    "/ready", summary="200 when requests can be served", responses=example({"status": "ready"})
)
async def ready(http: HttpRequest) -> Response:
    if not http.app.state.ready:
        raise Unavailable("The service is starting. Ask again in a moment.", retry_after=1)
    return wire.json({"status": "ready"})


@router.get(
    "/models",
    summary="The catalog, and what is in memory",
    responses=example(
        {
            "available": [{"id": "qwen3_vl_2b", "name": "Qwen3-VL 2B", "params": "2B"}],
            "loaded": ["qwen3_vl_2b"],
        }
    ),
)
async def models(http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    available: list[dict[str, Any]] = [
        {
            "id": spec.id,
            "name": spec.title or spec.id,
            "params": spec.params,
            "capabilities": sorted(spec.does),
            "starter": spec.starter,
        }
        for spec in engine.models()
    ]
    loaded = [model.id for model in engine.status().resident]
    return wire.json({"available": available, "loaded": loaded})


@router.delete(
    "/models/{name:path}",
    summary="Unload a model once its running requests ended",
    responses=example({"status": "success", "message": "Model qwen3_vl_2b unloaded"}),
)
async def unload(name: str, http: HttpRequest) -> Response:
    done = await wire.engine_of(http).evict(name)
    message = f"Model {name} unloaded" if done else f"Model {name} was not loaded"
    return wire.json({"status": "success", "message": message})
