"""Voices: eSpeak NG itself and a tiny Kokoro. How long, how loud, how quiet at the ends, and what files hold."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Engine, Settings
from engine.errors import AtelierError, BadFormat, BadValue, Cancelled, LoadFailed, Unknown
from engine.events import Audio, Done, Event, Progress
from engine.families import espeak, kokoro
from engine.families._sound import RATE, loudness, resample, soften, stretch, trim
from engine.registry import ModelSpec, Registry
from engine.requests import SpeakRequest
from engine.sound_formats import SOUND_FORMATS, SoundWriter, encode, sound_format, wav
from tests.tiny_voices import make_kokoro

pytestmark = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="no espeak-ng")
SPEAKS: frozenset[Any] = frozenset({"speak"})
TEXT = "The quick brown fox jumps over the lazy dog. It was not amused, and said so twice."


@dataclass
class Heard:
    """An emit that keeps what was said; `ends` stops it after so many calls."""

    ends: int = 10**9
    calls: int = 0
    events: list[Event] = field(default_factory=list)
    units: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: Event | None) -> None:
        self.calls += 1
        if self.calls > self.ends:
            raise Cancelled
        if event is not None:
            self.events.append(event)

    def count(self, **units: float) -> None:
        for name, value in units.items():
            self.units[name] = self.units.get(name, 0) + value

    @property
    def wave(self) -> Any:
        data = b"".join(event.data for event in self.events if isinstance(event, Audio))
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def say(speaker: Any, text: str = TEXT, **values: Any) -> Heard:
    heard = Heard()
    speaker.speak(SpeakRequest(text=text, **values), heard)
    return heard


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(device="cpu", _env_file=None)  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def speaker(settings: Settings) -> Any:
    return espeak.load(espeak.SPECS[0], settings)


@pytest.fixture(scope="module")
def light(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = make_kokoro(tmp_path_factory.mktemp("kokoro"))
    spec = ModelSpec("kokoro", SPEAKS, "kokoro", path=str(folder), languages=("en", "fr"))
    made = kokoro.load(spec, settings)
    yield made
    made.close()


def test_each_sentence_is_a_piece_with_its_progress(speaker: Any):
    heard = say(speaker)
    kinds = [type(event) for event in heard.events]
    assert kinds == [Audio, Progress, Audio, Progress, Done]
    assert all(e.rate == RATE for e in heard.events if isinstance(e, Audio))
    done = [e.done for e in heard.events if isinstance(e, Progress)]
    assert done == sorted(done) and done[-1] == len(TEXT) == heard.units["characters"]
    assert heard.units["audio_s"] == pytest.approx(len(heard.wave) / RATE)
    assert 3.5 < len(heard.wave) / RATE < 8


@pytest.mark.parametrize(
    ("text", "voice"),
    [
        ("Hello there, how are you today?", ""),
        ("Bonjour, comment allez-vous ?", "Elise"),
        ("Привет, как ваши дела сегодня?", "alloy"),
        ("Olá, como está você hoje?", "onyx"),
        ("你好，今天天气很好。", "cmn"),
    ],
)
def test_all_voices_are_as_loud_and_quiet_at_the_ends(speaker: Any, text: str, voice: str):
    wave = say(speaker, text, voice=voice).wave
    assert loudness(wave, RATE) == pytest.approx(-20, abs=1)
    assert np.abs(wave).max() <= 0.9
    assert np.abs(wave[:48]).max() < 0.02 and np.abs(wave[-480:]).max() < 1e-3
    assert 0.06 < np.sqrt(np.mean(wave**2)) < 0.16


def test_other_engines_are_as_loud(light: Any, speaker: Any):
    ours, theirs = say(light).wave, say(speaker).wave
    assert loudness(ours, RATE) == pytest.approx(loudness(theirs, RATE), abs=1.5)


def test_loudness_does_not_pump(speaker: Any):
    """The gain of a voice hardly moves: two sentences keep their own relation, and a repeated one its level."""
    levels = [loudness(say(speaker, "Hello there.").wave, RATE) for _ in range(3)]
    assert max(levels) - min(levels) < 0.3


def test_speed(speaker: Any):
    normal = len(say(speaker, "The quick brown fox jumps.").wave)
    for speed in (0.25, 0.5, 2, 4):
        spoken = len(say(speaker, "The quick brown fox jumps.", speed=speed).wave)
        assert spoken == pytest.approx(normal / speed, rel=0.35), speed


def test_the_language_is_found_and_may_be_said(speaker: Any):
    def alike(one: Any, other: Any) -> bool:
        return len(one) == len(other) and np.corrcoef(one, other)[0, 1] > 0.999

    french = say(speaker, "Bonjour tout le monde.").wave
    assert alike(french, say(speaker, "Bonjour tout le monde.", voice="Elise").wave)
    same = [
        say(speaker, "Paris", language=hint).wave for hint in ("French", "fr", "fra", "français")
    ]
    assert all(alike(same[0], other) for other in same[1:])
    brazilian = say(speaker, "Bom dia, tudo bem?", language="pt-BR").wave
    assert alike(brazilian, say(speaker, "Bom dia, tudo bem?", voice="pt-br").wave)
    assert not alike(brazilian, say(speaker, "Bom dia, tudo bem?", language="pt").wave)


@pytest.mark.parametrize("text", ["😀🎉", "?!...", "...", "—", "a", "**", "[[h@lou]] there"])
def test_odd_texts_end_well(speaker: Any, light: Any, text: str):
    for one in (speaker, light):
        heard = say(one, text)
        assert isinstance(heard.events[-1], Done) and 0.1 < heard.units["audio_s"] < 6


def test_emoji_have_names(speaker: Any):
    assert np.abs(say(speaker, "🎉").wave).max() > 0.1
    plain = say(speaker, "Good morning.").wave
    assert len(say(speaker, "Good morning 😀.").wave) == pytest.approx(len(plain), rel=0.1)


def test_refusals(speaker: Any, light: Any):
    wrong: list[tuple[Any, type[AtelierError], dict[str, Any], str]] = [
        (speaker, BadValue, {"text": " \n\x00"}, "no text"),
        (speaker, BadValue, {"text": "x", "language": "xx"}, "French"),
        (speaker, Unknown, {"text": "x", "voice": "nobody"}, "Elise"),
        (light, BadValue, {"text": "x", "language": "ru"}, "English, French"),
        (light, BadValue, {"text": "x", "reference": wav(bytes(9999), RATE)}, "clones"),
    ]
    for one, kind, values, told in wrong:
        with pytest.raises(kind, match=told):
            one.speak(SpeakRequest(**values), Heard())


def test_a_stop_ends_within_a_sentence(speaker: Any):
    text = "word " * 100  # one sentence of 40 seconds
    whole = say(speaker, text).calls
    assert whole > 20
    began = time.perf_counter()
    with pytest.raises(Cancelled):
        speaker.speak(SpeakRequest(text=text), Heard(ends=3))
    assert time.perf_counter() - began < 5


def test_kokoro_speaks_its_notation(light: Any):
    spoken = kokoro.phonemes("Hello there, how are you?", "a")
    assert spoken == "həlˈO ðˈɛɹ, hˌW ɑːɹ juː?".replace("ː", "") or spoken.count(",") == 1
    assert "ʁ" in kokoro.phonemes("Bonjour, ça va ?", "f")
    names = [voice.name for voice in light.voices]
    assert names[:2] == ["af_heart", "ff_siwis"] and "jf_alpha" not in names
    short, long = (len(say(light, text).wave) for text in ("One.", "One two three four five."))
    assert long > 2 * short


def test_kokoro_tells_of_broken_files(settings: Settings, tmp_path: Path):
    spec = ModelSpec("kokoro", SPEAKS, "kokoro", path=str(make_kokoro(tmp_path / "k")))
    voice = tmp_path / "k" / "voices" / "af_heart.bin"
    voice.write_bytes(voice.read_bytes()[:-7])
    with pytest.raises(LoadFailed, match="damaged"):
        kokoro.load(spec, settings).speak(SpeakRequest(text="Hello"), Heard())
    (tmp_path / "k" / "onnx" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(LoadFailed, match="weights"):
        kokoro.load(spec, settings)
    (tmp_path / "k" / "tokenizer.json").write_text("{}")
    with pytest.raises(LoadFailed, match="tokens"):
        kokoro.load(spec, settings)


async def test_a_folder_is_taken_in_and_speaks_unasked(tmp_path: Path, settings: Settings):
    """Pasted on the Models tab: its family knows its layout. The better voice goes by the seed's name at once."""
    own = settings.model_copy(update={"data_dir": tmp_path / "data"})
    engine = Engine.build(own, families={"espeak": espeak, "kokoro": kokoro}, specs=espeak.SPECS)
    await engine.start()
    try:
        asked = SpeakRequest(text="Bonjour tout le monde.", voice="Elise")
        assert engine.resolve(asked).id == "espeak-ng"
        [row] = await engine.add_model(str(make_kokoro(tmp_path / "my voice")))
        assert (row.id, row.family, row.languages) == ("my-voice", "kokoro", ("en", "fr"))
        assert engine.resolve(asked).id == "my-voice"
        told = {
            SpeakRequest(text="Hello."): "my-voice", SpeakRequest(text="Привет."): "espeak-ng",
            SpeakRequest(text="Bonjour.", voice="alloy"): "espeak-ng",
            SpeakRequest(text="Hello.", voice="alloy"): "my-voice",
            SpeakRequest(text="Hello.", language="pt-BR"): "espeak-ng",
            SpeakRequest(text="Hello.", voice="en-us+f3"): "espeak-ng",
        }  # fmt: skip
        assert {r: engine.resolve(r).id for r in told} == told
        with pytest.raises(BadValue, match="clones"):
            engine.resolve(SpeakRequest(text="x", reference=b"x"))
        kept = Registry.build(own, {"espeak": espeak, "kokoro": kokoro}).find("my-voice")
        assert kept.options == {"everyday": True, "needs": ["tokenizer.json", "onnx/model.onnx"]}
    finally:
        await engine.close()


