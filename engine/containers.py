"""Containers of a Docker-compatible engine: those that may be seen here, and the six things that may be done.

The engine's socket is as good as root, so nothing a caller says ever reaches it: a name is looked up among what
the engine lists and the settings allow, and only the id found there is used. Nothing is ever created, run or mounted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from engine.errors import Conflict, Forbidden, Limited, TimedOut, Unavailable, Unknown
from engine.settings import Settings

T = TypeVar("T")
Action = Literal["start", "stop", "restart"]
SECONDS = 10.0  # that the engine may take for anything
GRACE = 5  # seconds a container gets to end by itself
FOLLOWERS = 16  # logs followed at once
THREADS = 8
PIECES = 256  # of a followed log that may wait for their reader
SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
log = logging.getLogger("atelier.containers")


@dataclass(frozen=True, slots=True)
class Load:
    """What a container uses: percent of one core, bytes; zeros while it does not run."""

    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    memory_usage: int = 0
    memory_limit: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """A container that may be seen.

    Args:
        status: "running", "exited", "created", "paused", …
        created: ISO 8601, UTC.
        ports: as the engine has them: {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}.
        uptime: for people: "Up 3 minutes".
    """

    id: str
    name: str
    status: str
    image: str
    created: str
    ports: dict[str, list[dict[str, str]]]
    uptime: str = ""
    load: Load = field(default_factory=Load)


class Containers:
    """The containers that the settings allow.

    All methods raise Unavailable where no engine answers, TimedOut where it takes over 10 s, Unknown for a
    container that is not there or not allowed (which is not told apart), Forbidden where the server is open to all.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Any = None
        self._making = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="atelier-containers")
        self._used: dict[
            str, tuple[float, float]
        ] = {}  # by id: when, and seconds of a core by then
        self._following = 0

    def close(self) -> None:
        """Let go of the engine; what hangs there is left alone."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # What may be asked

    async def list(self, loads: bool = True) -> list[Container]:
        """Those that may be seen, by name, with what they use."""
        found = await self._run(self._allowed)
        if not loads:
            return [_container(row) for row in found]
        used = await asyncio.gather(*(self._looked(row) for row in found))
        self._used = {row["Id"]: u for row in found if (u := self._used.get(row["Id"]))}
        return [_container(row, load) for row, load in zip(found, used, strict=True)]

    async def _looked(self, row: dict[str, Any]) -> Load:
        """What one uses; nothing where it went away meanwhile."""
        try:
            return await self._run(self._load, row)
        except Unknown:
            return Load()

    async def get(self, name: str) -> Container:
        """One of them, by its id or name, without what it uses."""
        return await self._run(lambda: _container(self._find(name)))

    async def act(self, name: str, action: Action) -> Container:
        """Start, stop or restart one; how it stands after that. What is so already is no error."""

        def done() -> Container:
            found = self._find(name)
            client = self._engine()
            if action == "start":
                client.api.start(found["Id"])
            else:
                getattr(client.api, action)(found["Id"], timeout=GRACE)
            return _container(self._find(found["Id"]))

        self._check()
        log.info("container %s: %s", name[:64], action)
        return await self._run(done, seconds=SECONDS + GRACE)

    async def stats(self, name: str) -> Load:
        """What one uses now."""
        return await self._run(lambda: self._load(self._find(name)))

    async def logs(self, name: str, tail: int = 200) -> str:
        """The last lines of its output, both streams together."""

        def read() -> str:
            found = self._find(name)
            raw: bytes = self._engine().api.logs(found["Id"], tail=tail)
            return raw.decode("utf-8", "replace")

        return await self._run(read)

    async def follow(self, name: str, tail: int = 200) -> AsyncGenerator[str]:
        """The last lines, then what comes, until it ends or the generator is closed.

        Raises:
            Limited: too many are followed already.
        """
        if self._following >= FOLLOWERS:
            raise Limited(f"{FOLLOWERS} logs are followed already. Close one.", retry_after=10)

        def begin() -> Any:
            found = self._find(name)
            return self._engine().api.logs(found["Id"], tail=tail, stream=True, follow=True)

        stream = await self._run(begin)
        self._following += 1
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES)
        gone = threading.Event()
        reader = threading.Thread(
            target=_pump, args=(stream, pieces, asyncio.get_running_loop(), gone), daemon=True
        )
        reader.start()
        try:
            while (piece := await pieces.get()) is not None:
                yield piece.decode("utf-8", "replace")
        finally:
            self._following -= 1
            gone.set()
            while not pieces.empty():
                pieces.get_nowait()
            with suppress(OSError, AttributeError):  # the engine closed it already
                stream.close()

    # The engine, on threads of its own

    def _check(self) -> None:
        if self._settings.is_exposed:
            raise Forbidden(
                "This server is open to everyone on the network, so containers are off. Set ATELIER_TOKEN."
            )

    async def _run(self, fn: Callable[..., T], *args: Any, seconds: float = SECONDS) -> T:
        self._check()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds + 1):
                return await loop.run_in_executor(self._pool, lambda: self._asked(fn, *args))
        except TimeoutError:
            raise TimedOut("The container engine took too long. Look whether it is busy.") from None

    def _asked(self, fn: Callable[..., T], *args: Any) -> T:
        if not _there(self._url()):
            raise Unavailable(ABSENT, retry_after=30)
        with _translated():
            return fn(*args)

    def _url(self) -> str:
        """Where the engine is: as set, else the first socket that is there."""
        if self._settings.docker_host:
            return self._settings.docker_host
        own = f"{os.environ.get('XDG_RUNTIME_DIR', '/nowhere')}/podman/podman.sock"
        found = next((path for path in (*SOCKETS, own) if Path(path).exists()), SOCKETS[0])
        return f"unix://{found}"

    def _engine(self) -> Any:
        with self._making:
            if self._client is None:
                self._client = _connect(self._url())
            return self._client

    def _allowed(self) -> Sequence[dict[str, Any]]:
        rows = self._engine().api.containers(all=True)
        return sorted((row for row in rows if self._allows(row)), key=_name)

    def _allows(self, row: dict[str, Any]) -> bool:
        prefix, label = self._settings.containers_prefix, self._settings.containers_label
        if prefix and _name(row).startswith(prefix):
            return True
        key, _, value = label.partition("=")
        labels = row.get("Labels") or {}
        return bool(key) and key in labels and (not value or labels[key] == value)

    def _find(self, name: str) -> dict[str, Any]:
        """An allowed container by its id, the first twelve or more digits of it, or its name."""
        row: dict[str, Any]
        for row in self._allowed():
            short = len(name) >= 12 and row["Id"].startswith(name)
            if short or name == _name(row):
                return row
        raise Unknown("There is no such container among those that may be seen here.", param="id")

    def _load(self, row: dict[str, Any]) -> Load:
        if row.get("State") != "running":
            return Load()
        told = self._engine().api.stats(row["Id"], stream=False, one_shot=True)
        memory = told.get("memory_stats") or {}
        held, limit = _held(memory), int(memory.get("limit") or 0)
        return Load(
            cpu_percent=round(self._share(row["Id"], told), 2),
            memory_percent=round(100 * held / limit, 2) if limit else 0.0,
            memory_usage=held,
            memory_limit=limit,
        )

    def _share(self, id: str, told: dict[str, Any]) -> float:
        """Percent of a core since it was asked last; at first since the engine's own last look, if it tells."""
        now, used = time.monotonic(), _cpu(told.get("cpu_stats")) / 1e9
        before, self._used[id] = self._used.get(id), (now, used)
        if before is not None and now - before[0] > 0.2:
            return max(0.0, 100 * (used - before[1]) / (now - before[0]))
        earlier = _cpu(told.get("precpu_stats")) / 1e9
        span = _system(told.get("cpu_stats")) - _system(told.get("precpu_stats"))
        cores = (told.get("cpu_stats") or {}).get("online_cpus") or 1
        if not earlier or span <= 0:
            return 0.0
        return max(0.0, 100 * cores * (used - earlier) / (span / 1e9))


