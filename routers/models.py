"""Models over HTTP: the catalog with what each needs, plans, loading and unloading, adding and removing.

Our own paths below OpenAI's `/v1/models`; the list itself and a single model are OpenAI's to describe.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from pydantic import Field
from starlette.responses import Response

from engine import AtelierError, BadValue, Capability, Engine, ModelSpec, Plan, ResidentModel
from routers import wire
from routers.bodies import Body, example, seconds_of, shown
from routers.refusals import plain

PATHS = tuple(
    f"/v1/models/{name}" for name in ("plan", "load", "unload", "pin", "default", "add", "catalog")
)
ADMIN = (("POST", "/v1/models/add"), ("DELETE", "/v1/models/"))
error = plain
router = APIRouter(tags=["Models"])

Quantisation = Literal["", "auto", "none", "int8", "int4"]
PLAN = {
    "model": "Qwen/Qwen3-4B", "device": "cuda:0", "needed": 9100000000, "free": 4200000000,
    "total": 21600000000, "measured": True,
    "unloads": [{"id": "Qwen/Qwen3-8B", "idle_s": 240.0, "memory": 17100000000}],
    "stays": ["starter-chat"], "fits": "after_unload", "waits": False, "dtype": "bfloat16",
    "quantisation": "", "offload": False, "note": "", "present": True, "resident": False,
    "sentence": "Qwen/Qwen3-4B needs 9.1 GB; will unload Qwen/Qwen3-8B, idle 4 min; starter-chat stays.",
}  # fmt: skip
CARD = {
    "id": "starter-chat", "title": "Atelier starter", "does": ["chat"], "starter": True, "own": False,
    "licence": "MIT", "languages": ["en"], "params": "5M", "size": 12000000, "context": 1024,
    "tiers": [], "recommended": False, "lane": "device", "present": True, "default_of": ["chat"],
    "resident": {"memory": 12000000, "form": "float32", "pinned": False, "leases": 0, "idle_s": 2.0,
                 "expires_s": 298.0, "keep_alive": 300.0}, "plan": PLAN,
}  # fmt: skip


class ModelBody(Body):
    """A model by id or alias."""

    model_config = shown({"model": "starter-chat"})

    model: str = Field(min_length=1, max_length=512, description="A catalog id or alias.")


class FormBody(ModelBody):
    """A model, and how it is to be held."""

    model_config = shown({"model": "starter-chat", "quantisation": "int8"})

    quantisation: Quantisation = Field(
        "",
        description='"int8" and "int4" make it smaller; "auto" only where it does not fit; "" as it is set.',
    )
    offload: bool | None = Field(
        None, description="Keep a part in RAM beside the GPU; null as it is set."
    )


class PlanBody(FormBody):
    """What loading would do, without doing it."""

    context: int = Field(0, ge=0, description="Tokens of context to plan for; 0 as it is set.")
    parallel: int = Field(
        0, ge=0, le=256, description="Requests at once to plan for; 0 as it is set."
    )


class LoadBody(FormBody):
    """Load a model, or with `dry_run` only say what that would do."""

    model_config = shown({"model": "starter-chat", "keep_alive": "10m"})

    keep_alive: float | str | None = Field(
        None, description='Seconds ("5m" too) it stays unused; -1 for good.'
    )
    dry_run: bool = Field(False, description="Answer with the plan and load nothing.")


class PinBody(ModelBody):
    """Keep a model in memory, or let it go again."""

    model_config = shown({"model": "starter-chat", "pinned": True})

    pinned: bool = True


class DefaultBody(ModelBody):
    """Make a model the default."""

    model_config = shown({"model": "starter-chat", "capability": "chat"})

    capability: Capability | None = Field(None, description="Of what; null: of all that it does.")


class AddBody(Body):
    """A model of your own."""

    model_config = shown({"source": "Qwen/Qwen3-0.6B"})

    source: str = Field(
        min_length=1,
        max_length=2000,
        description="A folder of the server's machine, a hub id, or the address of another server.",
    )
    key: str = Field("", max_length=1000, description="The other server's bearer token.")


def _ignored(body: Body) -> dict[str, str]:
    return wire.ignored_header(body.ignored("models"))


def plan_of(plan: Plan) -> dict[str, Any]:
    """A plan as JSON."""
    value = asdict(plan)
    value["unloads"] = [leaving._asdict() for leaving in plan.unloads]
    return value


def card_of(
    engine: Engine, spec: ModelSpec, held: ResidentModel | None, own: bool
) -> dict[str, Any]:
    """A model as its card shows it."""
    try:
        plan: dict[str, Any] = plan_of(engine.plan(spec.id))
    except AtelierError as refused:
        plan = {"fits": "too_big", "sentence": refused.message}
    card = {
        name: getattr(spec, name)
        for name in (
            "id", "title", "starter", "licence", "languages", "params", "size", "context", "tiers", "lane",
            "repo", "revision",
        )
    }  # fmt: skip
    resident = None
    if held is not None:
        resident = asdict(held)
        del resident["id"]
    return {
        **card,
        "does": sorted(spec.does),
        "accepts": sorted(spec.accepts),
        "own": own,
        "recommended": engine.tier in spec.tiers,
        "present": engine.downloads.is_present(spec),
        "default_of": [does for does in sorted(spec.does) if engine.registry.default(does) is spec],
        "resident": resident,
        "plan": plan,
    }


def _cards(engine: Engine, capability: Capability | None) -> list[dict[str, Any]]:
    held = {model.id: model for model in engine.status().resident}
    own = engine.own_models()
    return [
        card_of(engine, spec, held.get(spec.id), spec.id in own)
        for spec in engine.models(capability)
    ]


@router.get(
    "/v1/models/catalog",
    summary="Every model with its size, licence, whether it fits, and whether it is here",
    responses=example({"tier": "gpu-24", "models": [CARD]}),
)
async def catalog(
    http: HttpRequest, capability: Capability | None = Query(None, description="These alone.")
) -> Response:
    engine = wire.engine_of(http)
    cards = await asyncio.to_thread(_cards, engine, capability)
    return wire.json({"tier": engine.tier, "models": cards})


@router.post("/v1/models/plan", summary="What loading a model would do", responses=example(PLAN))
async def plan(body: PlanBody, http: HttpRequest) -> Response:
    found = await asyncio.to_thread(
        wire.engine_of(http).plan,
        body.model,
        quantisation=body.quantisation,
        offload=body.offload,
        context=body.context,
        rows=body.parallel,
    )
    return wire.json(plan_of(found), headers=_ignored(body))


@router.post(
    "/v1/models/load",
    summary="Load a model, or say what that would do",
    responses=example(
        {"status": "loaded", "model": "starter-chat", "seconds": 0.8, "form": "float32"}
    ),
)
async def load(body: LoadBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    keep = seconds_of(body.keep_alive)
    if body.dry_run:
        found = await asyncio.to_thread(
            engine.plan, body.model, quantisation=body.quantisation, offload=body.offload
        )
        return wire.json({"status": "planned", "plan": plan_of(found)}, headers=_ignored(body))
    took = await engine.load(body.model, keep, body.quantisation, body.offload)
    spec = engine.registry.find(body.model)
    held = next((model for model in engine.status().resident if model.id == spec.id), None)
    answer = {
        "status": "loaded",
        "model": spec.id,
        "seconds": round(took, 3),
        "form": held.form if held else "",
        "memory": held.memory if held else 0,
    }
    return wire.json(answer, headers=_ignored(body))


@router.post(
    "/v1/models/unload",
    summary="Unload a model once its running requests ended",
    responses=example({"status": "unloaded", "model": "starter-chat"}),
)
async def unload(body: ModelBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    spec = engine.registry.find(body.model)
    done = await engine.evict(spec.id)
    status = "unloaded" if done else "not_loaded"
    return wire.json({"status": status, "model": spec.id}, headers=_ignored(body))


@router.post(
    "/v1/models/pin",
    summary="Keep a model in memory, or let it go again",
    responses=example({"model": "starter-chat", "pinned": True}),
)
async def pin(body: PinBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    spec = engine.registry.find(body.model)
    engine.pin(spec.id, body.pinned)
    return wire.json({"model": spec.id, "pinned": body.pinned}, headers=_ignored(body))


@router.post(
    "/v1/models/default",
    summary="Make a model the default of what it does",
    responses=example({"model": "starter-chat", "default_of": ["chat"]}),
)
async def default(body: DefaultBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    spec = engine.registry.find(body.model)
    meant: list[Capability] = [body.capability] if body.capability else sorted(spec.does)
    for does in meant:
        engine.choose(does, spec.id)
    return wire.json({"model": spec.id, "default_of": meant}, headers=_ignored(body))


@router.post(
    "/v1/models/add",
    summary="Add a folder, a hub id or the address of a server to the catalog",
    responses=example({"models": [{"id": "Qwen/Qwen3-0.6B", "does": ["chat"], "present": False}]}),
)
async def add(body: AddBody, http: HttpRequest) -> Response:
    engine = wire.engine_of(http)
    added = await engine.add_model(body.source, body.key)
    own = engine.own_models()
    cards = [await asyncio.to_thread(card_of, engine, spec, None, spec.id in own) for spec in added]
    return wire.json({"models": cards}, headers=_ignored(body))


@router.delete(
    "/v1/models/{model:path}",
    summary="Forget a model that was added, and free the disk of what was downloaded for it",
    responses=example({"id": "Qwen/Qwen3-0.6B", "object": "model", "deleted": True}),
)
async def remove(
    model: str,
    http: HttpRequest,
    files: bool = Query(True, description="Delete downloaded files too; a folder of yours stays."),
) -> Response:
    engine = wire.engine_of(http)
    spec = engine.registry.find(model)
    if not await engine.remove_model(spec.id, files):
        raise BadValue(
            f"There is nothing of {spec.id} to remove: it comes with Atelier's catalog, and none of its "
            "files is here."
        )
    return wire.json({"id": spec.id, "object": "model", "deleted": True})
