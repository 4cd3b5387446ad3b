"""Pictures through HTTP against a bare diffusers loop; batches; how soon it stops; memory after many pictures.

`python -m bench.images [--rounds 3] [--only speed,batch,large,stop,memory]`. All in processor seconds of the process
that draws, in turn, so that a busy machine does not decide. The models are random, of Stable Diffusion's shapes: a
small one (128 pixels, 8 steps) and for `large` an SDXL-shaped one (512 pixels, 4 steps) against float32 as it comes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.report import MB, median, table
from bench.servers import Server, atelier
from tests.tiny_images import save_sd, save_sdxl

PROMPT = "a small red dragon on a hill number {n}"
SMALL: dict[str, Any] = {
    "block_out_channels": (64, 128, 192),
    "layers_per_block": 1,
    "sample_size": 32,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 32,
}
LARGE: dict[str, Any] = {
    "block_out_channels": (160, 320, 640),
    "layers_per_block": 2,
    "sample_size": 64,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 4),
    "attention_head_dim": (4, 8, 16),
    "norm_num_groups": 32,
}


def row(folder: Path, name: str, steps: int, side: int, dtype: str = "auto") -> str:
    return (
        f'[[model]]\nid = "{name}"\nfamily = "diffusion"\ndoes = ["image"]\npath = "{folder}"\n'
        f'options = {{ steps = {steps}, guidance = 4.0, side = {side}, dtype = "{dtype}" }}\n'
    )


class Bare:
    """Diffusers as it comes, one picture after another."""

    def __init__(self, folder: Path, steps: int, side: int) -> None:
        import torch
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging

        logging.set_verbosity_error()
        torch.set_num_threads(1)
        self._pipe = DiffusionPipeline.from_pretrained(folder, safety_checker=None)
        self._pipe.set_progress_bar_config(disable=True)
        self._steps, self._side = steps, side

    def draw(self, count: int) -> float:
        """Processor seconds a picture."""
        import torch

        began = time.process_time()
        for n in range(count):
            self._pipe(
                PROMPT.format(n=n), num_inference_steps=self._steps, guidance_scale=4.0,
                width=self._side, height=self._side, generator=torch.Generator().manual_seed(n),
            )  # fmt: skip
        return (time.process_time() - began) / count


async def ask(server: Server, model: str, count: int, together: bool, **more: Any) -> None:
    """So many pictures, all asked for at once or one after another."""
    async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:

        async def one(n: int) -> None:
            body = {"model": model, "prompt": PROMPT.format(n=n), "seed": n, **more}
            answer = await http.post("/v1/ai/image/generate", json=body)
            answer.raise_for_status()

        if together:
            await asyncio.gather(*(one(n) for n in range(count)))
            return
        for n in range(count):
            await one(n)


def ours(server: Server, model: str, count: int, together: bool) -> float:
    """Processor seconds a picture of the whole server process."""
    before = server.cpu()
    asyncio.run(ask(server, model, count, together))
    return (server.cpu() - before) / count


def compare(
    server: Server, model: str, bare: Bare, count: int, together: bool, rounds: int
) -> list[str]:
    """A row: both in turn, medians."""
    ours(server, model, 1, False)
    bare.draw(1)
    pairs = [
        (bare.draw(min(count, 4)), ours(server, model, count, together)) for _ in range(rounds)
    ]
    alone, through = median(a for a, _ in pairs), median(b for _, b in pairs)
    name = f"{count} queued" if together else "one by one"
    ratio = median(a / b for a, b in pairs)
    return [f"{model}, {name}", f"{alone:.2f}", f"{through:.2f}", f"{ratio:.2f}x"]


def stop_row(server: Server, model: str, steps: int = 200) -> list[str]:
    """How long after a hang-up the device is idle, and how long a step takes."""

    async def hang_up() -> tuple[float, float]:
        async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
            body = {"model": model, "prompt": "x", "steps": steps, "stream": True}
            stamps: list[float] = []
            async with http.stream("POST", "/v1/ai/image/generate", json=body) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        stamps.append(time.perf_counter())
                    if len(stamps) == 6:
                        break
            left = time.perf_counter()
            step = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
            await ask(server, "small", 1, False, steps=1)  # begins when the device is free
            alone = time.perf_counter()
            await ask(server, "small", 1, False, steps=1)
            return step, (alone - left) - (time.perf_counter() - alone)

    step, idle = asyncio.run(hang_up())
    return [
        f"{model}, hang-up",
        f"{step * 1000:.0f} ms a step",
        f"{idle * 1000:.0f} ms",
        f"{idle / step:.2f} steps",
    ]


def memory_row(server: Server, model: str, count: int = 50, cancelled: int = 10) -> list[str]:
    """Resident memory after many pictures, some of them cancelled, over that after the first."""

    async def run() -> tuple[int, int]:
        await ask(server, model, 1, False)
        first = server.memory()
        async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
            for n in range(count):
                body = {"model": model, "prompt": PROMPT.format(n=n), "stream": True}
                if n % (count // cancelled):
                    await http.post("/v1/ai/image/generate", json={**body, "stream": False})
                    continue
                async with http.stream("POST", "/v1/ai/image/generate", json=body) as answer:
                    async for line in answer.aiter_lines():
                        if line.startswith("data:"):
                            break
        await asyncio.sleep(1)
        return first, server.memory()

    first, last = asyncio.run(run())
    return [
        f"{model}, {count} pictures",
        f"{first / MB:.0f} MB",
        f"{last / MB:.0f} MB",
        f"{last / first:.3f}x",
    ]


@contextlib.contextmanager
def models(only: set[str]) -> Iterator[tuple[Path, Path | None]]:
    """The random models, saved."""
    import torch

    with tempfile.TemporaryDirectory(prefix="atelier-images-") as folder:
        small = save_sd(Path(folder), **SMALL)
        large = None
        if "large" in only:
            large = save_sdxl(Path(folder), **LARGE)
        torch.set_num_threads(1)
        yield small, large


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="speed,batch,stop,memory")
    given = parser.parse_args()
    only = set(given.only.split(","))
    rows: list[list[str]] = []
    with models(only) as (small, large):
        text = row(small, "small", 8, 128)
        if large is not None:
            text += "\n" + row(large, "large", 4, 512, "bfloat16")
        with atelier(env={"OMP_NUM_THREADS": "1"}, rows=text) as server:
            server.wait()
            bare = Bare(small, 8, 128)
            if "speed" in only:
                rows.append(compare(server, "small", bare, 4, False, given.rounds))
            if "batch" in only:
                rows.append(compare(server, "small", bare, 8, True, given.rounds))
            if large is not None:
                rows.append(compare(server, "large", Bare(large, 4, 512), 4, True, given.rounds))
            head = ["what", "bare diffusers, CPU s a picture", "ours over HTTP", "ratio"]
            if rows:
                table("Pictures", head, rows, "Processor seconds of the drawing process, medians.")
            if "stop" in only:
                stops = [stop_row(server, "small")]
                table("Stopping", ["what", "step", "idle after", "in steps"], stops, "Wall time.")
            if "memory" in only:
                held = [memory_row(server, "small")]
                note = "Every fifth was cancelled at its first step."
                table("Memory", ["what", "after the first", "at the end", "ratio"], held, note)


if __name__ == "__main__":
    main()
