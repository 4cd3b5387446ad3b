"""Containers against a real engine: who may be seen, what may be done, and what an absent or hanging engine gives."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from engine.containers import Containers
from engine.errors import Forbidden, TimedOut, Unavailable, Unknown
from engine.settings import Settings
from tests.pods import Pods, pods  # noqa: F401

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def theirs(pods: Pods, settings: Settings) -> AsyncIterator[Containers]:  # noqa: F811
    """Two that may be seen, by name and by label, and one that may not."""
    pods.clear()
    pods.make("brenda-chatty")
    pods.make("labelled", labels={"atelier.managed": "1"})
    pods.make("secret", labels={"atelier.managed": "0"})
    changed = {"docker_host": pods.url, "containers_label": "atelier.managed=1"}
    made = Containers(settings.model_copy(update=changed))
    yield made
    made.close()


@pytest.mark.slow
async def test_those_that_are_allowed_live_and_the_others_are_not_there(
    theirs: Containers,
    pods: Pods,  # noqa: F811
) -> None:
    first, second = await theirs.list()
    assert (first.name, second.name) == ("brenda-chatty", "labelled")
    assert first.status == "running" and first.image == "localhost/tiny:1"
    assert first.created.endswith("+00:00") and first.ports == {}
    assert first.load.memory_usage > 0 and first.load.memory_limit > first.load.memory_usage

    await asyncio.sleep(0.5)
    assert (await theirs.stats(first.id)).cpu_percent >= 0
    assert "line 1" in await theirs.logs(first.id[:12], tail=5000)
    assert len((await theirs.logs("brenda-chatty", tail=2)).splitlines()) == 2

    # A log is followed while it grows, and the follower's end ends the work behind it.
    seen = ""
    async with aclosing(theirs.follow("brenda-chatty", tail=1)) as pieces:
        async for piece in pieces:
            seen += piece
            if seen.count("line") > 3:
                break
    assert theirs._following == 0

    assert (await theirs.act(first.id, "stop")).status == "exited"
    assert (await theirs.act(first.id, "stop")).status == "exited"  # it is so already
    assert (await theirs.stats(first.id)).memory_usage == 0
    assert (await theirs.act("brenda-chatty", "start")).status == "running"
    assert (await theirs.act("labelled", "restart")).status == "running"

    hidden = pods.client.containers.get("secret")
    hostile = (
        hidden.id,
        hidden.id[:12],
        "secret",
        "",
        "../secret",
        "secret?x",
        "brenda-chatt",
        "a" * 5000,
    )
    for name in hostile:
        for ask in (
            theirs.stats(name),
            theirs.logs(name),
            theirs.act(name, "stop"),
            theirs.get(name),
        ):
            with pytest.raises(Unknown):
                await ask
        with pytest.raises(Unknown):
            await anext(theirs.follow(name))
    hidden.reload()
    assert hidden.status == "running"


async def test_no_engine_is_said_to_be_missing(settings: Settings, tmp_path: Path) -> None:
    gone = settings.model_copy(update={"docker_host": f"unix://{tmp_path}/none.sock"})
    made = Containers(gone)
    with pytest.raises(Unavailable, match="No container engine answers") as caught:
        await made.list()
    assert str(tmp_path) not in str(caught.value)
    deaf = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(deaf))  # there, and nobody listens
        made = Containers(settings.model_copy(update={"docker_host": f"unix://{deaf}"}))
        with pytest.raises(Unavailable, match="No container engine answers"):
            await made.list()


async def test_a_hanging_engine_costs_its_time_and_no_more(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.containers.SECONDS", 1.0)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "slow.sock"))
        door.listen(8)  # connections are taken and never answered
        made = Containers(
            settings.model_copy(update={"docker_host": f"unix://{tmp_path}/slow.sock"})
        )
        began = time.monotonic()
        with pytest.raises(TimedOut):
            await asyncio.wait_for(made._run(made._allowed, seconds=1.0), 60)
        assert time.monotonic() - began < 60
        await asyncio.to_thread(made._pool.shutdown)


@pytest.mark.parametrize(
    ("changed", "off"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"share": True}, True),
        ({"host": "0.0.0.0", "token": "x"}, False),
        ({"host": "127.0.0.1"}, False),
    ],
)
async def test_a_server_open_to_all_has_none(
    settings: Settings, tmp_path: Path, changed: dict[str, Any], off: bool
) -> None:
    changed = {**changed, "docker_host": f"unix://{tmp_path}/none.sock"}
    made = Containers(settings.model_copy(update=changed))
    for ask in (made.list(), made.act("brenda-x", "stop"), made.logs("brenda-x")):
        with pytest.raises(Forbidden if off else Unavailable):
            await ask


def row(name: str, **labels: str) -> dict[str, Any]:
    return {"Names": [f"/{name}"], "Labels": labels}


@pytest.mark.parametrize(
    ("prefix", "label", "seen"),
    [
        ("brenda", "", ["brenda-a"]),
        ("", "", []),
        ("", "team", ["x-b", "x-c"]),
        ("", "team=red", ["x-b"]),
        ("brenda", "team=red", ["brenda-a", "x-b"]),
    ],
)
def test_the_allow_list(settings: Settings, prefix: str, label: str, seen: list[str]) -> None:
    changed = {"containers_prefix": prefix, "containers_label": label}
    made = Containers(settings.model_copy(update=changed))
    rows = [row("brenda-a"), row("x-b", team="red"), row("x-c", team="blue"), row("my-brenda")]
    assert [r["Names"][0][1:] for r in rows if made._allows(r)] == seen
