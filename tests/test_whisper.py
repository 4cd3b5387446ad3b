"""The whisper family with random weights of the real class: order, times, languages, faults, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import (
    BadFormat,
    BadValue,
    Caller,
    Done,
    Engine,
    Loading,
    ModelSpec,
    Progress,
    Result,
    Segment,
    Settings,
    Source,
    TranscribeRequest,
    Unavailable,
    fold,
)
from engine.families import _whisper_loading, whisper
from engine.families._whisper_cutting import RATE, Cuts, Piece, Section, Span, cut
from engine.speech import choose_language
from tests.tiny_whisper import say, tone_free

pytestmark = pytest.mark.timeout(240)
TRANSCRIBES = frozenset({"transcribe"})
TALK = "hello world, how are you today? this is a test of speech, and it goes on for a while. "


@pytest.fixture(scope="module")
def folder(random_whisper: Path) -> Path:
    return random_whisper


@pytest.fixture(scope="module")
def minute() -> bytes:
    return say(TALK * 12)


def spec_of(folder: Path, **options: Any) -> ModelSpec:
    told = {"beams": 1, "max_new_tokens": 8, **options}
    return ModelSpec("tiny", TRANSCRIBES, "whisper", path=str(folder), options=told)


@pytest.fixture
async def engine(folder: Path, tmp_path: Path) -> AsyncIterator[Engine]:
    settings = Settings(data_dir=tmp_path, device="cpu")
    made = Engine.build(settings, families={"whisper": whisper}, specs=[spec_of(folder)])
    await made.start()
    yield made
    await made.close()


async def hear(engine: Engine, audio: bytes, **fields: Any) -> Result:
    return await fold(engine.run(TranscribeRequest(audio=audio, **fields), Caller()))


async def test_events_come_in_order_with_progress_in_hundredths(
    engine: Engine, minute: bytes
) -> None:
    request = TranscribeRequest(audio=minute, language="English")
    events = [event async for event in engine.run(request, Caller())]
    kinds = [type(event) for event in events if not isinstance(event, Loading | Progress)]
    assert kinds[0] is Source
    assert kinds[-1] is Done
    assert set(kinds[1:-1]) == {Segment}
    source = next(e for e in events if isinstance(e, Source))
    assert (source.language, source.probability) == ("en", None)
    assert 50 < source.duration < 70
    spans = [e for e in events if isinstance(e, Segment)]
    assert all(0 <= e.start <= e.end <= source.duration for e in spans)
    assert [e.start for e in spans] == sorted(e.start for e in spans)
    steps = [e for e in events if isinstance(e, Progress)]
    assert steps[-1].done == steps[-1].total == pytest.approx(source.duration * 100, abs=3)
    assert len(steps) >= 3
    assert events[-1].usage.audio_s == pytest.approx(source.duration, abs=0.1)
    assert events[-1].usage.output_tokens > 0


async def test_a_language_is_found_and_words_have_times(engine: Engine, minute: bytes) -> None:
    found = await hear(engine, minute, words=True)
    assert found.source is not None
    assert found.source.language in engine.lane.status().resident[0].id or len(
        found.source.language
    ) in (2, 3)
    assert 0 < (found.source.probability or 0) <= 1
    for segment in found.segments:
        times = [(word.start, word.end) for word in segment.words]
        assert times
        assert all(a <= b for a, b in times)
        assert " ".join(word.text for word in segment.words) == segment.text.strip()


async def test_several_at_once_are_what_they_are_alone(engine: Engine) -> None:
    audios = [say(TALK * n) for n in (1, 6, 3)]
    alone = [await hear(engine, audio, language="en") for audio in audios]
    together = await asyncio.gather(*(hear(engine, audio, language="en") for audio in audios))
    assert [r.text for r in together] == [r.text for r in alone]
    assert [r.source for r in together] == [r.source for r in alone]


async def test_silence_has_no_words(engine: Engine) -> None:
    for audio in (tone_free(5), tone_free(0.05), tone_free(40, 8000, 2)):
        heard = await hear(engine, audio)
        assert (heard.text, heard.segments) == ("", [])
        assert heard.source is not None
        assert heard.usage.audio_s == pytest.approx(heard.source.duration, abs=0.05)


async def test_refusals_come_first(engine: Engine, minute: bytes) -> None:
    for audio, error in ((b"", BadValue), (b"no sound" * 99, BadFormat), (minute[:44], BadFormat)):
        with pytest.raises(error):
            await hear(engine, audio)
    assert not engine.lane.status().resident, "nothing was loaded for them"
    with pytest.raises(BadValue, match=r"'tlhIngan'.*It knows: .*fr \(French\)"):
        await hear(engine, minute, language="tlhIngan")
    assert (await hear(engine, minute, language="pt-BR")).source == Source(
        "pt", None, pytest.approx(60, abs=9)
    )


async def test_a_reader_that_leaves_ends_the_work(engine: Engine, minute: bytes) -> None:
    await hear(engine, say("hello"))
    long = say(TALK * 30)
    async with aclosing(
        engine.run(TranscribeRequest(audio=long, language="en"), Caller())
    ) as events:
        async for event in events:
            if isinstance(event, Segment):
                break
    for _ in range(400):
        if not engine.status().running:
            break
        await asyncio.sleep(0.01)
    backend = engine.lane._models.get(spec_of(Path())).backend  # type: ignore[union-attr]
    assert not backend._all
    assert (await hear(engine, minute, language="en")).text


async def test_one_broken_pass_fails_one_recording(
    engine: Engine, minute: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.families._whisper_passes import Passes

    real = Passes.hear

    def breaks(self: Passes, tasks: Any) -> Any:
        if any(task.prompt == "break" for task in tasks):
            raise ValueError("a broken pass")
        return real(self, tasks)

    monkeypatch.setattr(Passes, "hear", breaks)
    bad, good = await asyncio.gather(
        hear(engine, minute, prompt="break", temperature=0.5),
        hear(engine, minute, language="en"),
        return_exceptions=True,
    )
    assert isinstance(bad, Exception) and "ValueError" in str(bad)
    assert isinstance(good, Result) and good.text


async def test_a_full_device_is_tried_again(
    engine: Engine, minute: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.families._whisper_passes import Passes

    real, left = Passes.hear, [1]

    def full(self: Passes, tasks: Any) -> Any:
        if left:
            left.pop()
            raise RuntimeError("CUDA failed with error out of memory")
        return real(self, tasks)

    want = (await hear(engine, minute, language="en")).text
    monkeypatch.setattr(Passes, "hear", full)
    assert (await hear(engine, minute, language="en")).text == want


async def test_a_dead_gpu_is_told_and_the_processor_works(
    folder: Path, tmp_path: Path, minute: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_whisper_loading, "_device", lambda name, spec: ("cuda", 0))
    monkeypatch.setattr(_whisper_loading, "TRIAL", "import os; os.abort()")
    _whisper_loading._alive.cache_clear()
    made = Engine.build(
        Settings(data_dir=tmp_path, device="cpu"),
        families={"whisper": whisper},
        specs=[spec_of(folder)],
    )
    await made.start()
    request = TranscribeRequest(audio=say("hello"), language="en")
    events = [event async for event in made.run(request, Caller())]
    await made.close()
    _whisper_loading._alive.cache_clear()
    assert any("cuDNN" in e.note for e in events if isinstance(e, Loading))
    assert isinstance(events[-1], Done)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("model.bin", None, "lacks model.bin"),
        ("model.bin", b"PK\x03\x04pickled", "no Whisper in CTranslate2's format"),
        ("model.bin", 2000, "could not be opened"),
        ("tokenizer.json", None, "lacks tokenizer.json"),
        ("tokenizer.json", b"{", "could not be opened"),
        ("config.json", b"[]", "not a JSON object"),
    ],
)
async def test_broken_folders_say_what_is_wrong(
    folder: Path, tmp_path: Path, file: str, content: bytes | int | None, says: str
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for source in folder.iterdir():
        (broken / source.name).write_bytes(source.read_bytes())
    if content is None:
        (broken / file).unlink()
    elif isinstance(content, int):
        (broken / file).write_bytes((broken / file).read_bytes()[:content])
    else:
        (broken / file).write_bytes(content)
    made = Engine.build(
        Settings(data_dir=tmp_path / "d", device="cpu"),
        families={"whisper": whisper},
        specs=[spec_of(broken)],
    )
    await made.start()
    with pytest.raises(Unavailable, match=says):
        await hear(made, say("hello"))
    await made.close()


def blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.array_split(samples, max(1, len(samples) // (5 * RATE)))


def spoken(seconds: int) -> np.ndarray:
    from engine.sounds import read_sound

    one = read_sound(say("one two three four five six seven eight nine ten"))
    return np.tile(np.concatenate([one, np.zeros(RATE, np.float32)]), seconds)[: seconds * RATE]


def cut_all(samples: np.ndarray, **how: Any) -> list[Section]:
    return list(cut(blocks(samples), Cuts(30.0, **how)))


def test_pieces_fit_and_keep_their_order() -> None:
    sections = cut_all(spoken(300))
    pieces = [piece for section in sections for piece in section.pieces]
    assert len(sections) >= 2
    assert sections[-1].until == 300
    assert all(piece.seconds <= 30.01 for piece in pieces)
    assert all(a.end <= b.start + 0.01 for a, b in pairwise(pieces))
    assert sum(piece.seconds for piece in pieces) > 200


def test_without_vad_nothing_is_left_out() -> None:
    samples = np.concatenate([spoken(50), np.zeros(20 * RATE, np.float32), spoken(30)])
    pieces = [piece for section in cut_all(samples, vad=False) for piece in section.pieces]
    joined = np.concatenate([piece.samples for piece in pieces])
    assert np.array_equal(joined, samples)


def test_times_of_a_piece_are_the_recordings() -> None:
    piece = Piece(np.zeros(3 * RATE), (Span(0.0, 10.0, 1.0), Span(1.0, 20.0, 2.0)))
    assert (piece.start, piece.end) == (10.0, 22.0)
    assert piece.when(0.5) == 10.5
    assert piece.when(1.0) == 20.0
    assert piece.when(1.0, closes=True) == 11.0
    assert piece.when(9.0) == 22.0


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("", None),
        ("auto", None),
        ("FR", "fr"),
        ("French", "fr"),
        ("français", "fr"),
        ("pt_BR", "pt"),
        ("haw", "haw"),
    ],
)
def test_languages_as_people_write_them(said: str, code: str | None) -> None:
    assert choose_language(said, ("en", "fr", "pt", "haw")) == code


async def test_any_converted_folder_can_be_added(folder: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu")
    made = Engine.build(settings, families={"whisper": whisper}, specs=[])
    await made.start()
    [spec] = await made.add_model(str(folder))
    assert (spec.family, spec.does) == ("whisper", TRANSCRIBES)
    assert made.downloads.is_present(spec)
    assert made.registry.default("transcribe") is spec
    await made.close()


def test_a_repository_of_ctranslate2_is_fetched_whole() -> None:
    from engine.hub import choose_files, describe

    names = ("README.md", "config.json", "model.bin", "tokenizer.json", "vocabulary.txt", "run.py")
    files: Any = [{"path": name, "size": 1} for name in names]
    kept = [entry["path"] for entry in choose_files("org/whisper", files, {})]
    assert set(kept) == set(names) - {"run.py"}
    with pytest.raises(BadValue, match="pickled"):
        choose_files("org/other", [f for f in files if f["path"] != "vocabulary.txt"], {})
    config = {"lang_ids": [1], "suppress_ids": [], "suppress_ids_begin": [], "alignment_heads": []}
    spec = describe("org/whisper", "org/whisper", "", config, families=("whisper", "hf_chat"))
    assert (spec.family, spec.title) == ("whisper", "whisper")
