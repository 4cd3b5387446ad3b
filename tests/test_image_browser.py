"""The Images tab in a real browser: drawn, stopped, kept, used again, compared, begun from a picture and masked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine import Engine, Settings
from engine.recipes import read_recipe
from tests import drawer, echo
from tests.browsing import NEEDS_CHROMIUM, PATIENCE, Opens, Tab, serve_page
from tests.serving import Served
from ui.words import LANGUAGES

pytestmark = [*NEEDS_CHROMIUM, pytest.mark.slow]
BAD = "<img src=x onerror=window.pwned=1> red"
FORM = "#image form.drawing"
SHOWN = "#image .easel:not(.going) figure img"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    families: dict[str, Any] = {"echo": echo, "drawer": drawer}
    engine = Engine.build(settings, families=families, specs=(*echo.SPECS, *drawer.SPECS))
    with serve_page(settings, engine) as running:
        yield running


def turn(tab: Tab) -> Any:
    """Turn to the tab, once it has been painted."""
    tab.open()
    tab.turn("image")
    tab.page.wait_for_selector(f"{FORM} textarea", timeout=PATIENCE * 1000)
    tab.page.wait_for_selector("#image .shelf", timeout=PATIENCE * 1000)
    return tab.page


def draw(tab: Tab, prompt: str, **fields: str) -> str:
    """Draw from the form and wait for it; the kept picture's id."""
    page = tab.page
    before = shown(page)
    page.fill(f"{FORM} [name=prompt]", prompt)
    for name, value in fields.items():
        page.fill(f"{FORM} [name={name}]", value)
    page.click(f"{FORM} [type=submit]")
    tab.wait(
        "before => { const one = document.querySelector('#image .easel[data-id]');"
        " return one && one.dataset.id !== before }",
        before,
    )
    tab.wait(f"document.querySelector({SHOWN!r}).naturalWidth > 0")
    return shown(page)


def shown(page: Any) -> str:
    return page.evaluate("document.querySelector('#image .easel[data-id]')?.dataset.id ?? ''")


def test_a_picture_is_drawn_found_again_and_used_again(opens: Opens):
    with opens() as tab:
        page = turn(tab)
        first = draw(tab, "a red hat", width="64", height="96", steps="3")
        assert page.evaluate(
            f"(({{naturalWidth: w, naturalHeight: h}}) => [w, h])(document.querySelector({SHOWN!r}))"
        ) == [64, 96]
        page.click(f"{FORM} [data-act=dice]")
        seed = page.input_value(f"{FORM} [name=seed]")
        second = draw(tab, BAD)
        facts = page.inner_text("#image .easel .facts")
        assert seed in facts and BAD in page.inner_text("#image .easel .prompt")
        page.fill("#image-search textarea, #image-search input", "hat")
        tab.wait("document.querySelectorAll('#image .shelf [data-pick]').length === 1")
        page.click(f"#image [data-pick='{first}']")
        tab.wait("id => document.querySelector('#image .easel').dataset.id === id", first)
        page.fill(f"{FORM} [name=prompt]", "something else")
        page.click("#image [data-act=use]")
        tab.wait(f"document.querySelector('{FORM} [name=prompt]').value === 'a red hat'")
        assert page.input_value(f"{FORM} [name=height]") == "96"
        page.fill("#image-search textarea, #image-search input", "")
        tab.wait("document.querySelectorAll('#image .shelf [data-pick]').length === 2")
        page.click("#image-compare")
        page.click(f"#image [data-pick='{second}']")
        tab.wait("document.querySelectorAll('#image .easel.two figure').length === 2")
        page.click("#image-compare")
        with page.expect_download(timeout=PATIENCE * 1000) as saved:
            page.click("#image-pack")
        with zipfile.ZipFile(saved.value.path()) as pack:
            pictures = [pack.read(name) for name in pack.namelist() if name.endswith(".png")]
        recipes = [read_recipe(data) or {} for data in pictures]
        assert {recipe["prompt"] for recipe in recipes} == {"a red hat", BAD}
        assert page.evaluate("window.pwned") is None
        tab.clean()


def test_progress_is_seen_and_stop_stops(opens: Opens):
    with opens() as tab:
        page = turn(tab)
        page.fill(f"{FORM} [name=prompt]", "blue !slow")
        page.fill(f"{FORM} [name=steps]", "500")
        page.click(f"{FORM} [type=submit]")
        tab.wait("document.querySelector('#image .going img')?.src.startsWith('data:image/jpeg')")
        tab.wait("/ 500/.test(document.querySelector('#image .going .state')?.innerText)")
        tab.wait("parseFloat(document.querySelector('#image .going .track i').style.width) > 0")
        page.click(f"{FORM} [data-act=stop]")
        tab.wait("!document.querySelector('#image .going')")
        tab.wait("!document.getElementById('image').hasAttribute('data-going')")
        assert draw(tab, "green", steps="2", width="64", height="64")
        tab.clean()


