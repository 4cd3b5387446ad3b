"""The Vision and OCR tabs in a real browser: a picture and a document lived through, looks, hostile names."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Settings
from tests import echo, seer
from tests.browsing import NEEDS_CHROMIUM, PATIENCE, Opens, Tab, serve_page
from tests.serving import Served, until
from ui.samples import sample

pytestmark = [*NEEDS_CHROMIUM, pytest.mark.slow]
ANSWER = "#vision-log [data-testid=bot]"
LINE = "#ocr .lines .line"
BAD = "\"'><img src=x onerror=window.pwned=1>.png"
DROP = """([selector, name, type, text]) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type }));
  const place = document.querySelector(selector);
  const make = (kind) => new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: held });
  for (const kind of ["dragenter", "dragover", "drop"]) place.dispatchEvent(make(kind));
}"""
PASTE = """([name, type, text]) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const held = new DataTransfer();
  held.items.add(new File([bytes], name, { type }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: held }));
}"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    settings = Settings(data_dir=tmp_path / "page", device="cpu", _env_file=None)  # type: ignore[call-arg]
    engine = Engine.build(
        settings, specs=[*echo.SPECS, *seer.SPECS], families={"echo": echo, "seer": seer}
    )
    with serve_page(settings, engine) as running:
        yield running


def turn(tab: Tab, name: str) -> Any:
    """Turn to a tab of the page, once it has been painted."""
    tab.open()
    tab.turn(name)
    tab.page.wait_for_selector(f"#{name} .sample", timeout=PATIENCE * 1000)
    return tab.page


def drop(page: Any, place: str, name: str, data: bytes, kind: str = "image/png") -> None:
    page.evaluate(DROP, [place, name, kind, base64.b64encode(data).decode()])


def ask(tab: Tab, text: str, said: str) -> None:
    tab.page.fill("#vision-box textarea", text)
    tab.page.press("#vision-box textarea", "Enter")
    tab.wait(
        "([answer, text]) => ([...document.querySelectorAll(answer)].at(-1)?.innerText ?? '').includes(text)",
        [ANSWER, said],
    )


def test_a_picture_is_dropped_asked_about_and_searched(opens: Opens, server: Served) -> None:
    with opens() as tab:
        page = turn(tab, "vision")
        drop(page, "#vision .drop", "three.png", sample("shapes.png"))
        page.wait_for_selector("#vision .picture img", timeout=PATIENCE * 1000)
        ask(tab, "What is it?", "I see 1280x960 in turn 1: What is it?")
        page.click("#vision .presets [data-act=ask] >> nth=0")
        tab.wait(f"document.querySelectorAll('{ANSWER}').length === 2")
        tab.wait(f"[...document.querySelectorAll('{ANSWER}')].at(-1).innerText.includes('turn 2')")

        # Stop ends it on the engine; what was said is kept.
        page.fill("#vision-box textarea", "!slow " + "word " * 600)
        page.press("#vision-box textarea", "Enter")
        page.wait_for_selector("#vision-stop", state="visible")
        tab.wait(f"document.querySelectorAll('{ANSWER}').length === 3")
        page.click("#vision-stop")
        tab.wait("document.querySelector('#vision-state').innerText.includes('stopped')")
        assert until(lambda: not server.running) is True

        # A reload finds picture and conversation again.
        page.reload()
        page.wait_for_selector("#vision .picture img", timeout=PATIENCE * 1000)
        assert page.url.endswith("#vision")
        tab.wait(f"document.querySelectorAll('{ANSWER}').length === 3")
        tab.errors.clear()

        # Things in it; the slider hides them, pointing lights both up.
        page.click("#vision-find-button")
        page.click("#vision-go-find")
        page.wait_for_selector("#vision .picture .box", timeout=PATIENCE * 1000)
        assert len(tab.texts("#vision .picture .box:visible")) == 3
        assert tab.texts("#vision .tally") == ["ball 2 · box 1"]
        page.fill("#vision-least input[type=number]", "0.6")
        page.keyboard.press("Tab")
        tab.wait("document.querySelectorAll('#vision .picture .box:not([hidden])').length === 2")
        page.hover("#vision .things li >> nth=0")
        assert (
            page.evaluate("document.querySelector('#vision .picture .box.lit').dataset.thing")
            == "0"
        )
        page.click("#vision-label-button")
        page.fill("#vision-labels input, #vision-labels textarea", "a, bbb")
        page.click("#vision-go-label")
        page.wait_for_selector("#vision .bars .best >> text=bbb", timeout=PATIENCE * 1000)

        # Its text is read in the other tab.
        page.click("#vision [data-act=to_ocr]")
        page.wait_for_selector(LINE, timeout=PATIENCE * 1000)
        assert "three.png" in tab.texts("#ocr .paper[aria-current]")[0]
        tab.clean()


