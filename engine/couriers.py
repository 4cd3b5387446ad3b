"""Those who fetch: the hub's, a child process to be killed at any moment, and another server's own pull.

Both yield (bytes here, bytes in all) until everything is there, and end at once when their task is cancelled.
Knows no tickets and no catalog. Errors come out as ours, each saying what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from engine.errors import (
    AtelierError,
    DownloadFailed,
    Forbidden,
    Gated,
    InferenceFailed,
    NoSpace,
    Unavailable,
    Unknown,
    WrongFile,
)
from engine.hub import Entry
from engine.settings import Settings

SCRIPT = Path(__file__).with_name("fetching.py")
LINE_LIMIT = 256_000_000  # bytes of one answer: the list of files of a large repository
PULL_SILENCE = 600.0  # seconds: a server checks the hash of what it pulled without a word
log = logging.getLogger("atelier.downloads")

# kind -> (error, sentences); {repo} is the repository, {file} the file or a short text of the library.
ENDS: dict[str, tuple[type[AtelierError], str]] = {
    "no_repo": (
        Unknown,
        "The hub has no model '{repo}', or it is private. Check its name; for a private one set HF_TOKEN.",
    ),
    "no_revision": (
        Unknown,
        "'{repo}' has no such revision. Name a branch, tag or commit of it, or leave the revision away.",
    ),
    "gated": (
        Gated,
        (
            "'{repo}' is given out on terms that one agrees to first. Open https://huggingface.co/{repo} "
            "signed in, agree there, make an access token and set it as HF_TOKEN."
        ),
    ),
    "bad_token": (Forbidden, "The hub does not accept the token in HF_TOKEN. Make a new one there."),
    "forbidden": (
        Forbidden,
        "The hub does not give '{repo}' to the token in HF_TOKEN. Let the token read it, or use another.",
    ),
    "disabled": (Unavailable, "The hub has closed '{repo}'. Choose another model."),
    "offline": (Unavailable, "Atelier is offline. Unset ATELIER_OFFLINE (and HF_HUB_OFFLINE) to download."),
    "unreachable": (
        DownloadFailed,
        "The hub cannot be reached, or the connection keeps breaking off. Try again: what came is kept.",
    ),
    "hub_failed": (DownloadFailed, "The hub has a fault of its own. Try again later: what came is kept."),
    "limited": (DownloadFailed, "The hub asks for a pause. Try again in a few minutes: what came is kept."),
    "short": (
        WrongFile,
        "A file of '{repo}' ends before its time ({file}). Try again later, or tell the owners of the model.",
    ),
    "wrong_hash": (
        WrongFile,
        (
            "A file of '{repo}' is not what its hash says ({file}), so it was thrown away. Try again; if it "
            "stays so, tell the owners of the model."
        ),
    ),
    "no_file": (DownloadFailed, "'{repo}' lacks a file that it lists. Try again later."),
    "too_large": (
        DownloadFailed,
        "A file of '{repo}' is larger than the hub sends this way (50 GB). Get it with: hf download {repo}",
    ),
    "disk_full": (NoSpace, "The disk is full. Free some space and try again: what came is kept."),
    "disk": (
        DownloadFailed,
        "The folder for models cannot be written. Correct its permissions, or name another in HF_HOME.",
    ),
}  # fmt: skip
STRANGE = (
    DownloadFailed,
    "The hub answered '{repo}' in a way that makes no sense here. Try again; the log says more.",
)


def ending(kind: str, repo: str, text: str = "") -> AtelierError:
    """The error of an end's name."""
    error, sentences = ENDS.get(kind, STRANGE)
    file = text.rpartition(" ")[2][:200]
    return error(sentences.format(repo=repo, file=file))


