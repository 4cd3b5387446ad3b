"""The children that see what pages of the web hold (`engine/visits`): started, asked one thing, always killed.

Knows no tickets and no answers' meaning. Errors come out as ours, each saying what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.errors import (
    AtelierError,
    BadFormat,
    BadValue,
    InferenceFailed,
    NoRoom,
    TimedOut,
    TooLarge,
    Unavailable,
)

# The child finds its own package without the rest of the engine, whose modules' names would hide others'.
BEGIN = (
    f"import sys; sys.path.append({str(Path(__file__).parent)!r}); from visits import order; "
    "sys.path.pop(); order.main()"
)
LINE_LIMIT = 32_000_000  # bytes of one answer
log = logging.getLogger("atelier.media")
ENDS: dict[str, tuple[type[AtelierError], str]] = {
    "nothing": (BadValue, "There is no film and no sound that can be taken at this address."),
    "no_format": (BadValue, "There is no such format at this address. Choose one of those it has."),
    "too_large": (TooLarge, "It is larger than this server takes. Choose a smaller format."),
    "strange": (BadFormat, "What lies at this address is not what it claims to be."),
    "broke": (Unavailable, "The server of this address broke off. Try again, or choose another format."),
    "disk": (NoRoom, "The disk is full. Free some space and try again."),
}  # fmt: skip


@asynccontextmanager
async def working_folder(parent: Path) -> AsyncIterator[Path]:
    """A folder of its own for one visit, gone afterwards."""
    await asyncio.to_thread(parent.mkdir, parents=True, exist_ok=True)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=parent))
    try:
        yield folder
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


async def ask(order: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What a child answers (see `engine/visits`). Raises the errors in `ENDS`, TimedOut."""
    async with contextlib.aclosing(follow(order, seconds)) as answers:
        async for answer in answers:
            if answer.get("ended"):
                return answer
    raise InferenceFailed("Looking at this address failed. Try again.")


async def follow(order: dict[str, Any], seconds: float) -> AsyncGenerator[dict[str, Any]]:
    """A child's reports, the last of them with `ended`. Closing the generator kills it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-B", "-c", BEGIN,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LINE_LIMIT,
        cwd=order["folder"],
        env=_environment(order["folder"]),
        start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            with contextlib.suppress(ConnectionError):  # it died: the answer says so
                process.stdin.write(json.dumps(order).encode() + b"\n")
                await process.stdin.drain()
            while True:
                line = await process.stdout.readline()
                if not line.endswith(b"\n"):
                    log.error("a visit ended by itself (%s): %s", await process.wait(), order["do"])
                    raise InferenceFailed("Looking at this address failed. Try again.")
                answer: dict[str, Any] = json.loads(line)
                if kind := answer.get("failed"):
                    log.info("%s: %s: %s", order["do"], kind, answer.get("text", ""))
                    error, sentence = ENDS[kind]
                    raise error(sentence, param="url" if error in {BadValue, BadFormat} else None)
                yield answer
                if answer.get("ended"):
                    return
    except TimeoutError:
        raise TimedOut("What this address holds takes too long.", param="url") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())
        await asyncio.sleep(0)  # its pipe to us closes a step later


def _environment(folder: str) -> dict[str, str]:
    """Nothing of ours: no keys, no proxies, no settings of libraries."""
    kept = ("SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "SYSTEMROOT")
    return {
        "PATH": "/usr/bin:/bin", "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8",
        "YTDLP_NO_PLUGINS": "1", "OMP_NUM_THREADS": "1",
        **{name: os.environ[name] for name in kept if name in os.environ},
    }  # fmt: skip
