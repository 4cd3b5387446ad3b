"""Answers that are made of several runs: documents read page by page, pictures labelled by questions.

The third part of the engine's face: each call here begins as one request, asks `run` as often as it must, and ends
in one stream of events. What the runs are is in a module of its own for each.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from engine.callers import Caller
from engine.composing import Composing
from engine.events import Event
from engine.labelling import find_labeller, label_picture
from engine.reading import find_reader, read_documents
from engine.registry import ModelSpec
from engine.requests import LabelRequest, OcrRequest


class Composed(Composing):
    """The engine's composed calls; `Engine` brings the attributes."""

    __slots__ = ()

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
