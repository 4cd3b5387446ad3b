"""What speaking through HTTP costs beside the bare program: time to the first sound, and all of it.

`python -m bench.speak [--rounds N]`. The same texts in turn: through `/v1/audio/speech` (PCM, streamed; split at
sentences, resampled, brought to one loudness) and by one `espeak-ng` call that says everything.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from dataclasses import dataclass

import httpx

from bench.report import median, table
from bench.servers import Server, atelier

SENTENCES = (
    "The library opens at nine in the morning and closes when the last reader has left.",
    "Please bring your card, a pencil and, if the weather allows, a little patience.",
    "Doctor Smith, who came from far away, asked for the third volume of the atlas.",
    "Nobody knew where it was; it had been lent to the museum eleven years ago.",
)
TEXTS = {"one sentence": 1, "four sentences": 4, "forty sentences": 40}


@dataclass(frozen=True, slots=True)
class Said:
    """Seconds until the first sound and until the end, and seconds of sound."""

    first: float
    whole: float
    sound: float


def text_of(count: int) -> str:
    return " ".join(SENTENCES[n % len(SENTENCES)] for n in range(count))


def over_http(client: httpx.Client, text: str) -> Said:
    """The text through the server."""
    body = {"input": text, "voice": "en-us", "model": "espeak-ng", "response_format": "pcm"}
    began = time.perf_counter()
    first, size = 0.0, 0
    with client.stream("POST", "/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            first = first or time.perf_counter() - began
            size += len(piece)
    return Said(first, time.perf_counter() - began, size / 2 / 24_000)


def bare(text: str) -> Said:
    """The text by the program alone."""
    command = ["espeak-ng", "--stdin", "--stdout", "-b", "1", "-v", "en-us"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(text.encode())
        child.stdin.close()
        size = len(child.stdout.read(2048))
        first = time.perf_counter() - began
        size += len(child.stdout.read())
    return Said(first, time.perf_counter() - began, (size - 44) / 2 / 22_050)


def measure(server: Server, rounds: int) -> dict[str, list[tuple[Said, Said]]]:
    """Rounds of (HTTP, bare) in turn; the first of each text warms up."""
    found: dict[str, list[tuple[Said, Said]]] = {}
    with httpx.Client(base_url=server.url, timeout=120) as client:
        for name, count in TEXTS.items():
            text = text_of(count)
            pairs = [(over_http(client, text), bare(text)) for _ in range(rounds + 1)]
            found[name] = pairs[1:]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with atelier() as server:
        server.wait("/", accept="text/html")
        found = measure(server, given.rounds)
    rows = []
    for name, pairs in found.items():
        http, alone = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        whole, base = median([s.whole for s in http]), median([s.whole for s in alone])
        rows.append(
            [
                name,
                f"{median([s.first for s in http]) * 1000:.0f} ms",
                f"{max(s.first for s in http) * 1000:.0f} ms",
                f"{median([s.first for s in alone]) * 1000:.0f} ms",
                f"{whole / http[0].sound:.4f}",
                f"{base / alone[0].sound:.4f}",
                f"{whole / base:.2f}",
            ]
        )
    head = [
        "text",
        "first sound",
        "worst",
        "bare",
        "real-time factor",
        "bare",
        "all of it over bare",
    ]
    note = (
        "Medians of rounds in turn; the real-time factor is seconds of work for a second of sound."
    )
    table("Speaking through HTTP", head, rows, note)


if __name__ == "__main__":
    main()
