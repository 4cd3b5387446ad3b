"""Writing recordings down, on the page: what is painted, the call for programs, and a browser that does it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, ModelSpec, Settings
from engine.families import whisper
from engine.subtitles import parse_subtitles
from tests import echo
from tests.browsing import NEEDS_CHROMIUM, Opens
from tests.serving import Served, serve
from tests.tiny_whisper import say, tone_free
from ui.hearing_views import Ears, Hearer, desk
from ui.words import LANGUAGES

BAD = "\"'><img src=x onerror=alert(1)>\n\n# x"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_desk_is_painted_in_every_language(language: str) -> None:
    ears = Ears(
        (Hearer("m", BAD, ("en", "fr"), False), Hearer("any", "Any", (), True)), (BAD,), True
    )
    painted = desk(ears, language)
    assert "<img" not in painted and "\n" not in painted
    assert painted.count("<option") > 50 and 'data-languages="en fr"' in painted
    said = json.loads(unescape(re.search(r'data-says="([^"]*)"', painted)[1]))  # type: ignore[index]
    assert "{time}" in said["made"] and "{n}" in said["waiting"]
    assert painted.count('data-act="sample"') == 4
    assert ears.stamp("en") != Ears(ears.models[:1], (), True).stamp("en")


@pytest.fixture(scope="module")
def server(random_whisper: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("hearing")
    options = {"beams": 1, "max_new_tokens": 8}
    specs = [
        *echo.SPECS,
        ModelSpec(
            "tiny", frozenset({"transcribe"}), "whisper", path=str(random_whisper), title="Tiny",
            languages=("en", "fr"), options=options,
        ),
    ]  # fmt: skip
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    families = {"whisper": whisper, "echo": echo}
    with serve(settings, None, Engine.build(settings, families=families, specs=specs)) as running:
        running.call(running.app.page.ready())
        yield running


@pytest.mark.slow
def test_programs_transcribe(server: Served, tmp_path: Path) -> None:
    from gradio_client import handle_file

    talk, quiet = tmp_path / "talk.wav", tmp_path / "quiet.wav"
    talk.write_bytes(say("hello world, how are you today?"))
    quiet.write_bytes(tone_free(1))
    client = server.gradio()
    try:
        text = client.predict(handle_file(str(talk)), language="English", api_name="/transcribe")
        assert text.startswith("word")
        srt = client.predict(
            handle_file(str(talk)), "en", "translate", "srt", api_name="/transcribe"
        )
        assert parse_subtitles(srt)[0].text.startswith("word")
        assert client.predict(handle_file(str(quiet)), api_name="/transcribe") == ""
        for wrong in ({"format": "docx"}, {"task": "sing"}, {"language": "tlhIngan"}):
            with pytest.raises(Exception, match=r"text, srt, vtt|transcribe or translate|It knows"):
                client.predict(handle_file(str(talk)), **wrong, api_name="/transcribe")
    finally:
        client.close()


def look(tab: Any) -> None:
    tab.open()
    tab.page.evaluate("window.atelier.turnTo('speech')")
    tab.page.wait_for_selector("#hearing .hearing-drop", timeout=60_000)


def in_browser(test: Any) -> Any:
    for mark in (*NEEDS_CHROMIUM, pytest.mark.timeout(300)):
        test = mark(test)
    return test


@in_browser
def test_a_sample_is_heard_played_and_saved(opens: Opens, server: Served) -> None:
    with opens() as tab:
        look(tab)
        page = tab.page
        page.check("#hearing [data-of=words]")
        page.click("#hearing .sounds >> nth=1")
        page.wait_for_selector("#hearing [data-of=save]:not([hidden])", timeout=60_000)
        lines = tab.texts("#hearing .hearing-text li")
        assert lines and all(re.match(r"\d:\d\d\s+word", line) for line in lines)
        assert "heard in" in page.inner_text("#hearing [data-of=news]")
        page.click("#hearing .word >> nth=-1")
        tab.wait("document.querySelector('#hearing audio').currentTime > 0")
        for kind in ("srt", "vtt", "txt", "json"):
            with page.expect_download() as saved:
                page.click(f"#hearing [data-kind={kind}]")
            assert saved.value.suggested_filename == f"speech-fr.{kind}"
            text = Path(saved.value.path()).read_text("utf-8")
            assert parse_subtitles(text) if kind in ("srt", "vtt") else "word" in text
        assert json.loads(text)["segments"][0]["words"]
        tab.clean()


@in_browser
def test_what_is_no_recording_and_what_other_tabs_send(opens: Opens, server: Served) -> None:
    with opens(width=390, height=800, scheme="dark", locale="ru-RU") as tab:
        look(tab)
        page = tab.page
        page.set_input_files(
            "#hearing [data-of=file]",
            {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"words " * 99},
        )
        page.wait_for_selector("#hearing [data-wrong]", timeout=30_000)
        assert "Не получилось" in page.inner_text("#hearing [data-of=news]")
        tab.errors.clear()  # the browser tells of the status
        page.evaluate(
            """() => document.dispatchEvent(new CustomEvent("atelier:send",
               { detail: { tab: "speech", name: "sent.wav", url: "/openapi.json", kind: "audio/wav" } }))"""
        )
        tab.wait("document.querySelector('#hearing [data-of=name]').textContent === 'sent.wav'")
        assert tab.overflow()[0] <= 0
