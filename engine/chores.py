"""What an engine does beside its requests: restoring what was chosen, and forgetting what is old every hour."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, get_args

from engine.errors import AtelierError
from engine.registry import SENT
from engine.requests import Capability

if TYPE_CHECKING:
    from engine.engine import Engine

log = logging.getLogger("atelier.engine")


async def restore_defaults(engine: Engine) -> None:
    """Set the default models; those of another server may have to be looked for first."""
    settings, choices, registry = engine.settings, engine.choices, engine.registry
    engine.servers.restore()
    given = settings.openai_model and f"openai/{settings.openai_model}"
    chat = settings.default_chat or choices.get("default.chat") or given
    vision = choices.get("default.chat.image") or settings.default_vision
    wanted: list[tuple[Capability, str, str | None]] = [("chat", "", chat)]
    wanted.append(("chat", "image", vision))
    others: list[Capability] = [does for does in get_args(Capability) if does != "chat"]
    wanted += [(does, "", choices.get(f"default.{does}")) for does in others]
    for does, accepting, chosen in wanted:
        if not chosen:
            continue
        if not registry.knows(chosen):
            await engine.servers.looked()
        try:
            registry.expect_default(does, chosen, accepting)
            registry.set_default(does, chosen, accepting)
        except AtelierError as error:
            what = f"{does} about {SENT[accepting]}" if accepting else does
            log.warning("The default model of %s: %s", what, error)


async def keep_house(engine: Engine, opening: asyncio.Task[None]) -> None:
    """Once the database is open, restore what was chosen; then forget old texts every hour."""
    try:
        await asyncio.shield(opening)
    except AtelierError as error:
        log.error("Nothing can be kept: %s", error)
        return
    try:
        await engine.downloads.start()  # first: what was fetched may be the default
    except AtelierError as error:
        log.error("Downloads that were running do not go on: %s", error)
    await restore_defaults(engine)
    try:
        await engine.documents.start()
    except AtelierError as error:
        log.error("Documents that were being read do not go on: %s", error)
    while True:
        try:
            await engine.usage.prune(datetime.now(UTC))
            await engine.documents.prune(datetime.now(UTC))
        except AtelierError as error:
            log.warning("Old texts stay for now: %s", error)
        await asyncio.sleep(3600)
