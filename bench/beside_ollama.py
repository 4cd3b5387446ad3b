"""The starter in our own engine beside the same weights in a real Ollama: one stream, and several at once.

`python -m bench.beside_ollama --ollama http://127.0.0.1:11511 [--streams 1,8] [--repeats 5]`
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median

from bench.load import Broken, Stream, many
from bench.report import table
from bench.servers import atelier
from bench.streams import bodies_of

MODEL = "starter-chat"
LIMIT = 320


def bodies(count: int) -> list[dict[str, object]]:
    """Long answers that this model knows: counts, from another number in each stream."""
    asked = [f"Count from {n} to {n + 60}" for n in range(1, count + 1)]
    return bodies_of(MODEL, asked, LIMIT)


def rate(url: str, count: int) -> float:
    """Tokens a second of `count` streams together, from the first request to the last token."""
    began = time.perf_counter()
    streams = asyncio.run(many(f"{url}/v1/chat/completions", bodies(count)))
    seconds = time.perf_counter() - began
    for stream in streams:
        if not isinstance(stream, Stream):
            raise Broken(f"{url}: {stream!r:.300}")
    return sum(stream.tokens for stream in streams if isinstance(stream, Stream)) / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ollama", required=True, help="where a real Ollama holds the model")
    parser.add_argument("--streams", default="1,8")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    counts = [int(count) for count in given.streams.split(",")]
    rows = []
    with atelier(env={"ATELIER_PROBE_LOCAL": "false"}) as server:
        server.wait("/", accept="text/html")
        sides = {"Atelier": server.url, "Ollama": given.ollama}
        for count in counts:
            found: dict[str, list[float]] = {name: [] for name in sides}
            for number in range(-1, given.repeats):  # the first round loads and warms
                for name, url in sides.items():
                    speed = rate(url, count)
                    if number >= 0:
                        found[name].append(speed)
            shares = [a / b for a, b in zip(found["Atelier"], found["Ollama"], strict=True)]
            rows.append(
                [
                    str(count),
                    *(f"{median(found[name]):.0f}" for name in sides),
                    f"{median(shares):.2f}×",
                    f"{min(shares):.2f}×",
                ]
            )
    table(
        "The starter here and in Ollama",
        ["streams", "Atelier, tokens/s", "Ollama, tokens/s", "ratio", "worst"],
        rows,
        f"The same weights and questions through OpenAI's dialect, medians of {given.repeats} rounds in turn. "
        "Ollama as it comes: how many requests share a step is its own choice (OLLAMA_NUM_PARALLEL).",
    )


if __name__ == "__main__":
    main()
