"""Recordings of every kind as mono samples, and what is none refused with words."""

from __future__ import annotations

import io
import random
import subprocess
import wave

import numpy as np
import pytest

from engine.errors import AtelierError, BadFormat, BadValue, TooLarge
from engine.sounds import decode, probe, read_sound
from tests.tiny_whisper import say, tone_free


def ffmpeg(data: bytes, *args: str) -> bytes:
    command = ["ffmpeg", "-loglevel", "error", "-i", "-", *args, "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def spoken() -> bytes:
    return say("hello world, how are you today")


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (("-f", "mp3"), "audio"),
        (("-f", "flac"), "audio"),
        (("-f", "adts"), "audio"),
        (("-c:a", "libopus", "-f", "ogg"), "audio"),
        (("-f", "webm"), "audio"),
        (("-ar", "8000", "-f", "wav"), "audio"),
        (("-ar", "192000", "-ac", "2", "-f", "wav"), "audio"),
        (("-c:a", "pcm_mulaw", "-f", "wav"), "audio"),
        (("-f", "lavfi", "-i", "testsrc=d=4:r=5", "-shortest", "-f", "matroska"), "video"),
    ],
)
def test_every_format_sounds_alike(spoken: bytes, args: tuple[str, ...], kind: str) -> None:
    want, made = read_sound(spoken), ffmpeg(spoken, *args)
    about, got = probe(made), read_sound(made)
    assert about.kind == kind
    assert abs(about.seconds - len(want) / 16_000) < 0.15
    assert got.dtype == np.float32
    assert abs(len(got) - len(want)) < 2400
    loud = [float(np.sqrt((x**2).mean())) for x in (want, got)]
    assert abs(loud[0] - loud[1]) < 0.03


def test_any_rate_and_in_pieces() -> None:
    pieces = list(decode(tone_free(12.0), rate=8000))
    assert len(pieces) == 3
    assert sum(map(len, pieces)) == 96_000
    assert not np.concatenate(pieces).any()


def test_cut_files_give_what_is_there(spoken: bytes) -> None:
    assert 0.15 < probe(spoken[:9000]).seconds < 0.25
    mp3 = ffmpeg(spoken, "-f", "mp3")
    assert 0.4 < len(read_sound(mp3[: len(mp3) // 2])) / 16_000 < 1.5


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadValue),
        (b"words, no sound " * 50, BadFormat),
        (b"RIFF", BadFormat),
        (tone_free(0), BadFormat),
        # Playlists name other files and addresses: they are not opened.
        (b"ffconcat version 1.0\nfile /etc/passwd\n", BadFormat),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1/a.ts\n", BadFormat),
    ],
)
def test_what_is_no_recording(data: bytes, error: type[AtelierError]) -> None:
    for reads in (probe, read_sound):
        with pytest.raises(error) as raised:
            reads(data)
        assert raised.value.param == "audio"


def test_a_film_without_sound() -> None:
    made = subprocess.run(
        [
            "ffmpeg",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=d=1:r=5",
            "-f",
            "matroska",
            "-",
        ],
        capture_output=True,
        check=True,
    ).stdout
    with pytest.raises(BadValue, match="no sound"):
        probe(made)


def test_longer_than_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.sounds.LONGEST", 3.0)
    with pytest.raises(TooLarge, match="hours"):
        probe(tone_free(4))
    with pytest.raises(TooLarge):
        read_sound(tone_free(4))


def test_damaged_files_never_break_more_than_themselves(spoken: bytes) -> None:
    rng = random.Random(5)
    sources = [
        spoken,
        ffmpeg(spoken, "-f", "mp3"),
        ffmpeg(spoken, "-f", "flac"),
        ffmpeg(spoken, "-f", "webm"),
    ]
    for n in range(120):
        data = bytearray(sources[n % len(sources)])
        for _ in range(rng.randint(1, 40)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            samples = read_sound(bytes(data[: rng.randrange(1, len(data))]))
        except AtelierError:
            continue
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() <= 1


def test_wave_of_pythons_own() -> None:
    out = io.BytesIO()
    with wave.open(out, "wb") as made:
        made.setnchannels(2)
        made.setsampwidth(1)
        made.setframerate(11_025)
        made.writeframes(bytes([128]) * 22_050)
    assert abs(probe(out.getvalue()).seconds - 1) < 0.01
