"""Broken networks between us and another server: every break is a typed error, and none lasts."""

from __future__ import annotations

import time

import pytest

from engine import Settings, fold
from engine.errors import AtelierError, InferenceFailed, TimedOut, Unavailable
from tests.chaos import chaos
from tests.conftest import asking, collect
from tests.test_remote import KINDS, ME, engine_to
from tests.upstream import running

PATIENCE = {"connect_timeout": 1.0, "first_token_timeout": 0.4, "openai_timeout": 0.2}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("mode", "after", "error", "words"),
    [
        ("down", 0, Unavailable, "does not answer"),
        ("reset", 0, Unavailable, "closed the connection"),
        ("hole", 0, TimedOut, "no token in 0.4 s"),
        ("cut", 0, Unavailable, "closed the connection"),  # before a header
        ("cut", 400, InferenceFailed, "broke off"),  # within a line
        ("snap", 400, InferenceFailed, "broke off"),
        ("stall", 60, TimedOut, "no token in 0.4 s"),  # within the headers
        ("stall", 400, InferenceFailed, "fell silent for 0.2 s"),
    ],
)
async def test_a_break_is_said(
    settings: Settings, kind: str, mode: str, after: int, error: type[AtelierError], words: str
) -> None:
    async with (
        running(words=50) as upstream,
        chaos(upstream.url, mode, after) as proxy,
        engine_to(proxy.url, settings, kind, **PATIENCE) as engine,
    ):
        began = time.monotonic()
        with pytest.raises(error, match=words):
            await collect(engine, asking("hello"))
        assert time.monotonic() - began < 3
        await engine.usage.flush()
        (row,) = await engine.usage.rows()
    assert row.status == error.code
    assert bool(row.output) is (error is InferenceFailed)


@pytest.mark.parametrize("kind", KINDS)
async def test_slow_is_not_broken(settings: Settings, kind: str) -> None:
    async with (
        running(words=20) as upstream,
        chaos(upstream.url, "slow") as proxy,
        engine_to(proxy.url, settings, kind) as engine,
    ):
        whole = await fold(engine.run(asking("hello"), ME))
    assert whole.text == "".join(f"w{n} " for n in range(20))


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_steadily_may_take_longer_than_any_time_out(
    settings: Settings, kind: str
) -> None:
    async with (
        running(words=30, pause=0.03) as upstream,
        engine_to(upstream.url, settings, kind, **PATIENCE) as engine,
    ):
        whole = await fold(engine.run(asking("hello"), ME))
    assert whole.usage.run_s > PATIENCE["first_token_timeout"] + PATIENCE["openai_timeout"]
    assert whole.finish == "stop"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_comes_back_answers_again(settings: Settings, kind: str) -> None:
    async with (
        running() as upstream,
        chaos(upstream.url) as proxy,
        engine_to(proxy.url, settings, kind, **PATIENCE) as engine,
    ):
        for mode, fine in (("pass", True), ("reset", False), ("cut", False), ("pass", True)):
            proxy.mode = mode
            try:
                assert (await fold(engine.run(asking("hello"), ME))).finish == "stop"
                assert fine or mode == "reset"  # the old connection may still be whole
            except AtelierError:
                assert not fine