# Waves


def tone(seconds: float, rate: int = RATE, pitch: float = 440, peak: float = 0.25) -> Any:
    return (peak * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)).astype("f4")


def test_loudness_is_what_the_standard_says():
    """EBU Tech 3341: a sine of 997 Hz at -20 dBFS peak is -23.0 LUFS in one channel."""
    assert loudness(tone(3, 48_000, 997, 0.1), 48_000) == pytest.approx(-23.0, abs=0.1)
    assert loudness(np.zeros(RATE, "f4"), RATE) < -100


def test_resampling_keeps_a_tone_and_adds_nothing():
    made = resample(tone(1, 22_050, 1000), 22_050)
    assert len(made) == RATE
    spectrum = np.abs(np.fft.rfft(made[2400:-2400] * np.hanning(RATE - 4800)))
    peak = int(spectrum.argmax())
    rest = np.delete(spectrum, np.arange(peak - 8, peak + 9))
    assert peak * RATE / (RATE - 4800) == pytest.approx(1000, abs=2)
    assert 20 * np.log10(rest.max() / spectrum[peak]) < -60


def test_stretching_keeps_the_pitch():
    for speed in (0.3, 0.5, 2.5):
        made = stretch(tone(2), RATE, speed)
        assert len(made) / RATE == pytest.approx(2 / speed, rel=0.1)
        peak = np.abs(np.fft.rfft(made)).argmax() * RATE / len(made)
        assert peak == pytest.approx(440, rel=0.02)


