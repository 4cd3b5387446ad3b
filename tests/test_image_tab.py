"""The Image tab without a browser, and the gallery behind it: files, recipes, creatures, and what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from engine import Engine, Kept, Progress, Settings, Unknown
from engine.recipes import read_recipe
from tests import drawer
from tests.serving import Served
from ui import creature_views, image_views
from ui.image_draws import Draws, Places
from ui.words import LANGUAGES

pytestmark = pytest.mark.slow  # engines with pictures
BAD = "\"'><img src=x onerror=alert(1)>\n\n# x"
PLACES = ("form", "stage", "shelf", "corner", "outcome")
FORM = {
    "prompt": "a red hat",
    "width": "64",
    "height": "48",
    "steps": "3",
    "seed": "5",
    "count": "1",
}


def someone(rank: str = "user", session: str = "abc") -> Any:
    return SimpleNamespace(
        headers={}, cookies={}, session_hash=session, username=None, query_params={},
        state=SimpleNamespace(rank=rank),
    )  # fmt: skip


@pytest.fixture
async def draws(settings: Settings) -> AsyncIterator[Draws]:
    engine = Engine.build(settings, families={"drawer": drawer}, specs=drawer.SPECS)
    await engine.start()
    yield Draws(engine, Places(*PLACES))
    await engine.close()


async def press(draws: Draws, request: Any = None, **given: str) -> dict[Any, Any]:
    """Everything an action painted, the newest of each place."""
    painted: dict[Any, Any] = {}
    async for updates in draws.act(json.dumps(given) + "#1", request or someone()):
        painted |= {k: v for k, v in updates.items() if isinstance(v, str)}
    return painted


async def draw(draws: Draws, **given: str) -> Kept:
    await press(draws, act="draw", **{**FORM, **given})
    return (await draws.engine.gallery.find("abc", "picture"))[0]


async def test_a_picture_is_drawn_and_kept(draws: Draws) -> None:
    empty = await draws.view({}, someone(), True)
    assert "What will you draw?" in empty["stage"] and "kept here" in empty["shelf"]
    assert '<option value="drawer" data-side="512" data-steps="4"' in empty["form"]
    painted = await press(draws, act="draw", **FORM)
    kept = (await draws.engine.gallery.find("abc"))[0]
    assert f"v1/gallery/{kept.id}/picture" in painted["stage"] and kept.id in painted["shelf"]
    assert f'data-drawn="{kept.id}"' in painted["outcome"] and 'data-seed="5"' in painted["outcome"]
    assert (kept.width, kept.height, kept.model) == (64, 48, "drawer")
    data, media = await draws.engine.gallery.file(kept.id, "abc")
    recipe = read_recipe(data)
    assert media == "image/png" and recipe is not None and recipe["prompt"] == "a red hat"
    again = await draws.look(json.dumps({"pick": kept.id}) + "#2", someone())
    assert not any(isinstance(v, str) for v in again.values()), "nothing is sent twice"
    used = await press(draws, act="use", id=kept.id)
    assert "a red hat" in used["outcome"] and "data-recipe" in used["outcome"]


async def test_progress_is_shown_and_stop_stops(draws: Draws) -> None:
    seen: list[str] = []
    told = json.dumps({"act": "draw", **FORM, "prompt": "blue !slow", "steps": "400"})
    async for updates in draws.act(told + "#1", someone()):
        seen.append(str(updates.get("stage", "")))
        if sum("Step " in text for text in seen) == 2:
            await press(draws, act="stop")
    assert any("data:image/jpeg" in text for text in seen)
    assert draws._running == {} and await draws.engine.gallery.find("abc") == []


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_what_is_wrong_is_said_and_the_page_goes_on(draws: Draws) -> None:
    for given in (
        {"prompt": ""},
        {"steps": "many"},
        {"steps": "0"},
        {"width": "9"},
        {"prompt": "red !fail"},
    ):
        painted = await press(draws, act="draw", **{**FORM, **given})
        assert "data-refused" in painted["outcome"], given
    assert await draws.engine.gallery.find("abc") == []
    for told in ("", "#", "[]#1", '{"act": "__init__"}#1', '{"act": ["look"]}#1'):
        assert len([u async for u in draws.act(told, someone())]) == 1


async def test_files_bring_settings_or_are_begun_from(
    draws: Draws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    kept = await draw(draws)
    ours, other = tmp_path / "ours.png", tmp_path / "other.png"
    ours.write_bytes((await draws.engine.gallery.file(kept.id, None))[0])
    Image.new("RGB", (40, 30), "green").save(other)
    brought = await draws.bring({"path": str(ours)}, someone())
    assert "data-recipe" in brought["outcome"] and "form" not in brought
    brought = await draws.bring({"path": str(other)}, someone())
    assert 'data-source="1"' in brought["form"] and "data-sourced" in brought["outcome"]
    refined = await draw(draws, strength="0.4")
    assert refined.recipe["mode"] == "image"
    painted = await press(draws, act="clear")
    assert 'data-source="0"' in painted["form"]
    painted = await press(draws, act="refine", id=kept.id)
    assert 'data-source="1"' in painted["form"]


@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_the_gallery_is_searched_marked_and_emptied(draws: Draws) -> None:
    gallery = draws.engine.gallery
    first = await draw(draws)
    second = await draw(draws, prompt="a blue boat", seed="6")
    assert [kept.id for kept in await gallery.find("abc")] == [second.id, first.id]
    assert [kept.id for kept in await gallery.find("abc", words="RED hat")] == [first.id]
    await press(draws, act="favour", id=first.id)
    assert [kept.id for kept in await gallery.find("abc", favourites=True)] == [first.id]
    both = await draws.view({"pick": first.id, "other": second.id}, someone(), True)
    assert "easel two" in both["stage"] and 'data-other="1"' in both["shelf"]
    with zipfile.ZipFile(io.BytesIO(await gallery.pack(await gallery.find("abc")))) as archive:
        assert archive.namelist() == ["001-a-blue-boat.png", "002-a-red-hat.png", "pictures.json"]
    other = someone(session="other")
    assert await gallery.find("other") == []
    for act in ("use", "refine", "favour", "remove"):
        assert "data-refused" in (await press(draws, other, act=act, id=first.id))["outcome"]
    for bad in ("../../etc/passwd", "", "0" * 24):
        with pytest.raises(Unknown):
            await gallery.file(bad, None)
    await press(draws, act="remove", id=first.id)
    assert [kept.id for kept in await gallery.find("abc")] == [second.id]


async def test_creatures_are_met_and_kept(draws: Draws) -> None:
    for _ in range(3):
        painted = await press(draws, act="meet")
    cards = await draws.engine.gallery.find("abc", "creature")
    assert len({card.title for card in cards}) == 3 and all(card.rarity for card in cards)
    assert f'data-met="{cards[0].id}"' in painted["outcome"]
    assert cards[0].title in painted["corner"] and "Your deck: 3" in painted["corner"]
    assert cards[0].id not in painted["shelf"], "pictures and creatures are kept apart"


async def test_without_a_model_it_says_how_to_get_one(settings: Settings) -> None:
    engine = Engine.build(settings, families={"drawer": drawer}, specs=())
    bare = Draws(engine, Places(*PLACES))
    shown = await bare.view({}, someone(), True)
    assert 'href="#models"' in shown["form"] and "Meet a creature" in shown["corner"]


KEPT = Kept(
    "0" * 24,
    "s",
    0.0,
    title=BAD,
    model=BAD,
    rarity=BAD,
    recipe={"prompt": BAD, "model": BAD, "scheduler": BAD},
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_markup(language: str) -> None:
    going = image_views.Going(0.0, 0, Progress(1, 4), waiting=BAD)
    html = image_views.stage(KEPT, None, 1.0, language) + image_views.stage(
        None, going, 1.0, language
    )
    html += image_views.shelf([KEPT], "", "", False, language) + image_views.outcome(
        1, recipe={"a": BAD}
    )
    html += image_views.form([image_views.Offer(BAD, BAD, 512, 4, 1.0)], [BAD], [BAD], "", language)
    html += creature_views.corner([KEPT], "", False, language)
    assert "<img src=x" not in html and "\n" not in html


def test_over_http(served: Callable[..., Served]) -> None:
    from asyncio import run_coroutine_threadsafe

    running = served()
    png = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(png, "PNG")
    with running.client(headers={"X-Session-ID": "someone-1"}) as http:
        work = running.engine.gallery.add(png.getvalue(), "someone-1")
        kept = run_coroutine_threadsafe(work, running.loop).result(30)
        [row] = http.get("/v1/gallery").json()["pictures"]
        assert row["id"] == kept.id and "session" not in row
        picture = http.get(f"/v1/gallery/{kept.id}/picture?download=true")
        assert (
            picture.content == png.getvalue()
            and "attachment" in picture.headers["content-disposition"]
        )
        assert http.get(f"/v1/gallery/{kept.id}/thumb").headers["content-type"] == "image/webp"
        assert http.post(f"/v1/gallery/{kept.id}", json={"favourite": True}).json()["favourite"]
        assert http.get("/v1/gallery/pack.zip").content.startswith(b"PK")
        assert http.get("/v1/gallery/..%2F..%2Fx/picture").status_code == 404
        assert http.delete(f"/v1/gallery/{kept.id}").status_code == 200
        assert http.get(f"/v1/gallery/{kept.id}/picture").status_code == 404
