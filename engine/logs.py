"""How the log is written: lines of text for people, or one JSON object a line for machines; and its last lines, kept.

Every record of a request carries the request's id. Secrets of the settings, and what looks like a token, are
blotted out.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from engine.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
KEPT = 2000  # records
LONG = 2000  # characters of a record that is kept
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
BLOT = "[secret]"
SECRET = re.compile(
    r"(?P<keep>\bBearer\s+|\bBasic\s+|(?:api[_-]?key|token|password|secret)[\"']?\s*[=:]\s*[\"']?|://[^/\s:@]*:(?=[^\s/@]*@))"
    r"[^\s\"'@&,;)\]}\[]+|\b(?:sk|hf|ghp|pk)[-_][A-Za-z0-9_-]{16,}",
    re.IGNORECASE,
)
CONTROL = {n: f"\\x{n:02x}" for n in (*range(32), 127) if chr(n) not in "\n\t"}
# The request that a piece of code works for; set where a request comes in, carried along by its task.
request_id: ContextVar[str] = ContextVar("request_id", default="")


@contextmanager
def working_for(id: str) -> Iterator[None]:
    """What is logged meanwhile, on this thread, carries the request's id."""
    mark = request_id.set(id)
    try:
        yield
    finally:
        request_id.reset(mark)


class Named(logging.Filter):
    """Gives a record the id of the request it belongs to, where it has none of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, "request_id", ""):
            record.request_id = request_id.get()
        return True


class Blotter:
    """Takes secrets out of texts: those of the settings, and what looks like one."""

    def __init__(self, settings: Settings) -> None:
        shown = {name for name, field in Settings.model_fields.items() if field.repr}
        values = settings.model_dump(exclude=shown)
        urls = (urlsplit(url).password for url in (settings.redis_url, settings.database_url))
        secrets = [str(value) for value in (*values.values(), *urls) if value]
        self._own = tuple(sorted((s for s in secrets if len(s) >= 4), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for secret in self._own:
            text = text.replace(secret, BLOT)
        return SECRET.sub(lambda found: (found["keep"] or "") + BLOT, text)


def _plain(text: str) -> str:
    return text


class Lines(logging.Formatter):
    """A record as a line for people, with its request's id at the end; a message cannot forge a second line."""

    def __init__(self, blot: Callable[[str], str] = _plain) -> None:
        super().__init__(TEXT)
        self._blot = blot

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = record.message.replace("\n", "\\n")
        line = super().formatMessage(record).translate(CONTROL)
        name = getattr(record, "request_id", "")
        return f"{line} [{name}]" if name else line

    def format(self, record: logging.LogRecord) -> str:
        return self._blot(super().format(record))


class JsonLines(logging.Formatter):
    """A record as {"ts", "level", "logger", "message", "extra"}; a traceback goes into `extra`."""

    def __init__(self, blot: Callable[[str], str] = _plain) -> None:
        super().__init__()
        self._blot = blot

    def format(self, record: logging.LogRecord) -> str:
        extra = {
            name: self._blot(value) if isinstance(value, str) else value
            for name, value in extra_of(record).items()
        }
        if record.exc_info:
            extra["traceback"] = self._blot(self.formatException(record.exc_info))
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._blot(record.getMessage()),
            "extra": extra,
        }
        return json.dumps(line, ensure_ascii=False, default=str)


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was logged beside the message; an empty request id is none."""
    found = {name: value for name, value in vars(record).items() if name not in OWN}
    if not found.get("request_id", True):
        del found["request_id"]
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """A log record that is kept. Numbers grow; `extra` holds short texts, `error` the last line of a traceback."""

    number: int
    time: float
    level: str
    logger: str
    message: str
    request_id: str
    error: str
    extra: dict[str, str]


class Ring(logging.Handler):
    """The last records of this process, in memory, without secrets.

    Args:
        told: called with the level of each warning and error.
    """

    def __init__(
        self, settings: Settings, told: Callable[[str], None] = lambda level: None
    ) -> None:
        super().__init__()
        self._blot, self._told = Blotter(settings), told
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._numbers = itertools.count(1)
        self.addFilter(Named())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._keep(record)
        except (TypeError, ValueError):  # a message and its arguments that do not fit together
            self.handleError(record)
        if record.levelno >= logging.WARNING:
            self._told(record.levelname)

    def _keep(self, record: logging.LogRecord) -> None:
        extra = extra_of(record)
        name = str(extra.pop("request_id", ""))
        error = ""
        if record.exc_info and record.exc_info[0] is not None:
            error = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
        self._entries.append(
            Entry(
                number=next(self._numbers),
                time=record.created,
                level=record.levelname,
                logger=record.name,
                message=self._blot(record.getMessage()[:LONG]),
                request_id=name[:128],
                error=self._blot(error[:LONG]),
                extra={key: self._blot(str(value)[:200]) for key, value in extra.items()},
            )
        )

    def entries(
        self, *, limit: int = 200, level: str = "DEBUG", text: str = "", after: int = 0
    ) -> list[Entry]:
        """The newest entries, newest first: at least of this level, holding the text (any case) anywhere,
        with numbers beyond `after`."""
        least = logging.getLevelNamesMapping().get(level, logging.DEBUG)
        names = logging.getLevelNamesMapping()
        words = text.lower().split()
        found: list[Entry] = []
        for entry in reversed(tuple(self._entries)):
            if entry.number <= after or len(found) == limit:
                break
            if names.get(entry.level, 0) >= least and (not words or _holds(entry, words)):
                found.append(entry)
        return found

    def attach(self) -> None:
        """Hear everything that is logged from now on."""
        logging.getLogger().addHandler(self)

    def detach(self) -> None:
        """Hear no more."""
        logging.getLogger().removeHandler(self)


def _holds(entry: Entry, words: list[str]) -> bool:
    stamp = time.strftime("%H:%M:%S", time.localtime(entry.time))
    parts = (stamp, entry.level, entry.logger, entry.message, entry.request_id, entry.error)
    whole = " ".join((*parts, *entry.extra.values())).lower()
    return all(word in whole for word in words)


def write_logs(settings: Settings) -> None:
    """Send the log to stderr at the settings' level and in their form; other packages speak at WARNING.

    Nothing happens where the program that runs us has set logging up already.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    blot = Blotter(settings)
    handler.setFormatter(JsonLines(blot) if settings.log_json else Lines(blot))
    handler.addFilter(Named())
    root.addHandler(handler)
    for name in ("atelier", "pokemon"):
        logging.getLogger(name).setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error"):  # they bring handlers of their own
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True
