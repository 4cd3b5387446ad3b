"""What a model's files tell of it before it is loaded: architecture, sizes, template, age.

Knows checkpoints and catalog rows; no loaded model and no library that loads one.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.checkpoints import find_checkpoint, is_present
from engine.errors import NotDownloaded
from engine.fit import anatomy_of
from engine.registry import ModelSpec, Registry

SMALL_FILE = 20_000_000  # bytes of a text file that is still read
TYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True, slots=True)
class Card:
    """A model as its row and its files describe it.

    Args:
        present: it can be used without fetching anything.
        config: its config.json; of a model of several parts, that of the text.
        sampling: its generation_config.json.
        template: its chat template (Jinja); empty: it has none.
        parameters: how many numbers it has; 0 unknown.
        context: tokens it was made for, or is allowed; 0 unknown.
        size: bytes on disk, or what the row says.
        modified: when its files came; None: it has none here.
        digest: 64 hexadecimal digits that change with the files.
    """

    spec: ModelSpec
    present: bool
    config: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    parameters: int = 0
    context: int = 0
    size: int = 0
    modified: datetime | None = None
    digest: str = ""

    @property
    def architecture(self) -> str:
        """The kind of network ("llama", "qwen3"); empty where nothing says so."""
        return str(self.config.get("model_type") or self.spec.options.get("architecture") or "")

    @property
    def weights(self) -> str:
        """The type its weights are stored in ("BF16"), or how they are quantised; empty: unknown."""
        how = self.config.get("quantization_config")
        if isinstance(how, Mapping):
            return str(how.get("quant_method") or "").upper()
        kind = str(self.config.get("dtype") or self.config.get("torch_dtype") or "")
        return TYPES.get(kind, str(self.spec.options.get("quantisation") or ""))


def read_card(spec: ModelSpec) -> Card:
    """The card of a row. Reads small files, so call it from a thread."""
    try:
        folder = find_checkpoint(spec)
    except NotDownloaded:
        present = spec.lane == "remote" or is_present(spec)
        return Card(
            spec,
            present,
            context=spec.context,
            size=spec.size,
            digest=_digest([spec.id, spec.repo]),
        )
    files = tuple(sorted(_stamp(folder, file) for file in folder.rglob("*") if file.is_file()))
    config, sampling, template = _read(folder, files)
    anatomy = anatomy_of(replace(spec, memory=0, size=0))  # by its files alone
    limits = [n for n in (spec.context, anatomy.context if anatomy else 0) if n > 0]
    return Card(
        spec,
        is_present(spec),
        config=config,
        sampling=sampling,
        template=template,
        parameters=anatomy.parameters if anatomy else 0,
        context=min(limits, default=0),
        size=sum(size for _, size, _ in files),
        modified=datetime.fromtimestamp(max((t for *_, t in files), default=0) / 1e9, UTC),
        digest=_digest([spec.id, files]),
    )


def _stamp(folder: Path, file: Path) -> tuple[str, int, int]:
    found = file.stat()
    return str(file.relative_to(folder)), found.st_size, found.st_mtime_ns


def _digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()


@lru_cache(maxsize=64)
def _read(
    folder: Path, stamp: tuple[tuple[str, int, int], ...]
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Config, sampling and template of a folder; `stamp` makes a changed folder a new question."""
    config = _json(folder / "config.json")
    text = config.get("text_config")
    merged = {**config, **text} if isinstance(text, Mapping) else config
    template = _text(folder / "chat_template.jinja")
    if not template:
        held = _json(folder / "tokenizer_config.json").get("chat_template")
        template = held if isinstance(held, str) else ""
    return merged, _json(folder / "generation_config.json"), template


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(file) or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8") if file.stat().st_size <= SMALL_FILE else ""
    except (OSError, ValueError):
        return ""


class Cards:
    """The catalog as its files describe it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def read(self, model: str) -> Card:
        """One card. Raises Unknown: no such model."""
        return await asyncio.to_thread(read_card, self._registry.find(model))

    async def all(self) -> list[Card]:
        """The cards of the whole catalog, in its order."""
        specs = self._registry.models()
        return await asyncio.to_thread(lambda: [read_card(spec) for spec in specs])
