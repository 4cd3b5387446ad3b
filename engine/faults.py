"""Foreign exceptions, told apart and wrapped at one place."""

from __future__ import annotations

import logging

from engine.errors import AtelierError, InferenceFailed, OutOfMemory, Unavailable

log = logging.getLogger("atelier.faults")


def is_out_of_memory(error: BaseException) -> bool:
    """True for torch's, Python's and the CPU allocator's way of saying that memory is full."""
    if isinstance(error, MemoryError | OutOfMemory) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def shutting_down() -> Unavailable:
    """What everybody is told whose work ends with the server."""
    return Unavailable("The server is shutting down. Ask again in a moment.", retry_after=5)


def wrapped(error: Exception, model: str, request_id: str = "") -> AtelierError:
    """The error a user may see; the traceback goes to the log alone, under the request's id."""
    if isinstance(error, AtelierError):
        return error
    log.error("%s failed", model, exc_info=error, extra={"request_id": request_id})
    if is_out_of_memory(error):
        return OutOfMemory(
            f"The device ran out of memory while {model} worked. Ask for less at once, or unload other models."
        )
    return InferenceFailed(
        f"{model} failed while it worked ({type(error).__name__}). The server's log says why; try again."
    )
