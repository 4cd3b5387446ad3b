"""Downloads when the hub, the network, the disk or the process misbehaves: a named error, never a corrupt file."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from engine import Engine, Forbidden, Unavailable
from engine.checkpoints import cached_snapshot, hub_cache
from engine.couriers import HubCourier
from engine.errors import DownloadFailed, Gated, WrongFile
from engine.registry import ModelSpec
from tests.conftest import asking, collect
from tests.fetching import STARTER, WEIGHTS, ended, parts, small, until
from tests.hub import Hub

pytestmark = pytest.mark.slow  # each starts processes
FILE = "model.safetensors"


def whole() -> bool:
    """Whether the model's weights are there under their own name, byte for byte."""
    folder = cached_snapshot("org/one")
    return folder is not None and (folder / FILE).read_bytes() == WEIGHTS


async def test_a_connection_that_breaks_is_taken_up_again(hub: Hub, fetching):
    hub.add("org/one", small())
    hub.faults.breaks[FILE] = 3
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        assert (await ended(engine, ticket)).phase == "done"
    spans = hub.asked(f"/cdn/org/one//{FILE}")
    half = len(WEIGHTS) // 2
    assert spans[:2] == ["", f"bytes={half}-"] and len(spans) == 4 and whole()


async def test_a_hub_that_ignores_ranges_is_read_from_the_start(hub: Hub, fetching):
    hub.add("org/one", small())
    hub.faults.breaks[FILE] = 1
    hub.faults.no_range.add(FILE)
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        assert (await ended(engine, ticket)).phase == "done"
    assert whole()


@pytest.mark.parametrize("fault", ["wrong", "short"])
async def test_a_wrong_file_never_gets_its_name(hub: Hub, fetching, fault: str):
    hub.add("org/one", small())
    getattr(hub.faults, fault).add(FILE)
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        failed = await ended(engine, ticket)
        assert failed.phase == "failed" and FILE in failed.error
        with pytest.raises(WrongFile):
            [event async for event in engine.jobs.follow(ticket.id)]
        assert cached_snapshot("org/one") is None
        sizes = [p.stat().st_size for p in (hub_cache() / "models--org--one/blobs").iterdir()]
        assert len(WEIGHTS) not in sizes and (fault == "short") == bool(parts())
        getattr(hub.faults, fault).clear()
        assert engine.downloads.retry(ticket.id).phase == "queued"
        assert (await ended(engine, ticket)).phase == "done" and whole()


async def test_damage_done_to_a_part_is_found_and_mended(hub: Hub, fetching):
    hub.add("org/one", small())
    hub.faults.rate = 1 << 20
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        await until(lambda: parts() and parts()[0].stat().st_size > 1 << 16)
        engine.downloads.pause(ticket.id)
        await until(lambda: engine.downloads._all[ticket.id].task.done())
        with parts()[0].open("r+b") as part:
            part.write(b"!!")
        hub.faults.rate = 0
        engine.downloads.resume(ticket.id)
        assert (await ended(engine, ticket)).phase == "done" and whole()


@pytest.mark.parametrize(
    ("status", "phase"),
    [([503], "done"), ([429], "done"), ([500] * 9, "failed"), ([404], "failed")],
)
async def test_answers_that_are_none(hub: Hub, fetching, status: list[int], phase: str):
    hub.add("org/one", small())
    hub.faults.status[FILE] = status
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        assert (await ended(engine, ticket)).phase == phase
        assert whole() == (phase == "done")


async def test_gated_repositories_are_explained(
    hub: Hub, fetching, monkeypatch: pytest.MonkeyPatch
):
    hub.add("org/one", small(), gated="manual", token="hf_right")
    async with fetching() as engine:
        with pytest.raises(Gated, match=r"huggingface\.co/org/one.*HF_TOKEN"):
            await engine.downloads.begin("org/one", accept_licence=True)
    async with fetching(hf_token="hf_right") as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        assert (await ended(engine, ticket)).phase == "done" and whole()


