"""The one gate over every path, Gradio's own included: what is not on the list needs a token.

Knows who may pass (`engine.access`), not what lies behind.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from engine import Access, AtelierError, Forbidden, NoToken, Rank
from middleware.origins import Origins, same_origin
from middleware.scope import Refuse, header, path_of

COOKIE = "atelier_session"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Lets a request pass with `rank` ("user" or "admin") in its state, or refuses it.

    Args:
        free: exact paths that need no token.
        admin: (method or "*", path prefix) of what only an admin may do.
    """

    def __init__(
        self,
        app: ASGIApp,
        refuse: Refuse,
        access: Access,
        origins: Origins,
        free: Collection[str],
        admin: Collection[tuple[str, str]],
    ) -> None:
        self.app = app
        self._refuse = refuse
        self._access = access
        self._origins = origins
        self._free = frozenset(free)
        self._admin = tuple(admin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = path_of(scope)
        try:
            scope["state"]["rank"] = self._admit(scope, path)
        except AtelierError as error:
            answer = self._refuse(path, error)
            if isinstance(error, NoToken) and _wants_page(scope):
                query = scope["query_string"].decode("latin-1")
                target = quote(f"{path}?{query}" if query else path, safe="")
                answer = RedirectResponse(f"{scope.get('root_path', '')}/signin?next={target}", 303)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _admit(self, scope: Scope, path: str) -> Rank | None:
        """The caller's rank; None on a free path."""
        token = _bearer(header(scope, b"authorization"))
        session = cookie_parser(header(scope, b"cookie")).get(COOKIE)
        by_token = self._access.rank_of_token(token) if token else None
        if by_token is None:
            session = self._checked(scope, path, session)
        if path in self._free:
            return None
        opened = self._access.opens(path, token)
        if opened:
            return "user"
        rank = by_token or self._access.rank(None, session)
        if opened is False and by_token is None and (self._access.is_open or not session):
            rank = None  # open or not, this path has a token of its own
        needs_admin = any(
            scope["method"] == method or method == "*"
            for method, prefix in self._admin
            if path.startswith(prefix)
        )
        if rank is None or (needs_admin and rank == "user" and not (by_token or session)):
            raise NoToken(
                "A token is needed. Send 'Authorization: Bearer <token>' or sign in at /signin."
            )
        if needs_admin and rank != "admin":
            raise Forbidden("This call needs the admin token (ATELIER_ADMIN_TOKEN).")
        return rank

    def _checked(self, scope: Scope, path: str, session: str | None) -> str | None:
        """The session, where the request may use it.

        A cookie travels with whatever page makes the browser ask, so it counts only for our own
        pages, and a change needs proof of that. Where no token is needed, the browser itself is
        what another site's page would abuse, so its changes are refused as well.
        """
        ours = same_origin(scope)
        if session and self._access.rank_of_session(session) is None:
            session = None
        if scope["method"] in SAFE:
            navigates = header(scope, b"sec-fetch-mode") == "navigate"
            return session if ours is not False or navigates else None
        allowed = self._access.is_open and self._origins.allows(header(scope, b"origin"))
        if (ours is False and not allowed and (session or self._access.is_open)) or (
            ours is None and session
        ):
            raise Forbidden(
                "This call came from another site's page. Send a bearer token,"
                " or allow the origin in ATELIER_CORS_ORIGINS."
            )
        return session


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _wants_page(scope: Scope) -> bool:
    return scope["method"] in {"GET", "HEAD"} and "text/html" in header(scope, b"accept")
