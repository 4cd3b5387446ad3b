"""Downloads from a hub on loopback: what is fetched, the ticket on the way, pause, resume, cancel, restart."""

from __future__ import annotations

import asyncio

import pytest

from engine.checkpoints import cached_snapshot
from engine.errors import (
    AtelierError,
    BadValue,
    Conflict,
    DownloadFailed,
    LicenceNeeded,
    NoSpace,
    Unknown,
)
from engine.events import Done, Progress
from engine.registry import ModelSpec
from tests.fetching import CONFIG, STARTER, WEIGHTS, ended, parts, small, until
from tests.hub import Hub

pytestmark = pytest.mark.slow  # downloads from a hub of our own


async def test_a_model_is_fetched_whole_and_nothing_else(hub: Hub, fetching):
    hub.add("org/one", small())
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        assert (ticket.kind, ticket.title) == ("download", "org/one")
        assert ticket.phase in ("queued", "downloading", "done")
        events = [event async for _, event in engine.jobs.follow(ticket.id)]
        done = await ended(engine, ticket)
        spec = engine.registry.find("org/one")
    folder = cached_snapshot("org/one")
    assert folder is not None
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {"config.json", "tokenizer.json", "README.md", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert done.phase == "done" and done.done == done.total == sum(
        len(small()[name]) for name in names
    )
    assert isinstance(events[-1], Done) and any(isinstance(e, Progress) for e in events)
    assert (spec.family, spec.does, spec.context) == ("hf_chat", {"chat"}, 128)
    assert spec.licence == "apache-2.0" and parts() == []
    assert hub.asked("pytorch_model.bin") == hub.asked("modeling_mine.py") == []


@pytest.mark.slow
async def test_a_downloaded_model_answers_at_once_and_after_a_restart(hub: Hub, fetching):
    from tests.conftest import asking, collect

    hub.add("org/starter", {p.name: p for p in STARTER.iterdir() if p.is_file()})
    async with fetching() as engine:
        await ended(engine, await engine.downloads.begin("org/starter", accept_licence=True))
        events = await collect(engine, asking("Hello!", "org/starter", max_tokens=4))
        assert events[-1].usage.output_tokens > 0
        row = next(iter(await engine.downloads._rows.read()))
        assert (row.phase, row.model, row.licence) == ("done", "org/starter", "apache-2.0")
        engine.choose("chat", "org/starter")
    async with fetching() as engine:
        await until(lambda: any(s.id == "org/starter" for s in engine.models("chat")))
        assert engine.downloads.is_present(engine.registry.find("org/starter"))
        await until(lambda: engine.registry.default("chat").id == "org/starter")


async def test_the_licence_comes_first(hub: Hub, fetching):
    card = {"license": "other", "license_name": "own-terms", "license_link": "https://x.example/l"}
    hub.add("org/one", small(), card=card)
    async with fetching() as engine:
        offer = await engine.downloads.look("org/one")
        assert (offer.licence.name, offer.licence.link) == ("own-terms", "https://x.example/l")
        assert offer.size == offer.missing > len(WEIGHTS) and not offer.present
        with pytest.raises(LicenceNeeded, match=r"own-terms.*https://x\.example/l"):
            await engine.downloads.begin("org/one")
        assert engine.jobs.list() == [] and hub.asked("model.safetensors") == []


async def test_the_disk_is_looked_at_first(hub: Hub, fetching, monkeypatch: pytest.MonkeyPatch):
    hub.add("org/one", small())
    monkeypatch.setattr("engine.offers.free_bytes", lambda: 100_000_000)
    async with fetching() as engine:
        with pytest.raises(NoSpace, match=r"0\.1 GB free"):
            await engine.downloads.begin("org/one", accept_licence=True)
        assert hub.asked("model.safetensors") == []


REFUSED = {
    "pickles alone": ({"config.json": CONFIG, "pytorch_model.bin": b"x"}, "pickled"),
    "another class": (
        {"config.json": b'{"architectures": ["T5Stack"]}', "model.safetensors": b"x"},
        r"T5Stack.*ForCausalLM",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_repositories_that_cannot_be_run_are_refused(hub: Hub, fetching, case: str):
    files, sentence = REFUSED[case]
    hub.add("org/one", files)
    async with fetching() as engine:
        with pytest.raises(BadValue, match=sentence):
            await engine.downloads.begin("org/one", accept_licence=True)
        assert engine.jobs.list() == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nothing of the kind", BadValue),
        ("org/absent", Unknown),
        ("org/one@v9", Unknown),
        ("starter-chat", BadValue),
    ],
)
async def test_wrong_names(hub: Hub, fetching, name: str, kind: type[AtelierError]):
    hub.add("org/one", small())
    async with fetching() as engine:
        with pytest.raises(kind):
            await engine.downloads.begin(name, accept_licence=True)


async def test_pause_keeps_what_came_and_resume_asks_for_the_rest(hub: Hub, fetching):
    hub.add("org/one", small(4 << 20))
    hub.faults.rate = 4 << 20
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        await until(lambda: engine.jobs.get(ticket.id).done > 1 << 20)
        paused = engine.downloads.pause(ticket.id)
        assert paused.phase == "paused" and paused.done > 1 << 20
        await until(lambda: parts() and engine.downloads._all[ticket.id].task.done())
        kept = parts()[0].stat().st_size
        with pytest.raises(Conflict):
            engine.downloads.pause(ticket.id)
        assert engine.downloads.resume(ticket.id).phase == "queued"
        assert (await ended(engine, ticket)).phase == "done"
    assert hub.asked("/cdn/org/one//model.safetensors") == ["", f"bytes={kept}-"]
    assert (cached_snapshot("org/one") / "model.safetensors").stat().st_size == 4 << 20


async def test_cancel_leaves_nothing(hub: Hub, fetching):
    hub.add("org/one", small(4 << 20))
    hub.faults.rate = 4 << 20
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        await until(parts)
        assert engine.jobs.cancel(ticket.id)
        assert engine.jobs.get(ticket.id).phase == "cancelled"
        await until(lambda: not parts())
        assert not engine.jobs.cancel(ticket.id)
        assert cached_snapshot("org/one") is None
        await until(lambda: engine.downloads._all[ticket.id].task.done())
        again = await engine.downloads.begin("org/one", accept_licence=True)
        assert again.id != ticket.id
    async with fetching() as engine:
        await until(lambda: [t.id for t in engine.jobs.list()] == [again.id])


@pytest.mark.slow
async def test_the_same_model_is_fetched_once(hub: Hub, fetching):
    hub.add("org/one", small(1 << 20))
    hub.faults.rate = 4 << 20
    async with fetching() as engine:
        begun = [engine.downloads.begin("org/one", accept_licence=True) for _ in range(3)]
        tickets = await asyncio.gather(*begun)
        assert len({ticket.id for ticket in tickets}) == 1
        await ended(engine, tickets[0])
        again = await ended(engine, await engine.downloads.begin("https://huggingface.co/org/one"))
        assert again.phase == "done"
    assert len(hub.asked("/cdn/")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["downloading", "paused"])
async def test_a_restart_goes_on_where_it_was(hub: Hub, fetching, phase: str):
    hub.add("org/one", small(4 << 20))
    hub.faults.rate = 4 << 20
    async with fetching() as engine:
        ticket = await engine.downloads.begin("org/one", accept_licence=True)
        await until(lambda: engine.jobs.get(ticket.id).done > 1 << 20)
        if phase == "paused":
            engine.downloads.pause(ticket.id)
    hub.repos["org/one"].commit = "d" * 40  # main moves on; what was begun is what comes
    hub.faults.rate = 0
    kept = parts()[0].stat().st_size
    async with fetching() as engine:
        await until(engine.jobs.list)
        if phase == "paused":
            found = engine.jobs.get(ticket.id)
            assert found.phase == "paused" and found.done >= kept
            engine.downloads.resume(ticket.id)
        hub.repos["org/one"].commit = "c0ffee" * 6 + "c0ff"
        assert (await ended(engine, ticket)).phase == "done"
    assert hub.asked("/cdn/org/one//model.safetensors")[-1] == f"bytes={kept}-"


async def test_closing_takes_no_time(hub: Hub, fetching):
    hub.add("org/one", small(4 << 20))
    hub.faults.rate = 1 << 16
    async with fetching() as engine:
        await engine.downloads.begin("org/one", accept_licence=True)
        await until(parts)
        before = asyncio.get_running_loop().time()
        await engine.downloads.close()
        assert asyncio.get_running_loop().time() - before < 1.0


@pytest.mark.slow
async def test_downloads_wait_for_each_other(hub: Hub, fetching):
    for name in ("org/one", "org/two"):
        hub.add(name, small(1 << 20))
    hub.faults.rate = 2 << 20
    async with fetching(parallel_downloads=1) as engine:
        first = await engine.downloads.begin("org/one", accept_licence=True)
        second = await engine.downloads.begin("org/two", accept_licence=True)
        await until(lambda: engine.jobs.get(first.id).phase == "downloading")
        assert engine.jobs.get(second.id).phase == "queued"
        assert (await ended(engine, second)).phase == "done"


async def test_catalog_rows_name_the_repository(hub: Hub, fetching):
    hub.add("org/one", small())
    row = ModelSpec(id="mine", does=frozenset({"chat"}), family="hf_chat", repo="org/one")
    told: list[tuple[str, ModelSpec | None]] = []
    async with fetching() as engine:
        engine.registry.add(row)
        engine.downloads.on_done.append(lambda ticket, spec: told.append((ticket.model, spec)))
        assert not engine.downloads.is_present(row)
        ticket = await ended(engine, await engine.downloads.begin("mine", accept_licence=True))
        assert engine.downloads.is_present(row)
    assert ticket.model == "mine" and told == [("mine", row)]


async def test_a_hub_cannot_name_folders_here(hub: Hub, fetching):
    hub.add("org/one", small(), commit="not-a-hash")
    async with fetching() as engine:
        with pytest.raises(DownloadFailed, match="makes no sense"):
            await engine.downloads.begin("org/one", accept_licence=True)
