"""The child process of a download: asks the hub, keeps files, and may be killed at any moment.

Started as a script by `engine.couriers`, it imports nothing of ours. Lines of JSON come in ("look", "read", "fetch"),
lines of JSON go out; it ends with its input, so it never outlives the server. It goes through huggingface_hub's
session, headers, addresses and errors, but reads bodies itself: the library keeps no part of a file that broke
off and checks sizes alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

AT_ONCE = 4  # files
PATIENCE = (
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    16.0,
)  # seconds before each try that follows one without a byte
TELL = 0.25  # seconds between two reports
LARGEST = 50_000_000_000  # bytes of one file the hub serves over plain HTTP
TEXT_LIMIT = 50_000_000
Entry = dict[str, Any]  # path, size, and sha256 (large files) or blob (git's own hash)


class Failed(Exception):
    """An end that has a name; `kind` is what the parent turns into a sentence."""

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(text or kind)
        self.kind = kind


def look(order: dict[str, Any]) -> dict[str, Any]:
    """The commit of a revision, its files with sizes and hashes, and what the model card says."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    info = api.model_info(order["repo"], revision=order["revision"] or None, timeout=30)
    tree = api.list_repo_tree(order["repo"], recursive=True, revision=info.sha)
    files = [
        {
            "path": item.path,
            "size": item.lfs.size if item.lfs else item.size,
            "sha256": item.lfs.sha256 if item.lfs else "",
            "blob": "" if item.lfs else item.blob_id,
        }
        for item in tree
        if isinstance(item, RepoFile)
    ]
    card = info.card_data.to_dict() if info.card_data else {}
    said = ("license", "license_name", "license_link", "language", "base_model")
    return {
        "commit": info.sha,
        "gated": bool(info.gated),
        "tags": list(info.tags or ()),
        "library": info.library_name or "",
        "task": info.pipeline_tag or "",
        "card": {key: card[key] for key in said if card.get(key)},
        "files": files,
    }


def read(order: dict[str, Any]) -> dict[str, Any]:
    """The texts of small files, by path."""
    texts = {}
    for path in order["paths"]:
        with _opened(order["repo"], order["commit"], path, 0) as (_, pieces):
            body = bytearray()
            for piece in pieces:
                body += piece
                if len(body) > TEXT_LIMIT:
                    raise Failed("strange")
        texts[path] = body.decode("utf-8", "replace")
    return {"texts": texts}


