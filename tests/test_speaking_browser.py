"""Speaking a text in a real browser: heard, stopped, saved; voices browsed, a voice cloned; looks and hostile names."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import Engine, Settings, Voice
from engine.events import Audio, Done, Progress
from engine.families import espeak
from engine.registry import Emit, ModelSpec
from engine.requests import SpeakRequest
from engine.sound_formats import wav
from tests import echo
from tests.browsing import NEEDS_CHROMIUM, PATIENCE, Opens, Tab, serve_page
from tests.serving import Served, until
from ui.speaking_views import Desk, desk
from ui.words import LANGUAGES

pytestmark = [
    *NEEDS_CHROMIUM,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("espeak-ng"), reason="no espeak-ng"),
]
BAD = "\"'><img src=x onerror=window.pwned=1>"
RATE = 24_000
ROOT = "#speaking"


class Cloner:
    """Speaks with the voice of a recording: remembers what it was given, slowly where it is asked to."""

    def __init__(self) -> None:
        self.requests: list[SpeakRequest] = []

    def speak(self, request: SpeakRequest, emit: Emit) -> None:
        self.requests.append(request)
        for n in range(6000 if "slow" in request.text else 2):
            time.sleep(0.02)
            emit(Audio(b"\x00\x20" * 4800, RATE))
            emit(Progress(n + 1, 6000))
        emit(Done())

    def close(self) -> None: ...


SPEC = ModelSpec(
    "cloner", frozenset({"speak"}), "cloner", title=f"Cloner {BAD}", memory=100,
    languages=("en",), accepts=frozenset({"audio"}),
)  # fmt: skip


@pytest.fixture(scope="module")
def cloner() -> Cloner:
    return Cloner()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cloner: Cloner) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    families: dict[str, Any] = {
        "echo": echo,
        "espeak": espeak,
        "cloner": SimpleNamespace(
            load=lambda spec, settings: cloner,
            voices=lambda spec: (Voice("ghost", spec.id, title=BAD),),
        ),
    }
    specs = (*echo.SPECS, *espeak.SPECS, SPEC)
    engine = Engine.build(settings, families=families, specs=specs)
    with serve_page(settings, engine) as running:
        yield running


def turn(tab: Tab) -> Any:
    """Turn to the tab, once it has been painted."""
    tab.open()
    tab.turn("speech")
    tab.page.wait_for_selector(f"{ROOT} textarea", timeout=PATIENCE * 1000)
    return tab.page


def news(tab: Tab, text: str) -> None:
    tab.wait(
        f"(t) => document.querySelector('{ROOT} [data-of=news]').textContent.includes(t)", text
    )


def seconds_of(data: bytes) -> float:
    import av

    with av.open(io.BytesIO(data)) as container:
        return sum(f.samples / f.sample_rate for f in container.decode(audio=0))


def test_a_text_is_spoken_heard_and_saved(opens: Opens):
    with opens() as tab:
        page = turn(tab)
        page.click(f"{ROOT} [data-act=speak]")
        news(tab, "nothing to say")
        page.click(f"{ROOT} [data-act=sample]")
        page.click(f"{ROOT} [data-act=speak]")
        news(tab, "espeak-ng · first sound after")
        tab.wait(f"document.querySelector('{ROOT} .speaking-sound').hasAttribute('data-playing')")
        tab.wait(f"!document.querySelector('{ROOT} [data-of=time]').textContent.startsWith('0:00')")
        page.click(f"{ROOT} [data-act=play]")
        tab.wait(f"!document.querySelector('{ROOT} .speaking-sound').hasAttribute('data-playing')")
        lengths = []
        for kind in ("mp3", "wav"):
            with page.expect_download(timeout=PATIENCE * 1000) as saved:
                page.click(f"{ROOT} [data-save={kind}]")
            assert saved.value.suggested_filename == f"atelier.{kind}"
            lengths.append(seconds_of(Path(saved.value.path()).read_bytes()))
        assert 4 < lengths[1] < 9 and lengths[0] == pytest.approx(lengths[1], abs=0.15)
        page.reload()
        page.wait_for_selector(f"{ROOT} textarea", timeout=PATIENCE * 1000)
        tab.wait(f"document.querySelector('{ROOT} textarea').value.startsWith('Good morning')")
        tab.errors.clear()


def test_voices_are_browsed_and_heard(opens: Opens):
    with opens(locale="fr-FR") as tab:
        page = turn(tab)
        first = page.inner_text(f"{ROOT} .voice:nth-child(2) b")
        assert first.startswith("Elise")
        page.fill(f"{ROOT} [data-of=find]", "russian")
        tab.wait(f"document.querySelectorAll('{ROOT} .voice:not([hidden])').length < 6")
        page.click(f"{ROOT} .pick[data-voice=ru]")
        assert "Russian" in page.inner_text(f"{ROOT} [data-of=chosen]")
        with page.expect_response(
            lambda r: "speech/sample" in r.url, timeout=PATIENCE * 1000
        ) as heard:
            page.click(f"{ROOT} .voice:not([hidden]) [data-hear]")
        assert heard.value.ok
        page.fill(f"{ROOT} [data-of=find]", "zzzz")
        tab.wait(f"!document.querySelector('{ROOT} [data-of=none]').hidden")
        page.click(f"{ROOT} .speaking-call summary")
        assert '"voice_path":"ru"' in page.inner_text(f"{ROOT} [data-of=call]")
        tab.clean()


def test_a_voice_is_cloned_once_its_owner_agrees(opens: Opens, cloner: Cloner):
    with opens() as tab:
        page = turn(tab)
        recording = wav(b"\x10\x20" * RATE, RATE)
        page.click(f"{ROOT} [data-act=choose]")
        news(tab, "may be cloned")
        page.check(f"{ROOT} [data-of=consent]")
        with page.expect_file_chooser() as chosen:
            page.click(f"{ROOT} [data-act=choose]")
        chosen.value.set_files({"name": "me.wav", "mimeType": "audio/wav", "buffer": recording})
        tab.wait(f"!document.querySelector('{ROOT} [data-of=cloned]').hidden")
        assert page.inner_text(f"{ROOT} [data-of=chosen]") == "Cloned: me.wav"
        page.fill(f"{ROOT} textarea", "Hello")
        page.click(f"{ROOT} [data-act=speak]")
        news(tab, "cloner · first sound")
        assert cloner.requests[-1].reference == recording
        page.click(f"{ROOT} [data-act=forget]")
        tab.wait(f"document.querySelector('{ROOT} [data-of=cloned]').hidden")
        tab.clean()


def test_stop_ends_it_here_and_on_the_server(opens: Opens, server: Served):
    with opens() as tab:
        page = turn(tab)
        page.fill(f"{ROOT} textarea", "slow and long")
        page.select_option(f"{ROOT} [data-of=model]", "cloner")
        page.click(f"{ROOT} [data-act=speak]")
        tab.wait(f"document.querySelector('{ROOT} .speaking-sound').hasAttribute('data-playing')")
        page.click(f"{ROOT} [data-act=stop]")
        news(tab, "Stopped")
        assert until(lambda: server.running == 0) and server.running == 0
        tab.clean()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_looks(opens: Opens, scheme: str, width: int):
    with opens(scheme=scheme, width=width, locale="ru-RU") as tab:
        page = turn(tab)
        assert max(tab.overflow()) <= 0
        box = page.locator(f"{ROOT} [data-act=speak]").bounding_box()
        assert box and box["height"] >= 40 and box["x"] + box["width"] <= width
        assert page.evaluate("window.pwned") is None
        tab.clean()


def test_foreign_names_are_text():
    voices = (Voice(BAD, "m", "fr", title=BAD, licence=BAD), Voice("x", "m", "zz-unknown"))
    found = Desk(((BAD, BAD),), voices, {"m": BAD}, {"m": BAD}, (BAD,), (BAD,), True)
    for language in LANGUAGES:
        painted = desk(found, language)
        assert "<img" not in painted and "\n" not in painted and "onerror" in painted
    assert found.stamp("en") != found.stamp("fr")
