"""What the tests of downloads share: a hub that the couriers find, engines one after another, and waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine import Engine, Settings, Ticket
from engine.checkpoints import hub_cache
from engine.settings import ROOT
from tests.hub import Hub

STARTER = ROOT / "assets" / "starters" / "starter-chat"
CONFIG = b'{"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}'
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB that no repetition hides


def small(size: int = len(WEIGHTS)) -> dict[str, bytes | Path]:
    """The files of a model that is never loaded, with things beside that are not fetched."""
    return {
        "config.json": CONFIG,
        "tokenizer.json": b"{}",
        "README.md": b"# A model",
        "model.safetensors": (WEIGHTS * (size // len(WEIGHTS) + 1))[:size],
        "pytorch_model.bin": b"pickle",
        "modeling_mine.py": b"import os",
        "onnx/model.onnx": b"onnx",
        "original/model.safetensors": b"twice",
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that the couriers find, and a cache of the test's own."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HOME", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    with Hub().serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def fetching(settings: Settings) -> Callable[..., object]:
    """Starts engines with the real families in the same data folder, one after the other."""

    @asynccontextmanager
    async def start(**values: object) -> AsyncIterator[Engine]:
        engine = Engine.build(settings.model_copy(update=values))
        engine.downloads._patience = (0.01, 0.01)
        await engine.start()
        try:
            yield engine
        finally:
            await engine.close()

    return start


async def ended(engine: Engine, ticket: Ticket, seconds: float = 30) -> Ticket:
    """The ticket once it is over."""
    async with asyncio.timeout(seconds):
        while (now := engine.jobs.get(ticket.id)).phase not in ("done", "failed", "cancelled"):
            await asyncio.sleep(0.01)
    return now


async def until(true: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def parts() -> list[Path]:
    return list(hub_cache().rglob("*.incomplete"))
