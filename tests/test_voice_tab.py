"""The Voice tab and its call for programs: what the script is told, and a talk through a real browser's microphone."""

from __future__ import annotations

import html
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import Engine, Settings
from tests import voices
from tests.browsing import CHROMIUM, FLAGS, PATIENCE, Opens
from tests.serving import Served, serve, until
from tests.tiny_whisper import say as speech
from ui import voice_facts
from ui.words import LANGUAGES

pytestmark = pytest.mark.slow  # a server with the page
SPECS = [voices.DEAF if spec.id == "ear" else spec for spec in voices.SPECS]
HEARD = str(voices.DEAF.options["hears"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("voice")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    engine = Engine.build(settings, families={"voices": voices.Family()}, specs=SPECS)
    with serve(settings, None, engine) as running:
        running.call(running.app.page.ready())
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser whose microphone hears a sentence after a second and a half of silence, again and again."""
    from playwright.sync_api import sync_playwright

    file = tmp_path_factory.mktemp("sound") / "microphone.wav"
    microphone(file)
    flags = (
        *FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={file}",
    )  # fmt: skip
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=flags)
        yield chromium
        chromium.close()


def microphone(file: Path) -> None:
    import io

    with wave.open(io.BytesIO(speech("Hello there. Who are you?"))) as said:
        rate, pcm = said.getframerate(), said.readframes(said.getnframes())
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(bytes(3 * rate) + pcm + bytes(20 * rate))


def facts_of(painted: str) -> dict[str, Any]:
    return json.loads(html.unescape(painted.split('data-facts="')[1].split('"></div>')[0]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_script_is_told_everything(server: Served, language: str) -> None:
    told = voice_facts.Facts(server.engine).facts(language, "nobody")
    assert set(told["words"]) >= {"talk", "insecure", "sample_1"} and all(told["words"].values())
    assert told["hears"] and told["missing"] == [] and told["said"] == []
    assert [row[0] for row in told["models"]] == ["writer", "solo"]
    assert told["voices"][0] == ["Elise", "Elise", "fr", "mouth"]
    assert [row[0] for row in told["languages"]] == ["", "en", "fr"]


async def test_what_is_missing_is_said(settings: Settings) -> None:
    specs = [spec for spec in SPECS if "speak" in spec.does]
    engine = Engine.build(settings, families={"voices": voices.Family()}, specs=specs)
    told = voice_facts.Facts(engine).facts("en", "")
    assert len(told["missing"]) == 2 and "Whisper" in told["missing"][1] and not told["hears"]


def test_nothing_is_markup_and_nothing_is_lost() -> None:
    facts = {"said": [{"text": "\"'><img src=x onerror=alert(1)>\n\n# x &quot; </div>"}]}
    painted = voice_facts.painted(facts)
    assert "<img" not in painted and "\n" not in painted and facts_of(painted) == facts


async def test_nothing_is_sent_twice(server: Served) -> None:
    facts = voice_facts.Facts(server.engine)
    request = SimpleNamespace(headers={}, cookies={}, session_hash="abcdefgh", username=None)
    first = await facts.look('{"all": "1"}#1', request)  # type: ignore[arg-type]
    again = await facts.look("{}#2", request)  # type: ignore[arg-type]
    assert "data-facts" in first and not isinstance(again, str)


def test_programs_talk_too(server: Served, tmp_path: Path) -> None:
    from gradio_client import handle_file

    client = server.gradio(download_files=str(tmp_path))
    file = tmp_path / "question.wav"
    file.write_bytes(speech("Hello."))
    job = client.submit(audio=handle_file(str(file)), api_name="/converse")
    heard, answer, sound = job.result(timeout=60)
    assert heard == answer == HEARD
    assert voices.words_in(voices.pcm_of(Path(sound).read_bytes())) == "Hello there.Who are you?"
    heard, answer, sound = client.predict(text="☀", api_name="/converse")
    assert (heard, answer, sound) == ("", "☀", None)
    with pytest.raises(Exception, match="Send text, or a recording"):
        client.predict(api_name="/converse")
    client.close()


class Page:
    """The tab in a browser."""

    def __init__(self, tab: Any) -> None:
        self.tab, self.page = tab, tab.page
        tab.open()
        tab.turn("voice")
        self.page.wait_for_selector("#voice .talk", timeout=PATIENCE * 1000)

    def texts(self, selector: str) -> list[str]:
        return [e.inner_text().strip() for e in self.page.query_selector_all(f"#voice {selector}")]

    def rest(self, answers: int) -> None:
        """Until so many answers are there and all is said."""
        self.tab.wait(
            """(n) => document.querySelectorAll('#voice .theirs').length === n &&
                      document.querySelector('#voice').dataset.state === 'idle'""",
            answers,
        )


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")
def test_a_talk(opens: Opens, server: Served) -> None:
    with opens() as tab:
        voice = Page(tab)
        page = voice.page
        assert "Talk with Atelier" in voice.texts(".hello")[0]

        # Typed: the answer is spoken too, and its phrases are followed.
        page.fill("#voice .typed input", "One **two** three four. Five six seven.")
        page.press("#voice .typed input", "Enter")
        page.wait_for_selector("#voice .theirs mark:not(:empty)", timeout=PATIENCE * 1000)
        voice.rest(1)
        assert voice.texts(".theirs > p") == ["One two three four. Five six seven."]

        # By the space bar, held down while the microphone speaks.
        page.focus("#voice .talk")
        page.keyboard.down("Space")
        tab.wait("document.querySelector('#voice').dataset.state === 'taking'")
        page.wait_for_timeout(900)
        page.keyboard.up("Space")
        tab.wait("document.querySelector('#voice').dataset.state !== 'taking'")
        voice.rest(len(voice.texts(".theirs")))

        # Hands-free: speech begins, ends and is answered by itself; the times are told.
        page.click("#voice [data-act=free]")
        before = len(voice.texts(".theirs"))
        tab.wait("(n) => document.querySelectorAll('#voice .theirs').length > n", before)
        page.wait_for_selector("#voice .theirs:last-child .times .vad >> nth=0", timeout=20_000)
        assert voice.texts(".mine p")[-1] == HEARD
        told = voice.texts(".theirs:last-child .times")[0]
        for word in ("end of speech", "transcript", "first word", "first sound"):
            assert word in told
        page.click("#voice [data-act=free]")
        assert tab.page.get_attribute("#voice [data-act=free]", "aria-pressed") == "false"

        # A reload finds what was said; it is in Chat as well; a new conversation forgets it.
        voice.rest(len(voice.texts(".theirs")))
        said = voice.texts(".mine p")
        tab.reload()
        page.wait_for_selector("#voice .theirs", timeout=PATIENCE * 1000)
        assert voice.texts(".mine p")[0] == said[0]
        page.click("#voice [data-act=open]")
        tab.wait("document.querySelector('#chat-log').innerText.includes('Five six seven.')")
        page.click("#tab-voice-button")
        page.click("#voice [data-act=new]")
        page.wait_for_selector("#voice .hello")
        tab.clean()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")
def test_barging_in_and_stopping(opens: Opens, server: Served) -> None:
    with opens("fr-FR", "dark", 390, 844) as tab:
        voice = Page(tab)
        page = voice.page
        assert max(tab.overflow()) <= 0
        page.fill("#voice .typed input", "!slow Un deux trois quatre. " + "mot " * 500)
        page.press("#voice .typed input", "Enter")
        page.wait_for_selector("#voice .theirs mark:not(:empty)", timeout=PATIENCE * 1000)
        page.fill("#voice .typed input", "Autre chose.")
        page.press("#voice .typed input", "Enter")
        voice.rest(2)
        assert "interrompu" in voice.texts(".theirs")[0]
        assert until(lambda: not server.running) is True
        page.fill("#voice .typed input", "!slow Encore. " + "mot " * 500)
        page.press("#voice .typed input", "Enter")
        page.wait_for_selector("#voice .theirs:nth-of-type(6), #voice .theirs mark:not(:empty)")
        page.keyboard.press("Tab")
        page.click("#voice [data-act=stop]")
        assert until(lambda: not server.running) is True
        tab.wait("document.querySelector('#voice').dataset.state === 'idle'")
        page.select_option("#voice select[name=language]", "fr", force=True)
        tab.wait(
            "[...document.querySelectorAll('#voice select[name=voice] option')]"
            ".map((o) => o.text).join().includes('Elise')"
        )
        names = page.evaluate(
            "[...document.querySelectorAll('#voice select[name=voice] option')].map((o) => o.text)"
        )
        assert "Bob" not in names
        tab.clean()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")
def test_a_refused_microphone_is_explained(opens: Opens, server: Served) -> None:
    with opens() as tab:
        tab.page.add_init_script(
            "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError') }"
        )
        voice = Page(tab)
        voice.page.click("#voice [data-act=free]")
        tab.wait("document.querySelector('#voice .trouble').innerText.includes('Allow it')")
        voice.page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
        voice.page.click("#voice [data-act=free]")
        tab.wait("document.querySelector('#voice .trouble').innerText.includes('HTTPS')")
