"""Speech to text: HTTP over the bare faster-whisper call, batches, several files at once, and the starter's round trip.

`python -m bench.transcribe [--minutes N] [--rounds N] [--sentences N] [--only speed,files,words]`. Speed is measured
with random weights of whisper-tiny's size, which write as many tokens on every side; words with the starter.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from bench.report import median, table
from bench.servers import Server, atelier
from engine.devices import calm_threads
from tests.tiny_whisper import make_whisper, say

MODEL, TOKENS, BATCH = "random-whisper-tiny", 50, 8
TALK = (
    "Good morning, and welcome to a talk about boats and birds. A boat needs wind, and a bird needs time. "
    "When the wind is strong, the sails are small. When the wind is gone, we wait and tell stories. "
)


def folder() -> Path:
    """The random model's folder, made if it is not there."""
    place = Path(tempfile.gettempdir()) / "atelier-bench" / MODEL
    if not (place / "model.bin").is_file():
        make_whisper(place, width=384, layers=4)
    return place


def row() -> str:
    return (
        f'[[model]]\nid = "{MODEL}"\nfamily = "whisper"\ndoes = ["transcribe"]\npath = "{folder()}"\n'
        f"options = {{ beams = 1, max_new_tokens = {TOKENS}, retries = 0 }}\n"
    )


def recording(seconds: float) -> bytes:
    """About so many seconds of speech, as MP3."""
    times = max(1, round(seconds / 21))
    encode = ["ffmpeg", "-loglevel", "error", "-i", "-", "-f", "mp3", "-"]
    wav = say(TALK * times)
    return subprocess.run(encode, input=wav, capture_output=True, check=True).stdout


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ask(server: Server, data: bytes, **fields: str) -> dict[str, Any]:
    """One transcription through HTTP."""
    given = {"model": MODEL, "language": "en", **fields}
    answer = httpx.post(
        f"{server.url}/v1/audio/transcriptions", data=given, files={"file": ("talk.mp3", data)},
        timeout=3600,
    )  # fmt: skip
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def bare(threads: int) -> tuple[Callable[[bytes], object], Callable[[bytes], object]]:
    """Faster-whisper by itself: one window after another, and batched; each to the end."""
    import io

    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(str(folder()), device="cpu", compute_type="int8", cpu_threads=threads)
    batched = BatchedInferencePipeline(model)
    how: dict[str, Any] = {
        "language": "en", "beam_size": 1, "temperature": 0.0, "max_new_tokens": TOKENS, "vad_filter": True,
    }  # fmt: skip
    plain = {
        "condition_on_previous_text": False, "no_speech_threshold": None, "log_prob_threshold": None,
        "compression_ratio_threshold": None, "without_timestamps": True,
    }  # fmt: skip
    return (
        lambda data: list(model.transcribe(io.BytesIO(data), **how, **plain)[0]),
        lambda data: list(batched.transcribe(io.BytesIO(data), batch_size=BATCH, **how)[0]),
    )


def speed(server: Server, minutes: float, rounds: int, threads: int) -> None:
    """The same recording on all sides, in turn."""
    data = recording(60 * minutes)
    one_by_one, batched = bare(threads)
    ask(server, recording(20))
    sides: dict[str, Callable[[], object]] = {
        "faster-whisper, one window after another": lambda: one_by_one(data),
        f"faster-whisper, batched by {BATCH}": lambda: batched(data),
        "Atelier through HTTP": lambda: ask(server, data),
    }
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            took[name].append(timed(work))
    names = list(sides)
    rows = []
    for name in names:
        over = [a / b for a, b in zip(took[name], took[names[1]], strict=True)]
        faster = [b / a for a, b in zip(took[name], took[names[0]], strict=True)]
        each = median(took[name])
        rows.append((name, f"{each:.1f}", f"{60 * minutes / each:.0f}×", f"{median(over):.2f}×",
                     f"{median(faster):.2f}×"))  # fmt: skip
    table(
        f"{minutes:g} minutes of speech, random weights of whisper-tiny's size in 8 bits",
        ("by", "s", "of real time", "time over the batched call", "faster than one after another"),
        rows,
        f"Medians of {rounds} rounds in turn, {TOKENS} tokens a window on every side, {threads} threads. Goals: ≤ "
        "1.03× through HTTP over the bare call, ≥ 1.3× by batches.",
    )


def files(server: Server, rounds: int, threads: int) -> None:
    """Four recordings at once over one after another."""
    clips = [recording(25) for _ in range(4)]
    one_by_one, _ = bare(threads)
    ask(server, clips[0])
    rows: dict[str, list[float]] = {"bare": [], "one": [], "four": []}
    for _ in range(rounds):
        rows["bare"].append(timed(lambda: [one_by_one(clip) for clip in clips]))
        rows["one"].append(timed(lambda: [ask(server, clip) for clip in clips]))
        rows["four"].append(timed(lambda: at_once(server, clips)))
    alone, four, theirs = (median(rows[name]) for name in ("one", "four", "bare"))
    table(
        "Four recordings of 25 seconds",
        ("how", "s", "over one after another"),
        [
            ("faster-whisper, one after another", f"{theirs:.2f}", f"{theirs / alone:.2f}×"),
            ("Atelier, one after another", f"{alone:.2f}", "1.00×"),
            ("Atelier, at once", f"{four:.2f}", f"{four / alone:.2f}×"),
        ],
        f"Medians of {rounds} rounds in turn. Goal: ≤ 0.62×.",
    )


def at_once(server: Server, clips: Sequence[bytes]) -> None:
    with ThreadPoolExecutor(len(clips)) as pool:
        list(pool.map(lambda clip: ask(server, clip), clips))


def words(server: Server, count: int) -> None:
    """Sentences that eSpeak NG says, sent to the starter: how many come back word for word."""
    from starter.stt_data import Saying, sayings
    from starter.stt_eval import SEED, distance, words_of

    voices = {"en": "en", "fr": "fr", "pt": "pt", "ru": "ru"}
    asked = list(itertools.islice(sayings(SEED + 7), count))
    whole = wrong = total = 0
    began = time.perf_counter()
    for one in asked:
        plain = Saying(one.text, one.language, voices[one.language], 160, 50)
        wav = say(plain.text, plain.voice, plain.speed)
        heard = ask(server, wav, model="starter-stt", language=one.language)["text"]
        errors = distance(words_of(one.text), words_of(heard))
        whole, wrong, total = whole + (not errors), wrong + errors, total + len(words_of(one.text))
    took = time.perf_counter() - began
    table(
        f"{count} sentences of the grammar, said by eSpeak NG and written down by starter-stt",
        ("whole sentences", "word errors", "s a sentence"),
        [(f"{whole / count:.1%}", f"{wrong / total:.1%}", f"{took / count:.2f}")],
        "eSpeak NG's own voices at 160 words a minute; case and signs do not count. Goal: ≥ 95 %.",
    )


def main() -> None:
    """Reads the command line."""
    import os

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument("--only", default="speed,files,words")
    given = parser.parse_args()
    wanted = given.only.split(",")
    calm_threads()  # on both sides
    with atelier(rows=row()) as server:
        server.wait()
        if "speed" in wanted:
            speed(server, given.minutes, given.rounds, given.threads)
        if "files" in wanted:
            files(server, given.rounds, given.threads)
        if "words" in wanted:
            words(server, given.sentences)


if __name__ == "__main__":
    main()
