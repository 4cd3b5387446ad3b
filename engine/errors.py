"""The one error tree. Every refusal a user can meet is a class here; its message says what to do.

AtelierError                 status  code
├── BadValue                 400     BAD_VALUE        a value is wrong
├── NoToken                  401     UNAUTHORIZED     no token, or the wrong one
├── Forbidden                403     FORBIDDEN        known, but not allowed
│   ├── LicenceNeeded        403     LICENCE_NEEDED   its licence was not accepted yet
│   └── Gated                403     GATED            its owners ask for something first
├── Unknown                  404     NOT_FOUND        no such model, file, conversation
├── Conflict                 409     CONFLICT         the state does not allow it now
├── TooLarge                 413     TOO_LARGE        more bytes or pixels than accepted
├── BadFormat                415     BAD_FORMAT       not an accepted format
├── Limited                  429     RATE_LIMITED     over a rate; retry_after
├── InferenceFailed          500     INFERENCE_FAILED the model failed while it ran
│   ├── GenerationFailed     500     GENERATION_FAILED  … in the middle of a picture
│   └── OutOfMemory          500     OUT_OF_MEMORY    … because the device is full
├── Unavailable              503     UNAVAILABLE      not now; retry_after
│   ├── Busy                 503     QUEUE_FULL
│   ├── DoesNotFit           503     DOES_NOT_FIT     can never fit on this device
│   ├── NotDownloaded        503     NOT_DOWNLOADED
│   ├── DownloadFailed       503     DOWNLOAD_FAILED  the files could not be fetched
│   │   ├── WrongFile        503     WRONG_FILE       … because one is not what its hash says
│   │   └── NoSpace          503     NO_SPACE         … because the disk is full
│   ├── LoadFailed           503     LOAD_FAILED      loading failed, cooling down
│   └── BackendDied          503     BACKEND_DIED     the backend must be loaded anew
├── TimedOut                 504     TIMED_OUT        over its time limit
└── NoRoom                   507     NO_ROOM          the files area, or its disk, is full

Cancelled stands outside: nobody listens any more, so nobody is told.
"""

from __future__ import annotations

from typing import ClassVar


class AtelierError(Exception):
    """A refusal with a status, a code and a sentence for the user.

    Args:
        message: what is wrong and what to do; sent to the client as it is, so never a path or a traceback.
        param: the name of the field at fault, where there is one.
        retry_after: seconds after which asking again makes sense.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "ERROR"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class BadValue(AtelierError):
    status, code = 400, "BAD_VALUE"


class NoToken(AtelierError):
    status, code = 401, "UNAUTHORIZED"


class Forbidden(AtelierError):
    status, code = 403, "FORBIDDEN"


class LicenceNeeded(Forbidden):
    code = "LICENCE_NEEDED"


class Gated(Forbidden):
    code = "GATED"


class Unknown(AtelierError):
    status, code = 404, "NOT_FOUND"


class Conflict(AtelierError):
    status, code = 409, "CONFLICT"


class TooLarge(AtelierError):
    status, code = 413, "TOO_LARGE"


class BadFormat(AtelierError):
    status, code = 415, "BAD_FORMAT"


class Limited(AtelierError):
    status, code = 429, "RATE_LIMITED"


class InferenceFailed(AtelierError):
    status, code = 500, "INFERENCE_FAILED"


class GenerationFailed(InferenceFailed):
    code = "GENERATION_FAILED"


class OutOfMemory(InferenceFailed):
    code = "OUT_OF_MEMORY"


class Unavailable(AtelierError):
    status, code = 503, "UNAVAILABLE"


class Busy(Unavailable):
    code = "QUEUE_FULL"


class DoesNotFit(Unavailable):
    code = "DOES_NOT_FIT"


class NotDownloaded(Unavailable):
    code = "NOT_DOWNLOADED"


class DownloadFailed(Unavailable):
    code = "DOWNLOAD_FAILED"


class WrongFile(DownloadFailed):
    code = "WRONG_FILE"


class NoSpace(DownloadFailed):
    code = "NO_SPACE"


class LoadFailed(Unavailable):
    code = "LOAD_FAILED"


class BackendDied(Unavailable):
    code = "BACKEND_DIED"


class TimedOut(AtelierError):
    status, code = 504, "TIMED_OUT"


class NoRoom(AtelierError):
    status, code = 507, "NO_ROOM"


class Cancelled(BaseException):
    """Raised by `emit` when nobody listens any more.

    A BaseException, like asyncio's own, so that no library's `except Exception` swallows it on the way out.
    """
