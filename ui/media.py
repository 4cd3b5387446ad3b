"""The media corner: an address is pasted, one sees what lies there, takes it, and sends it on to another tab.

`build_media` lays it out wherever it is called; it stands once on the page. What it looks like is `ui/media_views.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from engine import AtelierError, Engine, Ticket
from ui.media_views import Job, Shown, card, jobs
from ui.parts import QUIET, Seen, explain, html, reader, session_of, told_by, warn
from ui.words import label

PLACES = '<div data-view="found"></div><div data-view="jobs"></div>'
LISTED = 8  # jobs that are shown
REMEMBERED = 1000  # browsers whose last address is remembered
BEAT = 0.5  # seconds between two signs of life while an address is looked at
Updates = dict[Any, Any]
Steps = AsyncGenerator[Updates]


def build_media(engine: Engine) -> None:
    """Lay the corner out inside the page that is being built."""
    with gr.Column(elem_id="media"):
        with gr.Row(elem_id="media-ask"):
            box = gr.Textbox(
                placeholder=label("media.paste"), label=label("media.address"), show_label=False, container=False,
                max_lines=1, max_length=8000, elem_id="media-url", scale=1,
            )  # fmt: skip
            look = gr.Button(label("media.look"), elem_id="media-go", size="sm", scale=0)
        html("media-view", PLACES)
    found, running = (html(f"media-{name}", visible="hidden") for name in ("found", "jobs"))
    looks, does = (
        gr.Textbox(elem_id=f"media-{name}", visible="hidden", show_label=False)
        for name in ("look", "do")
    )
    corner = Corner(engine, found, running)
    both = [found, running]
    box.submit(corner.ask, box, both, **QUIET)
    look.click(corner.ask, box, both, **QUIET)
    looks.change(corner.look, looks, both, **{**QUIET, "trigger_mode": "always_last"})
    does.change(corner.act, does, both, **QUIET)


@dataclass(slots=True)
class Corner:
    """The corner's handlers over one engine.

    Args:
        found, jobs: the hidden places from which the page's script takes what was painted.
    """

    engine: Engine
    found: gr.Markdown
    jobs: gr.Markdown
    seen: Seen = field(default_factory=Seen)
    _shown: OrderedDict[str, Shown] = field(default_factory=OrderedDict)
    _then: OrderedDict[str, str] = field(default_factory=OrderedDict)  # job: the tab it goes to

    async def ask(self, url: str, request: gr.Request) -> Steps:
        """An address was given: look what lies there."""
        session, url = session_of(request), (url or "").strip()
        if not url:
            yield {self.found: gr.skip()}
            return
        if "://" not in url[:12] and "." in url:
            url = f"https://{url}"
        shown = self._show(session, Shown(url))
        yield self._painted(request)
        work = asyncio.create_task(self._looked(shown, reader(request)))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=BEAT)
                yield {self.found: gr.skip()}  # closed soon after its page
            await work
        finally:
            work.cancel()
        yield self._painted(request)

    async def _looked(self, shown: Shown, language: str) -> None:
        try:
            shown.found = await self.engine.media.analyze(shown.url)
            shown.picture = await self.engine.media.picture(shown.found)
        except AtelierError as error:
            shown.error = error.message if error.param == "url" else explain(error, language)

    def _show(self, session: str, shown: Shown) -> Shown:
        self._shown[session] = shown
        self._shown.move_to_end(session)
        while len(self._shown) > REMEMBERED:
            self._shown.popitem(last=False)
        return shown

    async def look(self, told: str, request: gr.Request) -> Updates:
        """The page looks how far its jobs are; `all` when it has just come."""
        return self._painted(request, everything="all" in told_by(told))

    def _painted(self, request: gr.Request, everything: bool = False) -> Updates:
        session, language = session_of(request), reader(request)
        texts = (
            card(self._shown.get(session), language),
            jobs([self._job(ticket) for ticket in self._tickets(session)], language),
        )
        news = self.seen.news(str(request.session_hash), texts, everything)
        places = (self.found, self.jobs)
        return {p: t if new else gr.skip() for p, t, new in zip(places, texts, news, strict=True)}

    def _tickets(self, session: str) -> list[Ticket]:
        """This browser's jobs, newest first."""
        mine = [t for t in self.engine.jobs.list() if t.kind == "media" and t.session == session]
        return mine[:LISTED]

    def _job(self, ticket: Ticket) -> Job:
        taken = None
        if ticket.phase == "done":
            with suppress(AtelierError):  # of a result that was forgotten
                taken = self.engine.media.result(ticket.id)
        return Job(ticket, taken, self._then.get(ticket.id, ""))

    async def act(self, told: str, request: gr.Request) -> Steps:
        """Something was pressed: JSON with `act` and what it is about."""
        yield {self.found: gr.skip()}
        given = told_by(told)
        session = session_of(request)
        try:
            match given.get("act"):
                case "take":
                    self._take(given, session)
                case "cancel":
                    if any(t.id == given.get("job") for t in self._tickets(session)):
                        self.engine.jobs.cancel(given["job"])
                        await asyncio.sleep(0.05)  # its end is seen at once
                case "clear":
                    self._shown.pop(session, None)
        except AtelierError as error:
            warn(explain(error, reader(request)))
        yield self._painted(request)

    def _take(self, given: dict[str, str], session: str) -> None:
        shown = self._shown.get(session)
        if shown is None:
            return
        ticket = self.engine.media.begin(
            shown.url,
            session=session,
            format=given.get("format", ""),
            folder=given.get("folder", ""),
        )
        shown.taken_at = time.time()
        if tab := given.get("then"):
            self._then[ticket.id] = tab
        while len(self._then) > REMEMBERED:
            self._then.popitem(last=False)
