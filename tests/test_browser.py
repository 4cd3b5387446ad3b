"""The page in a real browser: one conversation lived through, and its looks in every language and size."""

from __future__ import annotations

import http.server
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Settings
from tests.browsing import (
    ANSWER,
    ASKED,
    BOX,
    NEEDS_CHROMIUM,
    Opens,
    Tab,
)
from tests.payloads import LEAK, PAYLOADS
from tests.serving import Served, serve, until

pytestmark = NEEDS_CHROMIUM
LOCALES, SCHEMES = ("en-US", "fr-FR", "pt-BR", "ru-RU"), ("light", "dark")
GROUP = 16  # hostile texts in one conversation: the page shows the last hundred messages
LONG = "!slow " + " ".join(f"w{n}" for n in range(1200))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = Settings(  # type: ignore[call-arg]
        data_dir=tmp_path_factory.mktemp("page"), device="cpu", _env_file=None
    )
    with serve(settings, None) as running:
        yield running


def test_a_conversation(opens: Opens, server: Served) -> None:
    with opens() as tab:
        tab.open()
        assert "c=" not in tab.page.url
        tab.ask("hello **there**")
        assert tab.rest("there") == "echo: hello there"
        assert "· 3 tokens ·" in tab.texts("#chat-state")[0]
        assert tab.page.input_value(BOX) == "" and re.search(r"[?&]c=[\w-]{10,}", tab.page.url)

        # A long answer: it streams, a reload finds it again, Stop ends it on the engine.
        tab.page.click("#chat-new")
        tab.page.wait_for_selector("#chat-log .example")
        tab.ask(LONG)
        length = tab.growing()
        tab.wait(f"document.querySelector('{ANSWER}').innerText.length > {length}")
        tab.reload()
        assert tab.growing() > length
        assert server.running == 1
        tab.page.click("#chat-stop")
        stopped = tab.rest("w1 ")
        assert server.running == 0 and len(stopped) < len(LONG)
        assert "stopped" in tab.texts("#chat-state")[0]

        # Edit the question, then have the answer made again.
        tab.page.hover(ASKED)
        tab.page.click("#chat-log .message-buttons-right [aria-label=Edit]")
        tab.page.fill("#chat-log textarea", "edited question")
        tab.page.click("#chat-log [aria-label=Submit]")
        assert tab.rest("edited") == "echo: edited question"
        assert tab.texts(ASKED) == ["edited question"]
        tab.page.click("#chat-log [aria-label=Retry]")
        tab.page.wait_for_selector("#chat-state .going, #chat-state .state")
        tab.rest("edited")
        tab.wait(f"document.querySelectorAll('{ANSWER}').length === 1")
        tab.clean()


def test_a_failure_loses_nothing(opens: Opens) -> None:
    with opens() as tab:
        tab.open()
        tab.page.click("#chat-settings-opener")
        tab.page.fill("#chat-temperature input", "9")
        tab.ask("asked in vain")
        tab.page.wait_for_selector(".state.failed")
        assert "Temperature" in tab.texts(".state.failed")[0]
        assert tab.page.input_value(BOX) == "asked in vain"
        tab.page.fill("#chat-temperature input", "0,5")
        tab.page.fill("#chat-system textarea", "be brief")
        tab.page.press(BOX, "Enter")
        assert tab.rest("vain") == "echo: asked in vain"
        tab.page.click("#chat-code-opener")
        code = " ".join(tab.texts("#chat-snippets code"))
        assert '"temperature": 0.5' in code and "be brief" in code and "asked in vain" in code
        tab.ask("!fail then")
        tab.page.wait_for_selector(".state.failed")
        assert "choose another model" in tab.texts(".state.failed")[0]
        tab.clean()


def test_keeping_conversations(opens: Opens, tmp_path: Path) -> None:
    with opens() as tab:
        tab.open()
        tab.ask("the blue heron")
        tab.rest("heron")
        tab.page.click("#chat-menu-opener")
        tab.page.click("#chat-rename")
        tab.page.fill("#chat-name input", "Birds <b>&</b> beasts")
        tab.page.press("#chat-name input", "Enter")
        tab.page.wait_for_selector("#chat-list [aria-current] >> text=Birds <b>&</b> beasts")
        tab.page.fill("#chat-search input", "HERON")
        tab.wait("document.querySelectorAll('#chat-list [data-conversation]').length === 1")
        tab.page.fill("#chat-search input", "no such thing")
        tab.page.wait_for_selector("#chat-list .none")
        tab.page.fill("#chat-search input", "")
        tab.wait("document.querySelectorAll('#chat-list [data-conversation]').length > 1")
        tab.page.click("#chat-menu-opener")
        with tab.page.expect_download() as download:
            tab.page.click("#chat-markdown")
        assert download.value.suggested_filename.endswith(".md")
        download.value.save_as(tmp_path / "chat.md")
        assert "the blue heron" in (tmp_path / "chat.md").read_text(encoding="utf-8")
        tab.page.click("#chat-menu-opener")
        tab.page.click("#chat-delete")
        tab.page.click("#chat-really")
        tab.page.wait_for_selector("#chat-log .example")
        assert not any("Birds" in title for title in tab.texts("#chat-list [data-conversation]"))
        tab.wait("!location.search.includes('c=')")
        tab.clean()


