"""The security headers that every answer carries, Gradio's too."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from middleware.scope import with_headers

POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' blob: data:",
    "worker-src": "'self' blob:",
    "frame-src": "'none'",
    "form-action": "'self'",
    "base-uri": "'self'",
    "object-src": "'none'",
}


class Safety:
    """Content-Security-Policy and its companions.

    Args:
        framed_by: the one origin that may frame the page; empty for none.
    """

    def __init__(self, app: ASGIApp, framed_by: str = "") -> None:
        self.app = app
        policy = {**POLICY, "frame-ancestors": framed_by or "'none'"}
        self._headers = [
            (b"content-security-policy", "; ".join(f"{k} {v}" for k, v in policy.items()).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
        ]
        if not framed_by:
            self._headers.append((b"x-frame-options", b"DENY"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            send = with_headers(send, self._headers)
        await self.app(scope, receive, send)