def test_pictures_are_pasted_and_the_camera_may_be_missing(opens: Opens, server: Served) -> None:
    with opens() as tab:
        page = turn(tab, "vision")
        page.click("#vision [data-act=camera]")
        page.wait_for_selector("#vision .camera [role=alert]")
        page.keyboard.press("Escape")
        page.wait_for_selector("#vision .camera", state="detached")
        page.evaluate(PASTE, ["p.png", "image/png", base64.b64encode(sample("balls.png")).decode()])
        page.wait_for_selector("#vision .picture img", timeout=PATIENCE * 1000)
        page.click("#vision .stage [data-act=clear]")
        page.wait_for_selector("#vision .drop")
        drop(page, "#vision .drop", "no.png", b"no picture at all")
        page.wait_for_selector(".toast-body >> text=not a format", timeout=PATIENCE * 1000)
        assert page.is_visible("#vision .drop")
        tab.clean()


def test_a_document_is_dropped_corrected_and_taken_away(
    opens: Opens, server: Served, tmp_path: Path
) -> None:
    with opens() as tab:
        page = turn(tab, "ocr")
        drop(page, "#ocr .drop", "tale.pdf", sample("booklet-en.pdf"), "application/pdf")
        page.wait_for_selector(LINE, timeout=PATIENCE * 1000)
        tab.wait("document.querySelectorAll('#ocr .thumb.read').length === 3")
        tab.wait("document.querySelector('#ocr .leaf img').naturalWidth > 500")
        assert len(page.query_selector_all("#ocr .leaf polygon")) == 3
        page.hover(f"{LINE} >> nth=1")
        lit = "[...document.querySelectorAll('#ocr .leaf polygon.lit')].map((p) => p.dataset.line)"
        assert page.evaluate(lit) == ["1"]

        # Pages turn by keyboard, the picture grows.
        page.focus("#ocr .desk")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector("#ocr .lines >> text=The first line 2", timeout=PATIENCE * 1000)
        wide = "document.querySelector('#ocr .leaf').getBoundingClientRect().width"
        before = page.evaluate(wide)
        page.keyboard.press("+")
        assert page.evaluate(wide) == pytest.approx(before * 1.25, rel=0.02)

        # A line is corrected: Escape leaves it, Enter keeps it, a reload shows it.
        page.click(f"{LINE} >> nth=2")
        page.fill("#ocr .line textarea", "thrown away")
        page.keyboard.press("Escape")
        assert tab.texts(f"{LINE} .said")[2] == "nothing that matters."
        page.focus(f"{LINE} >> nth=2")
        page.keyboard.press("Enter")
        page.fill("#ocr .line textarea", "nothing that splatters.")
        page.keyboard.press("Enter")
        page.wait_for_selector("#ocr .line.mended[data-note=corrected]", timeout=PATIENCE * 1000)
        page.reload()
        page.wait_for_selector("#ocr .line.mended", timeout=PATIENCE * 1000)
        assert tab.texts(f"{LINE} .said")[2] == "nothing that splatters."
        tab.errors.clear()

        # Files, a second reader, the end.
        for kind, holds in (("Text", b"splatters"), ("Searchable PDF", b"%PDF-")):
            page.wait_for_selector("#ocr .menu:not([open])")  # it closes after what was chosen
            page.click("#ocr .menu summary")
            with page.expect_download() as download:
                page.click(f"#ocr .menu a >> text={kind}")
            download.value.save_as(tmp_path / "saved")
            assert holds in (tmp_path / "saved").read_bytes()
            assert download.value.suggested_filename.startswith("tale.")
        page.select_option("#ocr select[data-act=again]", "second")
        page.wait_for_selector("#ocr .pair mark >> text=mutters.", timeout=PATIENCE * 1000)
        page.hover("#ocr .paper[aria-current]")
        page.click("#ocr .paper[aria-current] [data-act=ask_remove]")
        page.click("#ocr-view dialog .stop")
        page.wait_for_selector("#ocr .drop", timeout=PATIENCE * 1000)
        assert server.call(server.engine.documents.list(None)) == []
        tab.clean()


