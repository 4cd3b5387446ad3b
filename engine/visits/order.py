"""The process: one order in, its answers out."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .confining import Failed, confine, limit
from .packing import probe
from .pages import page
from .sites import look, take

Order = dict[str, Any]


def main() -> None:
    """Do the one order, under confinement, until the input ends."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    os.chdir(order["folder"])
    limit(order["do"], order.get("most", 0))
    _bring(order["do"])
    confine(Path(order["folder"]), order.get("port", 0))

    def say(value: Order) -> None:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()

    try:
        answer = take(order, say) if order["do"] == "take" else ORDERS[order["do"]](order)
        say({**answer, "ended": True})
    except Failed as error:
        say({"failed": error.kind, "text": str(error)[:500]})
    except MemoryError:
        say({"failed": "strange", "text": "memory"})


def _bring(do: str) -> None:
    """Import what is needed while files may still be read."""
    if do == "page":
        import trafilatura  # noqa: F401
    if do in {"look", "take"}:
        import yt_dlp  # noqa: F401
    if do in {"probe", "take"}:
        import av  # noqa: F401


def _end_with_input() -> None:
    while sys.stdin.read(4096):
        pass
    os._exit(1)


ORDERS: dict[str, Callable[[Order], dict[str, Any]]] = {"page": page, "look": look, "probe": probe}
