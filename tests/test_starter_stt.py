"""The starter that hears: its folder, its data, and how it writes down what espeak-ng says."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine import Caller, Engine, Result, Settings, TranscribeRequest, fold
from engine.families import whisper
from engine.registry import Registry
from starter.chat_grammar import LANGUAGES
from starter.stt_data import HELD_VARIANTS, VARIANTS, sayings, speakable, written
from starter.stt_eval import SEED, distance, words_of
from tests.tiny_whisper import say, tone_free
from ui.samples import FOLDER as SAMPLES

FOLDER = Path(__file__).parent.parent / "assets" / "starters" / "starter-stt"
MOST_BYTES = 10 * 1024 * 1024
# Floors below what the committed weights reached, so that a worse copy is noticed; the card says what they reached.
HELD_WORDS, LANGUAGE = 0.9, 0.93
pytestmark = pytest.mark.timeout(240)


def test_folder_is_small_and_complete() -> None:
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert {"README.md", "config.json", "model.bin", "tokenizer.json", "vocabulary.json"} <= set(
        files
    )
    assert sum(files.values()) < MOST_BYTES
    assert json.loads((FOLDER / "preprocessor_config.json").read_text("utf-8"))["chunk_length"] == 6
    card = (FOLDER / "README.md").read_text("utf-8")
    assert "{" not in card.split("---")[-1]
    assert "held-out" in card


def test_faster_whisper_opens_it_like_the_large_ones() -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(str(FOLDER), device="cpu", compute_type="int8", cpu_threads=1)
    assert model.model.is_multilingual
    assert model.feature_extractor.nb_max_frames == 300


def test_sentences_are_held_out_and_can_be_said() -> None:
    shown = {one.text for one in itertools.islice(sayings(1), 3000)}
    held = list(itertools.islice(sayings(2, held=True, held_voice=True), 300))
    new = [one for one in held if one.text not in shown]
    assert len(new) > 0.8 * len(held)
    assert all(one.voice.endswith(HELD_VARIANTS) for one in held)
    assert not set(HELD_VARIANTS) & set(VARIANTS)
    assert {one.language for one in held} == set(LANGUAGES)
    assert all(speakable(text) for text in shown)
    assert written("hello  ") == "Hello." and written("why ?") == "Why?"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    spec = Registry.build(Settings(), {}).find("starter-stt")
    settings = Settings(data_dir=tmp_path, device="cpu")
    made = Engine.build(settings, families={"whisper": whisper}, specs=[spec])
    await made.start()
    yield made
    await made.close()


async def hear(engine: Engine, audio: bytes, **fields: Any) -> Result:
    return await fold(engine.run(TranscribeRequest(audio=audio, **fields), Caller()))


async def test_it_writes_down_what_it_never_heard(engine: Engine) -> None:
    asked = list(itertools.islice(sayings(SEED, held=True), 60))
    wrong = total = found = 0
    for one in asked:
        heard = await hear(engine, say(one.text, one.voice, one.speed))
        said = words_of(one.text)
        wrong += distance(said, words_of(heard.text))
        total += len(said)
        found += heard.source is not None and heard.source.language == one.language
    assert 1 - wrong / total >= HELD_WORDS
    assert found / len(asked) >= LANGUAGE


async def test_samples_silence_and_words(engine: Engine) -> None:
    heard = await hear(engine, (SAMPLES / "speech-en.mp3").read_bytes(), words=True)
    assert heard.source is not None and heard.source.language == "en"
    assert len(heard.segments) == 5
    assert all(segment.words for segment in heard.segments)
    starts = [word.start for segment in heard.segments for word in segment.words]
    assert starts == sorted(starts)
    assert (await hear(engine, tone_free(8))).text == ""
