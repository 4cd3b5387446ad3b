"""The Translate tab in a real browser: live translation, what is left, swap, files, a glossary, a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Settings
from tests.browsing import NEEDS_CHROMIUM, Opens, Tab, browser, opens  # noqa: F401
from tests.serving import Served, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), *NEEDS_CHROMIUM]
TEXT = "#translate [data-of=text]"
STILL = "!document.querySelector('#translate').hasAttribute('data-running')"
SAID = "document.querySelector('#translate .said').textContent"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The whole page over the starters."""
    from engine import Engine

    folder = tmp_path_factory.mktemp("translate")
    settings = Settings(data_dir=folder, device="cpu", probe_local=False, _env_file=None)  # type: ignore[call-arg]
    with serve(settings, None, Engine.build(settings)) as running:
        yield running


def come(tab: Tab) -> None:
    """Open the page and wait for its tabs; a busy machine takes its time."""
    tab.page.goto(tab.url + "/")
    tab.page.wait_for_selector("#page-tabs [role=tab]", state="attached", timeout=120_000)
    tab.page.wait_for_timeout(1500)


def arrive(tab: Tab) -> None:
    come(tab)
    tab.page.evaluate("window.atelier.turnTo('translate')")
    tab.page.wait_for_selector(TEXT, timeout=60_000)


def test_texts_files_and_a_glossary(opens: Opens):  # noqa: F811
    with opens() as tab:
        arrive(tab)
        page = tab.page
        page.fill(TEXT, "Where is the station?\n\n- My sister is tired.\nThe committee met.")
        tab.wait(f"{SAID}.includes('Ma sœur est fatiguée.') && {STILL}")
        assert page.inner_text("#translate .said").startswith("Où est la gare ?\n\n- Ma sœur")
        assert "English" in page.inner_text("#translate [data-view=detected]")
        assert "The committee met." in page.inner_text("#translate .doubts")
        page.click("#translate [data-act=swap]")
        tab.wait(f"{SAID}.startsWith('Where is the station?') && {STILL}")
        assert page.input_value("#translate [data-of=from]") == "fr"
        page.click("#translate [data-act=glossary]")
        page.fill("#translate [data-of=glossary]", "committee = comité")
        tab.wait(f"{SAID}.includes('The comité met.') && {STILL}")
        subtitles = b"1\n00:00:01,000 --> 00:00:02,000\nBonjour !\n"
        page.set_input_files(
            "#translate [data-of=file]",
            [{"name": "film.srt", "mimeType": "text/plain", "buffer": subtitles}],
        )
        page.wait_for_selector("#translate .file.done a", timeout=60_000)
        with page.expect_download() as download:
            page.click("#translate .file.done a")
        assert download.value.suggested_filename == "film.en.srt"
        assert Path(download.value.path()).read_text("utf-8").endswith("\nHello!\n")
        arrive(tab)
        tab.wait("document.querySelector('#translate [data-of=from]')?.value === 'fr'")
        assert page.input_value("#translate [data-of=glossary]") == "committee = comité"
        page.evaluate(
            """() => document.dispatchEvent(new CustomEvent("atelier:send", {detail: {tab: "translate", name: "a.txt",
               kind: "text/plain", url: URL.createObjectURL(new Blob(["Merci."], {type: "text/plain"}))}}))"""
        )
        tab.wait(f"{SAID} === 'Thank you.'")
        assert tab.outside == []


@pytest.mark.parametrize(
    ("locale", "scheme", "name", "word"),
    [("ru-RU", "dark", "Перевод", "Перевести"), ("fr-FR", "light", "Traduire", "Traduire")],
)
def test_on_a_phone_in_other_languages(
    opens: Opens,  # noqa: F811
    locale: str,
    scheme: str,
    name: str,
    word: str,
):
    with opens(locale, scheme, 390, 844) as tab:
        come(tab)
        tab.page.click("#page-tabs .overflow-menu > button")
        tab.page.click(f"#page-tabs .overflow-dropdown button:has-text('{name}')")
        tab.page.wait_for_selector(TEXT, timeout=60_000)
        assert word in tab.page.inner_text("#translate .source footer")
        tab.page.fill(TEXT, "Merci.")
        tab.wait(f"{SAID}.length > 3 && {STILL}")
        assert max(tab.overflow()) <= 0
        tab.clean()
