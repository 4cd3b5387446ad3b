"""What belongs to an X-Session-ID between two requests. In memory; the oldest are forgotten."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class Session:
    """One client's choices: the model it loaded, if it chose one."""

    id: str
    model: str | None = None


class Sessions:
    """Sessions by id, the `limit` most recently used."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def get(self, id: str) -> Session:
        """The session of this id; a new one if there is none."""
        session = self._sessions.setdefault(id, Session(id))
        self._sessions.move_to_end(id)
        while len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)
        return session
