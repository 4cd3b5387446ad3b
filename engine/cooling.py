"""Models that failed to load are left alone for a while: 10 s, doubling to 5 min, forgotten after a success.

Knows ids and errors; nothing of loading.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import AtelierError, LoadFailed
from engine.faults import is_out_of_memory

log = logging.getLogger("atelier.residency")
FIRST, MOST = 10.0, 300.0  # seconds


@dataclass(slots=True)
class _Failure:
    until: float
    delay: float
    error: type[AtelierError]
    reason: str


class Cooling:
    """What failed to load, until when it is left alone, and why it failed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[str, _Failure] = {}

    def check(self, model: str) -> None:
        """Raise the error it failed with while it cools down, with the seconds left."""
        failure = self._failures.get(model)
        if failure is not None and self._clock() < failure.until:
            wait = failure.until - self._clock()
            raise failure.error(
                f"{failure.reason} The next try is in {wait:.0f} s.", retry_after=wait
            )

    def forget(self, model: str) -> None:
        """It was loaded."""
        self._failures.pop(model, None)

    def fail(self, model: str, error: Exception, device: str) -> AtelierError:
        """Note a failure; the error that its users see."""
        before = self._failures.get(model)
        delay = min(MOST, before.delay * 2 if before else FIRST)
        kind: type[AtelierError] = LoadFailed
        if isinstance(error, AtelierError):
            kind, reason = type(error), error.message
        elif is_out_of_memory(error):
            reason = f"{device} has no memory left for {model}."
        else:
            reason = f"{model} could not be loaded ({type(error).__name__}); the log says more."
        log.warning("loading %s failed", model, exc_info=error)
        self._failures[model] = _Failure(self._clock() + delay, delay, kind, reason)
        return kind(reason, retry_after=delay)
