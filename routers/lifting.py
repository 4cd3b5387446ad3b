"""Large base64 in JSON bodies, decoded while it arrives: a dialect finds the bytes, the text never exists as a whole.

Parsing such a body at once would hold it four times over (pieces, body, text, bytes) and stop the event loop meanwhile.
Long strings of base64 are taken out and replaced by tokens that nobody can guess; `lifted` gives the bytes.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import secrets
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALL = 1_000_000  # bytes of a body that is left as it is
LONG = 262_144  # bytes of a string that is looked at
MARK = "~lifted~"
# Fields that hold text: what looks like base64 there is text all the same.
TEXTS = {
    b"content",
    b"text",
    b"prompt",
    b"input",
    b"system",
    b"message",
    b"query",
    b"template",
    b"suffix",
    b"arguments",
}
# As many whole strings and other bytes as there are; a string that is not closed yet is left.
WHOLE = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
PLAIN = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)  # the rest of a string that stays
HEAD = re.compile(rb'"(data:(?:[^,"\\]|\\/){0,200};base64,)?', re.IGNORECASE)
CODED = re.compile(rb"(?:[A-Za-z0-9+/]++|\\/)*+={0,2}")
FIELD = re.compile(rb'"([^"\\]{1,64})"\s*:\s*\[?\s*$')
_held: ContextVar[dict[str, bytes] | None] = ContextVar("lifted", default=None)


def lifted(text: str) -> bytes | None:
    """The bytes that a token stands for; None for any other text."""
    held = _held.get()
    return held.get(text) if held and text.startswith(MARK) else None


class Lifting:
    """Takes large base64 out of JSON bodies on their way in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _large_json(scope):
            await self.app(scope, receive, send)
            return
        lift = _Lift()
        token = _held.set(lift.held)

        async def lifting() -> Message:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                more = message.get("more_body", False)
                out = b"".join(lift.feed(message.pop("body", b""), not more))
                if out or not more:
                    return {**message, "body": out, "more_body": more}

        try:
            await self.app(scope, lifting, send)
        finally:
            lift.held.clear()
            _held.reset(token)


def _large_json(scope: Scope) -> bool:
    length, kind = b"", b""
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = value
        elif name == b"content-type":
            kind = value.lower()
    chunked = not length  # its size is not told: it may be large
    large = chunked or (length.isdigit() and int(length) > SMALL)
    return (
        large
        and scope["method"] == "POST"
        and not kind.startswith((b"multipart/", b"application/octet"))
    )


@dataclass(slots=True)
class _Lift:
    """The state between two pieces of a body. `state` is the step that goes on with what comes next."""

    held: dict[str, bytes] = field(default_factory=dict)
    _rest: bytes = b""  # what could not be told yet
    _state: str = "outside"
    _before: bytes = b""  # the end of what went out: it tells the field's name
    _name: bytes = b""
    _target: io.BytesIO = field(default_factory=io.BytesIO)
    _carry: bytes = b""  # fewer than four letters of base64
    _padded: bool = False

    def feed(self, data: bytes, last: bool) -> Iterator[bytes]:
        """What goes on of the body instead of `data`."""
        data, self._rest = self._rest + data, b""
        at = 0
        while at < len(data):
            step = {"outside": self._outside, "plain": self._plain, "lifted": self._lifted}
            out, after = step[self._state](data, at)
            if out:
                self._before = (self._before + out[-160:])[-160:]
                yield out
            if after == at and not out:
                break
            at = after
        self._rest = data[at:]
        if last and self._rest:
            yield self._rest  # a string that does not end: for the parser to complain of

    def _outside(self, data: bytes, at: int) -> tuple[bytes, int]:
        found = WHOLE.match(data, at)
        assert found is not None
        if found.end() > at:
            return data[at : found.end()], found.end()
        if len(data) - at < LONG:
            return b"", at  # wait for more of this string
        head = HEAD.match(data, at)
        assert head is not None
        if name := FIELD.search(self._before):
            self._name = name[1]
        coded = CODED.match(data, head.end())
        assert coded is not None
        if self._name in TEXTS or coded.end() < len(data) - 1:
            self._state = "plain"
            return b'"', at + 1
        self._state, self._target, self._carry, self._padded = "lifted", io.BytesIO(), b"", False
        return head[0], head.end()

    def _plain(self, data: bytes, at: int) -> tuple[bytes, int]:
        found = PLAIN.match(data, at)
        assert found is not None
        end = found.end()
        if data[end : end + 1] == b'"':
            self._state = "outside"
            end += 1
        return data[at:end], end

    def _lifted(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Decode what there is; at the string's end, its token instead."""
        close = data.find(b'"', at)
        end = close if close >= 0 else len(data)
        if close < 0 and data[end - 1 :] == b"\\":
            end -= 1  # half of an escape
        piece = self._carry + data[at:end].replace(b"\\/", b"/")
        whole = len(piece) if close >= 0 else len(piece) - len(piece) % 4
        try:
            if self._padded and whole:
                raise binascii.Error("more after the end")
            self._target.write(binascii.a2b_base64(piece[:whole], strict_mode=True))
        except binascii.Error:
            return self._give_up(), at
        self._padded = self._padded or piece[:whole].endswith(b"=")
        self._carry = piece[whole:]
        if close < 0:
            return b"", end
        token = MARK + secrets.token_hex(16)
        self.held[token], self._target, self._state = (
            self._target.getvalue(),
            io.BytesIO(),
            "outside",
        )
        return token.encode() + b'"', close + 1

    def _give_up(self) -> bytes:
        """It is no base64 after all: its text as it came, and what follows stays as well."""
        text = base64.b64encode(self._target.getvalue()) + self._carry
        self._target, self._carry, self._state = io.BytesIO(), b"", "plain"
        return text
