"""Several runs of one call side by side: their events as they come, or their whole answers.

Knows streams of events, no dialect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from engine import AtelierError, Event, Result

Tagged = tuple[int, Event]  # (index of the run, its event)


async def merge(runs: list[AsyncGenerator[Event]]) -> AsyncGenerator[Tagged]:
    """The events of all runs as they come, each with the index of its run; one failure ends them all."""
    if len(runs) == 1:
        async with contextlib.aclosing(runs[0]):
            async for event in runs[0]:
                yield 0, event
        return
    inbox: asyncio.Queue[Tagged | BaseException | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_pump(n, run, inbox)) for n, run in enumerate(runs)]
    try:
        running = len(runs)
        while running:
            item = await inbox.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    index: int,
    run: AsyncGenerator[Event],
    inbox: asyncio.Queue[Tagged | BaseException | None],
) -> None:
    async with contextlib.aclosing(run):
        try:
            async for event in run:
                inbox.put_nowait((index, event))
        except AtelierError as error:
            inbox.put_nowait(error)
        else:
            inbox.put_nowait(None)


async def fold_all(events: AsyncIterator[Tagged]) -> list[Result]:
    """The whole answers of merged runs, by index."""
    results: dict[int, Result] = {}
    async for index, event in events:
        results.setdefault(index, Result()).add(event)
    return [results[index] for index in sorted(results)]
