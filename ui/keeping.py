"""What happens in the Models tab: looking, downloading, loading, pinning, adding, removing.

The page's script tells what was pressed; answers are painted by `ui/cards.py`, `ui/monitor.py` and `ui/dialogs.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from engine import AtelierError, BadValue, Engine, Forbidden, ModelSpec, Ticket, Unknown
from ui import dialogs
from ui.cards import plan_line, shelf
from ui.header import name_of
from ui.monitor import monitor
from ui.painting import Updates
from ui.parts import Seen, acted, explain, reader, session_of, told_by
from ui.stock import Stock
from ui.words import say


@dataclass(frozen=True, slots=True)
class Places:
    """The hidden places from which the page's script takes what the server painted."""

    cards: gr.Markdown
    live: gr.Markdown
    sheet: gr.Markdown
    outcome: gr.Markdown

    @property
    def all(self) -> list[Any]:
        return [self.cards, self.live, self.sheet, self.outcome]


@dataclass(slots=True)
class Keeping:
    """The tab's handlers over one engine."""

    engine: Engine
    w: Places
    stock: Stock
    seen: Seen = field(default_factory=Seen)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    # Looking

    async def look(self, told: str, request: gr.Request) -> Updates:
        """The page looks: "all#…" when it has just come, "#…" after that."""
        return await self.view(request, told.startswith("all"))

    async def view(self, request: gr.Request, everything: bool = False) -> Updates:
        """What changed since this page looked last."""
        language = reader(request)
        scene = await self.stock.scene()
        mine = {t.id for t in scene.jobs if may_change(t, request)}
        cards = shelf(scene, language)
        live = monitor(scene, mine, self.engine.settings.keep_alive, language)
        new = self.seen.news(str(request.session_hash), (cards, live), everything)
        return {
            self.w.cards: cards if new[0] else gr.skip(),
            self.w.live: live if new[1] else gr.skip(),
        }

    # Acting

    async def act(self, told: str, request: gr.Request) -> AsyncGenerator[Updates]:
        """Something was pressed: JSON with `act` and its values, "#" and a number that makes it news."""
        given = told_by(told)
        steps = acted(self._steps(), given, request, self.w.outcome, self.w.sheet)
        async with aclosing(steps) as updates:
            async for update in updates:
                yield update
        if given.get("act") in self._steps():
            self.stock.forget()
            yield await self.view(request)

    def _steps(self) -> dict[str, Callable[[dict[str, str], gr.Request], AsyncGenerator[Updates]]]:
        steps = (
            self.close, self.ask_download, self.download, self.pause, self.resume, self.retry,
            self.ask_cancel, self.cancel, self.stop, self.ask_load, self.ask_form, self.load, self.unload,
            self.pin, self.keep, self.default, self.chat, self.ask_remove, self.remove,
            self.ask_add, self.add, self.ask_forget, self.forget, self.refresh, self.ask_pull, self.pull,
        )  # fmt: skip
        return {step.__name__: step for step in steps}

    async def close(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        yield {self.w.sheet: ""}

    # Downloads

    async def ask_download(
        self, given: dict[str, str], request: gr.Request
    ) -> AsyncGenerator[Updates]:
        """Show what would be fetched and under which licence."""
        language, model = reader(request), given.get("model", "")
        title = self._title(model)
        heading = say("models.download_title", language, name=title)
        yield {self.w.sheet: dialogs.waiting(heading, language)}
        try:
            offer = await self.engine.downloads.look(model)
        except AtelierError as error:
            if error.code == "GATED":
                repo = self._spec(model).repo or model
                yield {self.w.sheet: dialogs.gated(title, repo, language)}
            else:
                wrong = dialogs.sheet(heading, "", language, error=explain(error, language))
                yield {self.w.sheet: wrong}
            return
        yield {self.w.sheet: dialogs.download(offer, title, language)}

    async def download(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """The licence was accepted: begin."""
        language, model = reader(request), given.get("model", "")
        try:
            await self.engine.downloads.begin(
                model, accept_licence=True, session=session_of(request)
            )
        except AtelierError as error:
            title = say("models.download_title", language, name=self._title(model))
            wrong = dialogs.sheet(title, "", language, error=explain(error, language))
            yield {self.w.sheet: wrong}
            return
        yield {self.w.sheet: "", **await self.view(request)}

    async def pause(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        self.engine.downloads.pause(self._held(given, request).id)
        yield await self.view(request)

    async def resume(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        self.engine.downloads.resume(self._held(given, request).id)
        yield await self.view(request)

    async def retry(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        self.engine.downloads.retry(self._held(given, request).id)
        yield await self.view(request)

    async def ask_cancel(
        self, given: dict[str, str], request: gr.Request
    ) -> AsyncGenerator[Updates]:
        ticket = self._held(given, request)
        yield {self.w.sheet: dialogs.cancel(ticket, self._title(ticket.model), reader(request))}

    async def cancel(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        self.engine.jobs.cancel(self._held(given, request).id)
        yield {self.w.sheet: ""}

    async def stop(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """End a request with what is there."""
        self.engine.jobs.cancel(self._held(given, request).id)
        yield await self.view(request)

    def _held(self, given: dict[str, str], request: gr.Request) -> Ticket:
        return check_own(self.engine, given.get("job", ""), request)

    # Memory

    async def ask_load(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """Load at once, unless something has to leave for it: then show the plan first."""
        language, spec = reader(request), self._spec(given.get("model", ""))
        self.stock.forget()
        scene = await self.stock.scene()
        plan = await asyncio.to_thread(self.stock.plan, spec.id)
        if plan is None or not plan.unloads:
            async for updates in self.load(given, request):
                yield updates
            return
        names = {card.spec.id: name_of(card.spec) for card in scene.cards}
        line = plan_line(plan, names, language)
        gone = [names.get(m.id, m.id) for m in plan.unloads]
        stays = [names.get(name, name) for name in plan.stays]
        yield {self.w.sheet: dialogs.load(spec, line, gone, stays, language)}

    async def load(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """Load it. It goes on when the page is left meanwhile."""
        model = self._spec(given.get("model", "")).id
        task = asyncio.create_task(self._loaded(model, given.get("form", "")))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        yield {self.w.sheet: "", **await self.view(request)}
        while not task.done():
            await asyncio.wait([task], timeout=0.5)
            yield {self.w.outcome: gr.skip()}  # notices a closed page
        await task

    async def _loaded(self, model: str, form: str) -> None:
        self.stock.loading.add(model)
        try:
            await self.engine.load(model, quantisation=form)
        finally:
            self.stock.loading.discard(model)
            self.stock.forget()

    async def ask_form(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """Show what each form would take, and load the one that is chosen."""
        language, spec = reader(request), self._spec(given.get("model", ""))
        plans: dict[str, tuple[str, bool]] = {}
        for name in dialogs.FORMS:
            try:
                plan = await asyncio.to_thread(self.engine.plan, spec.id, quantisation=name)
            except AtelierError as error:
                plans[name] = (explain(error, language), False)
            else:
                plans[name] = (plan_line(plan, {}, language), plan.fits != "too_big")
        held = str(spec.options.get("quantisation") or "auto")
        yield {self.w.sheet: dialogs.form(spec, plans, held, language)}

    async def unload(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        await self.engine.evict(given.get("model", ""))
        yield await self.view(request)

    async def pin(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        self.engine.pin(given.get("model", ""), given.get("value") == "on")
        await asyncio.sleep(0.05)  # the lane does it between two steps
        yield await self.view(request)

    async def keep(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """How long a model that is in memory stays unused."""
        try:
            seconds = float(given.get("value", ""))
        except ValueError as error:
            raise BadValue("keep_alive: not a number. Give another value.") from error
        await self.engine.load(given.get("model", ""), keep_alive=seconds)
        yield await self.view(request)

    async def default(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        does = given.get("does", "")
        spec = self._spec(given.get("model", ""))
        if does in spec.does:
            self.engine.choose(does, spec.id)
        yield await self.view(request)

    async def chat(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """This browser's next conversation is with this model; the page's script turns to the chat tab."""
        spec = self._spec(given.get("model", ""))
        await self.engine.choose_for(session_of(request), spec.id)
        yield {self.w.outcome: f'<i data-go="chat" data-stamp="{time.time_ns()}"></i>'}

    # The catalog

    async def ask_remove(
        self, given: dict[str, str], request: gr.Request
    ) -> AsyncGenerator[Updates]:
        _admins_only(request)
        spec = self._spec(given.get("model", ""))
        yield {self.w.sheet: dialogs.remove(spec, reader(request))}

    async def remove(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        _admins_only(request)
        await self.engine.remove_model(given.get("model", ""))
        yield {self.w.sheet: ""}

    async def ask_add(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        _admins_only(request)
        yield {self.w.sheet: dialogs.add(reader(request))}

    async def add(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """Find out what was pasted and take it in; say why not, with what was pasted still there."""
        _admins_only(request)
        language, what = reader(request), given.get("what", "").strip()
        try:
            specs = await self.engine.add_model(what, given.get("key", "").strip())
        except AtelierError as error:
            yield {self.w.sheet: dialogs.add(language, what, explain(error, language))}
            return
        present = all(self.engine.downloads.is_present(spec) for spec in specs)
        self.stock.forget()
        yield {self.w.sheet: dialogs.added(specs, present, language), **await self.view(request)}

    async def ask_forget(
        self, given: dict[str, str], request: gr.Request
    ) -> AsyncGenerator[Updates]:
        _admins_only(request)
        server = self.engine.servers.get(given.get("server", ""))
        yield {self.w.sheet: dialogs.forget(server, reader(request))}

    async def forget(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        _admins_only(request)
        await self.engine.servers.remove(given.get("server", ""))
        yield {self.w.sheet: ""}

    async def refresh(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """Ask the other servers again."""
        await self.engine.servers.refresh()
        yield await self.view(request)

    async def ask_pull(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        _admins_only(request)
        yield {self.w.sheet: dialogs.pull(reader(request))}

    async def pull(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """Have the Ollama server fetch a model; it is a job like any other download."""
        _admins_only(request)
        language, what = reader(request), given.get("model", "").strip()
        try:
            await self.engine.downloads.begin(what, source="ollama", session=session_of(request))
        except AtelierError as error:
            yield {self.w.sheet: dialogs.pull(language, what, explain(error, language))}
            return
        yield {self.w.sheet: "", **await self.view(request)}

    def _spec(self, model: str) -> ModelSpec:
        return self.engine.registry.find(model)

    def _title(self, model: str) -> str:
        try:
            return name_of(self._spec(model))
        except Unknown:
            return model


def is_admin(request: gr.Request) -> bool:
    """Whether the gate let this reader in as an admin; without tokens it does so with everybody."""
    return getattr(getattr(request, "state", None), "rank", None) == "admin"


def may_change(ticket: Ticket, request: gr.Request) -> bool:
    """Whoever began it may, and an admin; without tokens everybody is one."""
    return is_admin(request) or ticket.session == session_of(request)


def check_own(engine: Engine, job: str, request: gr.Request) -> Ticket:
    """The ticket of a job that this reader may change.

    Raises:
        Unknown: there is none; another's request is not said to be there. Forbidden: another's download.
    """
    ticket = engine.jobs.get(job)
    if may_change(ticket, request):
        return ticket
    if ticket.kind == "request":
        raise Unknown("There is no such job. It may have ended a while ago.", param="id")
    raise Forbidden(say("models.not_yours", reader(request)))


def _admins_only(request: gr.Request) -> None:
    if not is_admin(request):
        raise Forbidden(say("models.admins_only", reader(request)))
