"""What can be done with a kept conversation in the chat tab: search, rename, delete, export."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from engine import AtelierError, Engine, Unknown
from ui.conversations import file_of, flat
from ui.painting import Painter, Updates, Widgets
from ui.parts import explain, reader, warn
from ui.talk import Talk
from ui.words import say


@dataclass(frozen=True, slots=True)
class Dialogs:
    """The two dialogs over the page, and the place from which the page's script saves a file."""

    rename: gr.Column
    name: gr.Textbox
    delete: gr.Column
    question: gr.Markdown
    file: gr.Markdown


@dataclass(frozen=True, slots=True)
class Shelf:
    """The handlers for one engine."""

    engine: Engine
    w: Widgets
    d: Dialogs
    paint: Painter
    talk: Talk

    async def search(self, query: str, request: gr.Request) -> Updates:
        if self.paint.views.newest(request) is None:  # the box was put up, nobody typed
            return {self.w.listing: gr.skip()}
        return await self.paint.listing(request, query)

    async def ask_name(self, opened: str, request: gr.Request) -> Updates:
        """Open the rename dialog with the present name."""
        found = await self._get(opened, request)
        if found is None:
            return {self.d.rename: gr.Column(visible=False)}
        return {self.d.rename: gr.Column(visible=True), self.d.name: found.title}

    async def rename(self, opened: str, name: str, query: str, request: gr.Request) -> Updates:
        """Give it the name; an empty one changes nothing."""
        updates: Updates = {self.d.rename: gr.Column(visible=False)}
        found = await self._get(opened, request)
        if found is None or not name.strip():
            return updates
        found = await self.engine.conversations.rename(opened, name)
        return {**updates, **self.paint.named(found), **await self.paint.listing(request, query)}

    async def ask_delete(self, opened: str, request: gr.Request) -> Updates:
        """Open the dialog that asks whether to delete."""
        found = await self._get(opened, request)
        if found is None:
            return {self.d.delete: gr.Column(visible=False)}
        language = reader(request)
        title = found.title or say("chat.untitled", language)
        heading = flat(say("chat.delete_title", language, title=title))
        warning = flat(say("chat.delete_warning", language))
        html = f"<div><h2>{heading}</h2><p>{warning}</p></div>"
        return {self.d.delete: gr.Column(visible=True), self.d.question: html}

    async def delete(self, opened: str, request: gr.Request) -> Updates:
        """Delete it, its running answer too, and show a new one."""
        with suppress(Unknown):  # someone else was faster: it is gone, as wanted
            await self.engine.conversations.delete(opened)
        return {**await self.talk.open("", request), self.d.delete: gr.Column(visible=False)}

    async def export_markdown(self, opened: str, request: gr.Request) -> Updates:
        return await self._export(opened, "markdown", request)

    async def export_json(self, opened: str, request: gr.Request) -> Updates:
        return await self._export(opened, "json", request)

    async def _export(
        self, opened: str, kind: Literal["json", "markdown"], request: gr.Request
    ) -> Updates:
        found = await self._get(opened, request)
        if found is None:
            return {self.d.file: ""}
        text = await self.engine.conversations.export(opened, kind)
        return {self.d.file: file_of(found, text, kind, str(time.time_ns()))}

    async def _get(self, opened: str, request: gr.Request) -> Any:
        """The open conversation; None, with a toast, when it is gone."""
        try:
            return await self.engine.conversations.get(opened)
        except AtelierError as error:
            warn(explain(error, reader(request)))
            return None
