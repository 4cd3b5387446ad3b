"""What every tab shares: who asks, in which language, at what pace a stream is shown, and components in our way.

Knows the engine's public types and no tab.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2s
from html import escape
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import gradio as gr
from pydantic import BaseModel, ValidationError

from engine import (
    AtelierError,
    BadValue,
    Caller,
    ChatRequest,
    Priority,
)
from ui.words import knows, language_of, say

SESSION_COOKIE = "atelier_page"
TOLD = 20_000  # characters of what a page tells at once
Asked = TypeVar("Asked", bound=BaseModel)
Told = TypeVar("Told")
_SESSION = re.compile(r"[A-Za-z0-9-]{8,64}")


# Who asks


def session_of(request: gr.Request) -> str:
    """The browser's own id, from the cookie the page's script sets; else the id of this one page."""
    given = str(request.cookies.get(SESSION_COOKIE, ""))
    return given if _SESSION.fullmatch(given) else str(request.session_hash or "")


def caller_of(
    request: gr.Request, dialect: str = "ui", priority: Priority = Priority.CHAT
) -> Caller:
    """The caller of a page's event or of an API endpoint."""
    return Caller(
        name=str(request.username or "local"),
        dialect=dialect,
        session=session_of(request),
        priority=priority,
        request_id=uuid.uuid4().hex,
    )


def reader(request: gr.Request) -> str:
    """The language the person reads, of those the page speaks."""
    return language_of(str(request.headers.get("accept-language", "")))


def address(request: gr.Request) -> str:
    """The page's address as its browser sees it, without a slash at the end."""
    referer = urlsplit(str(request.headers.get("referer", "")))
    if referer.scheme in {"http", "https"} and referer.netloc:
        return f"{referer.scheme}://{referer.netloc}{referer.path}".rstrip("/")
    origin = str(request.headers.get("origin", ""))
    if origin.startswith(("http://", "https://")):
        return origin.rstrip("/")
    return f"http://{request.headers.get('host', '127.0.0.1:7860')}"


def told_by(page: str) -> dict[str, str]:
    """What the page's script told: JSON, then "#" and a number that makes it news. Its strings alone are
    taken; empty where it is something else."""
    text = page.rpartition("#")[0]
    try:
        given = json.loads(text) if len(text) <= TOLD else None
    except ValueError:
        return {}
    if not isinstance(given, dict):
        return {}
    return {str(name): value for name, value in given.items() if isinstance(value, str)}


Step = Callable[[dict[str, str], gr.Request], AsyncGenerator[dict[Any, Any]]]


async def acted(
    steps: Mapping[str, Step], given: dict[str, str], request: gr.Request, outcome: Any, sheet: Any
) -> AsyncGenerator[dict[Any, Any]]:
    """The updates of what was pressed on a painted tab: the step that `act` names.

    Args:
        given: what the tab's script told; a step may change it for those who look at it afterwards.
        outcome, sheet: places of the tab; an error is a toast and closes the sheet.
    """
    yield {outcome: gr.skip()}  # a generator that yields nothing would empty every output
    step = steps.get(given.get("act", ""))
    if step is None:
        return
    try:
        async for updates in step(given, request):
            yield updates
    except AtelierError as error:
        warn(explain(error, reader(request)))
        yield {sheet: ""}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a page or a client uploaded."""

    name: str
    data: bytes = field(repr=False)


async def uploads(given: Any) -> AsyncGenerator[Upload]:
    """The files a component got, for events with `preprocess=False`; what is no upload is left out.

    Gradio has checked the paths already. They are checked again, because reading another file would be grave.
    """
    for one in given if isinstance(given, list) else [given]:
        if upload := await asyncio.to_thread(_read, one):
            yield upload


def _read(one: Any) -> Upload | None:
    if not isinstance(one, dict) or not isinstance(one.get("path"), str):
        return None
    path, folder = Path(one["path"]).resolve(), os.environ.get("GRADIO_TEMP_DIR", "")
    if not folder or not path.is_relative_to(Path(folder).resolve()) or not path.is_file():
        return None
    return Upload(str(one.get("orig_name") or path.name), path.read_bytes())


# Requests and errors


def ask(**values: Any) -> ChatRequest:
    """A chat request from form values; None and empty strings mean "not given".

    Raises:
        BadValue: a value is out of its range; `param` names the field.
    """
    return make(ChatRequest, **values)


def make(kind: type[Asked], **values: Any) -> Asked:
    """A request of whatever kind, as `ask` makes one of a chat."""
    given = {name: value for name, value in values.items() if value is not None and value != ""}
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        why = str(first["msg"]).removeprefix("Value error, ")
        name, colon, rest = why.partition(": ")
        if first["loc"]:
            name = str(first["loc"][0])
        elif colon and name.isidentifier():  # a rule over several fields names the one at fault
            why = rest
        else:
            name = "messages"
        raise BadValue(f"{name}: {why}. Give another value.", param=name) from error


def explain(error: AtelierError, language: str) -> str:
    """The error as a sentence with a next step, in the reader's language where we have it."""
    if isinstance(error.__cause__, ValueError) and error.param:
        key = f"chat.{error.param}" if error.param != "stop" else "chat.stop_strings"
        name = say(key, language) if knows(key) else error.param
        return say("error.params", language, name=name)
    key = f"error.{error.code}"
    return say(key, language) if knows(key) else error.message


