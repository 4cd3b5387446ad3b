"""The app with a watch on its event loop: `python -m bench.looped PORT FILE`.

Whenever FILE is gone it is written anew: the longest turn of the loop since, as seconds of work and by the clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvicorn

from app import create_app, server_options
from engine import Settings

TICK = 0.001


async def watch(file: Path) -> None:
    """Look how late the loop comes back."""
    work = wall = 0.0
    then, worked = time.perf_counter(), time.thread_time()
    while True:
        await asyncio.sleep(TICK)
        now, done = time.perf_counter(), time.thread_time()
        work, wall = max(work, done - worked), max(wall, now - then - TICK)
        if not file.exists():
            part = file.with_suffix(".part")
            part.write_text(json.dumps([work, wall]))
            part.rename(file)
            work = wall = 0.0
        then, worked = time.perf_counter(), time.thread_time()


async def main(port: int, file: Path) -> None:
    app = create_app(Settings())
    options = {**server_options(Settings()), "port": port}
    server = uvicorn.Server(uvicorn.Config(app, **options))
    watching = asyncio.create_task(watch(file))
    await server.serve()
    watching.cancel()


if __name__ == "__main__":
    config = uvicorn.Config("app:app")
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main(int(sys.argv[1]), Path(sys.argv[2])))