@contextmanager
def _opened(repo: str, commit: str, path: str, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The body of a file from byte `start` on: where it really starts (0 when ranges are ignored), and its pieces."""
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    headers = {**build_hf_headers(), "accept-encoding": "identity"}
    if start:
        headers["range"] = f"bytes={start}-"
    url = hf_hub_url(repo, path, revision=commit)
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout) as answer:
        if answer.status_code >= 400:
            answer.read()
        hf_raise_for_status(answer)
        yield (start if answer.status_code == 206 else 0), answer.iter_raw()


class Fetch:
    """The files of one snapshot on their way into the hub's cache.

    Each goes to `blobs/<hash>.incomplete`, is hashed while it comes and gets its name only when the hash is
    right. The snapshot's folder appears when all its files are there, the branch's name after that.
    """

    def __init__(self, order: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
        self._repo: str = order["repo"]
        self._commit: str = order["commit"]
        self._revision: str = order["revision"] or "main"
        self._files: list[Entry] = order["files"]
        self._store = Path(order["store"])
        self._patience: tuple[float, ...] = tuple(order.get("patience") or PATIENCE)
        self._say = say
        self._done = 0
        self._counting = threading.Lock()

    def run(self) -> dict[str, Any]:
        """Fetch what is missing and put the snapshot together."""
        from huggingface_hub.utils import WeakFileLock

        lock = self._store.parent / ".locks" / self._store.name / "atelier.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        (self._store / "blobs").mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            over = threading.Event()
            teller = threading.Thread(target=self._tell, args=(over,), daemon=True)
            teller.start()
            try:
                self._fetch_all()
            finally:
                over.set()
                teller.join()
            self._put_together()
        return {"done": self._done, "ended": True}

    def _fetch_all(self) -> None:
        # Largest first, so that the last one is a short one.
        each = {self._blob(entry): entry for entry in self._files}  # equal files lie there once
        waiting = sorted(each.values(), key=lambda entry: -entry["size"])
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tasks = [pool.submit(self._fetch, entry) for entry in waiting]
            ended, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            if any(task.exception() for task in ended):
                pool.shutdown(wait=False, cancel_futures=True)
            for task in ended:
                task.result()

    def _tell(self, over: threading.Event) -> None:
        while not over.wait(TELL):
            self._say({"done": self._done})

    def _count(self, size: int) -> None:
        with self._counting:
            self._done += size

    def _blob(self, entry: Entry) -> Path:
        return self._store / "blobs" / str(entry["sha256"] or entry["blob"])

    def _fetch(self, entry: Entry) -> None:
        """One file, over as many connections as it takes."""
        blob = self._blob(entry)
        if blob.is_file() and blob.stat().st_size == entry["size"]:
            self._count(entry["size"])
            return
        if entry["size"] > LARGEST:
            raise Failed("too_large", entry["path"])
        part = blob.with_name(blob.name + ".incomplete")
        had = part.stat().st_size if part.is_file() else 0
        # Bytes of an earlier time may be to blame for a wrong hash: then once more, from nothing.
        if not self._arrived(entry, part) and not (had and self._arrived(entry, part)):
            raise Failed("wrong_hash", entry["path"])
        part.replace(blob)

    def _arrived(self, entry: Entry, part: Path) -> bool:
        """Fetch the rest of a file; False when all is there and the hash is wrong: then nothing is kept."""
        digest = _digest(entry)
        with part.open("ab+") as stream:
            if stream.tell() > entry["size"]:
                stream.truncate(0)
            stream.seek(0)
            have = 0
            while piece := stream.read(1 << 20):
                digest.update(piece)
                have += len(piece)
            self._count(have)
            have, digest = self._complete(entry, stream.fileno(), have, digest)
        if digest.hexdigest() == (entry["sha256"] or entry["blob"]):
            return True
        part.unlink()
        self._count(-have)
        return False

    def _complete(self, entry: Entry, to: int, have: int, digest: Any) -> tuple[int, Any]:
        """Ask until all bytes are there; gives up after as many tries without a byte as patience has."""
        tries = 0
        while have < entry["size"]:
            before, error = have, Failed("short", entry["path"])
            try:
                with _opened(self._repo, self._commit, entry["path"], have) as (start, pieces):
                    if start < have:
                        os.ftruncate(to, 0)
                        self._count(-have)
                        have, digest = 0, _digest(entry)
                    for piece in pieces:
                        _write(to, piece)
                        digest.update(piece)
                        have += len(piece)
                        self._count(len(piece))
            # The HTTP library's errors are many; what is worth another try is decided by `kind_of`.
            except Exception as fault:
                if kind_of(fault) not in {"unreachable", "limited", "hub_failed"}:
                    raise
                error = Failed(kind_of(fault), str(fault))
            tries = 0 if have > before else tries
            if have >= entry["size"]:
                break
            if tries >= len(self._patience):
                raise error
            time.sleep(self._patience[tries])
            tries += 1
        return have, digest

    def _put_together(self) -> None:
        """The snapshot's folder, in one step where it is new, then the name of the revision."""
        final = self._store / "snapshots" / self._commit
        final.parent.mkdir(parents=True, exist_ok=True)
        folder = final
        if not final.is_dir():
            folder = self._store / f".new-{self._commit}"
            shutil.rmtree(folder, ignore_errors=True)
        for entry in self._files:
            link = folder / entry["path"]
            link.parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (2 + entry["path"].count("/"))
            link.unlink(missing_ok=True)
            link.symlink_to(f"{up}blobs/{self._blob(entry).name}")
        if folder != final:
            folder.replace(final)
        if self._revision != self._commit:
            ref = self._store / "refs" / self._revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            new = ref.with_name(ref.name + ".new")
            new.write_text(self._commit, encoding="utf-8")
            new.replace(ref)


def _write(to: int, piece: bytes) -> None:
    """All of it: a disk that is nearly full takes a part and says so only the next time."""
    view = memoryview(piece)
    while view:
        view = view[os.write(to, view) :]


def _digest(entry: Entry) -> Any:
    if entry["sha256"]:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % entry["size"], usedforsecurity=False)


def kind_of(error: BaseException) -> str:
    """The name of what went wrong."""
    from huggingface_hub import errors

    if isinstance(error, Failed):
        return error.kind
    named = (
        (errors.GatedRepoError, "gated"),
        (errors.DisabledRepoError, "disabled"),
        (errors.RepositoryNotFoundError, "no_repo"),
        (errors.RevisionNotFoundError, "no_revision"),
        (errors.HFValidationError, "no_repo"),
        (errors.OfflineModeIsEnabled, "offline"),
    )
    for kind, name in named:
        if isinstance(error, kind):
            return name
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        statuses = {401: "bad_token", 403: "forbidden", 404: "no_file", 416: "short"}
        statuses |= {408: "unreachable", 429: "limited"}
        return statuses.get(status, "hub_failed" if status >= 500 else "strange")
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
        return "disk_full"
    if type(error).__module__.partition(".")[0] in {"httpx2", "httpcore2"}:
        return "unreachable"
    return "disk" if isinstance(error, OSError) else "strange"


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _serve(order: dict[str, Any]) -> None:
    """Carry one order out and answer it, whatever becomes of it."""
    try:
        if order["do"] == "fetch":
            _say(Fetch(order, _say).run())
        else:
            _say({"look": look, "read": read}[order["do"]](order))
    # Everything a foreign library raises becomes a named end; the parent has the sentence, the log the text.
    except Exception as error:
        _say({"failed": kind_of(error), "text": f"{type(error).__name__}: {error}"[:2000]})


def main() -> None:
    """One order at a time, each on a thread: this one only waits for the input to end."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    for line in sys.stdin:
        threading.Thread(target=_serve, args=(json.loads(line),), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    main()
