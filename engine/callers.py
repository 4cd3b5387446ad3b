"""Who asks, and how urgently. Knows nothing of tokens, HTTP or models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Priority(IntEnum):
    """The order in which waiting work is served; a smaller number goes first."""

    VOICE = 0
    CHAT = 1
    INTERACTIVE = 2
    API = 3
    BATCH = 4


@dataclass(frozen=True, slots=True)
class Caller:
    """One asker.

    Args:
        name: the key that fairness and rates count by: a user, a token's label or an address.
        dialect: the API or tab that was spoken ("openai", "host", "brenda", "ui", …), for the ledger.
        session: what `stop` and the remembered model belong to.
        request_id: the id that logs, answers and the ledger share.
        tags: free fields of the ledger: project, process_id, subprocess_id, user_key.
    """

    name: str = "local"
    dialect: str = "engine"
    session: str = ""
    priority: Priority = Priority.API
    request_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
