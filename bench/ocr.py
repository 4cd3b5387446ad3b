"""Forty drawn pages through the reader and through what it is made of: speed, errors, memory, HTTP, a chat beside it.

`python -m bench.ocr [--pages N] [--rounds N] [--only speed,errors,memory,http,chat]`. Speed: a batch of pages through
the family against a plain loop of `RapidOCR()` as it comes, in turn. Errors: per language and condition, against
RapidOCR and Tesseract by themselves, each given the language where it takes one.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import httpx

from bench.pages import CONDITIONS, LANGUAGES, Sheet, errors, few, plain, sheets
from bench.report import MB, median, table
from bench.servers import free_port
from engine import Caller, ChatRequest, Engine, Event, Message, OcrRequest, Page, Settings, Text
from engine.callers import Priority
from engine.events import Units

if TYPE_CHECKING:
    from PIL import Image

PACKS = {"en": "eng", "fr": "fra", "pt": "por", "ru": "rus"}


@dataclass(slots=True)
class Silent:
    """An emit that keeps pages."""

    pages: list[Page]

    def __call__(self, event: Event | None) -> None:
        if isinstance(event, Page):
            self.pages.append(event)

    def count(self, **units: Unpack[Units]) -> None: ...


def png(sheet: Sheet) -> bytes:
    out = io.BytesIO()
    sheet.draw().save(out, "PNG", compress_level=1)
    return out.getvalue()


def bound(pictures: Sequence[Image.Image], pages: int) -> bytes:
    """A TIFF of so many pages, these again and again."""
    out = io.BytesIO()
    first, *others = (pictures[n % len(pictures)] for n in range(pages))
    first.save(out, "TIFF", save_all=True, append_images=others, compression="tiff_lzw")
    return out.getvalue()


def family(model: str = "ocr") -> Any:
    """The reader, as the engine would load it."""
    from engine.families import ocr

    return ocr.load(next(spec for spec in ocr.SPECS if spec.id == model), Settings(_env_file=None))


def batch(reader: Any, documents: Sequence[bytes], language: str = "") -> list[Page]:
    """The pages of these documents."""
    heard = Silent([])
    reader.ocr(OcrRequest(documents=tuple(documents), language=language), heard)
    return heard.pages


def rapid() -> Callable[[bytes], str]:
    """RapidOCR as it comes."""
    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    engine: Any = RapidOCR(params={"Global.log_level": "error"})
    return lambda data: "\n".join(engine(data).txts or ())


def tesseract(data: bytes, language: str) -> str:
    """Tesseract as it comes, told the language."""
    command = ["tesseract", "stdin", "stdout", "-l", PACKS[language]]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return done.stdout.decode("utf-8", "replace")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the processor with those of child processes."""
    began, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    used = sum(after[:4]) - sum(before[:4])
    return time.perf_counter() - began, used


def speed(pages: int, rounds: int) -> None:
    """Pages a second of both sides, round by round."""
    chosen = sheets()[:: max(1, 40 // pages)][:pages]
    data = [png(sheet) for sheet in chosen]
    reader, bare = family(), rapid()
    batch(reader, data[:2])
    bare(data[0])
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(timed(lambda: batch(reader, data)))
        theirs.append(timed(lambda: [bare(one) for one in data]))
    ratios = [b[0] / a[0] for a, b in zip(ours, theirs, strict=True)]
    used = [b[1] / a[1] for a, b in zip(ours, theirs, strict=True)]
    reader.close()
    count = len(data)
    table(
        f"A batch of {count} pages, no language named",
        ("by", "pages/s", "processor seconds a page", "ratio", "worst", "ratio by processor time"),
        [
            ("RapidOCR() in a loop", f"{count / median(b[0] for b in theirs):.3f}",
             f"{median(b[1] for b in theirs) / count:.2f}", "1.00×", "", "1.00×"),
            ("ocr", f"{count / median(a[0] for a in ours):.3f}",
             f"{median(a[1] for a in ours) / count:.2f}", f"{median(ratios):.2f}×",
             f"{min(ratios):.2f}×", f"{median(used):.2f}×"),
        ],
        f"Medians of {rounds} rounds in turn after one unmeasured page; a fourth of the pages is Russian, which "
        "RapidOCR cannot read. Goal: ≥ 3×.",
    )  # fmt: skip


def accuracy(whole: bool) -> None:
    """Character error rates of the three."""
    chosen = sheets() if whole else list(few())
    data = [png(sheet) for sheet in chosen]
    reader, bare = family(), rapid()
    read = {
        "ocr": [page.text for page in batch(reader, data)],
        "RapidOCR": [bare(one) for one in data],
        "Tesseract": [tesseract(d, s.language) for d, s in zip(data, chosen, strict=True)],
    }
    reader.close()
    rows = []
    for language in LANGUAGES:
        for condition in CONDITIONS:
            numbers = [
                n
                for n, s in enumerate(chosen)
                if (s.language, s.condition) == (language, condition)
            ]
            letters = sum(len(plain(chosen[n].text)) for n in numbers)
            cells = [
                f"{100 * sum(errors(texts[n], chosen[n].text) for n in numbers) / letters:.2f} %"
                for texts in read.values()
            ]
            rows.append((language, condition, str(len(numbers)), *cells))
    table(
        "Character error rate",
        ("language", "pages", "number", "ocr, no language named", "RapidOCR()", "Tesseract, told the language"),
        rows,
        "Goals: ≤ 1 % clean, ≤ 4 % degraded, never worse than either.",
    )  # fmt: skip


PEAK = """
import sys, threading, psutil
from bench.ocr import batch, family, png
from bench.pages import sheets
count, peaks, me = int(sys.argv[1]), [0], psutil.Process()
over = threading.Event()
def watch():
    while not over.wait(0.05):
        processes = [me, *me.children(recursive=True)]
        held = 0
        for process in processes:
            try: # a child that has not become another program yet shows our memory as its own
                if process == me or process.exe() != me.exe(): held += process.memory_info().rss
            except psutil.Error: pass
        peaks[0] = max(peaks[0], held)
pages = [png(sheet) for sheet in sheets()[::4]]
reader = family()
threading.Thread(target=watch, daemon=True).start()
for first in range(0, count, 100):
    batch(reader, [pages[n % len(pages)] for n in range(min(100, count - first))])
over.set()
print(peaks[0])
"""


def memory(fewer: int, more: int) -> None:
    """The peak of a process and its children over few and many pages."""
    peaks = []
    for count in (fewer, more):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(count)], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        peaks.append(int(done.stdout.split()[-1]))
    table(
        "Peak memory",
        ("pages", "MB", "ratio"),
        [
            (str(fewer), f"{peaks[0] / MB:.0f}", "1.00×"),
            (str(more), f"{peaks[1] / MB:.0f}", f"{peaks[1] / peaks[0]:.2f}×"),
        ],
        "The process and its children, looked at every 50 ms; ten pages of 200 dpi again and again. Goal: ≤ 1.2×.",
    )


async def over_http(rounds: int) -> None:
    """One page by `POST /ocr` and by the bare call, in turn."""
    data = png(sheets()[0])
    reader = family()
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "app.py", "--port", str(port), "--data-dir", folder]
        server = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=300
            ) as client:
                await _up(client)
                bare, http = [], []
                for n in range(rounds + 1):
                    b, _ = await asyncio.to_thread(timed, lambda: batch(reader, [data]))
                    began = time.perf_counter()
                    answer = await client.post(
                        "/ocr",
                        files={"file": ("page.png", data, "image/png")},
                        params={"model": "ocr"},
                    )
                    h = time.perf_counter() - began
                    answer.raise_for_status()
                    if n:
                        bare.append(b)
                        http.append(h)
        finally:
            server.terminate()
            await server.wait()
    reader.close()
    ratios = [h / b for h, b in zip(http, bare, strict=True)]
    table(
        "One page through HTTP",
        ("bare call, s", "POST /ocr, s", "ratio", "worst"),
        [
            (
                f"{median(bare):.2f}",
                f"{median(http):.2f}",
                f"{median(ratios):.3f}×",
                f"{max(ratios):.3f}×",
            )
        ],
        f"Medians of {rounds} rounds in turn after one unmeasured. Goal: ≤ 1.05×.",
    )


