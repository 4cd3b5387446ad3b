"""Who may do what: tokens, and the sign-in sessions that browsers hold instead of a token.

Knows no HTTP: callers bring the token, the session and the address as plain strings.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Literal

from engine.errors import Limited, NoToken
from engine.settings import Settings
from engine.shared import Shared

Rank = Literal["user", "admin"]

LIFETIME = 30 * 86_400.0
SESSIONS = 10_000
GUESSES = 10
SIGNED = "signed"  # the fact: a session's rank and the end of its time
WINDOW = 300.0
ADDRESSES = 10_000


class Access:
    """The tokens of the settings and the sign-in sessions, in memory; other processes hear of them.

    Args:
        clock: seconds, monotonic; a test brings its own.
        shared: what the processes of one server tell each other. They are told a session's digest, never itself.

    Attributes:
        is_open: no token is asked for (the admin calls may still need theirs).
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        shared: Shared | None = None,
    ) -> None:
        self._clock = clock
        self._shared = shared or Shared()
        self._shared.hold(SIGNED, self._heard, self._loaded)
        self._shared.answer("wrong token", self._guessed)
        self._token = _digest(settings.token) if settings.token else b""
        self._admin = _digest(settings.admin_token) if settings.admin_token else b""
        own = settings.pokemon_bearer_token
        self._paths = {"/v1/generate": _digest(own)} if own else {}
        self._sessions: OrderedDict[str, tuple[float, Rank]] = OrderedDict()
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        return not self._token

    def rank(self, token: str | None, session: str | None = None) -> Rank | None:
        """What a bearer token or a sign-in session allows; None: nothing, sign in first."""
        best = self.rank_of_token(token) if token else None
        if best is None and session:
            best = self.rank_of_session(session)
        if best is None and self.is_open:
            best = "user" if self._admin else "admin"
        return best

    def rank_of_token(self, token: str) -> Rank | None:
        """The rank of a token; takes the same time whichever it is."""
        given = _digest(token)
        admin = hmac.compare_digest(given, self._admin or b"\0" * 32) and bool(self._admin)
        user = hmac.compare_digest(given, self._token or b"\0" * 32) and bool(self._token)
        if admin or (user and not self._admin):
            return "admin"
        return "user" if user else None

    def opens(self, path: str, token: str) -> bool | None:
        """Whether a path with a token of its own is opened by this one; None: it has none."""
        own = self._paths.get(path)
        return None if own is None else hmac.compare_digest(_digest(token), own)

    def rank_of_session(self, session: str) -> Rank | None:
        """The rank of a sign-in session that is still valid."""
        expires, rank = self._sessions.get(_name(session), (0.0, None))
        return rank if expires > self._clock() else None

    async def sign_in(self, token: str, address: str) -> str:
        """Trade a token for a new session.

        Raises:
            Limited: too many wrong tokens from this address lately.
            NoToken: this one is wrong.
        """
        now = self._clock()
        wrong = self._guesses(address)
        if len(wrong) == GUESSES and now - wrong[0] < WINDOW:
            wait = WINDOW - (now - wrong[0])
            raise Limited(f"Too many wrong tokens. Wait {wait:.0f} seconds.", retry_after=wait)
        rank = self.rank_of_token(token)
        if rank is None:
            wrong.append(now)
            await self._shared.ask("wrong token", address)
            raise NoToken("This token is not the right one. It is what ATELIER_TOKEN was set to.")
        session = secrets.token_urlsafe(32)
        value = f"{rank} {time.time() + LIFETIME:.0f}"
        self._heard(_name(session), value)
        await self._shared.keep(SIGNED, _name(session), value, LIFETIME)
        return session

    async def sign_out(self, session: str) -> None:
        """Forget a session; nothing happens when there is none."""
        if self._sessions.pop(_name(session), None) is not None:
            await self._shared.forget(SIGNED, _name(session))

    def _guesses(self, address: str) -> deque[float]:
        """When an address was wrong lately."""
        wrong = self._wrong.setdefault(address, deque(maxlen=GUESSES))
        self._wrong.move_to_end(address)
        while len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)
        return wrong

    # What other processes tell

    def _guessed(self, address: str) -> int:
        self._guesses(address).append(self._clock())
        return 0

    def _heard(self, name: str, value: str | None) -> None:
        """A session began (its rank and the end of its time), or ended."""
        rank, _, until = (value or "").partition(" ")
        if rank not in ("user", "admin"):
            self._sessions.pop(name, None)
            return
        expires = self._clock() + float(until) - time.time()
        self._sessions[name] = (expires, "admin" if rank == "admin" else "user")
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)

    def _loaded(self, sessions: Mapping[str, str]) -> None:
        """All that there are; what is not among them was ended while this process did not hear."""
        self._sessions.clear()
        for name, value in sessions.items():
            self._heard(name, value)


def _name(session: str) -> str:
    """What a session goes by here and between processes; nobody can sign in with it."""
    return _digest(session).hex()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