def test_a_closed_tab_ends_its_answer(browser: Any, tmp_path: Path) -> None:
    settings = Settings(  # type: ignore[call-arg]
        data_dir=tmp_path, device="cpu", reattach_seconds=0.3, _env_file=None
    )
    with serve(settings, None) as running:
        page = browser.new_page()
        tab = Tab(page, running.url).open()
        tab.ask(LONG)
        tab.growing()
        assert running.running == 1
        page.close()
        assert until(lambda: not running.running, 10) is True
        assert [row.status for row in running.rows(dialect="ui")] == ["cancelled"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("locale", LOCALES)
def test_hostile_text_runs_nothing(
    opens: Opens,
    record_property: Callable[[str, object], None],
    canary: http.server.HTTPServer,
    locale: str,
    scheme: str,
) -> None:
    """Asked and answered (the model echoes), in the log and as a title: each by itself, then the page anew.

    Each language and scheme tries an eighth of the texts, with TEST_HOSTILE=all every one of them.
    """
    ways = [(one, other) for one in LOCALES for other in SCHEMES]
    every = 1 if os.environ.get("TEST_HOSTILE") == "all" else len(ways)
    chosen = PAYLOADS[ways.index((locale, scheme)) % every :: every]
    record_property("payloads", len(chosen))
    place = f"http://127.0.0.1:{canary.server_port}/leak"
    with opens(locale, scheme) as tab:
        tab.open()
        for start in range(0, len(chosen), GROUP):
            payloads = chosen[start : start + GROUP]
            tab.page.click("#chat-new")
            tab.page.wait_for_selector("#chat-log .example")
            for count, payload in enumerate(payloads, 1):
                tab.page.fill(BOX, payload.replace(LEAK, place))
                tab.page.press(BOX, "Enter")
                tab.wait(
                    "([bot, n]) => document.querySelectorAll(bot).length >= n"
                    " && !document.querySelector('.going')",
                    [ANSWER, count],
                )
                assert tab.page.evaluate("window.pwned") is None, payload
            tab.reload()
            tab.wait(f"document.querySelectorAll('{ANSWER}').length >= {len(payloads)}")
            assert tab.page.evaluate("window.pwned") is None
            for link in tab.page.query_selector_all("#chat-log a"):
                where = (link.get_attribute("href") or "").strip().lower()
                assert not where.startswith(("javascript:", "vbscript:", "data:")), where
            assert tab.page.url.startswith(tab.url)
        assert canary.hits == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("locale", "scheme", "width", "words"),
    [
        ("ru-RU", "dark", 1280, ("Новая беседа", "Чем займёмся?", "свободно")),
        ("fr-FR", "light", 390, ("Nouvelle discussion", "Sur quoi travaillons-nous", "au repos")),
        ("pt-BR", "dark", 390, ("Nova conversa", "Em que vamos trabalhar?", "em repouso")),
        ("de-DE", "light", 820, ("New chat", "What shall we work on?", "idle")),
    ],
)
def test_looks(opens: Opens, locale: str, scheme: str, width: int, words: tuple[str, ...]) -> None:
    with opens(locale, scheme, width, 844) as tab:
        tab.open()
        text = tab.page.evaluate("document.body.textContent")
        assert [word for word in words if word not in text] == []
        assert tab.overflow() == [0, 0, 0]
        assert tab.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
        tab.ask("a " + "very" * 80 + " long word")
        tab.rest("word")
        assert tab.overflow() == [0, 0, 0]
        for panel in ("chat-side", "chat-settings"):
            if tab.page.is_visible(f"#{panel}-opener"):
                tab.page.click(f"#{panel}-opener")
                tab.page.locator(f"#{panel}").wait_for(state="visible", timeout=5000)
                assert tab.overflow() == [0, 0, 0]
                tab.page.keyboard.press("Escape")
        tab.page.click(".theme-toggle")
        assert tab.page.evaluate("document.body.classList.contains('dark')") == (scheme == "light")
        tab.clean()