async def _up(client: httpx.AsyncClient) -> None:
    for _ in range(600):
        try:
            await client.get("/health")
            return
        except httpx.TransportError:
            await asyncio.sleep(0.1)
    raise SystemExit("the server did not start")


async def chat_beside(pages: int, chats: int) -> None:
    """A chat's first token alone, and while a long job reads."""
    book = bound([sheet.draw() for sheet in sheets()[::4]], pages)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine.build(Settings(data_dir=Path(folder), _env_file=None))
        await engine.start()
        try:
            await _first(engine)
            alone = [await _first(engine) for _ in range(chats)]
            took: list[float] = []
            job = asyncio.create_task(_job(engine, book, took))
            while len(took) < 3:
                await asyncio.sleep(0.05)
            beside = []
            for _ in range(chats):
                await asyncio.sleep(1.0)
                beside.append(await _first(engine))
            page = median(b - a for a, b in pairwise(took))
            job.cancel()
            await asyncio.wait([job])
        finally:
            await engine.close()
    table(
        f"A chat while a job of {pages} pages is read",
        ("first token alone, ms", "beside the job, ms", "worst, ms", "a page, ms"),
        [[f"{1000 * seconds:.0f}" for seconds in (median(alone), median(beside), max(beside), page)]],
        f"starter-chat, {chats} chats; the job at batch priority. Goal: delayed by at most one page.",
    )  # fmt: skip


async def _first(engine: Engine) -> float:
    """Seconds to a chat's first token."""
    request = ChatRequest(messages=(Message.of("user", "Hello, who are you?"),), max_tokens=8)
    began = time.perf_counter()
    async with aclosing(engine.run(request, Caller(name="chat", priority=Priority.CHAT))) as events:
        async for event in events:
            if isinstance(event, Text):
                return time.perf_counter() - began
    return float("nan")


async def _job(engine: Engine, book: bytes, took: list[float]) -> None:
    """A long job; notes when pages were told."""
    request = OcrRequest(documents=(book,), model="ocr", seconds=3600)
    caller = Caller(name="job", priority=Priority.BATCH)
    async with aclosing(engine.run(request, caller)) as events:
        async for event in events:
            if isinstance(event, Page):
                took.append(time.perf_counter())


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--pages", type=int, default=40)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--fewer", type=int, default=20, help="pages of the short memory run")
    options.add_argument("--more", type=int, default=200, help="pages of the memory run")
    options.add_argument("--only", default="speed,errors,memory,http,chat")
    given = options.parse_args()
    wanted = given.only.split(",")
    if "speed" in wanted:
        speed(given.pages, given.rounds)
    if "errors" in wanted:
        accuracy(given.pages >= 40)
    if "memory" in wanted:
        memory(given.fewer, given.more)
    if "http" in wanted:
        asyncio.run(over_http(given.rounds))
    if "chat" in wanted:
        asyncio.run(chat_beside(200, 10))


if __name__ == "__main__":
    main()