def warn(text: str) -> None:
    """A toast; the text is shown as it is, never as markup. Gradio's title over it is hidden."""
    gr.Warning(escape(text), duration=8)


# Streams


async def paced(
    events: AsyncIterator[Told], every: float = 1 / 15, beat: float = 0.25
) -> AsyncGenerator[list[Told]]:
    """A stream in batches: at most one per `every` seconds, and one (maybe empty) at least per `beat`.

    The empty ones are heartbeats: a handler that yields on each is closed soon after its page. Closing this
    generator closes `events`; an error of `events` comes after everything it sent before.
    """
    loop = asyncio.get_running_loop()
    arrived: list[Told] = []
    news = asyncio.Event()

    async def pump() -> None:
        try:
            async for event in events:
                arrived.append(event)
                news.set()
        finally:
            news.set()

    task = asyncio.create_task(pump())
    try:
        while True:
            if not task.done():
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), beat)
            news.clear()
            batch, arrived[:] = arrived[:], []
            if batch or not task.done():
                shown = loop.time()
                yield batch
                await asyncio.sleep(max(0.0, every - (loop.time() - shown)))
            else:
                break
        task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


@dataclass(frozen=True, slots=True)
class View:
    """What one page shows since it last opened something; `thing` is the id of what it opened."""

    page: str
    number: int
    thing: str


class Views:
    """The newest view of each page. A handler that follows a stream paints only while its view is the
    newest; after that it goes on silently, so that what it follows lives as long as the page does.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._newest: OrderedDict[str, View] = OrderedDict()
        self._limit = limit
        self._count = 0

    def begin(self, request: gr.Request, thing: str) -> View:
        """The page opens something: all its views before are history."""
        self._count += 1
        view = View(str(request.session_hash or ""), self._count, thing)
        self._newest[view.page] = view
        self._newest.move_to_end(view.page)
        while len(self._newest) > self._limit:
            self._newest.popitem(last=False)
        return view

    def current(self, view: View) -> bool:
        return self._newest.get(view.page) == view

    def newest(self, request: gr.Request) -> View | None:
        return self._newest.get(str(request.session_hash or ""))

    def opened(self, request: gr.Request) -> str:
        """The id of what this page shows."""
        view = self.newest(request)
        return view.thing if view else ""


AGAIN = 15.0  # seconds after which a page gets everything anew, should an update have been lost


@dataclass(slots=True)
class Seen:
    """What each page was sent last, so that nothing is sent twice."""

    limit: int = 10_000
    _pages: OrderedDict[str, tuple[float, tuple[bytes, ...]]] = field(default_factory=OrderedDict)

    def news(self, page: str, texts: Sequence[str], everything: bool) -> tuple[bool, ...]:
        """Which of the texts the page has to be sent."""
        marks = tuple(blake2s(text.encode(), digest_size=8).digest() for text in texts)
        now = time.monotonic()
        sent, before = self._pages.get(page, (-AGAIN, ()))
        if len(before) != len(marks):
            everything, before = True, marks
        everything = everything or now - sent > AGAIN
        self._pages[page] = (now if everything else sent, marks)
        self._pages.move_to_end(page)
        while len(self._pages) > self.limit:
            self._pages.popitem(last=False)
        return tuple(everything or a != b for a, b in zip(marks, before, strict=True))


# Components


def html(elem_id: str, value: str = "", **options: Any) -> gr.Markdown:
    """A place for HTML of our own making (its foreign values escaped).

    Markdown, because `gr.HTML` evaluates its value as a script template, which our content policy forbids.
    """
    return gr.Markdown(
        value, elem_id=elem_id, sanitize_html=False, latex_delimiters=[], padding=False, **options
    )


def opener(panel: str, text: Any, icon: str) -> gr.Button:
    """An icon button that opens and closes the element with id `panel`; the page's script does it."""
    return gr.Button(
        text, elem_id=f"{panel}-opener", elem_classes=["icon", f"pic-{icon}", "opens"], size="sm"
    )


def closer(text: Any) -> gr.Button:
    """An icon button that closes the panel it lies in."""
    return gr.Button(text, elem_classes=["icon", "pic-close", "closes"], size="sm")


# How all events of the page are wired: unseen by clients, unlimited (the engine has the queue), no overlay.
QUIET: dict[str, Any] = {
    "api_visibility": "private",
    "show_progress": "hidden",
    "concurrency_limit": None,
    "trigger_mode": "multiple",
}
