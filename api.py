"""The REST API: the list of routers, one handler for every kind of error, the documentation.

`api:app` is the whole application, page included, for `uvicorn` and `gunicorn`; it is built when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from engine import VERSION, Access, AtelierError, Engine, Settings, write_logs
from routers import (
    brenda_ai,
    brenda_chaining,
    brenda_image,
    brenda_media,
    brenda_speech,
    brenda_translation,
    chatvlm,
    creatures,
    docs,
    doctor,
    files,
    gallery,
    host,
    jobs,
    models,
    monitor,
    ocr,
    ollama,
    openai,
    page_files,
    servers,
    signin,
    vision,
)
from routers.describing import describe
from routers.lifting import Lifting
from routers.refusals import Refusals
from routers.wire import Gone, Pace, nobody

ROUTERS = (
    models,
    servers,
    openai,
    ollama,
    jobs,
    ocr,
    monitor,
    doctor,
    host,
    vision,
    creatures,
    brenda_ai,
    brenda_image,
    brenda_speech,
    brenda_translation,
    brenda_chaining,
    brenda_media,
    chatvlm,
    files,
    docs,
    signin,
    page_files,
    gallery,
)
SHAPES = (
    (models.PATHS, models.error, 422),
    (jobs.PATHS, jobs.error, 422),
    (ocr.PATHS, ocr.error, 422),
    (servers.PATHS, servers.error, 422),
    (files.PATHS, files.error, 422),
    (openai.PATHS, openai.error, 400),
    (ollama.PATHS, ollama.error, 400),
)
TAGS = [
    {"name": "OpenAI", "description": "What the `openai` package and every tool on it speak."},
    {"name": "Ollama", "description": "What the `ollama` package, its CLI and its tools speak."},
    {"name": "Models", "description": "The catalog, plans, loading, adding and removing."},
    {"name": "Jobs", "description": "Tickets of requests, downloads and documents."},
    {"name": "OCR", "description": "Documents read at once, or kept and read in the background."},
    {"name": "Files", "description": "One shared folder: uploads, ranges, archives, a trash."},
    {
        "name": "Monitoring",
        "description": "The machine, containers, the log, Prometheus, the doctor.",
    },
    {"name": "Ollama Host", "description": "Plain text questions and the usage dashboard."},
    {"name": "Ollama Vision", "description": "Pictures analysed, and the model that sees them."},
    {
        "name": "Brenda",
        "description": "Chats, pictures, speech, spoken chats, translation, media of the web.",
    },
    {"name": "Brenda", "description": "Chats with sessions and stop; pictures labelled and read."},
    {"name": "Creatures", "description": "Small fantasy animals with name and rarity."},
    {"name": "Gallery", "description": "Pictures drawn on the page, their files and recipes."},
    {"name": "ChatVLM", "description": "Uploaded pictures: their text, and questions. Health."},
]
FREE = frozenset({"/health", "/ready", "/signin", *docs.FREE})
ADMIN = (
    ("*", "/api/v1/admin/"),
    ("DELETE", "/models/"),
    *models.ADMIN,
    *monitor.ADMIN,
    *servers.ADMIN,
    *doctor.ADMIN,
    *ollama.ADMIN,
)
OURS = ("/v1/", "/api/")  # unknown paths below these are errors, not pages

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_api(engine: Engine, access: Access, lifespan: Lifespan, cookie: str) -> FastAPI:
    """The API over an engine. `app.state.refuse` answers errors in the words of a path's dialect."""
    refusals = Refusals(SHAPES)
    app = FastAPI(
        title="Atelier",
        version=VERSION,
        summary="Every AI modality behind one page and one API.",
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        exception_handlers={
            AtelierError: refusals.ours,
            RequestValidationError: refusals.misshapen,
            HTTPException: refusals.framework,
            Gone: nobody,
            Exception: refusals.broken,
        },
    )
    app.add_middleware(Lifting)
    app.state.engine = engine
    app.state.access = access
    app.state.cookie = cookie
    app.state.pace = Pace()
    app.state.refuse = refusals.answer
    app.state.ready = False
    app.state.routes = tuple(route for module in ROUTERS for route in _routes(module.router))
    for module in ROUTERS:
        app.include_router(module.router)
    plain = app.openapi
    app.openapi = cache(lambda: describe(plain(), refusals.shape_of, FREE))  # type: ignore[method-assign]
    return app


def _routes(router: APIRouter) -> Iterator[BaseRoute]:
    """The routes of a router and of those it is made of."""
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        yield from _routes(inner) if inner is not None else (route,)


@cache
def _built() -> ASGIApp:
    from app import create_app

    settings = Settings.from_args(())
    write_logs(settings)
    return create_app(settings)


def __getattr__(name: str) -> Any:
    if name == "app":
        return _built()
    raise AttributeError(f"module 'api' has no attribute '{name}'")
