"""What happens in the Vision tab: bringing a picture, asking about it, finding things, labelling it.

The conversation about a picture is kept with the page, in memory. Handlers give updates by component; what
those look like is `ui/vision_views.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

import gradio as gr

from engine import (
    WAITING,
    AtelierError,
    Capability,
    ChatRequest,
    Engine,
    Entry,
    Event,
    ImagePart,
    Message,
    ModelSpec,
    Result,
    TextPart,
)
from ui.conversations import answer, footer, problem, progress, shown
from ui.header import choices, title_of
from ui.parts import ask, caller_of, explain, paced, reader, session_of, told_by, uploads, warn
from ui.samples import sample
from ui.vision_desk import Desk, Desks, picture_of
from ui.vision_views import bars, lacking, missing, presets, stage, things
from ui.words import say

Updates = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Places:
    """The places of the tab that its handlers read and paint."""

    desk: gr.Textbox
    stage: gr.Markdown
    presets: gr.Markdown
    log: gr.Chatbot
    state: gr.Markdown
    box: gr.Textbox
    model: gr.Dropdown
    finder: gr.Dropdown
    labeller: gr.Dropdown
    found: gr.Markdown
    bars: gr.Markdown
    outcome: gr.Markdown

    @property
    def all(self) -> list[Any]:
        return [
            self.stage, self.presets, self.log, self.state, self.box, self.model, self.finder,
            self.labeller, self.found, self.bars, self.outcome,
        ]  # fmt: skip


@dataclass(slots=True)
class Look:
    """The tab's handlers over one engine."""

    engine: Engine
    w: Places
    desks: Desks = field(default_factory=Desks)
    _absent: tuple[bool, ...] = (False, False, False)  # no model here sees, finds, labels

    # Opening

    async def arrive(self, told: str, request: gr.Request) -> Updates:
        """The page has come, or is looked at again: everything on its desk, and the models there are now."""
        desk, language = self.desks.of(told, request), reader(request)
        found = await asyncio.to_thread(self._present)
        self._absent = tuple(not specs for specs in found)
        sees = found[0][0] if found[0] else None
        note = "vision.none_sees" if sees is None else "vision.starter" if sees.starter else ""
        return {
            **self._picture(desk, language),
            **self._pickers(found, language),
            self.w.presets: presets(language, note),
        }

    def _picture(self, desk: Desk, language: str) -> Updates:
        """A picture, and what belongs to it."""
        return {
            self.w.stage: stage(desk, language),
            self.w.found: lacking("vision.none_finds", language)
            if self._absent[1]
            else things(desk, language),
            self.w.bars: lacking("vision.none_labels", language)
            if self._absent[2]
            else bars(desk, language),
            self.w.log: shown(desk.said, language)[0],
            self.w.state: self._resting(desk, language),
        }

    def _resting(self, desk: Desk, language: str) -> str:
        last = desk.said[-1] if desk.said else None
        return footer(last, title_of(self.engine, last.model if last else ""), language)

    def _pickers(self, found: Sequence[Sequence[ModelSpec]], language: str) -> Updates:
        """The three model pickers, filled with what is here."""
        loaded = {model.id for model in self.engine.status().resident}
        updates: Updates = {}
        for picker, specs in zip(
            (self.w.model, self.w.finder, self.w.labeller), found, strict=True
        ):
            value = specs[0].id if specs else None
            rows = choices(list(specs), loaded, language)
            updates[picker] = gr.Dropdown(choices=rows, value=value, visible=bool(specs))
        return updates

    def _present(self) -> tuple[Sequence[ModelSpec], ...]:
        """Models that see, that find and that label, those that are here; the default of each first."""
        sees = self._here("chat", "image")
        return sees, self._here("detect", ""), [*self._here("label", ""), *sees]

    def _here(self, does: Capability, accepting: str) -> list[ModelSpec]:
        is_present = self.engine.downloads.is_present
        specs = [spec for spec in self.engine.models(does, accepting) if is_present(spec)]
        try:
            first = self.engine.registry.default(does, accepting).id
        except AtelierError:
            return specs
        return sorted(specs, key=lambda spec: spec.id != first)

    # The picture

    async def bring(self, file: Any, told: str, request: gr.Request) -> Updates:
        """A file was dropped, pasted, chosen or photographed."""
        async for upload in uploads(file):
            return await self._put(upload.data, upload.name, "", told, request)
        return {self.w.outcome: gr.skip()}

    async def _put(
        self, data: bytes, name: str, of: str, told: str, request: gr.Request
    ) -> Updates:
        language, desk = reader(request), self.desks.of(told, request)
        try:
            picture = await asyncio.to_thread(picture_of, data, name)
        except AtelierError as error:
            warn(explain(error, language))
            return {self.w.outcome: _outcome("refused")}
        self._halt(desk)
        desk.put(picture, of)
        self.desks.tidy()
        return {**self._picture(desk, language), self.w.outcome: _outcome("brought")}

    async def act(
        self, did: str, told: str, model: str | None, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Something painted was pressed: JSON with `act` and its values, "#" and a number."""
        yield {self.w.outcome: gr.skip()}  # a generator that yields nothing empties every output
        given, language = told_by(did), reader(request)
        desk = self.desks.of(told, request)
        try:
            match given.get("act"):
                case "sample":
                    name = given.get("name", "")
                    data = await asyncio.to_thread(sample, name)
                    yield await self._put(data, name, name, told, request)
                case "clear":
                    self._halt(desk)
                    desk.put(None)
                    yield self._picture(desk, language)
                case "to_ocr" if desk.picture is not None:
                    yield await self._to_ocr(desk, request)
                case "ask":
                    asking = self.ask(given.get("question", ""), told, model, request)
                    async with aclosing(asking) as steps:
                        async for updates in steps:
                            yield updates
        except AtelierError as error:
            warn(explain(error, language))

    async def _to_ocr(self, desk: Desk, request: gr.Request) -> Updates:
        """Have its text read in the OCR tab."""
        assert desk.picture is not None
        paper = await self.engine.documents.add(
            desk.picture.name, desk.picture.data, session=session_of(request)
        )
        return {self.w.outcome: _outcome("ocr", open=paper.id)}

    # Asking

    async def ask(
        self, message: str, told: str, model: str | None, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Ask what was typed about the picture; it comes back into the box if it could not be asked."""
        desk, language = self.desks.of(told, request), reader(request)
        if not message.strip():
            yield {self.w.state: gr.skip()}
            return
        if desk.picture is None:
            yield {self.w.state: problem(say("vision.no_picture", language)), self.w.box: message}
            return
        if desk.running:
            warn(say("error.busy", language))
            yield {self.w.box: message}
            return
        if not model:
            yield {self.w.state: missing("vision.none_sees", language), self.w.box: message}
            return
        asked = Entry("user", message.strip())
        try:
            wanted = ask(model=model, messages=_messages(desk, asked))
        except AtelierError as error:
            yield {self.w.state: problem(explain(error, language)), self.w.box: message}
            return
        desk.said.append(asked)
        async with aclosing(self._answer(desk, wanted, request)) as updates:
            async for update in updates:
                yield update

    async def retry(
        self, event: gr.RetryData, told: str, model: str | None, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Have the last question answered again."""
        yield {self.w.state: gr.skip()}
        desk = self.desks.of(told, request)
        asked = [n for n, entry in enumerate(desk.said) if entry.role == "user"]
        if asked and not desk.running:
            text = desk.said[asked[-1]].text
            del desk.said[asked[-1] :]
            async with aclosing(self.ask(text, told, model, request)) as updates:
                async for update in updates:
                    yield update

    async def _answer(
        self, desk: Desk, wanted: ChatRequest, request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Paint an answer as it grows, and keep it. Another picture meanwhile: keep silent."""
        language, caller, picture = reader(request), caller_of(request), desk.picture
        title = title_of(self.engine, wanted.model or "")
        before = shown(desk.said, language)[0]
        result, failed = Result(), None
        desk.running = caller.request_id
        try:
            line = progress(result, None, title, language)
            yield {self.w.box: "", self.w.log: before, self.w.state: line}
            async with aclosing(paced(self.engine.run(wanted, caller))) as batches:
                async for batch in batches:
                    state = None
                    for event in batch:
                        result.add(event)
                        state = event if isinstance(event, WAITING) else None
                    if not batch or desk.picture is not picture:
                        yield {self.w.state: gr.skip()}  # notices a closed page
                        continue
                    yield self._growing(before, result, state, title, language)
        except AtelierError as error:
            failed = error
        finally:
            if desk.running == caller.request_id:
                desk.running = ""
            if desk.picture is picture and (result.text or result.reasoning):
                desk.said.append(_kept(result, wanted.model or "", failed))
        if desk.picture is not picture:
            return
        if desk.said and desk.said[-1].role == "user":  # nothing was said: the question goes back
            typed = desk.said.pop().text
            line = problem(explain(failed, language)) if failed else ""
            yield {
                self.w.log: shown(desk.said, language)[0],
                self.w.box: typed,
                self.w.state: line or self._resting(desk, language),
            }
            return
        line = problem(explain(failed, language)) if failed else self._resting(desk, language)
        yield {self.w.log: shown(desk.said, language)[0], self.w.state: line}

    def _growing(
        self, before: Sequence[Any], result: Result, state: Event | None, title: str, language: str
    ) -> Updates:
        log = list(before)
        if result.text or result.reasoning:
            log += answer(result.text, result.reasoning, language, growing=True)
        return {self.w.log: log, self.w.state: progress(result, state, title, language)}

    def halt(self, told: str, request: gr.Request) -> None:
        """The Stop button: end the answer with what is there."""
        self._halt(self.desks.of(told, request))

    def _halt(self, desk: Desk) -> None:
        if desk.running:
            self.engine.stop_request(desk.running)


def _messages(desk: Desk, asked: Entry) -> tuple[Message, ...]:
    """The conversation as the model reads it: the picture goes with the first question."""
    assert desk.picture is not None
    image = ImagePart(data=desk.picture.data)
    rows = [entry for entry in (*desk.said, asked) if entry.text]
    return tuple(
        Message(role=e.role, parts=(image, TextPart(text=e.text)))
        if n == 0
        else Message.of(e.role, e.text)
        for n, e in enumerate(rows)
    )


def _kept(result: Result, model: str, failed: AtelierError | None) -> Entry:
    done = result.done
    finish = "failed" if failed else "stopped" if done is None or done.stopped else done.finish
    return Entry(
        "assistant", result.text, result.reasoning, model=model, finish=finish,
        error=failed.message if failed else "", usage=asdict(result.usage),
    )  # fmt: skip


def _outcome(go: str, **data: str) -> str:
    given = "".join(f' data-{name}="{value}"' for name, value in data.items())
    return f'<i data-go="{go}" data-stamp="{time.time_ns()}"{given}></i>'
