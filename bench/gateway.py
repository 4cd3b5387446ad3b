"""Many streams passed on to another server: the first token and the processor time of each.

`python -m bench.gateway [--open-webui PATH/open-webui] [--streams 50] [--tokens 200] [--repeats 3]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.load import Broken, Stream, many
from bench.report import quantile, table
from bench.servers import Server, atelier
from bench.startup import start_open_webui
from bench.streams import bodies_of, paced, remote_row
from bench.upstream import MODEL, words_for

PACE = 50.0


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the same upstream; `server` is the process whose time counts."""

    name: str
    url: str
    server: Server
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one round: seconds to the first token, the gap's p99, CPU seconds a token, broken streams."""

    first: float
    gap: float
    cpu: float
    broken: int


def open_webui_side(server: Server) -> Side:
    """Signs in (without a password) and lets it read the upstream's model list."""
    server.wait("/health", seconds=300)
    token = _call(f"{server.url}/api/v1/auths/signin", {"email": "", "password": ""})["token"]
    headers = {"Authorization": f"Bearer {token}"}
    listed = _call(f"{server.url}/api/models", None, headers)["data"]
    if MODEL not in [model["id"] for model in listed]:
        raise Broken(f"Open WebUI does not list {MODEL}: {listed}")
    return Side("Open WebUI", f"{server.url}/api/chat/completions", server, headers)


def _call(url: str, body: dict[str, str] | None, headers: Mapping[str, str] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    all_headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, all_headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@contextlib.contextmanager
def sides(program: str) -> Iterator[list[Side]]:
    """The upstream itself, Atelier before it, Open WebUI before it; all running, all idle."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(paced(PACE))
        ours = stack.enter_context(atelier("--remote-parallel", "256", rows=remote_row(upstream)))
        ours.wait("/", accept="text/html")
        path = "/v1/chat/completions"
        found = [
            Side("upstream, asked directly", upstream.url + path, upstream, {}),
            Side("Atelier", ours.url + path, ours, {}),
        ]
        if program:
            data = stack.enter_context(tempfile.TemporaryDirectory())
            env = {
                "OPENAI_API_BASE_URLS": f"{upstream.url}/v1",
                "OPENAI_API_KEYS": "none",
                "ENABLE_OLLAMA_API": "False",
            }
            server = stack.enter_context(start_open_webui(program, data, env))
            found.append(open_webui_side(server))
        yield found


def measure(side: Side, count: int, tokens: int) -> Figures:
    """`count` streams at once through one side, every token checked."""
    questions = [f"question {n}" for n in range(count)]
    before = side.server.cpu()
    bodies = bodies_of(MODEL, questions, tokens)
    streams = asyncio.run(many(side.url, bodies, side.headers))
    cpu = side.server.cpu() - before
    whole: list[Stream] = []
    for question, stream in zip(questions, streams, strict=True):
        if isinstance(stream, Stream) and stream.text == "".join(words_for(question, tokens)):
            whole.append(stream)
        else:
            print(f"{side.name}: {stream!r:.300}")
    gaps = [b - a for s in whole for a, b in zip(s.times, s.times[1:], strict=False)]
    return Figures(
        first=median(s.first for s in whole),
        gap=quantile(gaps, 0.99),
        cpu=cpu / (count * tokens),
        broken=count - len(whole),
    )


def rows(found: list[Side], rounds: dict[str, list[Figures]]) -> list[list[str]]:
    cells = []
    for side in found:
        figures = rounds[side.name]
        cells.append(
            [
                side.name,
                f"{median(f.first for f in figures) * 1e3:.0f} ms",
                f"{max(f.first for f in figures) * 1e3:.0f} ms",
                f"{median(f.gap for f in figures) * 1e3:.1f} ms",
                f"{median(f.cpu for f in figures) * 1e6:.0f} µs",
                str(sum(f.broken for f in figures)),
            ]
        )
    return cells


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--open-webui", default="", help="its program, in an environment of its own"
    )
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with sides(given.open_webui) as found:
        rounds: dict[str, list[Figures]] = {side.name: [] for side in found}
        for number in range(given.repeats + 1):
            for side in found:
                figures = measure(
                    side, given.streams if number else 1, given.tokens if number else 5
                )
                if number:
                    rounds[side.name].append(figures)
        table(
            f"Gateway, {given.streams} streams at {PACE:.0f} tokens/s each",
            [
                "through",
                "first token p50",
                "worst round",
                "gap p99",
                "server CPU a token",
                "broken",
            ],
            rows(found, rounds),
            f"Medians of {given.repeats} rounds in turn, after one unmeasured stream each. All sides pass on "
            "the same upstream without a model; every token is checked. CPU: user and system time of the "
            "side's own process and its children. Client, upstream and gateways share the cores.",
        )


if __name__ == "__main__":
    main()
