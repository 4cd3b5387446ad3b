"""Pictures asked of models on other servers: who gets them, as what, and who is not bothered."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from engine import (
    BadValue,
    Caller,
    ChatRequest,
    Engine,
    ImagePart,
    Message,
    Settings,
    TextPart,
    fold,
)
from engine.errors import BadFormat
from engine.families import remote
from tests import echo, upstream
from tests.tiny_vision import picture
from tests.upstream import MODEL, ROW, running

PNG, JPEG, BMP = picture(1), picture(2, format="JPEG"), picture(3, format="BMP")


def asking(*parts: bytes | str, **fields: Any) -> ChatRequest:
    made = tuple(
        TextPart(text=part) if isinstance(part, str) else ImagePart(data=part) for part in parts
    )
    return ChatRequest(messages=(Message(role="user", parts=made),), **fields)


@asynccontextmanager
async def engine_with(settings: Settings, **values: Any) -> AsyncIterator[Engine]:
    own = settings.model_copy(update={"probe_local": False, **values})
    engine = Engine.build(own, families={"echo": echo, "remote": remote}, specs=echo.SPECS)
    await engine.start()
    try:
        await engine.servers.looked()
        yield engine
    finally:
        await engine.close()


async def test_ollama_gets_them_beside_the_words_in_their_order(settings: Settings) -> None:
    async with running() as up, engine_with(settings, ollama_base_url=up.root) as engine:
        request = asking("first", PNG, "second", JPEG, BMP)
        whole = await fold(engine.run(request, Caller(session="s")))
    assert whole.text.startswith("w0 w1")
    (message,) = up.bodies[-1]["messages"]
    assert message["content"] == "first\nsecond" and up.bodies[-1]["model"] == MODEL
    sent = [base64.b64decode(data) for data in message["images"]]
    assert sent[:2] == [PNG, JPEG] and sent[2].startswith(b"\x89PNG")


async def test_openai_servers_get_data_urls_between_the_words(settings: Settings) -> None:
    async with running() as up, engine_with(settings, openai_base_url=up.url) as engine:
        await fold(engine.run(asking("first", JPEG, "second", BMP), Caller()))
    (message,) = up.bodies[-1]["messages"]
    kinds = [part["type"] for part in message["content"]]
    assert kinds == ["text", "image_url", "text", "image_url"]
    urls = [part["image_url"]["url"] for part in message["content"] if "image_url" in part]
    assert urls[0] == f"data:image/jpeg;base64,{base64.b64encode(JPEG).decode()}"
    assert urls[1].startswith("data:image/png;base64,")


async def test_a_model_whose_server_says_it_is_blind_is_not_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(upstream.SHOWN, "capabilities", ["completion", "tools"])
    async with running() as up, engine_with(settings, ollama_base_url=up.root) as engine:
        assert engine.registry.find(MODEL).accepts == {"tools"}
        with pytest.raises(BadValue, match="does not accept pictures"):
            await fold(engine.run(asking("what", PNG, model=MODEL), Caller()))
        assert not any("messages" in body for body in up.bodies)


async def test_what_is_no_picture_stays_here(settings: Settings) -> None:
    async with running() as up, engine_with(settings, ollama_base_url=up.root) as engine:
        with pytest.raises(BadFormat):
            await fold(engine.run(asking("what", b"GIF89a" + b"\0" * 50), Caller()))
        assert not any("messages" in body for body in up.bodies)


async def test_the_model_of_the_setting_is_used_once_its_server_has_it(settings: Settings) -> None:
    more = {"default_vision": "llava:13b"}
    async with running() as up, engine_with(settings, ollama_base_url=up.root, **more) as engine:
        assert engine.registry.default("chat", "image").id == f"ollama/{MODEL}"
        await asyncio.sleep(0.1)
        up.rows.append({**ROW, "name": "llava:13b", "model": "llava:13b", "digest": "def"})
        await engine.servers.refresh()
        assert engine.registry.default("chat", "image").id == "ollama/llava:13b"
        await fold(engine.run(asking("what", PNG), Caller()))
        assert up.bodies[-1]["model"] == "llava:13b"
        assert engine.registry.default("chat").id == "echo"
