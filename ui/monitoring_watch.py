"""What happens in the Monitoring tab: looking at one of its parts, ejecting, stopping, containers, asking for usage.

Memory and jobs are the Models tab's own part (`ui/monitor.py`, `ui/keeping.py`), shown here once more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from engine import AtelierError, Container, Forbidden
from ui import monitoring_charts as charts
from ui import monitoring_lists as lists
from ui import monitoring_live as live
from ui.header import name_of
from ui.keeping import Keeping, is_admin, may_change
from ui.monitor import monitor
from ui.monitoring_usage import SHOWN, Choice, latest, overview
from ui.painting import Updates
from ui.parts import Seen, explain, reader, session_of, told_by
from ui.words import say

HOUR = 3600.0
DRAWN = 10.0  # seconds between two drawings of the hour
ROWS = 120  # points of the hour's lines
RECORDS = 300
TAIL = 200
KEPT = 8.0  # seconds for which sums are shown again as they were
# What is done here as it is in the Models tab.
INHERITED = (
    "close", "pause", "resume", "retry", "ask_cancel", "cancel", "unload", "pin", "keep", "refresh",
)  # fmt: skip
Step = Callable[[dict[str, str], gr.Request], AsyncGenerator[Updates]]


@dataclass(frozen=True, slots=True)
class Places:
    """The hidden places from which the page's script takes what the server painted, and the two plots.

    Attributes:
        live, sheet, outcome: as in the Models tab; `cards` stays empty here.
    """

    cards: gr.Markdown
    live: gr.Markdown
    sheet: gr.Markdown
    outcome: gr.Markdown
    containers: gr.Markdown
    log: gr.Markdown
    usage: gr.Markdown
    rows: gr.Markdown
    hour: gr.Plot
    amounts: gr.Plot

    @property
    def all(self) -> list[Any]:
        """What an act may paint."""
        return [self.live, self.sheet, self.outcome, self.containers]

    @property
    def looked(self) -> list[Any]:
        """What a look may paint."""
        return [self.live, self.hour, self.containers, self.log, self.usage, self.rows, self.amounts]  # fmt: skip


@dataclass(slots=True)
class Watch(Keeping):
    """The tab's handlers over one engine."""

    w: Places  # type: ignore[assignment]  # the Models tab's places and more
    parts: dict[str, Seen] = field(default_factory=dict)
    drawn: dict[str, float] = field(default_factory=dict)
    _sums: dict[Any, tuple[float, Any]] = field(default_factory=dict)

    # Looking

    async def glance(self, request: gr.Request, told: str, **form: Any) -> Updates:
        """The page looks at one of the tab's parts: JSON with its name, "all" when it has just come."""
        given = told_by(told)
        part = given.get("part", "")
        everything = bool(given.get("all"))
        try:
            if part == "now":
                return await self.now(request, everything)
            if part == "containers":
                return await self.containers(request, given.get("opened", ""), everything)
            if part == "log":
                return self.log(request, form, everything)
            if part == "usage":
                return await self.usage(request, form, given.get("offset", "0"), everything)
        except AtelierError as error:
            place = {"containers": self.w.containers, "usage": self.w.usage}.get(part)
            if place is not None:
                said = lists.nothing(explain(error, reader(request)))
                return self._news(part, request, [(place, said)], everything)
        return {self.w.live: gr.skip()}

    async def view(self, request: gr.Request, everything: bool = False) -> Updates:
        """Tiles, memory and jobs; what changed since this page looked last."""
        language = reader(request)
        system = self.engine.monitor.system
        scene = await self.stock.scene()
        mine = {ticket.id for ticket in scene.jobs if may_change(ticket, request)}
        past = system.history(live.WINDOW, live.POINTS)
        painted = (
            f'<div class="shelf">{live.tiles(await system.now(), past, language)}'
            f"{monitor(scene, mine, self.engine.settings.keep_alive, language)}</div>"
        )
        return self._news("now", request, [(self.w.live, painted)], everything)

    async def now(self, request: gr.Request, everything: bool) -> Updates:
        """The same, and every ten seconds the hour's plot."""
        updates = await self.view(request, everything)
        page, moment = str(request.session_hash), time.monotonic()
        if everything or moment - self.drawn.get(page, -DRAWN) >= DRAWN:
            self.drawn.pop(page, None)
            self.drawn[page] = moment
            while len(self.drawn) > 1000:
                del self.drawn[next(iter(self.drawn))]
            past = self.engine.monitor.system.history(HOUR, ROWS)
            gpu = bool((await self.engine.monitor.system.now()).gpus)
            updates[self.w.hour] = await asyncio.to_thread(charts.hour, past, gpu, reader(request))
        return updates

    async def containers(
        self, request: gr.Request, opened: str = "", everything: bool = False
    ) -> Updates:
        """The containers' cards, one of them perhaps with its output."""
        language, theirs = reader(request), self.engine.monitor.containers
        if not is_admin(request):
            said = lists.nothing(say("models.admins_only", language))
        else:
            found = await theirs.list()
            there = any(one.id == opened for one in found)
            output = await theirs.logs(opened, TAIL) if there else ""
            prefix = self.engine.settings.containers_prefix
            said = lists.containers(found, opened, output, prefix, language)
        return self._news("containers", request, [(self.w.containers, said)], everything)

    def log(self, request: gr.Request, form: dict[str, Any], everything: bool) -> Updates:
        """The log's last records that fit the filter."""
        language = reader(request)
        if is_admin(request):
            level, text = str(form.get("level") or "INFO"), str(form.get("text") or "")[:200]
            found = self.engine.monitor.logs.entries(limit=RECORDS, level=level, text=text)
            said = lists.log(found, language)
        else:
            said = lists.nothing(say("models.admins_only", language))
        return self._news("log", request, [(self.w.log, said)], everything)

    async def usage(
        self, request: gr.Request, form: dict[str, Any], offset: str, everything: bool
    ) -> Updates:
        """Sums, amounts over time and a page of rows; of this reader's own requests where they are no admin."""
        language = reader(request)
        choice = Choice.of(form, "" if is_admin(request) else session_of(request))
        at = int(offset) if offset.isdigit() and len(offset) < 9 else 0
        filters = choice.filters(datetime.now(UTC))
        rows = await self.engine.usage.rows(limit=SHOWN, offset=at, **filters)
        totals, series = await self._summed(choice, filters)
        names = {spec.id: name_of(spec) for spec in self.engine.models()}
        painted = [
            (self.w.usage, overview(totals, choice, names, language)),
            (self.w.rows, latest(rows, at, names, language)),
        ]
        updates = self._news("usage", request, painted, everything)
        if updates[self.w.usage] != gr.skip() or everything:
            drawn = await asyncio.to_thread(
                charts.amounts, series, choice.moments(datetime.now(UTC)), names, language
            )
            updates[self.w.amounts] = drawn
        return updates

    async def _summed(self, choice: Choice, filters: Any) -> tuple[Any, Any]:
        """Sums and series; many pages and looks share them for a while, because they may cost seconds."""
        key = (choice.days, choice.by, choice.measure, tuple(choice.words.items()), choice.mine)
        moment, known = self._sums.get(key, (-KEPT, None))
        began = time.monotonic()
        if known is not None and began - moment < KEPT:
            found: tuple[Any, Any] = known
            return found
        ledger = self.engine.usage
        by: Any = choice.by
        over: Any = "model" if by == "day" else by
        found = await asyncio.gather(
            ledger.totals(by, **filters), ledger.series(over, choice.measure, **filters)
        )
        kept = max(KEPT, 10 * (time.monotonic() - began)) - KEPT
        self._sums = {k: v for k, v in self._sums.items() if began - v[0] < KEPT}
        self._sums[key] = (time.monotonic() + kept, found)
        return found

    def _news(
        self, part: str, request: gr.Request, painted: list[tuple[Any, str]], everything: bool
    ) -> Updates:
        """Of what was painted, that which this page does not have yet."""
        seen = self.parts.setdefault(part, Seen())
        new = seen.news(str(request.session_hash), [text for _, text in painted], everything)
        return {
            place: text if fresh else gr.skip()
            for (place, text), fresh in zip(painted, new, strict=True)
        }

    # Acting

    def _steps(self) -> dict[str, Step]:
        own = (self.ask_stop, self.ask_restart, self.start, self.stop_container, self.restart)
        inherited = Keeping._steps(self)
        found = {step.__name__: step for step in own}
        return {**{name: inherited[name] for name in INHERITED}, **found, "stop": self.halt}

    async def halt(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        """Stop a request, or a container."""
        step = self.stop if "job" in given else self.stop_container
        async for updates in step(given, request):
            yield updates

    async def ask_stop(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        yield {self.w.sheet: await self._confirm("stop", given, request)}

    async def ask_restart(
        self, given: dict[str, str], request: gr.Request
    ) -> AsyncGenerator[Updates]:
        yield {self.w.sheet: await self._confirm("restart", given, request)}

    async def _confirm(self, act: str, given: dict[str, str], request: gr.Request) -> str:
        found = await self._container(given, request)
        return lists.confirm(act, found.id, found.name, reader(request))

    async def start(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        async for updates in self._done("start", given, request):
            yield updates

    async def stop_container(
        self, given: dict[str, str], request: gr.Request
    ) -> AsyncGenerator[Updates]:
        async for updates in self._done("stop", given, request):
            yield updates

    async def restart(self, given: dict[str, str], request: gr.Request) -> AsyncGenerator[Updates]:
        async for updates in self._done("restart", given, request):
            yield updates

    async def _done(
        self, action: Any, given: dict[str, str], request: gr.Request
    ) -> AsyncGenerator[Updates]:
        found = await self._container(given, request)
        await self.engine.monitor.containers.act(found.id, action)
        yield {self.w.sheet: "", **await self.containers(request)}

    async def _container(self, given: dict[str, str], request: gr.Request) -> Container:
        """The container that is meant; Forbidden for who is no admin."""
        if not is_admin(request):
            raise Forbidden(say("models.admins_only", reader(request)))
        return await self.engine.monitor.containers.get(given.get("id", ""))
