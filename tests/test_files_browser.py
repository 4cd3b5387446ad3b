"""The Files tab in a real browser: dropped files and folders, previews, undo, sending to the tabs that read."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Settings
from tests import echo, seer
from tests.browsing import NEEDS_CHROMIUM, PATIENCE, Opens, Tab, serve_page
from tests.serving import Served
from ui.samples import sample

pytestmark = [*NEEDS_CHROMIUM, pytest.mark.slow, pytest.mark.timeout(300)]
BAD = "\"'><img src=x onerror=window.pwned=1>.md"
DROP = """([files]) => {
  const held = new DataTransfer();
  for (const [name, text] of files) {
    held.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
  }
  const place = document.querySelector("#files .folder");
  const make = (kind) => new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: held });
  for (const kind of ["dragenter", "dragover", "drop"]) place.dispatchEvent(make(kind));
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(data_dir=folder, device="cpu", files_spare=0, _env_file=None)  # type: ignore[call-arg]
    engine = Engine.build(
        settings, specs=[*echo.SPECS, *seer.SPECS], families={"echo": echo, "seer": seer}
    )
    with serve_page(settings, engine) as running:
        yield running


def turn(tab: Tab) -> Any:
    tab.page.set_default_timeout(PATIENCE * 3000)
    tab.open("#files")  # on a phone it is in the menu of tabs, and the address finds it there
    tab.page.wait_for_selector("#files .folder")
    return tab.page


def drop(page: Any, **files: bytes) -> None:
    coded = [[name, base64.b64encode(data).decode()] for name, data in files.items()]
    page.evaluate(DROP, [coded])


def row(name: str) -> str:
    return f'#files .file[data-key="{name}"]'


def test_a_life_of_files(opens: Opens, server: Served) -> None:
    with opens() as tab:
        page = turn(tab)
        drop(
            page,
            **{
                "shapes.png": sample("shapes.png"),
                "notes.md": b"# Hello\n\n**bold**",
                "people.csv": b"a,b\n1,2",
            },
        )
        for name in ("shapes.png", "notes.md", "people.csv"):
            page.wait_for_selector(row(name))
        page.click(row("notes.md") + " .opens-file")
        page.wait_for_selector("#files-words h1:visible")
        page.click(row("people.csv") + " .opens-file")
        page.wait_for_selector("#files .sheet-of td")

        # A folder, a name, a move by dragging, and the way back.
        page.click("#files-new")
        page.fill("#files-view dialog input", "box")
        page.keyboard.press("Enter")
        page.wait_for_selector(row("box"))
        page.drag_and_drop(row("people.csv"), row("box") + " .opens-file")
        page.wait_for_selector(row("people.csv"), state="detached")
        page.hover(row("box"))
        page.click(row("box") + " [data-act=remove]")
        page.wait_for_selector(row("box"), state="detached")
        page.click("#files-view .news [data-act=restore]")
        page.click(row("box") + " .opens-file")
        page.wait_for_selector(row("box/people.csv"))
        page.reload()
        page.wait_for_selector(row("box/people.csv"))
        tab.errors.clear()
        page.click("#files .crumbs button >> nth=0")

        # To a tab that reads it, as if it had been dropped there.
        page.click(row("shapes.png") + " .opens-file")
        page.wait_for_selector("#files .shown img")
        page.click("#files .sends summary")
        assert tab.texts("#files .sends button:visible") == ["Vision", "OCR"]
        page.click("#files .sends [data-tab=vision]")
        page.wait_for_selector("#vision .picture img")
        page.click("#tab-files-button")
        page.click(row("notes.md") + " .opens-file")
        page.wait_for_selector("#files-words h1:visible")
        page.click("#files .sends summary")
        page.click("#files .sends [data-tab=chat]")
        tab.wait("document.querySelector('#chat-box textarea').value.includes('# Hello')")
        assert tab.page.is_visible("#chat-box")
        tab.clean()


def test_looks(opens: Opens, server: Served) -> None:
    with server.client() as client:
        text = b"# T\n\n<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
        client.post(
            "/v1/files/upload",
            files={"files": (BAD.replace("/", ""), text)},
            data={"path": "looks"},
        )
        client.post(
            "/v1/files/upload",
            files={"files": ("p.pdf", sample("booklet-en.pdf"))},
            data={"path": "looks"},
        )
    for locale, scheme, width in (("fr-FR", "dark", 1280), ("ru-RU", "light", 390)):
        with opens(locale, scheme, width) as tab:
            page = turn(tab)
            page.click(row("looks") + " .opens-file")
            page.click(row("looks/p.pdf") + " .opens-file")
            page.wait_for_selector("#files .sheets img")
            tab.wait("document.querySelector('#files .sheets img').naturalWidth > 500")
            assert max(tab.overflow()) <= 0
            if width < 500:
                assert not page.is_visible(row("looks/p.pdf")), "the file has the whole width"
                page.click("#files [data-act=close_file]")
                assert page.wait_for_selector(row("looks/p.pdf"))
            else:
                tab.clean()
                page.click("#files .file >> nth=0")
                page.wait_for_selector("#files-words h1:visible")
            assert page.evaluate("window.pwned") is None


def test_a_large_upload_can_be_stopped(opens: Opens, server: Served) -> None:
    with opens() as tab:
        page = turn(tab)
        page.evaluate(
            """() => {
              const held = new DataTransfer();
              held.items.add(new File([new Uint8Array(300_000_000)], "large.bin"));
              const make = (kind) => new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: held });
              const place = document.querySelector("#files .folder");
              for (const kind of ["dragenter", "drop"]) place.dispatchEvent(make(kind));
            }"""
        )
        page.wait_for_selector("#files [data-view=sends] li button")
        page.click("#files [data-view=sends] li button")
        page.wait_for_selector("#files [data-view=sends] li.stopped")
        page.wait_for_selector(
            "#files [data-view=sends] li", state="detached", timeout=PATIENCE * 1000
        )
        place = Path(server.engine.files.jail.root)
        assert not (place / "large.bin").exists()
