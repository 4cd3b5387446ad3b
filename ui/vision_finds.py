"""Finding things in the Vision tab's picture, and labelling it. What it looks like is `ui/vision_views.py`."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import AtelierError, DetectRequest, Engine, Event, LabelRequest, Result
from ui.header import title_of
from ui.parts import caller_of, explain, make, paced, reader
from ui.vision_desk import Desk, Desks
from ui.vision_views import bars, lacking, things, working, wrong
from ui.words import say

Updates = dict[Any, Any]
FLOOR = 0.05  # the least score that is asked for; the slider hides more at once


@dataclass(frozen=True, slots=True)
class Finds:
    """The handlers over one engine; they paint into two places."""

    engine: Engine
    desks: Desks
    found: gr.Markdown
    bars: gr.Markdown

    async def find(
        self, words: str, told: str, model: str | None, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Look for things; with models that read words, for those that were typed."""
        desk, language = self.desks.of(told, request), reader(request)
        refused = self._unready(desk, model, "vision.none_finds", language)
        if refused or desk.picture is None:
            yield {self.found: refused}
            return
        result = Result()
        try:
            wanted = make(
                DetectRequest, image=desk.picture.data, words=listed(words), threshold=FLOOR, model=model
            )  # fmt: skip
            found = self.engine.run(wanted, caller_of(request))
            async for line in self._looking(found, result, request):
                yield {self.found: line}
        except AtelierError as error:
            yield {self.found: wrong(explain(error, language))}
            return
        desk.things = tuple(sorted(result.segments, key=lambda thing: -(thing.score or 0)))
        desk.finder = title_of(self.engine, model or "")
        yield {self.found: things(desk, language)}

    async def compare(
        self, labels: str, told: str, model: str | None, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Say how well each label fits."""
        desk, language = self.desks.of(told, request), reader(request)
        refused = self._unready(desk, model, "vision.none_labels", language)
        if refused or desk.picture is None:
            yield {self.bars: refused}
            return
        result = Result()
        try:
            wanted = make(LabelRequest, image=desk.picture.data, labels=listed(labels), model=model)
            labelled = self.engine.label(wanted, caller_of(request))
            async for line in self._looking(labelled, result, request):
                yield {self.bars: line}
        except AtelierError as error:
            yield {self.bars: wrong(explain(error, language))}
            return
        desk.labels, desk.labeller = tuple(result.segments), title_of(self.engine, model or "")
        yield {self.bars: bars(desk, language)}

    def _unready(self, desk: Desk, model: str | None, none: str, language: str) -> str:
        """Why it cannot begin, as HTML; "" where it can."""
        if desk.picture is None:
            return wrong(say("vision.no_picture", language))
        return "" if model else lacking(none, language)

    async def _looking(
        self, events: AsyncGenerator[Event], result: Result, request: gr.Request
    ) -> AsyncGenerator[str]:
        """Take the events into `result`; lines that tell how it goes."""
        language = reader(request)
        yield working(None, language)
        async with aclosing(paced(events)) as batches:
            async for batch in batches:
                for event in batch:
                    result.add(event)
                yield working(batch[-1] if batch else None, language)


def listed(text: str) -> tuple[str, ...]:
    """Words between commas or lines."""
    return tuple(word for part in re.split(r"[,;\n]", text) if (word := part.strip()))
