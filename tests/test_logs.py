"""The two forms of the log."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import pytest

from engine import Settings, write_logs
from engine.logs import KEPT, LONG, Blotter, JsonLines, Lines, Ring, request_id


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


def logged(message: str, *args: object, **more: object) -> logging.LogRecord:
    values = {"name": "atelier.x", "levelname": "INFO", "levelno": 20, "msg": message, "args": args}
    return logging.makeLogRecord({**values, **more})


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer [secret]"),
        ("api_key=sk12345, next", "api_key=[secret], next"),
        ('{"password": "p4ss word"}', '{"password": "[secret] word"}'),
        ("with hf_abcdefghijklmnopqrstuv here", "with [secret] here"),
        ("redis://me:hunter2@host:6379/0", "redis://me:[secret]@host:6379/0"),
        ("it says my-own-token twice my-own-token", "it says [secret] twice [secret]"),
        ("GET http://127.0.0.1:7860/v1 max_tokens=5 tokens: 7", "GET http://127.0.0.1:7860/v1 max_tokens=5 tokens: 7"),
        ("chat m ok in=3 out=41 0.32s", "chat m ok in=3 out=41 0.32s"),
    ],
)  # fmt: skip
def test_secrets_are_blotted_out_everywhere(said: str, kept: str):
    settings = Settings(token="my-own-token", log_json=True)
    ring, blot = Ring(settings), Blotter(settings)
    ring.handle(logged("%s", said, other=said))
    (entry,) = ring.entries()
    assert entry.message == kept and entry.extra["other"] == kept
    assert kept in Lines(blot).format(logged(said))
    assert json.loads(JsonLines(blot).format(logged(said)))["message"] == kept


def test_a_message_cannot_forge_a_line():
    record = logged("a\nERROR forged\x1b[31m", request_id="r1")
    line = Lines().format(record)
    assert "\n" not in line and "\x1b" not in line and line.endswith("[r1]")


def test_the_ring_is_bounded_and_can_be_searched():
    told: list[str] = []
    ring = Ring(Settings(), told.append)
    for n in range(KEPT + 10):
        loud = n % 1000 == 7
        level = {"levelno": 40 if loud else 20, "levelname": "ERROR" if loud else "INFO"}
        ring.handle(logged(f"number {n}", **level))
    assert len(ring.entries(limit=9999)) == KEPT and told == ["ERROR"] * 3
    assert [e.message for e in ring.entries(level="ERROR")] == ["number 2007", "number 1007"]
    assert [e.message for e in ring.entries(text="NUMBER 2009")] == ["number 2009"]
    newest = ring.entries(limit=1)[0]
    assert ring.entries(after=newest.number) == []
    ring.handle(logged("x" * 100_000))
    assert len(ring.entries(limit=1)[0].message) == LONG
    ring.handle(logged("does %d not fit", "this"))  # says so on stderr and goes on


async def test_records_carry_the_requests_id():
    ring = Ring(Settings())

    async def work(name: str) -> None:
        request_id.set(name)
        await asyncio.sleep(0)
        ring.handle(logged("inside"))
        await asyncio.to_thread(ring.handle, logged("on a thread"))

    await asyncio.gather(*(asyncio.create_task(work(name)) for name in ("a", "b")))
    ring.handle(logged("outside"))
    ring.handle(logged("its own", request_id="c"))
    assert [e.request_id for e in ring.entries(limit=2)] == ["c", ""]
    assert sorted(e.request_id for e in ring.entries()[2:]) == ["a", "a", "b", "b"]
