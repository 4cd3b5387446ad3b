"""The Vision tab without a browser: what its handlers do with an engine that sees, and what they paint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine import Engine, Segment, Settings
from tests import seer
from ui import parts, samples, vision_desk, vision_finds, vision_talk, vision_views
from ui.vision_desk import Desk, Desks, picture_of
from ui.words import LANGUAGES

pytestmark = pytest.mark.slow  # engines with pictures and documents
BAD = "\"'><img src=x onerror=alert(1)>\n\n# x"
PLACES = (
    "desk", "stage", "presets", "log", "state", "box", "model", "finder", "labeller", "found",
    "bars", "outcome",
)  # fmt: skip
DESK = "0123456789abcdef#1"


def someone(session: str = "abc") -> Any:
    return SimpleNamespace(
        headers={}, cookies={}, session_hash=session, username=None, query_params={},
        state=SimpleNamespace(rank="admin"),
    )  # fmt: skip


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    engine = Engine.build(settings, families={"seer": seer}, specs=seer.SPECS)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
def look(engine: Engine) -> vision_talk.Look:
    return vision_talk.Look(engine, vision_talk.Places(*PLACES))


@pytest.fixture
def finds(look: vision_talk.Look) -> vision_finds.Finds:
    return vision_finds.Finds(look.engine, look.desks, "found", "bars")


async def all_of(updates: Any) -> dict[Any, Any]:
    """Everything that was painted, the newest of each place; what was left alone is left out."""
    painted: dict[Any, Any] = {}
    async for each in updates:
        painted |= {k: v for k, v in each.items() if isinstance(v, str | list)}
    return painted


async def press(look: vision_talk.Look, **given: str) -> dict[Any, Any]:
    return await all_of(look.act(json.dumps(given) + "#1", DESK, "seer", someone()))


async def test_a_sample_is_put_down_asked_about_and_put_away(look: vision_talk.Look) -> None:
    painted = await press(look, act="sample", name="shapes.png")
    assert 'src="data:image/jpeg;base64,' in painted["stage"] and "1280 × 960" in painted["stage"]
    painted = await all_of(look.ask("How many?", DESK, "seer", someone()))
    assert painted["log"][-1]["content"] == "I see 1280x960 in turn 1: How many?"
    assert painted["box"] == "" and "Seer" in painted["state"]
    painted = await press(look, act="ask", question="And now?")
    assert painted["log"][-1]["content"] == "I see 1280x960 in turn 2: And now?"
    assert len(painted["log"]) == 4
    again = await look.arrive(DESK, someone())
    assert again["log"] == painted["log"] and 'data-picture="1"' in again["stage"]
    other = await look.arrive(DESK, someone("another"))
    assert other["log"] == [] and "empty" in other["stage"]
    painted = await press(look, act="clear")
    assert painted["log"] == [] and "drop" in painted["stage"]


async def test_what_cannot_be_asked_stays_in_the_box(look: vision_talk.Look) -> None:
    painted = await all_of(look.ask("What?", DESK, "seer", someone()))
    assert painted["box"] == "What?" and "no picture yet" in painted["state"]
    await press(look, act="sample", name="shapes.png")
    painted = await all_of(look.ask("What?", DESK, None, someone()))
    assert 'href="#models"' in painted["state"] and painted["box"] == "What?"
    painted = await all_of(look.ask("!fail", DESK, "seer", someone()))
    assert painted["box"] == "!fail" and painted["log"] == [] and "failed" in painted["state"]


async def test_a_new_picture_ends_the_answer_about_the_old_one(look: vision_talk.Look) -> None:
    await press(look, act="sample", name="shapes.png")
    slow = asyncio.create_task(all_of(look.ask("!slow " + "word " * 300, DESK, "seer", someone())))
    while not look.desks.of(DESK, someone()).running:
        await asyncio.sleep(0.01)
    painted = await press(look, act="sample", name="balls.png")
    await asyncio.wait_for(slow, 10)
    desk = look.desks.of(DESK, someone())
    assert desk.said == [] and desk.running == "" and painted["log"] == []
    assert desk.picture is not None and desk.picture.name == "balls.png"


async def test_stop_keeps_what_is_there(look: vision_talk.Look) -> None:
    await press(look, act="sample", name="shapes.png")
    seen: list[Any] = []
    async for updates in look.ask("!slow " + "word " * 300, DESK, "seer", someone()):
        seen.append(updates)
        if look.desks.of(DESK, someone()).running:
            look.halt(DESK, someone())
    said = look.desks.of(DESK, someone()).said
    assert [e.finish for e in said if e.role == "assistant"] in ([], ["stopped"])
    back = [each["box"] for each in seen if each.get("box")]
    assert bool(back) != bool(said), "what nothing was said to is in the box again"


async def test_a_closed_page_ends_the_answer(look: vision_talk.Look) -> None:
    await press(look, act="sample", name="shapes.png")
    updates = look.ask("!slow " + "word " * 300, DESK, "seer", someone())
    async for each in updates:
        if any(isinstance(v, list) and len(v) > 1 for v in each.values()):
            break
    await updates.aclose()
    status = look.engine.status()
    for _ in range(200):
        if not (status := look.engine.status()).running:
            break
        await asyncio.sleep(0.02)
    assert status.running == 0 and look.desks.of(DESK, someone()).running == ""


async def test_things_are_found_and_labels_compared(
    look: vision_talk.Look, finds: vision_finds.Finds
) -> None:
    none = await all_of(finds.find("", DESK, "finder", someone()))
    assert "no picture yet" in none["found"]
    await press(look, act="sample", name="balls.png")
    painted = await all_of(finds.find("red ball, box;  \n", DESK, "finder", someone()))
    assert painted["found"].count('class="box ') == 2 and "red ball 90 %" in painted["found"]
    assert "left:20.000%;top:20.000%;width:30.000%" in painted["found"]
    painted = await all_of(finds.compare("a, bbb", DESK, "labeller", someone()))
    assert painted["bars"].index("bbb") < painted["bars"].index(">a<") and "75 %" in painted["bars"]
    wrong = await all_of(finds.compare("x" * 201, DESK, "labeller", someone()))
    assert 'role="alert"' in wrong["bars"]
    without = await all_of(finds.find("", DESK, None, someone()))
    assert 'href="#models"' in without["found"]


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_what_is_no_picture_is_refused(
    look: vision_talk.Look, tmp_path: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    (tmp_path / "uploads").mkdir()
    file, outside = tmp_path / "uploads" / "a.svg", tmp_path / "secret.png"
    file.write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    outside.write_bytes(samples.sample("shapes.png"))
    refused = await look.bring({"path": str(file)}, DESK, someone())
    assert 'data-go="refused"' in refused["outcome"]
    for given in (None, "x", {"path": str(outside)}, {"path": f"{file}/../../secret.png"}, [1]):
        assert "stage" not in await look.bring(given, DESK, someone())
    file.write_bytes(outside.read_bytes())
    good = await look.bring({"path": str(file), "orig_name": BAD}, DESK, someone())
    assert "<img src=x" not in good["stage"] and "1280" in good["stage"]


@pytest.mark.parametrize("told", ["", "#", "[]#1", '{"act": "__init__"}#1', '{"act": 1}#1'])
async def test_what_makes_no_sense_does_nothing(look: vision_talk.Look, told: str) -> None:
    assert len([u async for u in look.act(told, DESK, "seer", someone())]) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_only_samples_are_samples(look: vision_talk.Look) -> None:
    painted = await press(look, act="sample", name="../../../etc/passwd")
    assert "stage" not in painted


@pytest.mark.parametrize("language", LANGUAGES)
def test_presets_ask_in_the_readers_language(language: str) -> None:
    html = vision_views.presets(language)
    assert html.count('data-act="ask"') == len(vision_views.PRESETS)
    assert html.count('data-question="') == len(vision_views.PRESETS)


def test_nothing_found_is_markup() -> None:
    desk = Desk(
        things=(Segment(BAD, box=(0, 0, 1, 1), score=0.5),), labels=(Segment(BAD, score=1),)
    )
    desk.picture = picture_of(samples.sample("balls.png"), BAD)
    desk.finder = desk.labeller = BAD
    html = (
        vision_views.stage(desk, "en")
        + vision_views.things(desk, "en")
        + vision_views.bars(desk, "en")
    )
    html += vision_views.missing("vision.none_sees", "en") + vision_views.wrong(BAD)
    assert "<img src=x" not in html and "\n" not in html


def test_desks_are_let_go_within_bounds() -> None:
    desks = Desks(room=1_000_000, count=2)
    picture = picture_of(samples.sample("balls.png"), "balls")
    names = [f"desk-{n:08}" for n in range(3)]
    for name in names:
        desks.of(name, someone()).put(picture)
    desks.of(names[0], someone()).running = "r1"
    desks.of(names[2], someone())
    desks.tidy()
    assert desks.of(names[0], someone()).picture is not None, "an answer is on its way"
    assert desks.of(names[1], someone()).picture is None
    big = Desks(room=1, count=99)
    big.of(names[0], someone()).put(picture)
    big.of(names[1], someone()).put(picture)
    big.tidy()
    assert big.of(names[1], someone()).picture is not None, "the newest stays"
    assert big.of(names[0], someone()).picture is None


def test_the_desk_of_a_page_needs_a_sensible_name() -> None:
    desks = Desks()
    assert desks.of("x", someone("p1")) is desks.of("../../y#1", someone("p1"))
    assert desks.of("x", someone("p1")) is not desks.of("x", someone("p2"))
    assert desks.of(DESK, someone("p1")) is desks.of("0123456789abcdef#99", someone("p1"))


@pytest.mark.parametrize("name", [*samples.PICTURES, *samples.DOCUMENTS])
def test_samples_are_there_and_small(name: str) -> None:
    assert 1000 < len(samples.sample(name)) < 400_000
    everything = sum(f.stat().st_size for f in samples.FOLDER.rglob("*") if f.is_file())
    assert everything < 1_500_000


def test_what_a_page_tells_is_taken_as_strings() -> None:
    assert parts.told_by('{"act": "x", "n": 1}#7') == {"act": "x"}
    assert parts.told_by("x" * (parts.TOLD + 9)) == {} and parts.told_by("[1]#1") == {}


def test_large_pictures_are_shown_smaller() -> None:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (4000, 1000)).save(out, "PNG")
    picture = picture_of(out.getvalue(), "wide.png")
    assert (picture.width, picture.height) == (4000, 1000) and len(picture.shown) < 60_000
    assert vision_desk.SIDE == 1600
