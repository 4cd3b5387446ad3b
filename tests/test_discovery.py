"""Other servers: found, added, kept, forgotten, and their models in the catalog meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import BadValue, Caller, Engine, Settings, Unavailable, Unknown, discovery, fold
from engine.errors import AtelierError, Conflict
from engine.families import remote
from tests import echo
from tests.chaos import chaos
from tests.conftest import asking
from tests.upstream import MODEL, ROW, running

pytestmark = pytest.mark.slow  # servers


@asynccontextmanager
async def engine_with(
    settings: Settings, look: bool = True, **values: Any
) -> AsyncIterator[Engine]:
    """An engine with the echo models and whatever other servers these settings name."""
    own = settings.model_copy(update={"probe_local": False, **values})
    engine = Engine.build(own, families={"echo": echo, "remote": remote}, specs=echo.SPECS)
    await engine.start()
    try:
        if look:
            await engine.servers.looked()
        yield engine
    finally:
        await engine.close()


def ids(engine: Engine) -> list[str]:
    return [spec.id for spec in engine.models() if spec.lane == "remote"]


async def until_default(engine: Engine, model: str) -> None:
    """The default is set in the background, once its server was asked."""
    async with asyncio.timeout(5):
        while engine.registry.default("chat").id != model:
            await asyncio.sleep(0.01)


async def test_ollamas_models_come_with_all_that_it_tells(settings: Settings) -> None:
    async with running() as up, engine_with(settings, ollama_base_url=up.root) as engine:
        (server,) = engine.servers.list()
        assert (server.healthy, server.error, server.kind) == (True, "", "ollama")
        (held,) = server.held
        assert (held.name, held.expires_s) == (MODEL, None)
        spec = engine.registry.find("paced")
        assert spec.id == f"ollama/{MODEL}"
        assert set(spec.aliases) == {MODEL, "paced", "ollama/paced"}
        assert (spec.size, spec.params, spec.context) == (8_900_000, "4.4M", 1024)
        assert spec.does == {"chat"} and spec.accepts == {"image", "reasoning", "tools"}
        whole = await fold(engine.run(asking("hello", model="paced"), Caller()))
    assert whole.text == "w0 w1 w2 w3 w4 "
    assert up.bodies[-1]["model"] == MODEL


async def test_openais_models_and_the_one_that_was_named(settings: Settings) -> None:
    values = {"openai_model": "unlisted", "openai_api_key": "secret"}
    async with running() as up, engine_with(settings, openai_base_url=up.url, **values) as engine:
        assert ids(engine) == ["openai/unlisted", f"openai/{MODEL}"]
        await until_default(engine, "openai/unlisted")
        assert "secret" not in repr(engine.servers.list()) + repr(engine.models())
        await fold(engine.run(asking("hello"), Caller()))
    assert up.keys == {"Bearer secret"}


async def test_the_model_that_was_named_is_there_before_anybody_looked(settings: Settings) -> None:
    async with chaos("http://127.0.0.1:9/v1", "down") as nobody:
        values = {"openai_base_url": nobody.url, "openai_model": "m"}
        async with engine_with(settings, look=False, **values) as engine:
            assert engine.registry.find("m").id == "openai/m"
            await engine.servers.looked()
            assert ids(engine) == ["openai/m"]
            assert engine.servers.list()[0].healthy is False
            with pytest.raises(Unavailable, match="does not answer"):
                await fold(engine.run(asking("hello", model="m"), Caller()))


async def test_names_in_use_stay_whose_they_are(settings: Settings) -> None:
    rows = [{**ROW, "name": name} for name in ("echo:latest", "parrot", "new")]
    async with running(rows=rows) as up, engine_with(settings, ollama_base_url=up.root) as engine:
        for name, owner in (
            ("echo", "echo"),
            ("parrot", "echo"),
            ("ollama/echo", "ollama/echo:latest"),
            ("new", "ollama/new"),
        ):
            assert engine.registry.find(name).id == owner


async def test_models_come_and_go(settings: Settings) -> None:
    async with running() as up, engine_with(settings, ollama_base_url=up.root) as engine:
        up.rows.append({**ROW, "name": "second", "digest": "def"})
        await engine.servers.refresh()
        assert ids(engine) == [f"ollama/{MODEL}", "ollama/second"]
        assert up.paths.count("/api/show") == 2  # the first is not asked for again
        up.rows.clear()
        await engine.servers.refresh("ollama")
        assert ids(engine) == []
        with pytest.raises(Unknown):
            engine.registry.find("second")


async def test_what_was_added_outlives_a_restart_and_the_server(settings: Settings) -> None:
    async with running() as up, chaos(up.url, "pass") as proxy:
        async with engine_with(settings) as engine:
            server = await engine.servers.add(proxy.url, "openai", key="k", name="box")
            assert (server.healthy, server.source) == (True, "added")
            assert ids(engine) == [f"box/{MODEL}"]
        proxy.mode = "reset"
        async with engine_with(settings) as engine:
            (server,) = engine.servers.list()
            assert server.healthy is False and "closed the connection" in server.error
            assert ids(engine) == [f"box/{MODEL}"]
            proxy.mode = "pass"
            await engine.servers.refresh()
            assert engine.servers.get("box").healthy
            assert (await fold(engine.run(asking("x", model=f"box/{MODEL}"), Caller()))).text
            await engine.servers.remove("box")
            assert ids(engine) == [] and engine.servers.list() == []
        async with engine_with(settings) as engine:
            assert engine.servers.list() == []
    assert up.keys == {"Bearer k"}


@pytest.mark.parametrize(
    ("url", "kind"), [("{root}", "ollama"), ("{root}/", "ollama"), ("{url}", "openai")]
)
async def test_the_dialect_is_found_out(settings: Settings, url: str, kind: str) -> None:
    async with running() as up, engine_with(settings) as engine:
        server = await engine.servers.add(url.format(root=up.root, url=up.url))
        assert server.kind == kind and len(server.models) == 1


async def test_a_server_that_is_no_ollama_is_asked_in_the_other_dialect(settings: Settings) -> None:
    async with running() as up, engine_with(settings) as engine:
        told = up._told
        up._told = lambda path, body: None if "/api/" in path else told(path, body)  # type: ignore[method-assign]
        server = await engine.servers.add(up.root)
        assert (server.kind, server.url) == ("openai", up.url)


@pytest.mark.parametrize(
    ("url", "values", "error"),
    [
        ("http://127.0.0.1:9", {}, Unavailable),
        ("not an address", {}, BadValue),
        ("http://box.lan:11434", {"offline": True}, Unavailable),
        ("{root}", {"name": "Not A Name"}, BadValue),
        ("{root}", {"ollama_base_url": "{root}"}, Conflict),
        ("{root}", {"name": "ollama", "ollama_base_url": "http://127.0.0.1:9"}, Conflict),
    ],
)
async def test_what_cannot_be_added(
    settings: Settings, url: str, values: dict[str, Any], error: type[AtelierError]
) -> None:
    async with running() as up:
        own = {k: v.format(root=up.root) if isinstance(v, str) else v for k, v in values.items()}
        name = own.pop("name", "")
        async with engine_with(settings, **own) as engine:
            before = engine.servers.list()
            with pytest.raises(error):
                await engine.servers.add(url.format(root=up.root), name=name)
            assert engine.servers.list() == before


async def test_a_server_that_sleeps_can_be_added_where_its_dialect_is_told(
    settings: Settings,
) -> None:
    async with engine_with(settings) as engine:
        server = await engine.servers.add("127.0.0.1:9", "ollama")
        assert (server.healthy, server.url) == (False, "http://127.0.0.1:9")


async def test_the_environments_servers_cannot_be_removed(settings: Settings) -> None:
    async with engine_with(settings, ollama_base_url="http://127.0.0.1:9") as engine:
        with pytest.raises(Conflict, match="OLLAMA_BASE_URL"):
            await engine.servers.remove("ollama")
        with pytest.raises(Unknown, match="ollama"):
            await engine.servers.remove("olama")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"probe_local": True}, 1),
        ({"probe_local": False}, 0),
        ({"probe_local": True, "openai_base_url": "http://127.0.0.1:9/v1"}, 0),
    ],
)
async def test_this_machine_is_looked_at_only_while_nothing_is_set(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], found: int
) -> None:
    async with running() as up:
        port = int(up.root.rpartition(":")[2])
        monkeypatch.setattr(discovery, "PORTS", ((port, "ollama", "ollama"),))
        async with engine_with(settings, **values) as engine:
            assert [s.source for s in engine.servers.list()].count("found") == found
            assert len(ids(engine)) == found == bool(up.connections)
            up.mode = "500"
            await engine.servers.refresh()
            assert ids(engine) == []  # it was not asked for, so it goes without a word
            up.mode = "ok"
            assert len(await engine.servers.probe()) == 1
            assert engine.servers.list()[-1].source == "added"


async def test_offline_nobody_elsewhere_is_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(discovery, "Upstream", lambda *given: opened.append(given))
    values = {"offline": True, "ollama_base_url": "http://box.lan:11434", "probe_local": True}
    async with engine_with(settings, **values) as engine:
        (server,) = engine.servers.list()
        assert server.healthy is False and "offline" in server.error
    assert not opened


async def test_a_server_that_starts_later_is_soon_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "RETRY_SECONDS", 0.02)
    async with running() as up, chaos(up.root, "pass") as proxy:
        proxy.mode = "reset"
        async with engine_with(settings, ollama_base_url=proxy.url) as engine, asyncio.timeout(5):
            assert ids(engine) == []
            proxy.mode = "pass"
            while not ids(engine):
                await asyncio.sleep(0.01)


async def test_what_came_round_twice_is_left_out(settings: Settings) -> None:
    rows = [{**ROW, "name": f"{prefix}m"} for prefix in ("", "ollama/", "ollama/ollama/")]
    async with running(rows=rows) as up, engine_with(settings, ollama_base_url=up.root) as engine:
        assert ids(engine) == ["ollama/m", "ollama/ollama/m"]


async def test_a_server_that_hangs_holds_nothing_up(settings: Settings) -> None:
    async with running() as up, chaos(up.root, "hole") as proxy:
        began = time.monotonic()
        async with engine_with(settings, look=False, ollama_base_url=proxy.url) as engine:
            assert engine.servers.list()[0].healthy is None
            assert (await fold(engine.run(asking("a b"), Caller()))).text == "echo: a b"
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("mode", ["html", "401", "500"])
async def test_a_server_that_makes_no_sense_says_why(settings: Settings, mode: str) -> None:
    async with running(mode) as up, engine_with(settings, ollama_base_url=up.root) as engine:
        (server,) = engine.servers.list()
        assert server.healthy is False
        assert server.error.startswith("The server 'ollama'")


async def test_a_default_of_another_server_waits_for_it(settings: Settings) -> None:
    async with running() as up:
        values = {"ollama_base_url": up.root, "default_chat": "paced"}
        async with engine_with(settings, **values) as engine:
            await until_default(engine, f"ollama/{MODEL}")


async def test_kept_servers_that_cannot_be_read_are_left_out(
    settings: Settings, tmp_path: Path
) -> None:
    async with engine_with(settings) as engine:
        engine.choices.set(discovery.KEY, '[{"name": 3}]')
    async with engine_with(settings) as engine:
        assert engine.servers.list() == []
        assert (await fold(engine.run(asking("a"), Caller()))).text
