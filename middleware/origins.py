"""Which web origins may call from a browser: one rule for CORS and for the gate."""

from __future__ import annotations

import re
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

from engine import Settings
from middleware.scope import header

LOOPBACK = r"https?://(localhost|[\w-]+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?"
EXPOSED = ("X-Session-ID", "X-Request-ID", "X-Ignored-Params", "X-Cache", "Retry-After")


class Origins:
    """The allowed origins as one pattern.

    The setting where there is one. Else any, where a token guards everything (a sign-in cookie never
    serves another origin); without a token only loopback pages, since any other could drive a local server.
    """

    def __init__(self, settings: Settings) -> None:
        listed = settings.listed("cors_origins")
        if "*" in listed or (not listed and settings.token):
            self.pattern = r".*"
        elif listed:
            self.pattern = "|".join(re.escape(origin.rstrip("/")) for origin in listed)
        else:
            self.pattern = LOOPBACK

    def allows(self, origin: str) -> bool:
        return re.fullmatch(self.pattern, origin) is not None

    def cors(self, app: ASGIApp) -> CORSMiddleware:
        return CORSMiddleware(app, **self.cors_options)

    @property
    def cors_options(self) -> dict[str, Any]:
        return {
            "allow_origin_regex": self.pattern,
            "allow_credentials": True,
            "allow_methods": ["GET", "POST", "DELETE", "OPTIONS"],
            "allow_headers": ["*"],
            "expose_headers": list(EXPOSED),
        }


def same_origin(scope: Scope) -> bool | None:
    """Whether a page of ours made this request; None: no browser said anything about it.

    Browsers say it outright (Sec-Fetch-Site) on secure and loopback addresses, elsewhere by Origin.
    """
    site = header(scope, b"sec-fetch-site")
    if site:
        return site in {"same-origin", "none"}
    origin = header(scope, b"origin")
    if origin:
        return origin.partition("://")[2].lower() == header(scope, b"host").lower()
    return None