ABSENT = (
    "No container engine answers. Start Docker, or Podman's service (podman system service), or say with"
    " ATELIER_DOCKER_HOST where it is."
)


def _there(url: str) -> bool:
    """Whether somebody listens on a socket of this machine; what is elsewhere is not looked for."""
    if not url.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(SECONDS)
        try:
            door.connect(url.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _connect(url: str) -> Any:
    """A client that speaks the engine's own version; asked for apart, so that a failure leaves nothing open."""
    from docker import DockerClient

    how = {"base_url": url, "timeout": int(SECONDS), "max_pool_size": THREADS + FOLLOWERS}
    first = DockerClient(version="1.41", **how)
    try:
        version = first.api.version(api_version=False)["ApiVersion"]
    finally:
        first.close()
    return DockerClient(version=version, **how)


@contextmanager
def _translated() -> Iterator[None]:
    """The engine's errors as ours; its words go to the log alone, for they name paths."""
    from docker import errors

    try:
        yield
    except errors.NotFound as error:
        raise Unknown("The container went away meanwhile.", param="id") from error
    except errors.APIError as error:
        log.warning("The container engine refused: %s", error.explanation or error)
        if error.status_code == 409:
            raise Conflict("The container is busy with something else. Try again.") from error
        raise Unavailable("The container engine refused. The server's log says why.") from error
    except (errors.DockerException, OSError) as error:  # requests' errors are OSErrors
        if "timed out" in str(error).lower():
            raise TimedOut(
                "The container engine took too long. Look whether it is busy."
            ) from error
        log.info("The container engine cannot be reached: %s", error)
        raise Unavailable(ABSENT, retry_after=30) from error


def _pump(
    stream: Any,
    pieces: asyncio.Queue[bytes | None],
    loop: asyncio.AbstractEventLoop,
    gone: threading.Event,
) -> None:
    """Carry a log's pieces to its reader; one that is behind makes the engine wait."""
    with suppress(OSError, ValueError, RuntimeError, AttributeError):  # closed from the other side
        for piece in stream:
            if gone.is_set():
                return
            asyncio.run_coroutine_threadsafe(pieces.put(piece), loop).result(3600)
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_end, pieces)