class HubCourier:
    """A child process that talks to the hub. `async with` starts it and, whatever happens, kills it.

    A process and not a thread, because a read that waits for the network cannot be ended from outside, its
    work would share the interpreter's lock with every answer being written, and its libraries would stay.
    """

    def __init__(self, repo: str, settings: Settings, patience: Sequence[float] = ()) -> None:
        self._repo = repo
        self._settings = settings
        self._patience = tuple(patience)  # empty: the process's own
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> HubCourier:
        if self._settings.offline or os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
            raise ending("offline", self._repo)
        token = self._settings.hf_token
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(SCRIPT),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE_LIMIT,
            env={**os.environ, **({"HF_TOKEN": token} if token else {})},
            start_new_session=True,  # Ctrl-C is the server's to handle
        )  # fmt: skip
        return self

    async def __aexit__(self, *error: object) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())
        # Its pipe to us closes a step later; the loop must not end before.
        await asyncio.sleep(0)

    async def look(self, revision: str) -> dict[str, Any]:
        """commit, gated, tags, card and files (see `fetching.look`). Raises the errors in `ENDS`."""
        return await self._ask({"do": "look", "repo": self._repo, "revision": revision})

    async def read(self, commit: str, paths: Sequence[str]) -> dict[str, str]:
        """The texts of small files, by path. Raises the errors in `ENDS`."""
        if not paths:
            return {}
        order = {"do": "read", "repo": self._repo, "commit": commit, "paths": list(paths)}
        texts: dict[str, str] = (await self._ask(order))["texts"]
        return texts

    async def fetch(
        self, commit: str, revision: str, files: Sequence[Entry], store: Path
    ) -> AsyncIterator[int]:
        """Fetch files into the repository's folder in the hub's cache; yields the bytes that are there.

        Raises:
            WrongFile, NoSpace, DownloadFailed, …: the errors in `ENDS`.
        """
        order = {
            "do": "fetch", "repo": self._repo, "commit": commit, "revision": revision,
            "files": list(files), "store": str(store),
            "patience": self._patience,
        }  # fmt: skip
        answer = await self._ask(order)
        while True:
            yield int(answer["done"])
            if answer.get("ended"):
                return
            answer = await self._answer()

    async def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it died: `_answer` says so
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            log.error("the process of a download ended by itself (%s)", await self._process.wait())
            raise DownloadFailed("The download broke off. Try again: what came is kept.")
        answer: dict[str, Any] = json.loads(line)
        if kind := answer.get("failed"):
            text = str(answer.get("text", ""))
            log.warning("%s: %s: %s", self._repo, kind, text)
            raise ending(kind, self._repo, text)
        return answer


async def pull(base: str, model: str) -> AsyncGenerator[tuple[int, int]]:
    """Have an Ollama server pull a model; yields (bytes there, bytes in all as far as it has said).

    Raises:
        DownloadFailed: the server is down or broke off. InferenceFailed: it refused, in its own words.
    """
    import aiohttp

    limits = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=PULL_SILENCE)
    layers: dict[str, tuple[int, int]] = {}
    try:
        async with (
            aiohttp.ClientSession(timeout=limits) as session,
            session.post(f"{base}/api/pull", json={"model": model, "stream": True}) as answer,
        ):
            async for line in answer.content:
                said = _said(line)
                if "error" in said or answer.status >= 400:
                    reason = str(said.get("error") or answer.reason)[:500]
                    raise InferenceFailed(f"Ollama could not pull '{model}': {reason}")
                if digest := said.get("digest"):
                    total = int(said.get("total") or 0)
                    layers[str(digest)] = (int(said.get("completed") or 0), total)
                yield sum(done for done, _ in layers.values()), sum(t for _, t in layers.values())
                if said.get("status") == "success":
                    return
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise DownloadFailed(
            "The Ollama server cannot be reached, or broke off. Check that it runs and try again."
        ) from error
    raise DownloadFailed("The Ollama server stopped before the model was there. Try again.")


def _said(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line) if line.strip() else {}
    except ValueError:
        said = {}
    return said if isinstance(said, dict) else {}
