"""The page's calls for programs about the server: `/system`, `/usage`, `/containers` and `/container`.

They go straight to the engine and depend on no component. No `from __future__ import annotations` here:
Gradio reads the annotations as they stand to describe the endpoints.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import gradio as gr

from engine import AtelierError, BadValue, Engine, Filters, Forbidden
from ui.keeping import is_admin
from ui.parts import session_of

ACTIONS = ("start", "stop", "restart", "logs", "stats")


def add_monitoring_calls(engine: Engine) -> None:
    """Register the endpoints; for use while a page is being built."""
    calls = (
        ("system", _system),
        ("usage", _usage),
        ("containers", _containers),
        ("container", _container),
    )
    for name, make in calls:
        gr.api(make(engine), api_name=name, concurrency_limit=None)


def _refused(error: AtelierError) -> gr.Error:
    return gr.Error(error.message, print_exception=False)


def _system(engine: Engine) -> Callable[..., Any]:
    async def system() -> dict[str, Any]:
        """Processor, memory, disk, network, GPUs, this process and the queue, as of the last two seconds."""
        sample = await engine.monitor.system.now()
        shares = {
            "memory_percent": round(sample.memory_percent, 1),
            "disk_percent": round(sample.disk_percent, 1),
            "running": sample.engine.running,
            "waiting": sample.engine.waiting,
        }
        value = asdict(sample)
        del value["engine"]
        return {**value, **shares}

    return system


def _usage(engine: Engine) -> Callable[..., Any]:
    async def usage(
        request: gr.Request,
        by: str = "model",
        days: float = 7.0,
        project: str = "",
        model: str = "",
        user_key: str = "",
    ) -> list[dict[str, Any]]:
        """Sums by model, project, dialect, task, caller, user_key, status or day; an admin's are everybody's."""
        try:
            if not 0 < days <= 36_500:
                raise BadValue("days: give more than 0 and at most 36,500.", param="days")
            filters = Filters(
                since=datetime.now(UTC) - timedelta(days=days),
                project=project or None,
                model=model or None,
                user_key=user_key or None,
                session=None if is_admin(request) else session_of(request),
            )
            await engine.usage.flush()
            found = await engine.usage.totals(by, **filters)  # type: ignore[arg-type]
        except AtelierError as error:
            raise _refused(error) from error
        return [asdict(total) for total in found]

    return usage


def _check(request: gr.Request) -> None:
    if not is_admin(request):
        raise Forbidden("This call needs the admin token (ATELIER_ADMIN_TOKEN).")


def _containers(engine: Engine) -> Callable[..., Any]:
    async def containers(request: gr.Request) -> list[dict[str, Any]]:
        """The containers that may be seen, with what they use."""
        try:
            _check(request)
            found = await engine.monitor.containers.list()
        except AtelierError as error:
            raise _refused(error) from error
        return [asdict(container) for container in found]

    return containers


def _container(engine: Engine) -> Callable[..., Any]:
    async def container(
        request: gr.Request, id: str, action: str = "stats", tail: int = 200
    ) -> dict[str, Any]:
        """Start, stop or restart a container, or read its logs (the last lines) or its stats."""
        theirs = engine.monitor.containers
        try:
            _check(request)
            if action == "logs":
                return {"id": id, "logs": await theirs.logs(id, min(5000, max(1, int(tail))))}
            if action == "stats":
                return asdict(await theirs.stats(id))
            if action not in ACTIONS:
                raise BadValue(f"action: there are {', '.join(ACTIONS)}.", param="action")
            return asdict(await theirs.act(id, action))  # type: ignore[arg-type]
        except AtelierError as error:
            raise _refused(error) from error

    return container
