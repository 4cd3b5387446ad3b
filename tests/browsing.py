"""A real browser on our page: what the browser tests share."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine import Engine, Settings
from tests.serving import Served, serve

CHROMIUM = next(
    (p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), ""
)
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
BOX = "#chat-box textarea"
ANSWER = "#chat-log [data-testid=bot]"
ASKED = "#chat-log [data-testid=user]"
PATIENCE = 20.0  # seconds; a busy machine takes its time


@dataclass
class Tab:
    """A browser tab on our page, and everything it complained about or asked of others."""

    page: Any
    url: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> Tab:
        self.page.goto(self.url + "/" + query)
        self.page.wait_for_selector("#chat-list nav", state="attached")
        self.wait("document.querySelectorAll('#chat-log .example, #chat-log .message').length > 0")
        return self

    def turn(self, name: str) -> None:
        """Bring one of the page's tabs to the front, also where a narrow page has it in its menu."""
        self.wait("name => Boolean(window.atelier?.opens(name))", name)
        self.page.evaluate("name => window.atelier.turnTo(name)", name)

    def reload(self) -> None:
        """Load the page anew. What the old page says about its streams being cut is not an error."""
        self.page.reload()
        self.page.wait_for_selector("#chat-list nav", state="attached")
        self.errors.clear()

    def wait(self, condition: str, argument: Any = None) -> None:
        """Look until a script's condition holds. Not `wait_for_function`: our policy forbids its eval."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(condition, argument):
            assert time.monotonic() < end, f"never: {condition} {argument or ''}; {self.errors}"
            self.page.wait_for_timeout(50)

    def ask(self, text: str) -> None:
        self.page.fill(BOX, text)
        self.page.press(BOX, "Enter")

    def rest(self, text: str = "") -> str:
        """Wait until no answer is on its way and the last one holds `text`; returns it."""
        self.wait(
            """([answer, text]) => !document.querySelector('.going') &&
               document.querySelector('#chat-state .state') &&
               ([...document.querySelectorAll(answer)].at(-1)?.innerText || '').includes(text)""",
            [ANSWER, text],
        )
        return self.texts(ANSWER)[-1]

    def texts(self, selector: str) -> list[str]:
        return [element.inner_text().strip() for element in self.page.query_selector_all(selector)]

    def growing(self) -> int:
        """Wait for an answer that is being written; its length so far."""
        self.page.wait_for_selector("#chat-state .going", timeout=15_000)
        self.wait(f"(document.querySelectorAll('{ANSWER}')[0]?.innerText || '').length > 20")
        return len(self.texts(ANSWER)[-1])

    def overflow(self) -> list[int]:
        """Pixels the page is wider and higher than the window."""
        return self.page.evaluate(
            "[document.documentElement.scrollWidth - innerWidth, document.body.scrollWidth - innerWidth,"
            " document.documentElement.scrollHeight - innerHeight]"
        )

    def clean(self) -> None:
        assert self.errors == [] and self.outside == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def serve_page(settings: Settings, engine: Engine) -> Iterator[Served]:
    """The whole server over an engine, once its database is open and its page is there."""
    with serve(settings, None, engine) as running:
        running.call(engine.conversations.list())
        running.call(running.app.page.ready())
        yield running


Opens = Callable[..., Any]


@pytest.fixture
def opens(browser: Any, server: Served) -> Opens:
    """Opens a tab with a language, a colour scheme and a size of its own."""

    @contextmanager
    def tab(
        locale: str = "en-US", scheme: str = "light", width: int = 1280, height: int = 800
    ) -> Iterator[Tab]:
        small = width < 500
        context = browser.new_context(
            locale=locale,
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            has_touch=small,
            is_mobile=small,
        )
        page = context.new_page()
        made = Tab(page, server.url)
        page.on("console", lambda m: m.type == "error" and made.errors.append(m.text))
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.on(
            "request", lambda r: made.outside.append(r.url) if foreign(r.url, made.url) else None
        )
        yield made
        context.close()

    return tab


def foreign(url: str, own: str) -> bool:
    return not url.startswith((own + "/", "data:", "blob:"))
