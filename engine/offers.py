"""What a download would fetch, told before anything is: files, bytes, licence, and whether the disk has room.

Knows the catalog, the hub and the hub's cache; begins nothing.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from engine import checkpoints, hub
from engine.couriers import HubCourier, ending
from engine.errors import BadValue, NoSpace, Unknown
from engine.hub import Entry, Licence
from engine.registry import ModelSpec, Registry
from engine.settings import Settings

HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
RESERVE = 500_000_000  # bytes that stay free on the disk


@dataclass(frozen=True, slots=True)
class Offer:
    """What a download would fetch.

    Args:
        model: the id that it is used by afterwards.
        files: what is fetched, each with path, size and hash.
        size: bytes of all files.
        missing: bytes of them that are not on this machine yet.
        free: bytes left on the disk they go to.
        present: everything is here already.
        spec: the catalog row, or the one it will have.
    """

    model: str
    repo: str
    revision: str
    commit: str
    licence: Licence
    gated: bool
    files: tuple[Entry, ...]
    size: int
    missing: int
    free: int
    present: bool
    spec: ModelSpec


class Offers:
    """Asks the hub what there is to fetch. `families` are the names of the families there are."""

    def __init__(self, settings: Settings, registry: Registry, families: Collection[str]) -> None:
        self._settings = settings
        self._registry = registry
        self._families = families

    def name(self, model: str, revision: str) -> tuple[ModelSpec | None, str, str]:
        """The catalog row, if there is one, the repository and the revision of what is asked for.

        Raises:
            BadValue: it is neither in the catalog nor a hub id, or there is nothing to fetch.
        """
        if not hub.is_revision(revision):
            raise BadValue("This is no branch, tag or commit.", param="revision")
        try:
            spec = self._registry.find(model)
        except Unknown:
            repo, named = hub.parse_name(model)
            return None, repo, revision or named
        if not spec.repo or spec.path:
            where = "on another server" if spec.lane == "remote" else "here already"
            raise BadValue(f"'{spec.id}' is {where}; there is nothing to fetch.", param="model")
        return spec, spec.repo, revision or spec.revision

    async def look(self, model: str, revision: str) -> Offer:
        """The offer of a catalog id or hub id.

        Raises:
            BadValue: it cannot be run here. Unknown, Gated, Unavailable: the hub does not give it.
        """
        spec, repo, revision = self.name(model, revision)
        async with HubCourier(repo, self._settings) as courier:
            found = await courier.look(revision)
            _check_names(repo, found)
            names = {entry["path"] for entry in found["files"]}
            small = [name for name in hub.READ if name in names]
            texts = await courier.read(found["commit"], small)
        patterns = spec.options.get("files") if spec is not None else None
        files = _chosen(repo, found["files"], texts, patterns)
        size = sum(unique(files).values())
        licence = hub.licence_of(repo, found["card"])
        if spec is None:
            spec = hub.describe(
                repo, repo, revision, hub.parse(texts.get("config.json", "") or texts.get(hub.PIPELINE, "")),
                families=self._families, is_embedder=hub.LIST in names,
                size=size, licence=licence.name,
            )  # fmt: skip
        return Offer(
            model=spec.id,
            repo=repo,
            revision=revision,
            commit=found["commit"],
            licence=licence,
            gated=found["gated"],
            files=tuple(files),
            size=size,
            missing=size - await asyncio.to_thread(bytes_here, repo, files),
            free=free_bytes(),
            present=_is_here(repo, found["commit"], files),
            spec=spec,
        )


def _check_names(repo: str, found: dict[str, Any]) -> None:
    """Refuse what is no hash: commits and hashes become the names of folders and files here."""
    hashes = (entry["sha256"] or entry["blob"] for entry in found["files"])
    if not all(HASH.fullmatch(str(name)) for name in (found["commit"], *hashes)):
        raise ending("strange", repo)


def _chosen(repo: str, files: list[Entry], texts: dict[str, str], patterns: Any) -> list[Entry]:
    """The files that a catalog row names by patterns, else those that a model of the usual layout needs."""
    if not patterns:
        return hub.choose_files(repo, files, texts)
    return [entry for entry in files if any(fnmatchcase(entry["path"], p) for p in patterns)]


def store_of(repo: str) -> Path:
    """The repository's folder in the hub's cache."""
    return checkpoints.hub_cache() / f"models--{repo.replace('/', '--')}"


def unique(files: Sequence[Entry]) -> dict[str, int]:
    """Size by hash: equal files are fetched once."""
    return {entry["sha256"] or entry["blob"]: int(entry["size"]) for entry in files}


def bytes_here(repo: str, files: Sequence[Entry]) -> int:
    """Bytes of these files that are on the disk, parts included."""
    blobs = store_of(repo) / "blobs"
    found = 0
    for name, size in unique(files).items():
        for file in (blobs / name, blobs / f"{name}.incomplete"):
            with suppress(OSError):
                found += min(size, file.stat().st_size)
                break
    return found


def free_bytes() -> int:
    """Bytes free on the disk of the hub's cache, which may not be there yet."""
    folder = checkpoints.hub_cache()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(missing: int, free: int) -> None:
    """Raise NoSpace where so many bytes would fill the disk."""
    if missing > 0 and free < missing + RESERVE:
        raise NoSpace(
            f"The disk has {free / 1e9:.1f} GB free, and this download needs {missing / 1e9:.1f} GB and "
            f"{RESERVE / 1e9:.1f} GB to spare. Free some space, or put HF_HOME on a larger disk."
        )


def sweep(repo: str, files: Sequence[Entry]) -> None:
    """Remove the parts of files; whole ones may belong to another model too."""
    for name in unique(files):
        (store_of(repo) / "blobs" / f"{name}.incomplete").unlink(missing_ok=True)


def _is_here(repo: str, commit: str, files: Sequence[Entry]) -> bool:
    folder = checkpoints.cached_snapshot(repo, commit)
    return folder is not None and all((folder / entry["path"]).is_file() for entry in files)
