"""What the tests of stored documents share: an engine of quick fakes, documents in it, their ends."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from engine import Engine, Paper, Settings
from tests import echo, onlooker, typist
from tests.test_reading import ROWS


def make_engine(settings: Settings, **values: object) -> Engine:
    families = {"typist": typist, "echo": echo, "onlooker": onlooker}
    return Engine.build(
        settings.model_copy(update=values),
        families=families,
        specs=(*typist.SPECS, *echo.SPECS, *ROWS),
    )


async def add(engine: Engine, sheets: int = 3, **fields: Any) -> Paper:
    name = fields.pop("name", "letter.tiff")
    return await engine.documents.add(name, typist.tiff(sheets), **{"session": "s", **fields})


async def ended(engine: Engine, id: str, *phases: str) -> Paper:
    """The document once it is in one of these phases."""
    wanted = phases or ("done", "failed", "cancelled")
    async with asyncio.timeout(60):  # a process full of libraries takes a second to collect garbage
        while (paper := await engine.documents.get(id)).phase not in wanted:
            await asyncio.sleep(0.01)
    return paper


def folders(settings: Settings) -> list[str]:
    place = settings.data_dir / "documents"
    return sorted(os.listdir(place)) if place.is_dir() else []