def test_others_do_not_see_it(opens: Opens, server: Served) -> None:
    with opens() as tab, opens() as other:
        page = turn(tab, "ocr")
        page.click("#ocr .sample[data-name='note-en.png']")
        page.wait_for_selector(LINE, timeout=PATIENCE * 1000)
        picture = page.evaluate("document.querySelector('#ocr .leaf img').currentSrc")
        assert page.request.get(picture).ok
        turn(other, "ocr")
        assert other.page.query_selector("#ocr .paper") is None
        assert other.page.request.get(picture).status == 404
        tab.clean()


def test_hostile_names_run_nothing(opens: Opens, server: Served) -> None:
    with opens() as tab:
        page = turn(tab, "vision")
        drop(page, "#vision .drop", BAD, sample("shapes.png"))
        page.wait_for_selector("#vision .picture img", timeout=PATIENCE * 1000)
        page.click("#vision [data-act=to_ocr]")
        page.wait_for_selector(LINE, timeout=PATIENCE * 1000)
        page.click(f"{LINE} >> nth=0")
        page.fill("#ocr .line textarea", BAD)
        page.keyboard.press("Enter")
        page.wait_for_selector("#ocr .line.mended", timeout=PATIENCE * 1000)
        assert tab.texts(f"{LINE} .said")[0] == BAD
        assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize(
    ("locale", "scheme", "width", "words"),
    [
        ("ru-RU", "dark", 390, ("Покажите картинку", "Описать", "Выбрать файлы", "Язык")),
        (
            "fr-FR",
            "light",
            1440,
            ("Montrez une image", "Décrire", "Choisir des fichiers", "Langue"),
        ),
        ("pt-BR", "dark", 820, ("Mostre uma imagem", "Descrever", "Escolher ficheiros", "Língua")),
    ],
)
def test_looks(opens: Opens, locale: str, scheme: str, width: int, words: tuple[str, ...]) -> None:
    with opens(locale, scheme, width, 844) as tab:
        page = turn(tab, "vision")
        text = page.inner_text("#vision")
        for name in ("vision", "ocr"):
            tab.turn(name)
            page.wait_for_selector(f"#{name} .sample", timeout=PATIENCE * 1000)
            page.click(f"#{name} .sample >> nth=0")
            held = "#vision .picture img" if name == "vision" else LINE
            text += page.inner_text(f"#{name}")
            page.wait_for_selector(held, timeout=PATIENCE * 1000)
            assert tab.overflow() == [0, 0, 0]
            sides = f"(e => e.scrollWidth - e.clientWidth)(document.querySelector('#{name}'))"
            assert page.evaluate(sides) == 0
        assert [word for word in words if word not in text] == []
        tab.clean()