async def test_an_unreachable_hub(fetching, hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    async with fetching() as engine:
        with pytest.raises(DownloadFailed, match="cannot be reached"):
            await engine.downloads.begin("org/one", accept_licence=True)


async def test_offline_begins_nothing(fetching, hub: Hub):
    hub.add("org/one", small())
    async with fetching(offline=True) as engine:
        with pytest.raises(Unavailable, match="ATELIER_OFFLINE"):
            await engine.downloads.begin("org/one", accept_licence=True)
    assert hub.log == []


async def test_a_courier_that_dies_is_an_error_and_its_part_is_used(hub: Hub, fetching):
    hub.add("org/one", small())
    hub.faults.rate = 1 << 20
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        await until(lambda: parts() and parts()[0].stat().st_size > 1 << 16)
        pids = [int(p) for p in os.listdir("/proc") if p.isdigit() and _is_ours(p)]
        assert len(pids) == 1
        os.kill(pids[0], signal.SIGKILL)
        failed = await ended(engine, ticket)
        assert failed.phase == "failed" and "broke off" in failed.error
        hub.faults.rate = 0
        engine.downloads.retry(ticket.id)
        assert (await ended(engine, ticket)).phase == "done" and whole()
    assert hub.asked("/cdn/")[-1].startswith("bytes=")


def _is_ours(pid: str) -> bool:
    """Whether a process is a courier of this test's."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line, open(f"/proc/{pid}/stat") as stat:
            parent = int(stat.read().rpartition(") ")[2].split()[1])
            return b"fetching.py" in line.read() and parent == os.getpid()
    except OSError:
        return False


async def test_a_courier_ends_with_its_input(hub: Hub, settings):
    async with HubCourier("org/one", settings) as courier:
        process = courier._process
        assert process is not None and process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_cache_that_cannot_be_written(
    hub: Hub, fetching, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    hub.add("org/one", small())
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file"))
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        assert "cannot be written" in (await ended(engine, ticket)).error


# A request whose model is not here

ROW = ModelSpec(id="big", does=frozenset({"chat"}), family="hf_chat", repo="org/starter")


def offered(hub: Hub, engine: Engine, **facts: object) -> None:
    hub.add("org/starter", {p.name: p for p in STARTER.iterdir() if p.is_file()}, **facts)
    engine.registry.add(ROW)


async def test_a_request_waits_for_its_model(hub: Hub, fetching):
    async with fetching(auto_download=True) as engine:
        offered(hub, engine)
        hub.faults.rate = 20_000_000
        phases: set[str] = set()
        asked = asyncio.create_task(collect(engine, asking("Hello!", "big", max_tokens=4)))
        while not asked.done():
            phases |= {f"{t.kind} {t.phase}" for t in engine.jobs.list()}
            await asyncio.sleep(0.01)
        events = await asked
    assert events[-1].usage.output_tokens > 0
    assert {"request downloading", "download downloading"} <= phases


async def test_without_auto_download_it_says_how(hub: Hub, fetching):
    async with fetching() as engine:
        offered(hub, engine)
        with pytest.raises(Unavailable, match=r"hf download|/v1/models/download"):
            await collect(engine, asking("Hello!", "big"))
    assert hub.log == []


async def test_auto_download_accepts_open_licences_alone(hub: Hub, fetching):
    async with fetching(auto_download=True) as engine:
        offered(hub, engine, card={"license": "llama3.2"})
        with pytest.raises(Forbidden, match=r"llama3\.2"):
            await collect(engine, asking("Hello!", "big"))


async def test_stop_ends_a_request_that_waits_for_its_model(hub: Hub, fetching):
    from engine import Caller, Done

    async with fetching(auto_download=True) as engine:
        offered(hub, engine)
        hub.faults.rate = 100_000
        caller = Caller(session="s", request_id="r1")
        asked = asyncio.create_task(collect(engine, asking("Hello!", "big"), caller))
        await until(lambda: [t for t in engine.jobs.list() if t.phase == "downloading"])
        assert engine.stop("s") == 1
        assert isinstance((await asyncio.wait_for(asked, 5))[-1], Done)
        assert engine.jobs.get("r1").phase == "cancelled"
