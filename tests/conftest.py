"""Fixtures: settings in a folder of their own, and a started engine that holds the echo family alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from engine import Caller, ChatRequest, Engine, Event, Message, Request, Settings
from engine.callers import Priority
from tests import echo
from tests.areas import area, files  # noqa: F401
from tests.browsing import browser, opens  # noqa: F401
from tests.eyes import seeing  # noqa: F401
from tests.fetching import fetching, hub  # noqa: F401
from tests.probes import canary  # noqa: F401
from tests.serving import served, server  # noqa: F401
from tests.sites import media, site  # noqa: F401
from tests.stores import redis_url  # noqa: F401
from tests.tiny_whisper import random_whisper  # noqa: F401
from tests.turning import chat, chats, database, model, turns  # noqa: F401


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no `.env` of the machine reaches a test."""
    import os

    for name in list(os.environ):
        if name.startswith(("ATELIER_", "POKEMON_", "SDXL_", "OPENAI_", "OLLAMA_", "LOG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ATELIER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ATELIER_PROBE_LOCAL", "false")  # an Ollama of this machine is not ours
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", device="cpu")


@pytest.fixture
def build(settings: Settings) -> Callable[..., Engine]:
    """Makes an engine with the echo family; settings may be given by keyword."""

    def make(**values: object) -> Engine:
        own = settings.model_copy(update=values)
        return Engine.build(own, families={"echo": echo}, specs=echo.SPECS)

    return make


@pytest.fixture
async def engine(build: Callable[..., Engine]) -> AsyncIterator[Engine]:
    engine = build()
    await engine.start()
    yield engine
    await engine.close()


def asking(text: str, model: str | None = None, **fields: object) -> ChatRequest:  # noqa: F811
    """A chat request of one user message."""
    return ChatRequest(messages=(Message.of("user", text),), model=model, **fields)


async def collect(engine: Engine, request: Request, caller: Caller | None = None) -> list[Event]:
    """All events of a request."""
    someone = caller or Caller(name="test", dialect="test", priority=Priority.API)
    async with aclosing(engine.run(request, someone)) as events:
        return [event async for event in events]
