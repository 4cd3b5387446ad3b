"""Downloads from a hub on loopback: as fast as `hf download`? And killed at random, do they always come whole?

`python -m bench.downloads [--megabytes 600] [--repeats 3] [--kills 20] [--folder /dev/shm]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.report import MB, median, table
from bench.servers import ROOT, Server, free_port, serve
from engine import Engine, Settings

REPO = "org/model"
STORE = "models--org--model"
CONFIG = '{"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 128}'


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder with a repository of random bytes in two shards, and a hub process that serves it."""

    folder: Path
    url: str

    @property
    def cache(self) -> Path:
        return self.folder / "hub"

    @property
    def env(self) -> dict[str, str]:
        own = {"HF_ENDPOINT": self.url, "HF_HUB_CACHE": str(self.cache), "HF_HUB_OFFLINE": ""}
        return {**own, "TRANSFORMERS_OFFLINE": "", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def clear(self) -> None:
        shutil.rmtree(self.cache, ignore_errors=True)


@contextlib.contextmanager
def bench(parent: str, size: int, rate: float = 0.0) -> Iterator[Bench]:
    """Serve a model of `size` bytes at `rate` bytes a second (0: as fast as it goes)."""
    with tempfile.TemporaryDirectory(prefix="atelier-downloads-", dir=parent or None) as place:
        folder = Path(place)
        repo = folder / "source" / REPO
        repo.mkdir(parents=True)
        (repo / "config.json").write_text(CONFIG, "utf-8")
        names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        for name, share in zip(names, (0.7, 0.3), strict=True):
            (repo / name).write_bytes(random.randbytes(int(size * share)))
        listed = ", ".join(f'"{name}": "{name}"' for name in names)
        index = repo / "model.safetensors.index.json"
        index.write_text(f'{{"weight_map": {{{listed}}}}}', "utf-8")
        command = [sys.executable, "-m", "tests.hub", str(folder / "source"), "0", str(rate)]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as hub:
            assert hub.stdin is not None and hub.stdout is not None
            try:
                yield Bench(folder, hub.stdout.readline().strip())
            finally:
                hub.stdin.close()


def time_hf(place: Bench) -> float:
    """Seconds of one `hf download` into an empty cache."""
    place.clear()
    began = time.perf_counter()
    program = str(Path(sys.executable).with_name("hf"))
    subprocess.run(
        [program, "download", REPO], env={**os.environ, **place.env}, check=True,
        capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - began


async def time_ours(place: Bench) -> float:
    """Seconds from asking to the end, the look at the repository included."""
    place.clear()
    os.environ.update(place.env)
    settings = Settings(data_dir=place.folder / "data", device="cpu", _env_file=None)
    engine = Engine.build(settings)
    await engine.start()
    try:
        began = time.perf_counter()
        ticket = await engine.downloads.begin(REPO, accept_licence=True)
        async for _ in engine.jobs.follow(ticket.id):
            pass
        return time.perf_counter() - began
    finally:
        await engine.close()


def measure(parent: str, size: int, repeats: int) -> list[list[str]]:
    """Both in turn; the first round is not counted."""
    with bench(parent, size) as place:
        rounds = [(asyncio.run(time_ours(place)), time_hf(place)) for _ in range(repeats + 1)][1:]
        wrong = check(place)
    assert not wrong, wrong
    ours, theirs = median(o for o, _ in rounds), median(t for _, t in rounds)
    rates = [f"{size / MB / seconds:.0f} MB/s" for seconds in (ours, theirs)]
    ratio = median(theirs / ours for ours, theirs in rounds)
    worst = min(theirs / ours for ours, theirs in rounds)
    return [["throughput, hashes checked", *rates, f"{ratio:.2f}× (worst {worst:.2f}×)"]]


def check(place: Bench) -> list[str]:
    """What is wrong in the cache: files under their hash's name that have another."""
    wrong = []
    blobs = place.cache / STORE / "blobs"
    for file in blobs.iterdir() if blobs.is_dir() else ():
        if file.suffix == ".incomplete":
            continue
        body = file.read_bytes()
        own = (
            hashlib.sha256(body)
            if len(file.name) == 64
            else hashlib.sha1(b"blob %d\0" % len(body) + body)
        )
        if own.hexdigest() != file.name:
            wrong.append(f"{file.name} is corrupt")
    return wrong


def held(place: Bench) -> int:
    """Bytes in the cache, parts included."""
    blobs = place.cache / STORE / "blobs"
    return sum(f.stat().st_size for f in blobs.iterdir()) if blobs.is_dir() else 0


@contextlib.contextmanager
def atelier(place: Bench) -> Iterator[tuple[Server, httpx.Client]]:
    """The whole server over the same data folder each time."""
    port = free_port()
    data = str(place.folder / "data")
    command = [sys.executable, "app.py", "--port", str(port), "--data-dir", data, "--device", "cpu"]
    with (
        serve(command, port, {**place.env, "ATELIER_TOKEN": ""}) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        server.wait()
        yield server, client


def kill(parent: str, size: int, times: int, seconds: float, seed: int = 1) -> dict[str, Any]:
    """Kill the server (every third time its courier alone) at random, until it was `times`; then let it end."""
    chance = random.Random(seed)
    told: dict[str, Any] = {"kills": 0, "under_way": 0, "wrong": [], "lost": 0, "orphans": 0}
    with bench(parent, size, rate=size / seconds / 4) as place:
        job = ""
        while told["kills"] < times:
            before = held(place)
            with atelier(place) as (server, client):
                job = job or _begin(client)
                time.sleep(chance.uniform(0.1, 2 * seconds / times))
                couriers = psutil.Process(server.process.pid).children()
                if told["kills"] % 3 == 2 and couriers:
                    couriers[0].kill()
                    time.sleep(0.5)
                    client.post(f"/v1/jobs/{job}/retry")
                os.kill(server.process.pid, signal.SIGKILL)
                server.process.wait()
                told["under_way"] += not (place.cache / STORE / "snapshots").exists()
                _, alive = psutil.wait_procs(couriers, timeout=3)
            told["kills"] += 1
            told["orphans"] += len(alive)
            told["wrong"] += check(place)
            told["lost"] += held(place) < before
        with atelier(place) as (_, client):
            told["phase"] = _wait(client, job, seconds * 4 + 120)
        told["wrong"] += check(place)
        told["whole"] = _whole(place)
    return told


def _whole(place: Bench) -> bool:
    """Whether a snapshot holds every file of the repository as it is."""
    snapshots = place.cache / STORE / "snapshots"
    source = list((place.folder / "source" / REPO).iterdir())
    return any(
        all((folder / f.name).is_file() and (folder / f.name).read_bytes() == f.read_bytes() for f in source)
        for folder in (snapshots.iterdir() if snapshots.is_dir() else ())
    )  # fmt: skip


def _begin(client: httpx.Client) -> str:
    body = {"model": REPO, "accept_licence": True}
    answer = client.post("/v1/models/download", json=body)
    return str(answer.raise_for_status().json()["id"])


def _wait(client: httpx.Client, id: str, seconds: float) -> str:
    """The download's phase at its end."""
    phase, end = "", time.monotonic() + seconds
    while time.monotonic() < end and phase not in ("done", "cancelled"):
        jobs = {job["id"]: job for job in client.get("/v1/jobs").json()["jobs"]}
        phase = jobs[id]["phase"] if id in jobs else phase
        if phase == "failed":
            client.post(f"/v1/jobs/{id}/retry")
        time.sleep(0.1)
    return phase


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", default="", help="where; /dev/shm leaves the disk out")
    given = parser.parse_args()
    rows = []
    if given.repeats:
        rows += measure(given.folder, given.megabytes * MB, given.repeats)
    if given.kills:
        told = kill(given.folder, 60 * MB, given.kills, given.kills * 1.0)
        good = told["phase"] == "done" and told["whole"] and not told["wrong"]
        ends = "always whole" if good else f"WRONG: {told}"
        rows.append(
            [
                f"kill -9, {told['kills']} times at random, {told['under_way']} under way",
                ends,
                "starts anew",
                f"bytes lost {told['lost']} times, {told['orphans']} orphans",
            ]
        )
    table(
        "Downloads",
        ["figure", "Atelier", "hf download", "ratio"],
        rows,
        f"A hub on loopback in a process of its own (`tests/hub.py`), {given.megabytes} MB of random bytes in two "
        "shards; medians, in turn, one round not counted. `hf download` checks sizes, Atelier the hashes too; both "
        "times hold everything from the command to the end. Kills: `python app.py` killed at random moments, "
        "every third time its courier first; after each, all files are hashed and counted.",
    )


if __name__ == "__main__":
    main()
