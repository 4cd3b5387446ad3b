"""Mixed work for as long as one likes: does the process come back to where it was?

Knows which calls are made and what is measured of the process; not how anything is answered.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from bench.report import MB
from bench.servers import ROOT, Server, atelier, raise_limit
from prove.figure import Reached, Run, judged

SAMPLES = ROOT / "assets" / "samples"
CLIENTS = 4
EVERY = 5.0  # seconds between two looks at the process
WARM = 1 / 3  # of the time: libraries, models and caches are still coming in
SLOPE = 1.0  # MB an hour, where the run lasts long enough to tell
LONG = 60.0  # minutes from which a slope means something; before, growth is bounded
GROWTH = 30.0  # MB that a short run may end above its warm start

Work = Callable[[httpx.AsyncClient, random.Random], Awaitable[httpx.Response]]


@dataclass(slots=True)
class Watch:
    """What was seen of the process: (seconds, resident bytes, open files, threads)."""

    began: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, int, int, int]] = field(default_factory=list)

    def look(self, process: psutil.Process) -> None:
        self.seen.append(
            (time.monotonic() - self.began, process.memory_info().rss, process.num_fds(), process.num_threads())
        )  # fmt: skip

    def warm(self) -> list[tuple[float, int, int, int]]:
        """Those after the warm-up."""
        return [one for one in self.seen if one[0] >= self.seen[-1][0] * WARM]

    def slope(self) -> float:
        """MB an hour after the warm-up, by least squares."""
        seen = self.warm()
        line = statistics.linear_regression([s[0] for s in seen], [s[1] for s in seen])
        return float(line.slope) * 3600 / MB

    def growth(self) -> float:
        """MB by which the last tenth lies above the first tenth, after the warm-up."""
        memory = [s[1] for s in self.warm()]
        tenth = max(1, len(memory) // 10)
        return (statistics.median(memory[-tenth:]) - statistics.median(memory[:tenth])) / MB


async def chat(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    question = chance.choice(["Hello!", "Who are you?", "Привет!", "Count to five."])
    body = {"messages": [{"role": "user", "content": question}], "stream": chance.random() < 0.5}
    return await http.post("/v1/chat/completions", json=body)


async def embed(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    words = " ".join(chance.choice(["sky", "sea", "tree", "stone"]) for _ in range(20))
    return await http.post("/v1/embeddings", json={"input": words})


async def translate(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    body = {
        "text": "Good morning.",
        "from_lang": "en",
        "to_lang": chance.choice(["fr", "pt", "ru"]),
    }
    return await http.post("/v1/ai/translation/translate", json=body)


async def speak(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    return await http.post(
        "/v1/audio/speech", json={"input": "Hello there.", "response_format": "wav"}
    )


async def hear(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    sound = (SAMPLES / "speech-en.mp3").read_bytes()
    return await http.post("/v1/audio/transcriptions", files={"file": ("a.mp3", sound)})


async def read(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    return await http.post("/ocr", files={"file": ("a.png", (SAMPLES / "sign.png").read_bytes())})


async def creature(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    return await http.get("/v1/generate")


async def store(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    name = f"{chance.randrange(10**9)}.bin"
    sent = await http.post("/v1/files/upload", files={"files": (name, chance.randbytes(200_000))})
    if sent.status_code != 200:
        return sent
    return await http.request("DELETE", "/v1/files/delete", json={"path": name})


async def leave(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    """A client that hangs up in the middle of its answer."""
    body = {"prompt": ",", "max_tokens": 2000, "temperature": 0, "stream": True}
    async with http.stream("POST", "/v1/completions", json=body) as answer:
        async for _ in answer.aiter_raw():
            break
        return answer


async def page(http: httpx.AsyncClient, chance: random.Random) -> httpx.Response:
    return await http.get("/", headers={"accept": "text/html"})


WORKS: tuple[Work, ...] = (
    chat, chat, chat, embed, translate, speak, hear, read, creature, store, leave, page,
)  # fmt: skip


async def work(server: Server, minutes: float, seed: int, watch: Watch) -> Counter[str]:
    """All clients until the time is over; how each call ended."""
    ends: Counter[str] = Counter()
    stop = time.monotonic() + minutes * 60

    async def client(number: int) -> None:
        chance = random.Random(seed * 1000 + number)
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as http:
            while time.monotonic() < stop:
                one = chance.choice(WORKS)
                try:
                    status = (await one(http, chance)).status_code
                except httpx.HTTPError as error:
                    ends[f"{one.__name__}: {type(error).__name__}"] += 1
                    continue
                ends["fine" if status == 200 else f"{one.__name__}: {status}"] += 1

    async def look() -> None:
        process = psutil.Process(server.process.pid)
        while time.monotonic() < stop:
            watch.look(process)
            await asyncio.sleep(EVERY)

    await asyncio.gather(look(), *(client(number) for number in range(CLIENTS)))
    return ends


def left(folder: Path) -> Sequence[str]:
    """What lies in a folder of temporary files."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def soak(run: Run) -> Reached:
    """Memory, open files, threads and temporary files of the process, before and after."""
    raise_limit()
    minutes = run.minutes or float(run.of(120, 2))
    with (
        tempfile.TemporaryDirectory(prefix="atelier-soak-") as folder,
        atelier("--trash-days", "0", env={"TMPDIR": folder}) as server,
    ):
        server.wait("/", accept="text/html")
        watch = Watch()
        ends = asyncio.run(work(server, minutes, run.seed, watch))
        time.sleep(EVERY)  # the last clients' connections close
        watch.look(psutil.Process(server.process.pid))
        run.mistakes["soak"] = server.mistakes()
        files = left(Path(folder))
    first, last = watch.warm()[0], watch.seen[-1]
    others = sum(ends.values()) - ends["fine"]
    measure = f"{watch.slope():+.1f} MB/h" if minutes >= LONG else f"{watch.growth():+.1f} MB"
    said = (
        f"{minutes:g} min, {sum(ends.values())} calls, {others} not answered, {measure} after the warm-up,"
        f" files {first[2]} → {last[2]}, threads {first[3]} → {last[3]}, {len(files)} temporary files left"
    )
    steady = watch.slope() < SLOPE if minutes >= LONG else watch.growth() < GROWTH
    back = last[2] <= first[2] + CLIENTS and last[3] <= first[3] + CLIENTS
    good = others == 0 and steady and back and not files
    return judged(said, good, f"{dict(ends)}", *files[:10])
