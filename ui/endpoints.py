"""The page's calls for programs: `/chat`, `/models` and `/status` of `gradio_client`; more in
`ui/model_calls.py`, `ui/picture_calls.py` and `ui/file_calls.py`.

They go straight to the engine and depend on no component. No `from __future__ import annotations` here:
Gradio reads the annotations as they stand to describe the endpoints.
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import gradio as gr

from engine import AtelierError, BadValue, Engine, Message, Priority, Result
from ui.file_calls import add_file_calls
from ui.model_calls import add_model_calls
from ui.parts import ask, caller_of, paced
from ui.picture_calls import add_picture_calls


def add_endpoints(engine: Engine) -> None:
    """Register the endpoints; for use while a page is being built."""
    for name, make in (("chat", _chat), ("models", _models), ("status", _status)):
        gr.api(make(engine), api_name=name, concurrency_limit=None)
    add_model_calls(engine)
    add_picture_calls(engine)
    add_file_calls(engine)


def _chat(engine: Engine) -> Callable[..., Any]:
    async def chat(
        request: gr.Request,
        message: str,
        history: list[dict[str, str]] | None = None,
        model: str | None = None,
        system: str = "",
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        stop: list[str] | None = None,
    ) -> Any:
        """Answer a message. Streams the text as it grows; the last update is the whole answer.

        `history` holds earlier messages as {"role": "user" or "assistant", "content": text}.
        """
        options = {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "max_tokens": max_tokens,
            "seed": seed,
            "stop": tuple(stop or ()),
        }
        try:
            wanted = ask(model=model, messages=_messages(system, history or [], message), **options)
            caller = caller_of(request, "gradio", Priority.API)
            result, sent = Result(), ""
            async with aclosing(paced(engine.run(wanted, caller))) as batches:
                async for batch in batches:
                    for event in batch:
                        result.add(event)
                    sent = result.text
                    yield sent  # also when nothing came: that is how a client's hang-up is noticed
        except AtelierError as error:
            raise gr.Error(error.message, print_exception=False) from error

    chat.__annotations__["return"] = str  # what each update holds
    return chat


def _messages(system: str, history: list[Any], message: str) -> tuple[Message, ...]:
    rows = [("system", system)] if system else []
    for given in history:
        row: dict[str, Any] = given if isinstance(given, dict) else {}  # a client may send anything
        if row.get("role") not in ("user", "assistant", "system"):
            raise BadValue(
                'history: give {"role": "user" or "assistant", "content": text} for each message.',
                param="history",
            )
        rows.append((row["role"], str(row.get("content", ""))))
    return tuple(Message.of(role, text) for role, text in [*rows, ("user", str(message))])  # type: ignore[arg-type]


def _models(engine: Engine) -> Callable[..., Any]:
    async def models() -> list[dict[str, Any]]:
        """The catalog: id, title, what it does, and whether it is a starter and in memory."""
        loaded = {model.id for model in engine.status().resident}
        return [
            {
                "id": spec.id,
                "title": spec.title,
                "does": sorted(spec.does),
                "params": spec.params,
                "starter": spec.starter,
                "loaded": spec.id in loaded,
            }
            for spec in engine.models()
        ]

    return models


def _status(engine: Engine) -> Callable[..., Any]:
    async def status() -> dict[str, Any]:
        """Devices with their memory (bytes) and queue, and the models in memory."""
        now = engine.status()
        return {
            "version": now.version,
            "uptime_s": round(now.uptime_s, 1),
            "devices": [
                {
                    "name": lane.name,
                    "title": lane.title,
                    "total": lane.total,
                    "used": lane.used,
                    "budget": lane.budget,
                    "held": lane.held,
                    "running": lane.running,
                    "waiting": lane.waiting,
                    "models": [model.id for model in lane.resident],
                }
                for lane in now.lanes
            ],
        }

    return status
