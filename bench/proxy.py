"""One stream through Atelier to a real Ollama, beside the same Ollama asked directly: first token, tokens/s.

`python -m bench.proxy --ollama http://127.0.0.1:11511 [--model starter-chat] [--tokens 300] [--repeats 20]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.load import Stream, chat
from bench.report import median, quantile, table
from bench.servers import NotReady, atelier

BARE = (
    "proxy-bench"  # the same weights under a template that adds nothing, so that they do not stop
)
TEMPLATE = "{{ range .Messages }}{{ .Content }}{{ end }}"
UNMEASURED = 2  # rounds that warm both ways
PROMPT = "1, 2, 3, 4, 5, 6, 7, 8,"


@dataclass(slots=True)
class Side:
    """One way to the model, and the streams that came that way."""

    name: str
    url: str
    streams: list[Stream] = field(default_factory=list)

    @property
    def first(self) -> list[float]:
        """Milliseconds to the first token."""
        return [stream.first * 1e3 for stream in self.streams]

    @property
    def rates(self) -> list[float]:
        """Tokens per second from the first token to the last."""
        return [(s.tokens - 1) / (s.times[-1] - s.times[0]) for s in self.streams]

    @property
    def whole(self) -> list[float]:
        """Tokens per second from the request to the last token."""
        return [stream.tokens / (stream.times[-1] - stream.asked) for stream in self.streams]


@contextlib.contextmanager
def bare_model(url: str, model: str) -> Iterator[None]:
    """The model under a template of nothing; gone at the end."""
    import ollama

    client = ollama.Client(url)
    client.create(model=BARE, from_=model, template=TEMPLATE)
    try:
        yield
    finally:
        client.delete(BARE)


def wait_for_model(url: str, seconds: float = 60) -> None:
    """Until the server lists the model."""
    import httpx

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rows = httpx.get(f"{url}/v1/models", timeout=30).json()["data"]
        if any(row["id"].startswith(f"ollama/{BARE}") for row in rows):
            return
        time.sleep(0.2)
    raise NotReady(f"{url} does not list {BARE}")


def ask(side: Side, tokens: int) -> Stream:
    """One stream; the same words are asked each time."""
    body: dict[str, Any] = {
        "model": BARE,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream_options": {"include_usage": True},
    }
    return asyncio.run(chat(f"{side.url}/v1/chat/completions", body))


def measure(sides: list[Side], tokens: int, repeats: int) -> None:
    """Rounds of one stream each way, in turn, after two unmeasured ones; every answer must be the same."""
    for number in range(-UNMEASURED, repeats):
        order = sides if number % 2 else sides[::-1]  # neither is always the first to run
        streams = [(side, ask(side, tokens)) for side in order]
        texts = {stream.text for _, stream in streams}
        if len(texts) != 1:
            raise SystemExit(f"The answers differ: {texts}")
        for side, stream in streams if number >= 0 else ():
            side.streams.append(stream)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ollama", required=True, help="where a real Ollama listens")
    parser.add_argument("--model", default="starter-chat", help="a model it holds")
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    env = {"OLLAMA_BASE_URL": given.ollama}
    with bare_model(given.ollama, given.model), atelier(env=env) as server:
        server.wait("/", accept="text/html")  # the page is built in the background; let it end
        wait_for_model(server.url)
        direct, through = Side("Ollama, asked directly", given.ollama), Side("Atelier", server.url)
        began = server.cpu()
        measure([direct, through], given.tokens, given.repeats)
        spent = (server.cpu() - began) / (given.tokens * (given.repeats + UNMEASURED))
    rows = []
    for side in (direct, through):
        more = [a - b for a, b in zip(side.first, direct.first, strict=True)]
        share = [a / b for a, b in zip(side.rates, direct.rates, strict=True)]
        all_of_it = [a / b for a, b in zip(side.whole, direct.whole, strict=True)]
        rows.append(
            [
                side.name,
                f"{median(side.first):.1f} ms",
                f"{median(more):+.1f} ms",
                f"{quantile(more, 0.9):+.1f} ms",
                f"{median(side.rates):.0f}",
                f"{median(share):.3f}×",
                f"{median(all_of_it):.3f}×",
            ]
        )
    table(
        f"Through Atelier to Ollama, one stream of {given.tokens} tokens",
        [
            "through", "first token p50", "more", "more, p90", "tokens/s", "ratio",
            "ratio with the first token",
        ],
        rows,
        f"{given.model} in a real Ollama, OpenAI's dialect on both ways, Ollama's own between the two. Medians over "
        f"{given.repeats} pairs, each pair one after the other in turn; all answers are the same text. Client, "
        f"Atelier and Ollama share the cores. Atelier's own processor time: {spent * 1e6:.0f} µs a token.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
