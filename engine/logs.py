"""How the log is written: lines of text for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from engine.settings import Settings

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonLines(logging.Formatter):
    """A record as {"ts", "level", "logger", "message", "extra"}; a traceback goes into `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in OWN}
        if record.exc_info:
            extra["traceback"] = self.formatException(record.exc_info)
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "extra": extra,
        }
        return json.dumps(line, ensure_ascii=False, default=str)


def write_logs(settings: Settings) -> None:
    """Send the log to stderr at the settings' level and in their form; other packages speak at WARNING.

    Nothing happens where the program that runs us has set logging up already.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_json else logging.Formatter(TEXT))
    root.addHandler(handler)
    for name in ("atelier", "pokemon"):
        logging.getLogger(name).setLevel(settings.log_level.upper())
