"""Answers that are made of several runs: documents read page by page, pictures labelled by questions.

The third part of the engine's face: each call here begins as one request, asks `run` as often as it must, and ends
in one stream of events. What the runs are is in a module of its own for each.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, cast

from engine.callers import Caller
from engine.events import Event
from engine.jobs import Track
from engine.labelling import find_labeller, label_picture
from engine.reading import find_reader, read_documents
from engine.registry import ModelSpec
from engine.requests import LabelRequest, OcrRequest

if TYPE_CHECKING:
    from engine.engine import Engine

Begin = Callable[[Caller, Track], AsyncGenerator[Event]]


class Composed:
    """The engine's composed calls; `Engine` brings the attributes."""

    __slots__ = ()

    _running: dict[str, tuple[Caller, Track]]

    @property
    def _engine(self) -> Engine:
        return cast("Engine", self)

    def read(self, request: OcrRequest, caller: Caller) -> AsyncGenerator[Event]:
        """Read documents, by whichever model can: see `engine.reading`. As `run`, a Page for each page."""
        return self._compose(partial(read_documents, self._engine, request), caller)

    def label(self, request: LabelRequest, caller: Caller) -> AsyncGenerator[Event]:
        """Label a picture, by whichever model can: see `engine.labelling`. As `run`, a Segment for each label."""
        return self._compose(partial(label_picture, self._engine, request), caller)

    def reader_of(self, request: OcrRequest, session: str = "") -> ModelSpec:
        """The model that `read` asks first. Raises Unknown, BadValue: none that can read."""
        return find_reader(self._engine, request, session)[0]

    def labeller_of(self, request: LabelRequest, session: str = "") -> ModelSpec:
        """The model that `label` asks. Raises Unknown, BadValue: none that can label."""
        return find_labeller(self._engine, request, session)

    async def _compose(self, begin: Begin, caller: Caller) -> AsyncGenerator[Event]:
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
