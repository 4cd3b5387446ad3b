"""What happens in the chat tab: opening, asking, following, stopping, editing, managing conversations.

Handlers give updates by component; what those look like is `ui/painting.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from engine import (
    WAITING,
    AtelierError,
    BadValue,
    ChatRequest,
    Conflict,
    Conversation,
    Engine,
    Entry,
    Message,
    Result,
    Turn,
    Unknown,
)
from ui.conversations import problem, shown
from ui.painting import Painter, Updates, Widgets
from ui.parts import View, Views, ask, caller_of, explain, paced, reader, session_of, warn
from ui.words import say

OPTIONS = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed",
)  # fmt: skip
WHOLE = ("top_k", "max_tokens", "seed")


@dataclass(frozen=True, slots=True)
class Talk:
    """The tab's handlers over one engine."""

    engine: Engine
    w: Widgets
    views: Views
    paint: Painter

    # Opening

    async def new(self, request: gr.Request) -> Updates:
        return await self.open("", request)

    async def turn_to(self, told: str, request: gr.Request) -> Updates:
        """The page's script told what to open, at first and on each click: "id#", and a number that makes
        it news. Not Gradio's `load`: that may come before the components are there, and is lost then.
        """
        return await self.open(told.partition("#")[0][:64], request)

    async def open(self, wanted: str, request: gr.Request) -> Updates:
        """Show a conversation; "" is a new one. `resume` comes next."""
        found, entries = await self._find(wanted, request)
        self.views.begin(request, found.id if found else "")
        asked = [n for n, entry in enumerate(entries) if entry.role == "user"]
        said = entries[: asked[-1] + 1] if asked else ()
        return {
            **self.paint.opening(found, entries, request),
            **self.paint.code(request, found, said),
            **await self.paint.listing(request),
        }

    async def resume(self, request: gr.Request) -> AsyncGenerator[Updates]:
        """Follow the answer that is being written into what was opened, if there is one.

        An event of its own, so that all of `open` has been painted when the stream begins.
        """
        yield {self.w.state: gr.skip()}  # a generator that yields nothing would empty every output
        view = self.views.newest(request)
        turn = self.engine.turns.get(view.thing) if view and view.thing else None
        if view is not None and turn is not None:
            async for updates in self._follow(turn, view, request):
                yield updates

    async def _find(
        self, wanted: str, request: gr.Request
    ) -> tuple[Conversation | None, Sequence[Entry]]:
        if not wanted:
            return None, ()
        try:
            found = await self.engine.conversations.get(wanted)
            return found, await self.engine.conversations.entries(wanted)
        except Unknown:
            warn(say("error.gone", reader(request)))
            return None, ()

    # Asking

    async def send(self, message: str, request: gr.Request, **form: Any) -> AsyncGenerator[Updates]:
        """Ask what was typed; it comes back into the box if it could not be asked."""
        async for updates in self._ask(message, None, request, form):
            yield updates

    async def sample(
        self, event: gr.SelectData, request: gr.Request, **form: Any
    ) -> AsyncGenerator[Updates]:
        """Ask one of the sample questions."""
        async for updates in self._ask(str(event.value["text"]), None, request, form):
            yield updates

    async def edit(
        self, event: gr.EditData, request: gr.Request, **form: Any
    ) -> AsyncGenerator[Updates]:
        """Ask again with a message changed; what came after it goes."""
        entries = await self._entries(form["opened"])
        place = self._place(entries, event.index, request)
        async for updates in self._ask(str(event.value), place, request, form):
            yield updates

    async def retry(
        self, event: gr.RetryData, request: gr.Request, **form: Any
    ) -> AsyncGenerator[Updates]:
        """Have the last question answered again."""
        yield {self.w.state: gr.skip()}  # a generator that yields nothing would empty every output
        entries = await self._entries(form["opened"])
        asked = [n for n, entry in enumerate(entries) if entry.role == "user"]
        if asked:
            text = entries[asked[-1]].text
            async for updates in self._ask(text, asked[-1], request, form):
                yield updates

    async def _entries(self, opened: str) -> Sequence[Entry]:
        try:
            return await self.engine.conversations.entries(opened)
        except Unknown:
            return ()

    def _place(self, entries: Sequence[Entry], index: Any, request: gr.Request) -> int:
        """The number of the entry that the chatbot shows at `index`."""
        places = shown(entries, reader(request))[1]
        at = index[0] if isinstance(index, list | tuple) else int(index)
        return places[at] if 0 <= at < len(places) else len(entries)

    async def _ask(
        self, text: str, keep: int | None, request: gr.Request, form: dict[str, Any]
    ) -> AsyncGenerator[Updates]:
        """Ask in the open conversation, after its first `keep` messages (None: all of them)."""
        if not text.strip():
            yield {self.w.state: gr.skip()}
            return
        language = reader(request)
        opened = str(form["opened"] or "")
        try:
            if opened and self.engine.turns.get(opened):
                raise Conflict(say("error.busy", language))
            entries = (await self.engine.conversations.entries(opened))[:keep] if opened else ()
            options = _options(form)
            wanted = ask(
                model=form.get("model") or self.paint.model_of(None, request),
                messages=_messages(str(form.get("system") or ""), entries, text),
                **options,
            )
            found, turn = await self._begin(opened, wanted, keep, text, form, request)
        except AtelierError as error:
            yield await self._refused(opened, text if keep is None else None, error, language)
            return
        view = self.views.begin(request, found.id)
        yield {
            self.w.opened: found.id,
            **({self.w.box: ""} if keep is None else {}),
            **self.paint.named(found),
            **self.paint.code(request, found, [*entries, Entry("user", text)]),
            **await self.paint.listing(request),
        }
        draft = Draft(text, len(entries)) if keep is None else None
        async for updates in self._follow(turn, view, request, draft):
            yield updates

    async def _begin(
        self,
        opened: str,
        wanted: ChatRequest,
        keep: int | None,
        text: str,
        form: dict[str, Any],
        request: gr.Request,
    ) -> tuple[Conversation, Turn]:
        """The turn, in its conversation; a conversation made for a turn that cannot begin goes again."""
        chats = self.engine.conversations
        place = opened or (await chats.create()).id
        try:
            kept = {n: list(v) if n == "stop" else v for n, v in _options(form).items()}
            system = str(form.get("system") or "")
            await chats.set(place, model=wanted.model or "", system=system, parameters=kept)
            if keep is not None:
                await chats.truncate(place, keep)
            turn = await self.engine.turns.ask(place, wanted, caller_of(request), text)
        except AtelierError:
            if not opened:
                await chats.delete(place)
            raise
        return await chats.get(place), turn

    async def _refused(
        self, opened: str, text: str | None, error: AtelierError, language: str
    ) -> Updates:
        """Nothing was asked: what is kept stays as it is, and what was typed is in the box again."""
        updates: Updates = {self.w.box: text} if text is not None else {}
        if opened and self.engine.turns.get(opened) is None:
            updates[self.w.log] = shown(await self._entries(opened), language)[0]
        if isinstance(error, Conflict):
            warn(error.message)  # the line under the answer tells of something else
            return updates or {self.w.box: gr.skip()}
        return {**updates, self.w.state: problem(explain(error, language))}

    # Following

    async def _follow(
        self, turn: Turn, view: View, request: gr.Request, draft: Draft | None = None
    ) -> AsyncGenerator[Updates]:
        """Paint an answer as it grows. When the page shows something else by now, only keep it company."""
        language = reader(request)
        model = turn.request.model or ""
        before = shown(await self._entries(turn.conversation_id), language)[0]
        result, state = Result(), None
        if self.views.current(view):
            yield self.paint.following(before, result, state, model, language)
        try:
            async with aclosing(paced(turn.follow())) as batches:
                async for batch in batches:
                    for event in batch:
                        result.add(event)
                        state = event if isinstance(event, WAITING) else None
                    if batch and self.views.current(view):
                        yield self.paint.following(before, result, state, model, language)
                    else:
                        yield {self.w.state: gr.skip()}  # notices a closed page
        except AtelierError as error:
            async for updates in self._failed(turn, view, request, draft, error, result):
                yield updates
            return
        yield await self._rest(turn.conversation_id, view, request)

    async def _rest(self, place: str, view: View, request: gr.Request) -> Updates:
        """An answer is over: the conversation as it was kept."""
        language = reader(request)
        updates = await self.paint.listing(request)
        if not self.views.current(view):
            return updates
        entries = await self._entries(place)
        updates |= self.paint.resting(entries, language) | self.paint.picker(language)
        updates[self.w.log] = shown(entries, language)[0]
        return updates

    async def _failed(
        self,
        turn: Turn,
        view: View,
        request: gr.Request,
        draft: Draft | None,
        error: AtelierError,
        result: Result,
    ) -> AsyncGenerator[Updates]:
        """An answer failed. If it had not begun, the question goes back into the box."""
        language = reader(request)
        place = turn.conversation_id
        line = {self.w.state: problem(explain(error, language))}
        if draft is None or result.text or result.reasoning or not self.views.current(view):
            rest = await self._rest(place, view, request)
            yield {**rest, **(line if self.views.current(view) else {})}
            return
        if draft.after:
            await self.engine.conversations.truncate(place, draft.after)
            rest = await self._rest(place, view, request)
            yield {**rest, **line, self.w.box: draft.text}
            return
        await self.engine.conversations.delete(place)
        self.views.begin(request, "")
        yield {
            self.w.opened: "",
            self.w.log: [],
            self.w.box: draft.text,
            **self.paint.named(None),
            **self.paint.resting((), language),
            **await self.paint.listing(request),
            **line,
        }

    async def halt(self, opened: str) -> None:
        """The Stop button: end the open conversation's answer with what is there."""
        turn = self.engine.turns.get(opened) if opened else None
        if turn is not None:
            await turn.stop()

    async def choose(self, model: str, request: gr.Request) -> None:
        """A model was picked: this browser's next conversations begin with it."""
        await self.engine.choose_for(session_of(request), model)


@dataclass(frozen=True, slots=True)
class Draft:
    """A question that was typed, and after how many messages it was asked."""

    text: str
    after: int


def _options(form: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were set, by their names in `ChatRequest`.

    Raises:
        BadValue: a field holds no number.
    """
    options: dict[str, Any] = {}
    for name in OPTIONS:
        text = str(form.get(name) or "").strip().replace(",", ".")
        if text:
            try:
                options[name] = int(text) if name in WHOLE else float(text)
            except ValueError as error:
                raise BadValue(f"{name}: not a number. Give another value.", param=name) from error
    stops = [line for line in str(form.get("stop") or "").splitlines() if line]
    return {**options, "stop": list(stops)} if stops else options


def _messages(system: str, entries: Sequence[Entry], text: str) -> tuple[Message, ...]:
    """The conversation as the model reads it; answers that failed with nothing said are left out."""
    rows = [Message.of("system", system)] if system.strip() else []
    rows += [Message.of(e.role, e.text) for e in entries if e.text]
    return (*rows, Message.of("user", text))
