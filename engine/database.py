"""The one database: opened off the event loop, written by one thread, read through a small pool.

Knows connections, commits, errors and the file, and nothing of what is stored. SQLAlchemy is
imported when it opens.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import AtelierError, BadValue, Conflict, Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

T = TypeVar("T")
FILE = "atelier.db"
BATCH = 200  # writes that share one commit, at most
WAITING = 10_000  # writes that may wait for the disk before new ones are refused
READERS = 4
BUSY_SECONDS = 10  # how long to wait for another process that holds the file
log = logging.getLogger("atelier.database")


@dataclass(slots=True)
class _Write:
    """One queued write; its future is resolved after the commit and never before."""

    fn: Callable[[Connection], Any]
    future: Future[Any]


class Database:
    """SQLite in `folder` unless `url` names another database.

    Anything may be asked before `open` has finished: it waits. When `open` failed or after `close`,
    every read and write fails with the reason, and `open` may be called again.

    Args:
        url: an SQLAlchemy URL ("postgresql://…"); empty: `folder`/atelier.db.
        folder: the data folder; made when it is missing.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._writer: Engine | None = None
        self._reader: Engine | None = None
        self._thread: threading.Thread | None = None
        self._queue: queue.Queue[_Write | None] = queue.Queue()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="atelier-read")
        self._at_open: list[Callable[[Connection], None]] = []
        self._settled = threading.Event()  # opened, failed to open, or closed
        self._broken: AtelierError | None = None
        self._changing = threading.Lock()  # held by open and close
        self._door = threading.Lock()  # held while a write is let in or the state changes

    def at_open(self, fn: Callable[[Connection], None]) -> None:
        """Have `fn` run in the transaction that opens the database, before anything is read."""
        self._at_open.append(fn)

    def open(self) -> None:
        """Connect, migrate and start the writer. Blocks (about 0.2 s); call it in a thread.

        Raises:
            Conflict: the database was written by a newer version.
            BadValue: the URL is wrong or its driver is missing.
            Unavailable: it cannot be reached, written or read.
        """
        with self._changing:
            if self._thread is not None:
                return
            try:
                with _translated():
                    self._connect()
            except AtelierError as error:
                self._refuse(error)
                self._dispose()
                raise
            self._thread = threading.Thread(target=self._serve, name="atelier-write", daemon=True)
            self._thread.start()
            with self._door:
                self._broken = None
                self._settled.set()

    def close(self) -> None:
        """Commit what is queued, join the writer and close the connections. Blocks."""
        with self._changing:
            with self._door:
                self._queue.put(None)
                self._broken = Unavailable("The database is closed because the server is stopping.")
                self._settled.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None
            self._refuse(self._broken)
            self._pool.shutdown(cancel_futures=True)
            self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="atelier-read")
            self._dispose()

    def write(self, fn: Callable[[Connection], T]) -> Future[T]:
        """Queue a write; the future holds its result once it is committed.

        `fn` runs on the writer's thread, in a transaction that other writes may share. When one of
        them fails, each is run again alone: `fn` must touch nothing but the connection.
        """
        future: Future[T] = Future()
        with self._door:
            error = self._broken
            if error is None and self._queue.qsize() >= WAITING:
                error = Unavailable("Too much waits to be saved. Try again later.", retry_after=30)
            if error is None:
                self._queue.put(_Write(fn, future))
        if error is not None:
            future.set_exception(error)
        return future

    def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` on a pooled connection in a transaction of its own. Blocks; waits for `open`."""
        self._settled.wait()
        if self._broken is not None:
            raise self._broken
        assert self._reader is not None
        with _translated(), self._reader.begin() as connection:
            return fn(connection)

    async def awrite(self, fn: Callable[[Connection], T]) -> T:
        """`write`, awaited. It is carried out even when the waiting task is cancelled."""
        return await asyncio.shield(asyncio.wrap_future(self.write(fn)))

    async def flush(self) -> None:
        """Return when every write asked for before is carried out or has failed; whoever asked for it was told."""
        try:
            await self.awrite(lambda c: None)
        except AtelierError as error:
            log.debug("Nothing could be flushed: %s", error)

    async def aread(self, fn: Callable[[Connection], T]) -> T:
        """`read`, on a thread of the database's own."""
        return await asyncio.wrap_future(self._pool.submit(self.read, fn))

    def _connect(self) -> None:
        from engine import migrations

        url = self._find_url()
        file = _prepare_file(url)
        self._writer = _make_engine(url, writes=True)
        self._reader = _make_engine(url, writes=False)
        with self._writer.begin() as connection:
            migrations.upgrade(connection, file)
            for fn in self._at_open:
                fn(connection)

    def _find_url(self) -> URL:
        from sqlalchemy import make_url
        from sqlalchemy.engine import URL

        if not self._url:
            return URL.create("sqlite", database=str(self._folder / FILE))
        url = make_url(self._url)
        # Hosting services still hand out the scheme that SQLAlchemy dropped.
        return url.set(drivername="postgresql") if url.drivername == "postgres" else url

    def _serve(self) -> None:
        while batch := self._take():
            writes = [write for write in batch if write is not None]
            self._commit([w for w in writes if w.future.set_running_or_notify_cancel()])
            if len(writes) < len(batch):
                return

    def _take(self) -> list[_Write | None]:
        """The next write and whatever gathered behind it; None among them is the end."""
        batch = [self._queue.get()]
        while batch[-1] is not None and len(batch) < BATCH:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _commit(self, writes: list[_Write]) -> None:
        """One transaction for all; when that fails, one for each, so that none loses another."""
        assert self._writer is not None
        if not writes:
            return
        begun = False
        try:
            with _translated(), self._writer.begin() as connection:
                begun = True
                results = [write.fn(connection) for write in writes]
        # Whatever a write raises belongs to its future, and the thread must outlive it.
        except Exception as error:
            if begun and len(writes) > 1:
                for write in writes:
                    self._commit([write])
            else:
                for write in writes:
                    write.future.set_exception(error)
        else:
            for write, result in zip(writes, results, strict=True):
                write.future.set_result(result)

    def _refuse(self, error: AtelierError) -> None:
        """Let nothing more in and fail what is still queued."""
        left: list[_Write] = []
        with self._door:
            self._broken = error
            self._settled.set()
            while not self._queue.empty():
                write = self._queue.get_nowait()
                left += [write] if write is not None else []
        for write in left:
            if write.future.set_running_or_notify_cancel():
                write.future.set_exception(error)

    def _dispose(self) -> None:
        for engine in (self._reader, self._writer):
            if engine is not None:
                engine.dispose()
        self._reader = self._writer = None


def storable(text: str) -> str:
    """The text without what a database refuses: NUL characters and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _prepare_file(url: URL) -> Path | None:
    """The file of an SQLite URL, its folder made; only its owner may read it. None for a server."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise BadValue("A database in memory forgets everything. Name a file or a server.")
    file = Path(url.database)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
    except OSError as error:
        raise Unavailable(_SENTENCES["SQLITE_CANTOPEN"]) from error
    return file


def _make_engine(url: URL, *, writes: bool) -> Engine:
    from sqlalchemy import create_engine, event

    options: dict[str, Any] = {"json_serializer": _to_json, "pool_size": 1 if writes else READERS}
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True, **options)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **options)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, DDL included
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_mode=WAL" if writes else "PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer that takes the lock only at its first change may find that it read stale rows.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _to_json(value: Any) -> str:
    import json

    return storable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


_RESCUE = "Stop the server, then put a backup (atelier.db.*.bak) in its place or move it away."
_FOLDER = "Correct the permissions of the data folder, or name another with ATELIER_DATA_DIR."
_SENTENCES = {
    "SQLITE_FULL": "The disk is full, so nothing can be saved. Free some space and try again.",
    "SQLITE_BUSY": "The database is busy with another program. Try again in a moment.",
    "SQLITE_LOCKED": "The database is busy with another program. Try again in a moment.",
    "SQLITE_CORRUPT": f"The database file is damaged. {_RESCUE}",
    "SQLITE_NOTADB": f"The database file is not a database. {_RESCUE}",
    "SQLITE_READONLY": f"The database cannot be written. {_FOLDER}",
    "SQLITE_CANTOPEN": f"The database cannot be opened. {_FOLDER}",
    "SQLITE_IOERR": "The disk failed while saving. Check it and its free space, then try again.",
}


@contextmanager
def _translated() -> Iterator[None]:
    """The database library's errors, as ours; the cause is chained for the log."""
    from sqlalchemy import exc

    try:
        yield
    except exc.IntegrityError as error:
        raise Conflict("Something else changed this at the same moment. Try again.") from error
    except exc.DBAPIError as error:
        name = getattr(error.orig, "sqlite_errorname", "")
        sentence = next((text for key, text in _SENTENCES.items() if name.startswith(key)), "")
        sentence = sentence or "The database does not answer. Check that it runs and try again."
        raise Unavailable(sentence, retry_after=5) from error
    except (exc.ArgumentError, exc.NoSuchModuleError) as error:
        raise BadValue(
            "ATELIER_DATABASE_URL is not a database's URL. Write it as "
            "postgresql://user:password@host/name."
        ) from error
    except ModuleNotFoundError as error:
        raise BadValue(
            f"The database's driver is not installed. Install it: pip install {error.name}."
        ) from error
    except exc.SQLAlchemyError as error:
        raise Unavailable(
            "The database did not answer in time. Try again in a moment.", retry_after=5
        ) from error
