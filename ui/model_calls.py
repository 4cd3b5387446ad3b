"""The page's calls for programs about models (`/plan /load /unload /download`) and jobs (`/jobs /job /cancel`).

They go straight to the engine and depend on no component. No `from __future__ import annotations` here:
Gradio reads the annotations as they stand to describe the endpoints.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import gradio as gr

from engine import AtelierError, Engine, Event, Result, Ticket
from ui.keeping import check_own, may_change
from ui.parts import paced, session_of


def add_model_calls(engine: Engine) -> None:
    """Register the endpoints; for use while a page is being built."""
    calls = (
        ("plan", _plan), ("load", _load), ("unload", _unload), ("download", _download),
        ("jobs", _jobs), ("job", _job), ("cancel", _cancel),
    )  # fmt: skip
    for name, make in calls:
        gr.api(make(engine), api_name=name, concurrency_limit=None)


def _refused(error: AtelierError) -> gr.Error:
    return gr.Error(error.message, print_exception=False)


def _shown(ticket: Ticket, request: gr.Request) -> dict[str, Any]:
    """A ticket as this caller may see it: of others' requests neither id nor words."""
    own = may_change(ticket, request)
    value = asdict(ticket)
    del value["session"]
    value["created_at"] = ticket.created_at.isoformat()
    if not own and ticket.kind == "request":
        value |= {"id": "", "title": "", "error": ""}
    return {**value, "own": own}


def _plan(engine: Engine) -> Callable[..., Any]:
    async def plan(
        model: str, quantisation: str = "", offload: bool | None = None, context: int = 0
    ) -> dict[str, Any]:
        """What loading a model would do now: bytes needed, what is unloaded for it, whether it fits."""
        try:
            found = await asyncio.to_thread(
                engine.plan, model, quantisation=quantisation, offload=offload, context=context
            )
        except AtelierError as error:
            raise _refused(error) from error
        unloads = [{"id": m.id, "idle_s": m.idle_s, "memory": m.memory} for m in found.unloads]
        return {**asdict(found), "unloads": unloads}

    return plan


def _load(engine: Engine) -> Callable[..., Any]:
    async def load(
        model: str,
        keep_alive: float | None = None,
        quantisation: str = "",
        offload: bool | None = None,
    ) -> dict[str, Any]:
        """Load a model; `keep_alive` is the seconds it stays unused, -1 for good."""
        try:
            seconds = await engine.load(model, keep_alive, quantisation, offload)
            spec = engine.registry.find(model)
        except AtelierError as error:
            raise _refused(error) from error
        held = next((m for m in engine.status().resident if m.id == spec.id), None)
        return {
            "model": spec.id,
            "seconds": round(seconds, 3),
            "form": held.form if held else "",
            "memory": held.memory if held else 0,
        }

    return load


def _unload(engine: Engine) -> Callable[..., Any]:
    async def unload(model: str) -> bool:
        """Unload a model once its running requests ended; false: it was not loaded."""
        try:
            return await engine.evict(model)
        except AtelierError as error:
            raise _refused(error) from error

    return unload


def _download(engine: Engine) -> Callable[..., Any]:
    async def download(
        request: gr.Request, model: str, accept_licence: bool = False, revision: str = ""
    ) -> dict[str, Any]:
        """Begin fetching a catalog id or hub id; its ticket. Refuses, naming the licence, until that is accepted."""
        try:
            ticket = await engine.downloads.begin(
                model,
                revision=revision,
                accept_licence=accept_licence,
                session=session_of(request),
            )
        except AtelierError as error:
            raise _refused(error) from error
        return _shown(ticket, request)

    return download


def _jobs(engine: Engine) -> Callable[..., Any]:
    async def jobs(request: gr.Request) -> list[dict[str, Any]]:
        """What runs, waits and downloads, newest first, with what ended lately."""
        return [_shown(ticket, request) for ticket in engine.jobs.list()]

    return jobs


def _job(engine: Engine) -> Callable[..., Any]:
    async def job(request: gr.Request, id: str) -> Any:
        """Follow a job to its end, from wherever it stands: its ticket, and of a request the text so far."""
        result = Result()

        async def events() -> AsyncGenerator[Event]:
            async with aclosing(engine.jobs.follow(id)) as numbered:
                async for _, event in numbered:
                    yield event

        def state() -> dict[str, Any]:
            return {**_shown(engine.jobs.get(id), request), "text": result.text}

        try:
            check_own(engine, id, request)
            yield state()
            async with aclosing(paced(events(), every=0.2)) as batches:
                async for batch in batches:
                    for event in batch:
                        result.add(event)
                    yield state()
            yield state()
        except AtelierError as error:
            raise _refused(error) from error

    job.__annotations__["return"] = dict  # what each update holds
    return job


def _cancel(engine: Engine) -> Callable[..., Any]:
    async def cancel(request: gr.Request, id: str) -> bool:
        """End a job; a request's reader keeps what is there. False: it was over."""
        try:
            check_own(engine, id, request)
            return engine.jobs.cancel(id)
        except AtelierError as error:
            raise _refused(error) from error

    return cancel
