"""Stopping work and choosing models where other processes serve the same people: a session's calls reach any of them.

Knows what is asked of the others, not how it gets there.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.errors import Unknown
from engine.jobs import Jobs
from engine.sessions import Sessions
from engine.shared import Shared

CHOICE = "session"  # the fact: a session's model
CHOSEN = 86_400.0  # seconds for which others know it


class Elsewhere:
    """The part of the engine that reaches the other processes; alone, it is the engine itself.

    Attributes:
        shared: what the processes tell each other.
    """

    __slots__ = ()

    shared: Shared
    sessions: Sessions
    jobs: Jobs

    def stop(self, session: str) -> int:
        """Stop what the session runs in this process."""
        raise NotImplementedError

    def join_others(self) -> None:
        """Answer what the others ask, and hear what they tell."""
        self.shared.answer("stop", self.stop)
        self.shared.answer("cancel", self._cancel_for)
        self.shared.hold(CHOICE, self._chosen, self._all_chosen)

    async def stop_everywhere(self, session: str) -> int:
        """Stop what this session runs or waits for, in whatever process; how many."""
        return self.stop(session) + (await self.shared.ask("stop", session) if session else 0)

    async def cancel_elsewhere(self, ticket: str, session: str, admin: bool) -> bool:
        """Cancel a job of another process, if it is this session's or an admin asks. False: none has it."""
        return await self.shared.ask("cancel", ticket, session, "admin" if admin else "") > 0

    async def choose_for(self, session: str, model: str) -> None:
        """The session's next requests are for this model, in whatever process."""
        self.sessions.get(session).model = model
        await self.shared.keep(CHOICE, session, model, CHOSEN)

    def _cancel_for(self, ticket: str, session: str, rank: str) -> int:
        try:
            found = self.jobs.get(ticket)
        except Unknown:
            return 0
        mine = rank == "admin" or found.session == session
        return int(mine and self.jobs.cancel(ticket))

    def _chosen(self, session: str, model: str | None) -> None:
        self.sessions.get(session).model = model

    def _all_chosen(self, models: Mapping[str, str]) -> None:
        for session, model in models.items():
            self._chosen(session, model)
