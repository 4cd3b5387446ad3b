"""A small model hub on loopback that speaks what huggingface_hub asks, and misbehaves when told to.

Run as a module it serves a folder of repositories (`org/name/…`) in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"  # what every repository's main points to unless it says otherwise
PIECE = 1 << 16


@dataclass
class File:
    """One file of a repository, kept in memory or on disk; large ones are "LFS" and lie behind a redirect."""

    data: bytes | Path
    lfs: bool = False

    @cached_property
    def body(self) -> bytes:
        return self.data.read_bytes() if isinstance(self.data, Path) else self.data

    @property
    def size(self) -> int:
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    @cached_property
    def blob(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.body) + self.body).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob


@dataclass
class Repo:
    """A repository: files by path, the model card's metadata, and who may have it."""

    files: dict[str, File] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=lambda: {"license": "apache-2.0"})
    commit: str = COMMIT
    gated: str | bool = False
    token: str = ""  # the token that opens it
    tags: list[str] = field(default_factory=list)


@dataclass
class Faults:
    """What goes wrong, by path within a repository ("*": everywhere). Counters count down."""

    breaks: dict[str, int] = field(default_factory=dict)  # times the connection drops half-way
    wrong: set[str] = field(default_factory=set)  # bytes that are not what the hash says
    short: set[str] = field(default_factory=set)  # an honest answer with fewer bytes
    no_range: set[str] = field(default_factory=set)  # the whole file whatever was asked
    status: dict[str, list[int]] = field(default_factory=dict)  # answered first, in order
    rate: float = 0.0  # bytes a second; 0: as fast as it goes


class Hub:
    """Repositories, faults, and a log of (method, path, range) of every request."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults = Faults()
        self.log: list[tuple[str, str, str]] = []
        self.url = ""

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        *,
        lfs: tuple[str, ...] = (".safetensors", ".bin", ".gguf"),
        **facts: Any,
    ) -> Repo:
        """Add a repository; files with these endings are LFS."""
        kept = {path: File(data, path.endswith(lfs)) for path, data in files.items()}
        repo = self.repos[name] = Repo(kept, **facts)
        return repo

    def asked(self, part: str, method: str = "GET") -> list[str]:
        """The ranges ("" = whole) of the requests whose path holds `part`."""
        return [span for how, path, span in self.log if how == method and part in path]

    @contextmanager
    def serve(self, port: int = 0) -> Iterator[Hub]:
        """Serve on loopback until the block ends."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        server = _Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path, self.headers.get("Range", "")))
        if path.startswith("/cdn/"):
            name, _, file = path.removeprefix("/cdn/").partition("//")
            self._send(self.hub.repos[name], file)
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            name, _, rest = path[1:].partition("/resolve/")
            self._resolve(name, *rest.split("/", 1))
        else:
            self._json({"error": "Not Found"}, 404)

    def _open(self, name: str, revision: str = "main", *, file: bool = False) -> Repo | None:
        """The repository where the caller may have it; otherwise the refusal was sent."""
        repo = self.hub.repos.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif repo.gated and token != repo.token and file:
            # As the hub does: a gated repository's page is open, its files are not.
            status = 403 if token else 401
            told = {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to {name} is gated"}
            self._json({"error": "Access to model is restricted"}, status, told)
        elif revision not in ("main", repo.commit):
            told = {"X-Error-Code": "RevisionNotFound"}
            self._json({"error": "Invalid rev id"}, 404, told)
        else:
            return repo
        return None

    def _api(self, rest: str) -> None:
        parts = rest.split("/")
        name = "/".join(parts[:2])
        revision = parts[3] if len(parts) > 3 else "main"
        if (repo := self._open(name, revision)) is None or self._refused("api"):
            return
        if parts[2:3] == ["tree"]:
            self._json([_entry(path, file) for path, file in repo.files.items()])
            return
        self._json({
            "id": name, "modelId": name, "sha": repo.commit, "private": False, "gated": repo.gated,
            "disabled": False, "tags": repo.tags, "cardData": repo.card, "downloads": 1,
            "siblings": [{"rfilename": path} for path in repo.files],
        })  # fmt: skip

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._open(name, revision, file=True)
        if repo is None or self._refused(path):
            return
        file = repo.files.get(path)
        if file is None:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        elif file.lfs:
            self.send_response(302)
            self.send_header("Location", f"{self.hub.url}/cdn/{name}//{path}")
            self.send_header("X-Repo-Commit", repo.commit)
            self.send_header("X-Linked-Size", str(file.size))
            self.send_header("X-Linked-Etag", f'"{file.etag}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(repo, path)

    def _refused(self, path: str) -> bool:
        waiting = self.hub.faults.status.get(path)
        if not waiting:
            return False
        self._json({"error": "Try later"}, waiting.pop(0))
        return True

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] = {}) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for key, text in headers.items():
            self.send_header(key, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _send(self, repo: Repo, path: str) -> None:
        """The bytes, or those of the range that was asked for, as the faults allow."""
        file, faults = repo.files[path], self.hub.faults
        size = file.size // 2 if path in faults.short else file.size
        start, status = 0, 200
        span = self.headers.get("Range", "")
        if span and path not in faults.no_range:
            start, status = int(span.removeprefix("bytes=").split("-")[0]), 206
        self.send_response(status)
        self.send_header("ETag", f'"{file.etag}"')
        self.send_header("X-Repo-Commit", repo.commit)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(size - start))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        end = size
        if faults.breaks.get(path, 0) > 0:
            faults.breaks[path] -= 1
            end = start + max(1, (size - start) // 2)
        self._pour(file, start, end, path in faults.wrong)
        if end < size:
            self.close_connection = True
            self.connection.close()

    def _pour(self, file: File, start: int, end: int, wrong: bool) -> None:
        rate = self.hub.faults.rate
        if isinstance(file.data, Path) and not rate and not wrong:
            with file.data.open("rb") as stream:
                self.wfile.flush()
                self.connection.sendfile(stream, start, end - start)
            return
        body = file.body
        if wrong:
            body = bytes(byte ^ 1 for byte in body[:16]) + body[16:]
        while start < end:
            piece = body[start : min(end, start + PIECE)]
            self.wfile.write(piece)
            start += len(piece)
            if rate:
                time.sleep(len(piece) / rate)


def _entry(path: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": file.size, "oid": file.blob}
    if file.lfs:
        entry["oid"] = hashlib.sha1(file.sha256.encode()).hexdigest()
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    return entry


def read_folder(hub: Hub, folder: Path) -> None:
    """Add every repository `org/name` below a folder."""
    for place in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        files = {str(f.relative_to(place)): f for f in sorted(place.rglob("*")) if f.is_file()}
        hub.add("/".join(place.parts[-2:]), files)


def main() -> None:
    """`python -m tests.hub FOLDER [PORT] [BYTES_PER_SECOND]`: prints its address, serves until its input ends."""
    hub = Hub()
    read_folder(hub, Path(sys.argv[1]))
    hub.faults.rate = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    for repo in hub.repos.values():
        for file in repo.files.values():
            _ = file.etag
    with hub.serve(int(sys.argv[2]) if len(sys.argv) > 2 else 0):
        print(hub.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
