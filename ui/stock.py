"""What the Models tab shows, gathered from the engine as plain values. Paints nothing and changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine import (
    AtelierError,
    Engine,
    EngineStatus,
    ModelSpec,
    Plan,
    ResidentModel,
    Ticket,
)

PLANNED = 2.0  # seconds a plan is shown before it is asked for again
LISTED = 30  # jobs at most
# The groups of cards, in the order in which they are shown.
GROUPS = ("chat", "embed", "image", "label", "detect", "ocr", "transcribe", "speak", "translate")
ACTIVE = frozenset({"queued", "downloading", "loading", "running"})


@dataclass(frozen=True, slots=True)
class Card:
    """One model as its card shows it.

    Args:
        plan: what loading it would do now; None where nobody can tell.
        fetch: its download, while it is not over or when it failed.
        loading: it is being loaded now, for whomever.
        default_of: the capabilities whose default it is.
        own: the user added it, so it may be removed.
        recommended: it suits a machine like this.
        server: the other server it lives on, "" for this machine.
        down: that server does not answer.
        formed: it can be held in fewer bits.
    """

    spec: ModelSpec
    present: bool
    plan: Plan | None = None
    fetch: Ticket | None = None
    resident: ResidentModel | None = None
    loading: bool = False
    default_of: tuple[str, ...] = ()
    own: bool = False
    recommended: bool = False
    server: str = ""
    down: bool = False
    formed: bool = False

    @property
    def group(self) -> str:
        """The first of its capabilities, which is where its card stands."""
        return next((name for name in GROUPS if name in self.spec.does), GROUPS[0])

    @property
    def ready(self) -> bool:
        """It answers without anything being fetched first."""
        return self.present and not self.down


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything the tab shows at one moment."""

    status: EngineStatus
    cards: tuple[Card, ...]
    jobs: tuple[Ticket, ...]
    servers: tuple[Any, ...]

    @property
    def moving(self) -> bool:
        """Something changes by itself, so the page should look often."""
        return any(job.phase in ACTIVE for job in self.jobs) or any(c.loading for c in self.cards)


@dataclass(slots=True)
class Stock:
    """Looks at one engine. Plans and files are looked at again after `PLANNED` seconds, for all pages together.

    Attributes:
        loading: ids that somebody's page is loading now.
    """

    engine: Engine
    loading: set[str] = field(default_factory=set)
    _plans: dict[str, Plan | None] = field(default_factory=dict)
    _present: dict[str, bool] = field(default_factory=dict)
    _own: frozenset[str] = frozenset()
    _looked: float = -PLANNED

    def forget(self) -> None:
        """Something was changed: the next look asks for everything anew."""
        self._looked = -PLANNED

    async def scene(self) -> Scene:
        """The tab's contents now."""
        if time.monotonic() - self._looked > PLANNED:
            self._looked = time.monotonic()
            found = await asyncio.to_thread(self._measure)
            self._plans, self._present, self._own = found
        engine = self.engine
        status, tickets = engine.status(), engine.jobs.list()
        servers = tuple(engine.servers.list())
        cards = self._cards(status, tickets, {s.name for s in servers if s.healthy is False})
        return Scene(status, cards, _shown(tickets), servers)

    def _measure(self) -> tuple[dict[str, Plan | None], dict[str, bool], frozenset[str]]:
        """What has to be read from files: plans, what is here, whose rows they are."""
        specs = self.engine.models()
        plans = {spec.id: self.plan(spec.id) for spec in specs}
        present = {spec.id: self.engine.downloads.is_present(spec) for spec in specs}
        return plans, present, self.engine.own_models()

    def plan(self, model: str) -> Plan | None:
        """What loading a model would do now; None where it cannot be told."""
        try:
            return self.engine.plan(model)
        except AtelierError:
            return None

    def _cards(
        self, status: EngineStatus, tickets: Sequence[Ticket], down: Collection[str]
    ) -> tuple[Card, ...]:
        """Starters first, then what suits this machine, then the rest, then other servers' models."""
        held = {model.id: model for model in status.resident}
        fetches = _fetches(tickets)
        busy = {t.model for t in tickets if t.phase == "loading"} | self.loading
        defaults, tier = self._defaults(), self.engine.tier
        cards = [
            Card(
                spec=spec,
                present=self._present.get(spec.id, False),
                plan=self._plans.get(spec.id),
                fetch=fetches.get(spec.id) or fetches.get(spec.repo),
                resident=held.get(spec.id),
                loading=spec.id in busy and spec.id not in held,
                default_of=tuple(does for does in GROUPS if defaults.get(does) == spec.id),
                own=spec.id in self._own,
                recommended=tier in spec.tiers,
                server=server_of(spec),
                down=server_of(spec) in down,
                formed=getattr(self.engine.families.get(spec.family), "QUANTISES", False),
            )
            for spec in self.engine.models()
        ]
        return tuple(sorted(cards, key=_place))

    def _defaults(self) -> dict[str, str]:
        found = {}
        for does in GROUPS:
            try:
                found[does] = self.engine.registry.default(does).id  # type: ignore[arg-type]
            except AtelierError:
                continue
        return found


def _place(card: Card) -> tuple[bool, bool, bool]:
    return (not card.spec.starter, bool(card.server), not card.recommended)


def server_of(spec: ModelSpec) -> str:
    """The name of the server a model lives on; "" for this machine."""
    if spec.lane != "remote":
        return ""
    return str(spec.options.get("server") or spec.id.partition("/")[0])


def _fetches(tickets: Sequence[Ticket]) -> dict[str, Ticket]:
    """The newest download of each model that is under way, paused or failed."""
    found: dict[str, Ticket] = {}
    for ticket in reversed(tickets):
        if ticket.kind == "download":
            for name in (ticket.model, ticket.title):
                found[name] = ticket
    return {name: t for name, t in found.items() if t.phase not in ("done", "cancelled")}


def _shown(tickets: Sequence[Ticket]) -> tuple[Ticket, ...]:
    """What is listed: everything that moves or waits for a person, newest first."""
    return tuple(t for t in tickets if _is_shown(t))[:LISTED]


def _is_shown(ticket: Ticket) -> bool:
    return ticket.phase in ACTIVE or (
        ticket.kind == "download" and ticket.phase in ("paused", "failed")
    )