def test_a_dropped_picture_brings_its_recipe_or_is_begun_from(opens: Opens, tmp_path: Path):
    with opens() as tab:
        page = turn(tab)
        draw(tab, "white snow", steps="7", width="64", height="64")
        with page.expect_download(timeout=PATIENCE * 1000) as saved:
            page.click("#image .easel a[download]")
        ours, photo = tmp_path / "ours.png", tmp_path / "photo.png"
        ours.write_bytes(Path(saved.value.path()).read_bytes())
        Image.new("RGB", (80, 40), "green").save(photo)
        page.fill(f"{FORM} [name=prompt]", "something else")
        page.set_input_files("#image-upload input[type=file]", str(ours))
        tab.wait(f"document.querySelector('{FORM} [name=prompt]').value === 'white snow'")
        assert page.input_value(f"{FORM} [name=steps]") == "7"
        page.set_input_files("#image-upload input[type=file]", str(photo))
        page.wait_for_selector(f"{FORM} .source img", timeout=PATIENCE * 1000)
        page.click(f"{FORM} [data-act=mask]")
        box = page.locator(f"{FORM} .source canvas").bounding_box()
        page.mouse.move(box["x"] + 10, box["y"] + 10)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        page.mouse.up()
        draw(tab, "black night")
        picture = page.evaluate("document.querySelector('#image .easel a[download]').href")
        recipe = read_recipe(page.request.get(picture).body()) or {}
        assert recipe["mode"] == "image"
        page.click(f"{FORM} [data-act=clear]")
        tab.wait(f"!document.querySelector('{FORM} .source')")
        tab.clean()


def test_it_is_marked_and_removed(opens: Opens):
    with opens() as tab:
        page = turn(tab)
        kept = draw(tab, "red !star", steps="2")
        page.click("#image .easel [data-act=favour]")
        tab.wait(f"Boolean(document.querySelector(\"[data-pick='{kept}'] .pic-star\"))")
        page.click("#image-starred")
        tab.wait("document.querySelectorAll('#image .shelf [data-pick]').length === 1")
        page.click("#image-starred")
        page.click("#image .easel [data-act=remove]")
        if page.query_selector("dialog[open]"):
            page.click("dialog[open] .danger, dialog[open] .primary")
        tab.wait(f"!document.querySelector(\"[data-pick='{kept}']\")")
        tab.clean()


def test_what_is_wrong_is_said_and_the_form_stays(opens: Opens):
    with opens() as tab:
        page = turn(tab)
        page.fill(f"{FORM} [name=prompt]", "red !fail")
        page.fill(f"{FORM} [name=steps]", "4")
        page.click(f"{FORM} [type=submit]")
        page.wait_for_selector(".toast-body, [data-testid=toast-body]", timeout=PATIENCE * 1000)
        tab.wait("!document.getElementById('image').hasAttribute('data-going')")
        assert page.input_value(f"{FORM} [name=prompt]") == "red !fail"
        tab.clean()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
def test_it_fits_in_every_language(opens: Opens, language: str, scheme: str, width: int):
    with opens(locale=language, scheme=scheme, width=width) as tab:
        page = turn(tab)
        assert all(pixels <= 0 for pixels in tab.overflow()[:2])
        page.evaluate("document.getElementById('image-creatures').click()")
        tab.wait("document.getElementById('image').dataset.mode === 'creatures'")
        tab.wait("Boolean(document.querySelector('#image .corner'))")
        assert all(pixels <= 0 for pixels in tab.overflow()[:2])
        tab.clean()


def test_a_creature_is_met_and_kept(opens: Opens):
    with opens() as tab:
        page = turn(tab)
        page.click("#image-creatures")
        page.click("#image .corner [data-act=meet]")
        page.wait_for_selector("#image .card img", timeout=PATIENCE * 1000)
        tab.wait("document.querySelector('#image .card img').naturalWidth > 0")
        assert page.inner_text("#image .card").strip()
        tab.clean()
        data = page.request.get(
            page.evaluate("document.querySelector('#image .card img').src")
        ).body()
        assert Image.open(io.BytesIO(data)).size[0] >= 64
