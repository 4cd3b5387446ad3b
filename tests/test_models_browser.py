"""The Models tab in a real browser: one model lived through, other pages, other servers, looks, hostile names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, ModelSpec, Settings
from tests import echo
from tests.browsing import NEEDS_CHROMIUM, PATIENCE, Opens, Tab
from tests.hub import Hub
from tests.serving import Served, serve, until

pytestmark = NEEDS_CHROMIUM
STARTER = Path(__file__).resolve().parent.parent / "assets" / "starters" / "starter-chat"
TINY = "tiny/Tiny-Chat"
SLOW = 400_000.0  # bytes a second
Serves = Callable[..., Served]


@pytest.fixture
def serves(tmp_path: Path) -> Iterator[Serves]:
    """Starts servers with a page; they end with the test."""
    with ExitStack() as stack:

        def start(name: str = "page", specs: Any = None, families: Any = None) -> Served:
            folder = tmp_path / name
            settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
            engine = Engine.build(settings, specs=specs, families=families)
            running = stack.enter_context(serve(settings, None, engine))
            running.call(engine.conversations.list())  # databases and pages are made one by one
            running.call(running.app.page.ready())
            return running

        yield start


@pytest.fixture
def server(serves: Serves) -> Served:
    """A server whose models have behaviour and no weights."""
    return serves(specs=echo.SPECS, families={"echo": echo})


def card(model: str) -> str:
    return f'#models-view [data-card="{model}"]'


def shown(tab: Tab) -> Tab:
    """Open the page and turn to the Models tab."""
    tab.open()
    tab.turn("models")
    tab.page.wait_for_selector("#models-view .card")
    return tab


def percent(tab: Tab) -> float:
    job = tab.page.query_selector("#models-view .job[data-done]")
    return float(job.get_attribute("data-done")) if job else 0.0


def again(tab: Tab) -> None:
    tab.page.reload()
    tab.page.wait_for_selector("#models-view .card", timeout=PATIENCE * 1000)
    tab.errors.clear()  # what the old page says about its streams being cut


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_lives_from_its_name_to_its_end(opens: Opens, hub: Hub, serves: Serves) -> None:
    hub.add(TINY, {file.name: file for file in STARTER.iterdir() if file.is_file()})
    hub.faults.rate = SLOW
    served = serves("own")
    with opens() as tab, opens() as other:
        tab.url = other.url = served.url
        shown(tab)
        page = tab.page
        page.click("#models-add")
        page.fill("#models-view dialog [name=what]", TINY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#models-view dialog .found")
        page.click("#models-view dialog .primary")
        page.wait_for_selector("#models-view dialog dl")
        assert "apache-2.0" in page.inner_text("#models-view dialog dl")
        page.click("#models-view dialog .primary")

        # It comes, is paused, outlives a reload, is seen elsewhere, and goes on.
        page.wait_for_selector("#models-view .job.downloading")
        tab.wait("Number(document.querySelector('#models-view .job').dataset.done) > 2")
        page.click("#models-view .job [data-act=pause]")
        page.wait_for_selector("#models-view .job.paused")
        before = percent(tab)
        again(tab)
        page.wait_for_selector(f"{card(TINY)} .paused")
        assert page.url.endswith("#models") and percent(tab) >= before
        shown(other)
        assert "Paused" in other.page.inner_text("#models-view .jobs")
        page.click(f"{card(TINY)} [data-act=resume]")
        page.wait_for_selector("#models-view .job.downloading")
        hub.faults.rate = 0
        page.wait_for_selector(f"{card(TINY)} [data-act=ask_load]", timeout=60_000)

        # Load, keep, pin, make default, talk.
        page.click(f"{card(TINY)} [data-act=ask_load]")
        page.wait_for_selector("#models-view .chip-row", timeout=60_000)
        page.select_option("#models-view .chip-row select", "3600")
        page.click("#models-view .chip-row [data-act=pin]")
        page.wait_for_selector("#models-view .chip-row [aria-pressed=true]")
        assert until(lambda: [m.keep_alive for m in served.engine.status().resident] == [3600.0])
        page.click(f"{card(TINY)} [data-act=default]")
        page.wait_for_selector(f"{card(TINY)} .badge.default")
        page.click(f"{card(TINY)} [data-act=chat]")
        page.wait_for_selector("#chat-box textarea", state="visible")
        tab.wait("document.querySelector('#chat-model input').value.includes('Tiny-Chat')")
        tab.ask("Hello!")
        page.wait_for_selector("#chat-log [data-testid=bot]", timeout=60_000)
        assert until(lambda: not served.running, 90) is True

        # Let go, remove.
        page.click("#tab-models-button")
        page.click("#models-view .chip-row [data-act=unload]")
        page.wait_for_selector("#models-view .chips .none", timeout=60_000)
        page.click(f"{card(TINY)} [data-act=ask_remove]")
        page.wait_for_selector("#models-view dialog .stop")
        assert page.evaluate("document.activeElement.classList.contains('closes-sheet')")
        page.click("#models-view dialog .stop")
        page.wait_for_selector(card(TINY), state="detached")
        tab.clean()
        other.clean()


def test_what_cannot_be_added_says_why(opens: Opens, hub: Hub, server: Served) -> None:
    hub.add("closed/Gated", {"config.json": b"{}"}, gated="manual", token="x")
    hub.add("bad/Pickles", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with opens() as tab:
        shown(tab)
        tab.page.click("#models-add")
        for what, why in (("/no/such/folder", "no folder"), ("bad/Pickles", "safetensors")):
            tab.page.fill("#models-view dialog [name=what]", what)
            tab.page.keyboard.press("Enter")
            tab.page.wait_for_selector(f"#models-view dialog [role=alert] >> text={why}")
            assert tab.page.input_value("#models-view dialog [name=what]") == what
        tab.page.keyboard.press("Escape")
        tab.page.wait_for_selector("#models-view dialog", state="hidden")
        tab.page.click("#models-add")
        assert tab.page.input_value("#models-view dialog [name=what]") == ""
        tab.clean()


def test_requests_are_seen_and_stopped(opens: Opens, server: Served) -> None:
    with opens() as tab, opens() as other:
        tab.open()
        tab.ask("!slow " + "word " * 3000)
        tab.growing()
        shown(other)
        other.page.wait_for_selector("#models-view .job.running")
        other.page.click("#models-view .job [data-act=stop]")
        assert until(lambda: not server.running) is True
        other.page.wait_for_selector("#models-view .jobs .none")
        tab.wait("document.querySelector('#chat-state').innerText.includes('stopped')")
        tab.clean()
        other.clean()


def test_another_server_comes_and_falls(opens: Opens, serves: Serves, server: Served) -> None:
    here = serves("here")
    with opens() as tab:
        tab.url = here.url
        shown(tab)
        tab.page.click("#models-add")
        tab.page.fill("#models-view dialog [name=what]", server.url + "/v1")
        tab.page.keyboard.press("Enter")
        tab.page.wait_for_selector("#models-view dialog .found")
        tab.page.keyboard.press("Escape")
        tab.page.wait_for_selector("#models-view .server.up")
        name = tab.texts("#models-view .server b")[0]
        tab.page.wait_for_selector(f"{card(f'{name}/echo')} [data-act=chat]")
        here.call(_fall(here.engine, name))
        tab.page.wait_for_selector("#models-view .server.down .failed")
        tab.page.wait_for_selector(f"{card(f'{name}/echo')} .fit.too_big")
        tab.page.click("#models-view .server [data-act=ask_forget]")
        tab.page.click("#models-view dialog .stop")
        tab.page.wait_for_selector("#models-view .server", state="detached")
        tab.clean()


async def _fall(engine: Engine, name: str) -> None:
    """The server is at an address where nobody listens, and was asked since."""
    from dataclasses import replace

    servers = engine.servers
    servers._servers[name] = replace(servers.get(name), url="http://127.0.0.1:9/v1")
    await servers.refresh(name)


def test_updates_leave_the_reader_alone(opens: Opens, server: Served) -> None:
    """Focus, an open list, the scroll and the search survive what changes around them."""
    with opens(height=420) as tab:
        shown(tab)
        page = tab.page
        page.click(f"{card('echo')} [data-act=ask_load]")
        page.wait_for_selector("#models-view .chip-row")
        page.focus("#models-view .chip-row select")
        page.evaluate("document.querySelector('#models').scrollTo(0, 60)")
        mark = "document.querySelector('#models-view .chip-row').dataset.mine"
        page.evaluate(f"{mark} = 'yes'")
        idle = page.inner_text("#models-view .chip-row .who span")
        tab.wait(
            "idle => document.querySelector('#models-view .chip-row .who span').innerText !== idle",
            idle,
        )
        assert page.evaluate("document.activeElement.dataset.act") == "keep"
        assert page.evaluate("document.querySelector('#models').scrollTop") == 60
        page.fill("#models-search input, #models-search textarea", "BATCH")
        assert tab.texts("#models-view .card:visible h4") == ["echo-batch"]
        page.fill("#models-search input, #models-search textarea", "no such")
        assert page.is_visible("#models-view .shelf > .none")
        page.fill("#models-search input, #models-search textarea", "")
        page.click("#models-show-fitting")
        assert page.get_attribute("#models-show-fitting", "aria-pressed") == "true"
        tab.clean()


def test_a_page_that_is_not_seen_does_not_ask(opens: Opens, server: Served) -> None:
    with opens() as tab:
        shown(tab)
        asked: list[float] = []
        tab.turn("chat")
        tab.page.wait_for_timeout(1500)
        tab.page.on(
            "request",
            lambda r: (
                asked.append(time.monotonic()) if "models-look" in (r.post_data or "") else None
            ),
        )
        sent = len(asked)
        tab.page.wait_for_timeout(2500)
        assert len(asked) == sent
        assert "#models" not in tab.page.url


def test_hostile_names_run_nothing(opens: Opens, serves: Serves) -> None:
    bad = "\"'><img src=x onerror=window.pwned=1><script>window.pwned=1</script>\n\n# x"
    spec = ModelSpec(
        id="a/<b>", does=frozenset({"chat"}), family="echo", title=bad, licence=bad, params=bad,
        repo="org/name", languages=(bad,), memory=100,
    )  # fmt: skip
    served = serves("hostile", specs=[*echo.SPECS, spec], families={"echo": echo})
    with opens() as tab:
        tab.url = served.url
        shown(tab)
        tab.page.click(f"{card('a/<b>')} button[data-act]")
        tab.page.wait_for_timeout(800)
        assert tab.page.evaluate("window.pwned") is None
        assert tab.page.query_selector("#models-view img") is None
        assert "<img" in tab.page.inner_text(card("a/<b>"))


@pytest.mark.parametrize(
    ("locale", "scheme", "width", "words"),
    [
        ("ru-RU", "dark", 390, ("Добавить модель", "Память", "Активность")),
        ("fr-FR", "light", 1440, ("Ajouter un modèle", "Mémoire", "Discuter")),
        ("pt-BR", "dark", 820, ("Adicionar um modelo", "Memória", "Conversar")),
    ],
)
def test_looks(opens: Opens, locale: str, scheme: str, width: int, words: tuple[str, ...]) -> None:
    with opens(locale, scheme, width, 844) as tab:
        shown(tab)
        text = tab.page.inner_text("#models")
        assert [word for word in words if word not in text] == []
        assert tab.overflow() == [0, 0, 0]
        sides = "(e => e.scrollWidth - e.clientWidth)(document.querySelector('#models'))"
        assert tab.page.evaluate(sides) == 0
        tab.page.click("#models-add")
        tab.page.wait_for_selector("#models-view dialog input")
        box = tab.page.locator("#models-view dialog").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert abs((box["y"] + box["height"] / 2) - 422) < 4  # in the middle
        tab.clean()
