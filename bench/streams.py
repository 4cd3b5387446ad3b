"""Many streams held at once: none lost, none mixed up, and the server's pulse meanwhile.

`python -m bench.streams [--streams 200] [--tokens 100]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench.load import Broken, Stream, get, many
from bench.report import MB, median, quantile, table
from bench.servers import ROOT, Server, atelier, free_port, serve
from bench.upstream import MODEL, words_for

PACE = 10.0
WORDS = (
    "Hello!",
    "Bonjour !",
    "Olá!",
    "Привет!",
    "Who are you?",
    "What can you do?",
    "Count to five.",
)


def remote_row(upstream: Server) -> str:
    """The catalog row that makes the paced server a model of ours."""
    return (
        f'[[model]]\nid = "{MODEL}"\nfamily = "remote"\nlane = "remote"\ndoes = ["chat"]\n'
        f'options = {{ base_url = "{upstream.url}/v1", model = "{MODEL}" }}\n'
    )


@contextlib.contextmanager
def paced(pace: float) -> Iterator[Server]:
    """The upstream without a model, answering `pace` tokens per second and stream."""
    port = free_port()
    with serve(
        [sys.executable, "-m", "bench.upstream", str(port), str(pace)], port, cwd=ROOT
    ) as server:
        server.wait("/v1/models")
        yield server


async def pulse(url: str, stop: asyncio.Event) -> list[float]:
    """Seconds that `/health` took, asked every 50 ms until `stop`; a refusal counts as infinite."""
    took = []
    while not stop.is_set():
        status, seconds = await get(f"{url}/health")
        took.append(seconds if status == 200 else float("inf"))
        await asyncio.sleep(0.05)
    return took


async def hold(
    url: str, bodies: list[dict[str, object]]
) -> tuple[list[Stream | Broken], list[float]]:
    """All streams at once, and the pulse while they run."""
    stop = asyncio.Event()
    beating = asyncio.create_task(pulse(url, stop))
    streams = await many(f"{url}/v1/chat/completions", bodies)
    stop.set()
    return streams, await beating


def bodies_of(model: str, questions: list[str], tokens: int) -> list[dict[str, object]]:
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens,
            "temperature": 0,
            "stream_options": {"include_usage": True},
        }
        for question in questions
    ]


def wrong(streams: list[Stream | Broken], expected: list[str]) -> tuple[int, int]:
    """How many broke, and how many ended with another text than theirs."""
    lost = sum(isinstance(stream, Broken) for stream in streams)
    pairs = zip(streams, expected, strict=True)
    return lost, sum(isinstance(s, Stream) and s.text.strip() != text.strip() for s, text in pairs)


@dataclass(frozen=True, slots=True)
class Held:
    """What holding streams came to: how many broke, how many had another text, and what it cost."""

    name: str
    streams: int
    lost: int
    mixed: int
    rate: float
    first: float
    health: float
    memory: int
    mistakes: int

    def row(self) -> list[str]:
        """A line of the table."""
        return [
            self.name, str(self.streams), str(self.lost), str(self.mixed), f"{self.rate:.0f}",
            f"{self.first * 1e3:.0f} ms", f"{self.health * 1e3:.0f} ms", f"{self.memory / MB:.0f} MB",
        ]  # fmt: skip


def measure_paced(count: int, tokens: int) -> Held:
    """`count` streams through the remote family, each at the upstream's pace all the time."""
    questions = [f"question {n}" for n in range(count)]
    expected = ["".join(words_for(question, tokens)) for question in questions]
    with (
        paced(PACE) as upstream,
        atelier("--remote-parallel", str(count), rows=remote_row(upstream)) as server,
    ):
        server.wait("/health")
        asyncio.run(hold(server.url, bodies_of(MODEL, questions[:1], 1)))
        streams, beats = asyncio.run(hold(server.url, bodies_of(MODEL, questions, tokens)))
        return line("paced upstream", streams, expected, beats, server)


def measure_starter(count: int, tokens: int) -> Held:
    """`count` streams on the starter model; each text must be the one it gives when asked alone."""
    questions = [f"{WORDS[n % len(WORDS)]}" for n in range(count)]
    with atelier("--parallel", "256", "--max-waiting", "512") as server:
        server.wait("/health")
        alone = {
            word: asyncio.run(
                many(f"{server.url}/v1/chat/completions", bodies_of("", [word], tokens))
            )[0]
            for word in WORDS
        }
        expected = [getattr(alone[question], "text", "nothing") for question in questions]
        streams, beats = asyncio.run(hold(server.url, bodies_of("", questions, tokens)))
        return line("starter-chat", streams, expected, beats, server)


def line(
    name: str,
    streams: list[Stream | Broken],
    expected: list[str],
    beats: list[float],
    server: Server,
) -> Held:
    for broken in [s for s in streams if isinstance(s, Broken)][:3]:
        print(f"{name}: {broken}", file=sys.stderr)
    whole = [stream for stream in streams if isinstance(stream, Stream) and stream.times]
    lost, mixed = wrong(streams, expected)
    began, ended = min(s.asked for s in whole), max(s.times[-1] for s in whole)
    rate = sum(stream.tokens for stream in whole) / (ended - began)
    first = median(stream.first for stream in whole)
    health = quantile(beats, 0.99)
    return Held(
        name, len(streams), lost, mixed, rate, first, health, server.memory(), server.mistakes()
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--only", choices=("paced", "starter"), default=None)
    given = parser.parse_args()
    rows = []
    if given.only != "starter":
        rows.append(measure_paced(given.streams, given.tokens).row())
    if given.only != "paced":
        rows.append(measure_starter(given.streams, given.tokens).row())
    table(
        "Streams held at once",
        [
            "model",
            "streams",
            "lost",
            "mixed up",
            "tokens/s",
            "first token p50",
            "/health p99",
            "memory",
        ],
        rows,
        f"OpenAI dialect over loopback; server, upstream and client share the cores. Paced upstream: "
        f"{PACE:.0f} tokens/s a stream through the remote family, every token checksummed. "
        "starter-chat: all in one batch on the processor, each text compared with the one given alone.",
    )


if __name__ == "__main__":
    main()
