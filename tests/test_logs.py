"""The two forms of the log."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from engine import Settings, write_logs
from engine.logs import JsonLines


def test_a_record_is_one_line_of_json():
    record = logging.makeLogRecord(
        {"name": "atelier.x", "levelname": "INFO", "msg": "é %d\nnext", "args": (5,), "request_id": "r", "odd": {1}}
    )  # fmt: skip
    line = JsonLines().format(record)
    assert "\n" not in line
    value = json.loads(line)
    assert value.keys() == {"ts", "level", "logger", "message", "extra"}
    assert (value["level"], value["logger"], value["message"]) == ("INFO", "atelier.x", "é 5\nnext")
    assert value["extra"] == {"request_id": "r", "odd": "{1}"} and value["ts"].endswith("+00:00")


def test_a_traceback_stays_on_its_line():
    try:
        raise ValueError("boom")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    line = JsonLines().format(record)
    assert "\n" not in line and "ValueError: boom" in json.loads(line)["extra"]["traceback"]


@pytest.mark.parametrize(("level", "shown"), [("DEBUG", logging.DEBUG), ("WARN", logging.WARNING)])
def test_levels(monkeypatch: pytest.MonkeyPatch, level: str, shown: int):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(logging.getLogger("atelier"), "level", logging.NOTSET)
    write_logs(Settings(log_level=level, log_json=True))
    [handler] = root.handlers
    assert isinstance(handler.formatter, JsonLines)
    assert logging.getLogger("atelier").level == shown
    write_logs(Settings())
    assert root.handlers == [handler]