def _end(pieces: asyncio.Queue[bytes | None]) -> None:
    while pieces.full():  # its reader is gone, or sees the end a little early
        pieces.get_nowait()
    pieces.put_nowait(None)


def _container(row: dict[str, Any], load: Load | None = None) -> Container:
    ports: dict[str, list[dict[str, str]]] = {}
    for port in row.get("Ports") or ():
        bound = ports.setdefault(f"{port.get('PrivatePort')}/{port.get('Type', 'tcp')}", [])
        if port.get("PublicPort"):
            bound.append({"HostIp": port.get("IP", ""), "HostPort": str(port["PublicPort"])})
    return Container(
        id=row["Id"],
        name=_name(row),
        status=str(row.get("State", "")),
        image=str(row.get("Image", "")),
        created=datetime.fromtimestamp(row.get("Created", 0), UTC).isoformat(),
        ports=ports,
        uptime=str(row.get("Status", "")),
        load=load or Load(),
    )


def _name(row: dict[str, Any]) -> str:
    return str((row.get("Names") or [""])[0]).lstrip("/")


def _held(memory: dict[str, Any]) -> int:
    """Bytes in use without the page cache, as `docker stats` shows them."""
    cache = (memory.get("stats") or {}).get("inactive_file", 0)
    return max(0, int(memory.get("usage") or 0) - int(cache))


def _cpu(told: dict[str, Any] | None) -> int:
    return int(((told or {}).get("cpu_usage") or {}).get("total_usage") or 0)


def _system(told: dict[str, Any] | None) -> int:
    return int((told or {}).get("system_cpu_usage") or 0)
