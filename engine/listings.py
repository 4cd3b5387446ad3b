"""What another server says it has: its models, and which of them it holds in memory.

Knows the words of Ollama, OpenAI, vLLM, llama.cpp, LM Studio and another Atelier; not when to ask them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

from engine.errors import AtelierError, BadValue, Unknown
from engine.families._upstream import Upstream
from engine.requests import Capability

SECONDS = 10.0  # for one question
AT_ONCE = 4  # questions to one server
# Ollama's word: ours. What is not here (insert, image) has no request of ours that fits.
DOES = {"completion": "chat", "embedding": "embed"}
ACCEPTS = {"vision": "image", "audio": "audio", "tools": "tools", "thinking": "reasoning"}
ANYTHING = ("image", "reasoning", "tools")  # of a server that does not say: it refuses by itself
EMBEDDERS = ("embed", "bge-", "gte-", "e5-", "minilm")


@dataclass(frozen=True, slots=True)
class Found:
    """A model as its server tells of it.

    Args:
        size: bytes on its disk; 0: it does not say.
        digest: changes when the model does; empty: it does not say.
    """

    name: str
    does: tuple[str, ...] = ("chat",)
    accepts: tuple[str, ...] = ()
    size: int = 0
    params: str = ""
    context: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A model that an Ollama server holds in memory: bytes, and seconds until it lets go."""

    name: str
    memory: int
    expires_s: float | None


async def ollama_models(upstream: Upstream, known: Mapping[str, Found]) -> list[Found]:
    """All models; one whose digest is among the `known` is not asked for again.

    Raises:
        AtelierError: the server is down, or is no Ollama.
    """
    rows = _rows(await upstream.ask("/api/tags", seconds=SECONDS), "models")
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: dict[str, Any]) -> Found:
        name, digest = str(row.get("name") or row.get("model")), str(row.get("digest") or "")
        before = known.get(name)
        if before is not None and digest and before.digest == digest:
            return before
        async with gate:
            return await _shown(upstream, row, name, digest)

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _shown(upstream: Upstream, row: dict[str, Any], name: str, digest: str) -> Found:
    try:
        more = await upstream.ask("/api/show", {"model": name}, seconds=SECONDS) or {}
    except (BadValue, Unknown):  # a broken model does not hide the others
        more = {}
    details = more.get("details") or row.get("details") or {}
    told = more.get("capabilities")
    if told is None:  # older than Ollama 0.6.4
        told = ["completion", "tools"]
        told += ["vision"] if {"clip", "mllama"} & set(details.get("families") or ()) else []
    context = [
        v for k, v in (more.get("model_info") or {}).items() if k.endswith(".context_length")
    ]
    return Found(
        name=name,
        does=tuple(DOES[word] for word in told if word in DOES),
        accepts=tuple(sorted(ACCEPTS[word] for word in told if word in ACCEPTS)),
        size=_whole(row.get("size")),
        params=str(details.get("parameter_size") or ""),
        context=_whole(context[0]) if context else 0,
        digest=digest,
    )


async def ollama_held(upstream: Upstream) -> list[Held]:
    """What an Ollama server holds in memory."""
    rows = _rows(await upstream.ask("/api/ps", seconds=SECONDS), "models")
    return [
        Held(
            str(row.get("name") or row.get("model")),
            _whole(row.get("size")),
            _seconds_until(str(row.get("expires_at") or "")),
        )
        for row in rows
    ]


async def openai_models(upstream: Upstream) -> list[Found]:
    """All models of a server that speaks OpenAI's dialect.

    Raises:
        AtelierError: the server is down, or does not speak it.
    """
    answer = await upstream.ask("/models", seconds=SECONDS)
    rows = _rows(answer, "data")
    found = [_openai_row(row) for row in rows if row.get("id")]
    if any(row.get("owned_by") == "organization_owner" for row in rows):
        told = await _lm_studio(upstream)
        found = [told.get(model.name, model) for model in found]
    return found


def _openai_row(row: dict[str, Any]) -> Found:
    name = str(row["id"])
    meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
    told = row.get("capabilities")
    if isinstance(told, list):  # another Atelier says it in our words
        does = tuple(word for word in told if word in get_args(Capability))
    else:
        does = ("embed",) if any(mark in name.lower() for mark in EMBEDDERS) else ("chat",)
    accepts = row.get("accepts")
    count = _whole((meta or {}).get("n_params"))
    return Found(
        name=name,
        does=tuple(word for word in does if word in {"chat", "embed"}),
        accepts=tuple(accepts) if isinstance(accepts, list) else ANYTHING,
        size=_whole((meta or {}).get("size") or row.get("size")),
        params=short(count) if count else str(row.get("params") or ""),
        context=_whole(
            row.get("max_model_len")
            or row.get("context_length")
            or row.get("context")
            or (meta or {}).get("n_ctx_train")
        ),
    )


async def _lm_studio(upstream: Upstream) -> dict[str, Found]:
    """LM Studio tells sizes and kinds at an address of its own, since its version 0.4."""
    try:
        answer = await upstream.ask("/../api/v1/models", seconds=SECONDS)
    except AtelierError:
        return {}
    found = {}
    for row in _rows(answer, "models"):
        able = row.get("capabilities") or {}
        accepts = {"image": able.get("vision"), "tools": able.get("trained_for_tool_use")}
        name = str(row.get("key"))
        found[name] = Found(
            name=name,
            does=("embed",) if row.get("type") == "embedding" else ("chat",),
            accepts=(*(kind for kind, yes in accepts.items() if yes), "reasoning"),
            size=_whole(row.get("size_bytes")),
            params=str(row.get("params_string") or ""),
            context=_whole(row.get("max_context_length")),
        )
    return found


def _rows(answer: Any, key: str) -> list[dict[str, Any]]:
    """The rows of a list. BadValue where the answer is something else."""
    rows = answer.get(key) if isinstance(answer, dict) else None
    if rows is None and isinstance(answer, dict) and key in answer:
        return []  # Go writes an empty list as null
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadValue("This server does not speak the dialect. Check its address.", param="url")
    return rows


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _seconds_until(moment: str) -> float | None:
    """None: never, or it does not say."""
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return None
    seconds = (then - datetime.now(UTC)).total_seconds() if then.tzinfo else None
    return None if seconds is None or seconds > 10 * 365 * 86400 else max(0.0, seconds)


def short(count: int) -> str:
    """A number of parameters as people write it."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return str(count)
