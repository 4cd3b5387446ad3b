"""What composed calls share: one stream of events made of several runs, found by a stop between two of them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar, cast

from engine.callers import Caller
from engine.jobs import Track

if TYPE_CHECKING:
    from engine.engine import Engine

E = TypeVar("E")


class Composing:
    """Base of the parts of the engine's face that ask `run` more than once; `Engine` brings the attributes."""

    __slots__ = ()

    _running: dict[str, tuple[Caller, Track]]

    @property
    def _engine(self) -> Engine:
        return cast("Engine", self)

    async def _compose(
        self, begin: Callable[[Caller, Track], AsyncGenerator[E]], caller: Caller
    ) -> AsyncGenerator[E]:
        """The events of `begin`; a stop between two of its runs finds it in the Track it is given."""
        halted = Track(secrets.token_hex(8), "request", "", "", caller.session, limit=0)
        halted.halt = lambda: False
        self._running[halted.id] = (caller, halted)
        try:
            async with aclosing(begin(caller, halted)) as events:
                async for event in events:
                    yield event
        finally:
            self._running.pop(halted.id, None)
