"""Which model answers when none is named: pictures go to one that sees, text to the chat default."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import Caller, ChatRequest, Engine, ImagePart, Message, TextPart
from engine.errors import BadValue, Unavailable, Unknown
from engine.registry import ModelSpec, Registry
from engine.settings import Settings
from tests import echo
from tests.eyes import picture

PARTS = (TextPart(text="what is this?"), ImagePart(data=picture()))
PICTURE = ChatRequest(messages=(Message(role="user", parts=PARTS),))
TEXT = ChatRequest(messages=(Message.of("user", "hi"),))


def row(id: str, *accepts: str, **more: Any) -> ModelSpec:
    return ModelSpec(
        id=id, does=frozenset({"chat"}), family="echo", accepts=frozenset(accepts), **more
    )


ROWS = (
    row("big", "image", memory=100),
    row("blind", memory=100, starter=True),
    row("starter", "image", memory=100, starter=True),
    row("far/llava:7b", "image", aliases=("llava:7b",), memory=100),
    ModelSpec("reader", frozenset({"ocr"}), "echo", memory=100, starter=True),
    ModelSpec("finer", frozenset({"ocr"}), "echo", memory=100),
)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Engine]:
    def make(**changed: Any) -> Engine:
        settings = Settings(data_dir=tmp_path, device="cpu", probe_local=False, **changed)
        return Engine.build(settings, families={"echo": echo}, specs=ROWS)

    return make


@pytest.mark.parametrize(
    ("chosen", "session", "text", "picture"),
    [
        ([], None, "blind", "starter"),
        ([("big", "")], None, "big", "big"),  # the chat default sees too
        ([("big", "image")], None, "blind", "big"),
        ([("big", ""), ("llava:7b", "image")], None, "big", "far/llava:7b"),
        ([("big", "image")], "starter", "starter", "starter"),
        ([("big", "image")], "blind", "blind", "big"),  # the session's model cannot
    ],
)
def test_who_answers(build, chosen, session, text, picture):
    engine = build()
    for name, accepting in chosen:
        engine.choose("chat", name, accepting)
    engine.sessions.get("s").model = session
    assert engine.resolve(TEXT, "s").id == text
    assert engine.resolve(PICTURE, "s").id == picture
    earlier = PICTURE.model_copy(update={"messages": (*PICTURE.messages, *TEXT.messages)})
    assert engine.resolve(earlier, "s").id == picture


def test_a_blind_model_that_is_named_is_refused_naming_those_that_see(build):
    engine = build()
    with pytest.raises(
        BadValue, match=r"'blind' does not accept pictures\. These do: big, starter"
    ):
        engine.resolve(PICTURE.model_copy(update={"model": "blind"}), "s")
    with pytest.raises(BadValue, match="does not accept pictures"):
        engine.choose("chat", "blind", "image")
    assert [spec.id for spec in engine.models("chat", "image")] == [
        "big", "starter", "far/llava:7b",
    ]  # fmt: skip


def test_where_nothing_sees_that_is_said():
    with pytest.raises(Unknown, match="No model can chat about pictures yet"):
        Registry([row("blind")]).resolve(None, "chat", "image")


@pytest.mark.parametrize("named", ["llava:7b", "far/llava:7b"])
async def test_a_choice_for_pictures_survives_a_restart_and_wins_over_the_setting(build, named):
    async def default(engine: Engine) -> str:
        await engine.start()
        async with asyncio.timeout(10):
            while engine.registry.default("chat", "image").id == "starter":
                await asyncio.sleep(0.01)
        return engine.registry.default("chat", "image").id

    engine = build(default_vision=named)
    assert await default(engine) == "far/llava:7b"
    engine.choose("chat", "big", "image")
    await engine.close()
    engine = build(default_vision=named)
    assert await default(engine) == "big"
    assert engine.resolve(TEXT).id == "blind"
    await engine.close()


async def test_every_kind_of_choice_survives_a_restart(build):
    engine = build()
    await engine.start()
    assert engine.registry.default("ocr").id == "reader"
    engine.choose("ocr", "finer")
    await engine.close()
    engine = build()
    await engine.start()
    async with asyncio.timeout(10):
        while engine.registry.default("ocr").id != "finer":
            await asyncio.sleep(0.01)
    await engine.close()


def test_the_variable_of_the_published_api(monkeypatch):
    monkeypatch.setenv("OLLAMA_VISION_MODEL", "llava:13b")
    assert Settings().default_vision == "llava:13b"


CODE = row("dots", "image", repo="org/dots", revision="r1", memory=100, options={"code": True})
FAR = row("vllm/org/dots", "image", aliases=("org/dots",), memory=100, lane="remote")


@pytest.mark.parametrize(
    ("allowed", "rows", "found"),
    [
        ("", (CODE,), ""),
        ("org/dots@r2", (CODE,), ""),
        ("org/dots@r1", (CODE, FAR), "dots"),
        ("", (CODE, FAR), "vllm/org/dots"),
    ],
)
def test_a_model_with_its_own_code_runs_where_it_may(build, allowed, rows, found):
    engine = build(allow_remote_code=allowed)
    for spec in rows:
        engine.registry.add(spec)
    asked = PICTURE.model_copy(update={"model": "dots"})
    if found:
        assert engine.resolve(asked).id == found
        return
    with pytest.raises(Unavailable, match=r"vllm serve org/dots.*org/dots@r1 in ATELIER_ALLOW_REM"):
        engine.resolve(asked)


async def test_a_picture_without_a_model_is_answered_by_one_that_sees(build):
    engine = build()
    await engine.start()
    caller = Caller(name="me", dialect="test", session="s")
    async for _ in engine.run(PICTURE, caller):
        pass
    await engine.usage.flush()
    (found,) = await engine.usage.rows()
    assert found.model == "starter"
    await engine.close()
