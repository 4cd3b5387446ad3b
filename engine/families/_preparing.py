"""Requests whose pictures are being prepared, and who of them is ready. Knows futures and emits, no models."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from engine.errors import AtelierError, BadValue, Cancelled, InferenceFailed, TimedOut
from engine.families._seeing import Eyes, Sight
from engine.registry import BatchEmit
from engine.requests import ChatRequest

GLANCE = 0.01  # seconds that an idle model waits for pictures before it looks who has gone


@dataclass(slots=True, eq=False)
class Look:
    """A request with pictures on its way."""

    emit: BatchEmit
    request: ChatRequest
    text: str
    sight: Future[Sight] = field(default_factory=Future)
    gone: bool = False


class Looks:
    """Those of one model; without eyes there are never any."""

    def __init__(self, eyes: Eyes | None) -> None:
        self.eyes = eyes
        self._looks: list[Look] = []

    def __bool__(self) -> bool:
        return bool(self._looks)

    def __iter__(self) -> Iterator[Look]:
        return iter(list(self._looks))

    def begin(self, emit: BatchEmit, request: ChatRequest, text: str, special: bool) -> None:
        """Have the pictures of a request prepared. Raises BadValue where the model does not see."""
        if self.eyes is None:
            raise BadValue("This model does not accept pictures.", param="messages")
        look = Look(emit, request, text)
        look.sight = self.eyes.begin(text, request.pictures, lambda: look.gone, special)
        self._looks.append(look)

    def ready(self, idle: bool) -> list[tuple[Look, Sight]]:
        """Those whose pictures are prepared, which leave; an idle caller waits a moment for the first.

        What cannot be prepared fails here, and who has gone is forgotten.
        """
        if idle:
            wait([look.sight for look in self._looks], GLANCE, FIRST_COMPLETED)
        found = []
        for look in self:
            try:
                look.emit(None)
            except Cancelled:
                self.leave(look)
                continue
            except TimedOut as error:
                self.leave(look)
                look.emit.fail(error)
                continue
            if not look.sight.done():
                continue
            self._looks.remove(look)
            if (why := look.sight.exception()) is None:
                found.append((look, look.sight.result()))
            else:
                look.emit.fail(_told(why))
        return found

    def drop(self, emit: BatchEmit) -> None:
        """Forget the request of `emit`, if it is here."""
        for look in self:
            if look.emit is emit:
                self.leave(look)

    def leave(self, look: Look) -> None:
        """Forget a request; its pictures are not opened any more."""
        look.gone = True
        look.sight.cancel()
        self._looks.remove(look)

    def close(self) -> None:
        """Forget all, and let the thread for pictures end."""
        for look in self:
            self.leave(look)
        if self.eyes is not None:
            self.eyes.close()


def _told(error: BaseException) -> Exception:
    """A picture may break its processor in any way; that is this request's failure alone."""
    if isinstance(error, AtelierError):
        return error
    failed = InferenceFailed(
        "The model cannot prepare this picture. Send another, or a smaller one."
    )
    failed.__cause__ = error
    return failed
