"""The Models tab without a browser: values in, HTML out; what its handlers do with an engine."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from engine import (
    BadValue,
    Engine,
    EngineStatus,
    LaneStatus,
    Leaving,
    ModelSpec,
    Plan,
    ResidentModel,
    Ticket,
)
from tests import echo
from ui import cards, dialogs, keeping, monitor
from ui.stock import Card, Scene, Stock

BAD = "\"'><img src=x onerror=alert(1)>\n\n# x"
SPEC = ModelSpec("qwen", frozenset({"chat"}), "hf_chat", repo="org/qwen", title="Qwen", size=2**30)
HELD = ResidentModel("qwen", 2_000_000_000, 0, 90.0, 210.0, False, 1.0, "int8", 300.0)
PLAN = Plan(
    model="qwen", device="cpu", needed=9_100_000_000, free=4_000_000_000, total=20_000_000_000,
    measured=True, unloads=(), stays=(), fits="fits", dtype="bfloat16", quantisation="",
    offload=False, present=True, sentence="",
)  # fmt: skip
LANE = LaneStatus("cpu", "CPU", 16 * 10**9, 8 * 10**9, 12 * 10**9, 2 * 10**9, 0, 0, (HELD,))


def ticket(**values: Any) -> Ticket:
    given = {
        "id": "t1", "kind": "download", "title": "org/qwen", "model": "qwen", "phase": "downloading",
        "ahead": 0, "done": 500_000_000, "total": 10**9, "speed": 2e7, "seconds_left": 25.0,
        "error": "", "created_at": datetime(2030, 1, 1, tzinfo=UTC), "session": "s1",
    }  # fmt: skip
    return Ticket(**{**given, **values})


def scene(*found: Card, jobs: tuple[Ticket, ...] = (), servers: tuple[Any, ...] = ()) -> Scene:
    return Scene(EngineStatus("1", 1.0, (LANE,)), found, jobs, servers)


def acts(html: str) -> list[str]:
    return [part.split('"')[0] for part in html.split('data-act="')[1:]]


HERE = Card(replace(SPEC, repo="", path="/models/qwen"), present=True, plan=PLAN)
BIG = replace(PLAN, fits="too_big", needed=30 * 10**9)


@pytest.mark.parametrize(
    ("card", "does", "says"),
    [
        (HERE, ["chat", "ask_load", "default"], "Fits"),
        (replace(HERE, present=False), ["ask_download"], "Needs 9.1 GB.<"),
        (replace(HERE, own=True), ["chat", "ask_load", "default", "ask_remove"], "yours"),
        (replace(HERE, default_of=("chat",)), ["chat", "ask_load"], "default"),
        (replace(HERE, resident=HELD), ["chat", "unload", "default"], "In memory, 2.0 GB"),
        (replace(HERE, loading=True), ["default"], "Loading"),
        (replace(HERE, plan=BIG), ["chat", "default"], "Models may hold 20.0 GB here."),
        (replace(HERE, plan=None), ["chat", "ask_load", "default"], "Not known yet"),
        (replace(HERE, formed=True), ["chat", "ask_load", "default", "ask_form"], "fewer bits"),
        (replace(HERE, recommended=True), ["chat", "ask_load", "default"], "recommended"),
        (
            replace(HERE, present=False, fetch=ticket()),
            ["pause", "ask_cancel"],
            'class="why percent"',
        ),
        (
            replace(HERE, present=False, fetch=ticket(phase="paused")),
            ["resume", "ask_cancel"],
            "Paused",
        ),
        (
            replace(HERE, present=False, fetch=ticket(phase="failed", error="No <space>.")),
            ["retry", "ask_cancel"],
            "No &lt;space&gt;.",
        ),
        (replace(HERE, server="far"), ["chat", "default"], "Runs on far"),
        (replace(HERE, server="far", down=True), [], "far is down"),
    ],
)
def test_a_card_offers_what_can_be_done(card: Card, does: list[str], says: str) -> None:
    html = cards.shelf(scene(card), "en")
    assert says in html and acts(html) == does


def test_a_starter_stays_and_downloads_may_go() -> None:
    starter = replace(HERE, spec=replace(SPEC, starter=True), own=True)
    assert "ask_remove" not in acts(cards.shelf(scene(starter), "en"))
    fetched = replace(HERE, spec=SPEC)
    assert "ask_remove" in acts(cards.shelf(scene(fetched), "en"))
    assert "ask_remove" not in acts(cards.shelf(scene(replace(fetched, present=False)), "en"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"measured": False}, "Needs ≈ 9.1 GB."),
        ({"needed": 0, "fits": "unknown"}, "It is measured when it is first loaded."),
        ({"fits": "too_big"}, "Pinned models or other programs hold the memory."),
        ({"quantisation": "int4", "offload": True}, "Held as int4 + offload."),
        ({"offload": True}, "Held as offload."),
        (
            {"fits": "after_unload", "unloads": (Leaving("a", 240.0, 1),)},
            "Makes room by unloading Model A (idle 4 min).",
        ),
    ],
)
def test_a_plan_is_told(values: dict[str, Any], said: str) -> None:
    assert said in cards.plan_line(replace(PLAN, **values), {"a": "Model A"}, "en")


def test_cards_are_grouped_and_nothing_is_markup() -> None:
    hostile = ModelSpec(
        BAD, frozenset({"embed"}), "f", title=BAD, params=BAD, licence=BAD, languages=(BAD,)
    )
    found = scene(
        HERE, Card(hostile, present=True, server=BAD, plan=PLAN), jobs=(ticket(title=BAD),)
    )
    html = cards.shelf(found, "en") + monitor.monitor(found, {"t1"}, 300, "en")
    html += dialogs.sheet(BAD, "", "en", act="x", submit=BAD, error=BAD, model=BAD)
    html += dialogs.added([hostile], True, "en") + dialogs.add("en", BAD, BAD)
    assert "<img" not in html and "\n" not in html
    assert html.index("Chat<span") < html.index("Embeddings<span")


def test_memory_has_a_chip_for_each_model() -> None:
    html = monitor.monitor(scene(HERE), (), 300, "en")
    assert acts(html) == ["keep", "pin", "unload"]
    assert "Other programs 6.0 GB" in html and "8.0 GB free" in html and "idle 2 min" in html
    assert '<option value="300" selected>usual (5 min)</option>' in html
    held = replace(HELD, pinned=True, leases=2, keep_alive=1234.0)
    lane = replace(LANE, resident=(held,))
    html = monitor.monitor(replace(scene(HERE), status=EngineStatus("1", 1, (lane,))), (), -1, "en")
    assert 'aria-pressed="true"' in html and "in use" in html
    assert '<option value="1234" selected>21 min</option>' in html and "usual (always)" in html


def test_jobs_tell_how_far_they_are() -> None:
    html = monitor.monitor(scene(HERE, jobs=(ticket(),)), {"t1"}, 300, "en")
    assert "Downloading · 500 MB of 1.0 GB · 20.0 MB/s · 25 s left" in html
    assert 'aria-valuenow="50"' in html and 'data-moving="1"' in html
    asked = ticket(kind="request", phase="running", title="my secret", done=12, total=0, speed=6.0)
    mine = monitor.monitor(scene(HERE, jobs=(asked,)), {"t1"}, 300, "en")
    assert "my secret" in mine and "12 tokens · 6 tokens/s" in mine and "stop" in acts(mine)
    theirs = monitor.monitor(scene(HERE, jobs=(asked,)), (), 300, "en")
    assert "my secret" not in theirs and "A request" in theirs and "stop" not in acts(theirs)
    queued = monitor.monitor(
        scene(HERE, jobs=(replace(asked, phase="queued", ahead=3),)), (), 0, "en"
    )
    assert "Waiting, 3 ahead" in queued


def test_servers_that_are_down_say_so() -> None:
    server = SimpleNamespace(
        name="far",
        url="http://far",
        healthy=False,
        error="It <refused>.",
        models=(1, 2),
        source="added",
        kind="ollama",
    )
    html = monitor.monitor(scene(servers=(server,)), (), 300, "en")
    assert "is down · 2 models" in html and "It &lt;refused&gt;." in html
    assert [a for a in acts(html) if a != "keep"][-2:] == ["refresh", "ask_forget"]
    server.healthy = True
    assert "ask_pull" in acts(monitor.monitor(scene(servers=(server,)), (), 300, "en"))
    server.source = "environment"
    assert "ask_forget" not in acts(monitor.monitor(scene(servers=(server,)), (), 300, "en"))


def test_a_page_is_sent_what_is_new() -> None:
    seen = keeping.Seen(limit=2)
    assert seen.news("p", ("a", "b"), False) == (True, True)
    assert seen.news("p", ("a", "b"), False) == (False, False)
    assert seen.news("p", ("a", "c"), False) == (False, True)
    assert seen.news("p", ("a", "c"), True) == (True, True)
    seen.news("q", ("", ""), False), seen.news("r", ("", ""), False)
    assert seen.news("p", ("a", "c"), False) == (True, True), "forgotten, so sent again"


def someone(rank: str = "admin", session: str = "abc") -> Any:
    return SimpleNamespace(
        headers={}, cookies={}, session_hash=session, username=None, query_params={},
        state=SimpleNamespace(rank=rank),
    )  # fmt: skip


@pytest.fixture
async def tab(build: Callable[..., Engine]) -> AsyncIterator[keeping.Keeping]:
    engine = build()
    await engine.start()
    yield keeping.Keeping(
        engine, keeping.Places("cards", "live", "sheet", "outcome"), Stock(engine)
    )  # type: ignore[arg-type]
    await engine.close()


async def press(tab: keeping.Keeping, request: Any = None, **given: str) -> dict[Any, Any]:
    """Everything an action painted, the newest of each place."""
    painted: dict[Any, Any] = {}
    async for updates in tab.act(json.dumps(given) + "#1", request or someone()):
        painted |= {k: v for k, v in updates.items() if isinstance(v, str)}
    return painted


async def test_load_keep_pin_unload(tab: keeping.Keeping) -> None:
    painted = await press(tab, act="ask_load", model="echo")
    assert "In memory" in painted["cards"] and "chip-row" in painted["live"]
    await press(tab, act="keep", model="echo", value="-1")
    await press(tab, act="pin", model="echo", value="on")
    held = tab.engine.status().resident[0]
    assert held.pinned and held.keep_alive == -1
    await press(tab, act="default", model="echo-batch", does="chat")
    assert tab.engine.registry.default("chat").id == "echo-batch"
    await press(tab, act="default", model="echo", does="embed")  # it cannot
    await press(tab, act="chat", model="echo-batch")
    assert tab.engine.sessions.get("abc").model == "echo-batch"
    painted = await press(tab, act="unload", model="echo")
    assert tab.engine.status().resident == () and "chip-row" not in painted["live"]


async def test_a_load_that_evicts_is_asked_first(
    tab: keeping.Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = Leaving("echo", 240.0, 100)
    plan = replace(PLAN, fits="after_unload", unloads=(leaving,), stays=("starter",))
    monkeypatch.setattr(Stock, "plan", lambda self, model: plan)
    painted = await press(tab, act="ask_load", model="echo-batch")
    assert "Load echo-batch?" in painted["sheet"] and "Stays: starter." in painted["sheet"]
    assert acts(painted["sheet"]) == ["load"] and tab.engine.status().resident == ()


async def test_the_bits_of_a_model_are_chosen(
    tab: keeping.Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def plan(self: Engine, model: str, *, quantisation: str = "") -> Any:
        if quantisation == "int4":
            raise BadValue("Four bits do not run here.")
        return replace(PLAN, quantisation=quantisation, fits="fits")

    async def load(self: Engine, model: str, quantisation: str = "") -> float:
        asked.append(f"{model} {quantisation}")
        return 0.0

    monkeypatch.setattr(Engine, "plan", plan)
    monkeypatch.setattr(Engine, "load", load)
    sheet = (await press(tab, act="ask_form", model="echo"))["sheet"]
    assert re.findall(r'value="(\w+)"( checked)?( disabled)?', sheet) == [
        ("auto", " checked", ""), ("none", "", ""), ("int8", "", ""), ("int4", "", " disabled"),
    ]  # fmt: skip
    assert "Four bits do not run here." in sheet and acts(sheet) == ["load"]
    await press(tab, act="load", model="echo", form="int8")
    assert asked == ["echo int8"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "told", ["", "#", "[]#1", "{#1", '{"act": "__init__"}#1', '{"act": ["load"]}#1']
)
async def test_what_makes_no_sense_does_nothing(tab: keeping.Keeping, told: str) -> None:
    assert len([u async for u in tab.act(told, someone())]) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_only_admins_change_the_catalog(tab: keeping.Keeping) -> None:
    plain = someone("user")
    for act in (
        "ask_add",
        "add",
        "ask_remove",
        "remove",
        "ask_forget",
        "forget",
        "ask_pull",
        "pull",
    ):
        painted = await press(tab, plain, act=act, what="/tmp", model="echo", server="x")
        assert painted["sheet"] == "", act
    assert "Add a model" in (await press(tab, act="ask_add"))["sheet"]


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_jobs_belong_to_somebody(tab: keeping.Keeping) -> None:
    track = tab.engine.jobs.begin("r1", "request", "my secret", "echo", "theirs")
    painted = await press(tab, someone("user"), act="stop", job="r1")
    assert not track.stopped and "my secret" not in painted["live"]
    await press(tab, act="stop", job="r1")
    assert track.stopped
    tab.engine.jobs.end(track, "cancelled")


async def test_what_is_wrong_is_said_where_it_was_typed(tab: keeping.Keeping) -> None:
    painted = await press(tab, act="add", what="/no/such <folder>")
    assert (
        "There is no folder" in painted["sheet"]
        and 'value="/no/such &lt;folder&gt;"' in painted["sheet"]
    )


async def test_looking_sends_nothing_twice(tab: keeping.Keeping) -> None:
    first = await tab.look("all#1", someone())
    again = await tab.look("#2", someone())
    assert "data-card" in first["cards"] and not isinstance(again["cards"], str)
    assert len(echo.SPECS) == first["cards"].count("data-card=")
