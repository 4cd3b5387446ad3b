"""What HTTP and a dialect cost: the same chats through the OpenAI dialect and through the engine.

`python -m bench.over_http [--clients 16] [--tokens 64] [--repeats 3]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.load import Broken, many
from bench.models import SMALL, prompt, row
from bench.report import median, table
from bench.servers import Server, atelier
from bench.streams import bodies_of
from engine import Caller, ChatRequest, Engine, Message, Settings, fold

PROMPT_TOKENS = 128


@contextlib.asynccontextmanager
async def engine_of(rows: str, data: Path) -> AsyncIterator[Engine]:
    """An engine in this process with the same catalog row."""
    (data / "models.toml").write_text(rows, "utf-8")
    engine = Engine.build(Settings(data_dir=data, offline=True))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def directly(engine: Engine, questions: list[str], tokens: int) -> float:
    """Tokens per second of all questions at once, asked of the engine."""

    async def one(number: int, question: str) -> int:
        request = ChatRequest(
            messages=(Message.of("user", question),), model=SMALL, max_tokens=tokens, temperature=0
        )
        caller = Caller(name=f"client-{number}", dialect="bench")
        return (await fold(engine.run(request, caller))).usage.output_tokens

    began = time.perf_counter()
    counts = await asyncio.gather(*(one(n, question) for n, question in enumerate(questions)))
    return sum(counts) / (time.perf_counter() - began)


async def over_http(server: Server, questions: list[str], tokens: int) -> float:
    """Tokens per second of the same through the server's OpenAI dialect, streamed."""
    bodies = bodies_of(SMALL, questions, tokens)
    began = time.perf_counter()
    streams = await many(f"{server.url}/v1/chat/completions", bodies)
    took = time.perf_counter() - began
    for stream in streams:
        if isinstance(stream, Broken):
            raise stream
    return sum(stream.tokens for stream in streams if not isinstance(stream, Broken)) / took


async def measure(clients: int, tokens: int, repeats: int) -> list[tuple[float, float]]:
    """Rounds of (engine, HTTP) in turn, each with prompts that were never seen before."""
    rounds = []
    rows = row(SMALL)
    with tempfile.TemporaryDirectory() as data, atelier(rows=rows) as server:
        server.wait("/", accept="text/html")
        async with engine_of(rows, Path(data)) as engine:
            for number in range(repeats + 1):
                questions = [prompt(PROMPT_TOKENS, number * clients + n) for n in range(clients)]
                direct = await directly(engine, questions, tokens)
                rounds.append((direct, await over_http(server, questions, tokens)))
    return rounds[1:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rounds = asyncio.run(measure(given.clients, given.tokens, given.repeats))
    direct, http = median(a for a, _ in rounds), median(b for _, b in rounds)
    ratio, worst = median(b / a for a, b in rounds), min(b / a for a, b in rounds)
    table(
        f"Through HTTP, {given.clients} clients",
        ["engine called directly", "through HTTP (SSE)", "ratio", "worst round"],
        [[f"{direct:.0f} tokens/s", f"{http:.0f} tokens/s", f"{ratio:.3f}×", f"{worst:.3f}×"]],
        f"{SMALL}: random weights, {PROMPT_TOKENS}-token prompts, {given.tokens} new tokens, greedy. "
        f"Medians of {given.repeats} rounds in turn after one unmeasured. Both sides load the same model "
        "with the same settings, one in this process, one in the server's; the client of the HTTP side "
        "shares the cores with its server.",
    )


if __name__ == "__main__":
    main()