def test_silence_at_the_ends_goes():
    wave = np.concatenate([np.zeros(RATE, "f4"), tone(1), np.zeros(RATE, "f4")])
    cut = trim(wave, RATE)
    assert 1.0 < len(cut) / RATE < 1.15 and cut[0] == 0 == cut[-1]
    assert len(trim(np.zeros(RATE, "f4"), RATE)) == 0
    loud = soften(tone(1, peak=3.0))
    assert np.abs(loud).max() < 0.9 and np.array_equal(soften(tone(1)), tone(1))


# Files


@pytest.mark.parametrize("name", SOUND_FORMATS)
def test_every_format_holds_the_sound(name: str):
    import av

    sound = (tone(2.5) * 32767).astype("<i2").tobytes()
    writer = SoundWriter(name, RATE)
    parts = [writer.write(sound[at : at + 24_000]) for at in range(0, len(sound), 24_000)]
    assert sum(map(bool, parts)) >= 3, "it does not stream"
    data = b"".join([*parts, writer.end()])
    if name == "pcm":
        assert data == sound
        return
    for file in (data, encode(sound, RATE, name)):
        with av.open(io.BytesIO(file)) as container:
            frames = list(container.decode(audio=0))
        samples = sum(f.samples / f.sample_rate for f in frames)
        assert samples == pytest.approx(2.5, abs=0.12)
        heard = np.concatenate([resample(_floats(f), f.sample_rate) for f in frames])
        peak = np.abs(np.fft.rfft(heard)).argmax() * RATE / len(heard)
        assert peak == pytest.approx(440, abs=3)
        assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.25 / np.sqrt(2), rel=0.1)


def _floats(frame: Any) -> Any:
    array = frame.to_ndarray()
    wave = array[0].astype("f4")
    return wave / 32768 if array.dtype == np.int16 else wave


def test_wav_headers_are_true():
    import wave

    with wave.open(io.BytesIO(wav(bytes(4800), RATE))) as file:
        assert (file.getnframes(), file.getframerate(), file.getnchannels()) == (2400, RATE, 1)
    empty = SoundWriter("wav", RATE).end()
    assert len(empty) == 44 and SoundWriter("mp3", RATE).end() is not None
    with pytest.raises(BadFormat, match="mp3, opus"):
        sound_format("wma")
