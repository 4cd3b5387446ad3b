"""Models that a user brings: a local folder, a hub id or the address of a server, pasted as text.

Decides what the text is, checks that it can be run, and keeps it in the user's `models.toml`. Downloads nothing.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from engine import hub
from engine.checkpoints import cached_snapshot, is_converted, is_present, weight_files
from engine.errors import (
    AtelierError,
    BadValue,
    Conflict,
    Forbidden,
    LoadFailed,
    NotDownloaded,
    Unknown,
)
from engine.offers import Offers, store_of
from engine.registry import ModelSpec, Registry
from engine.rows import add_row, read_rows, remove_row
from engine.settings import Settings

FILE = "models.toml"
ADDRESS = re.compile(r"https?://", re.IGNORECASE)
SPOKEN = re.compile(r"[^\w.-]+", re.ASCII)
GGUF = (
    "GGUF files are run by Ollama. Make it a model there with `ollama create NAME -f Modelfile`, where the "
    "Modelfile says `FROM ./file.gguf`, and add the address of that Ollama here."
)


class Named(Protocol):
    """A server that was taken in."""

    @property
    def name(self) -> str: ...


class Servers(Protocol):
    """Other servers, by address."""

    async def add(self, url: str, *, key: str = "") -> Named: ...


class Adoption:
    """What the user adds to the catalog and takes out of it again.

    Args:
        families: the families there are, by name.
        servers: where the addresses of other servers go.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        families: Mapping[str, ModuleType | Any],
        servers: Servers | None = None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._families = families
        self._servers = servers
        self._file = settings.data_dir / FILE
        self._changing = asyncio.Lock()

    # Adding

    async def add(self, text: str, key: str = "") -> list[ModelSpec]:
        """Take in what was pasted; the rows it makes, one unless it is a server. What is there already is found.

        Args:
            key: the bearer token of a server.

        Raises:
            BadValue: it is none of a folder with a model, a hub id and an address, or nothing here can run it.
            Unknown, Gated, Unavailable: the hub or the server does not give it.
        """
        text = text.strip().strip("\"'")
        if not text or len(text) > 2000:
            raise BadValue(
                "Paste a folder of this machine, a hub id such as org/name, or the address of a server.",
                param="source",
            )
        if ADDRESS.match(text) and not hub.PAGE.fullmatch(text):
            return await self._add_server(text, key)
        async with self._changing:
            if _is_path(text):
                spec = await asyncio.to_thread(self._folder, text)
            else:
                spec = await self._hub(text)
            there = self._same(spec)
            if there is not None:
                return [there]
            await asyncio.to_thread(_check_known, spec)
            await asyncio.to_thread(add_row, self._file, row_of(spec))
            self._registry.add(spec)
            return [spec]

    async def _add_server(self, url: str, key: str) -> list[ModelSpec]:
        if self._servers is None:
            raise BadValue("This server takes no other servers in.", param="source")
        name = (await self._servers.add(url, key=key)).name
        return [spec for spec in self._registry.models() if spec.options.get("server") == name]

    def _same(self, spec: ModelSpec) -> ModelSpec | None:
        """The row that names the same files, if there is one."""
        mine = (spec.path, spec.repo, spec.revision)
        rows = self._registry.models()
        return next((row for row in rows if (row.path, row.repo, row.revision) == mine), None)

    def _folder(self, text: str) -> ModelSpec:
        """The row of a local folder in hub layout."""
        try:
            folder = Path(text).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):  # too long, nobody's home, a NUL
            raise BadValue(
                "This is no path of this machine. Paste a folder's whole path.", param="source"
            ) from None
        if folder.suffix.lower() == ".gguf":
            raise BadValue(GGUF, param="source")
        name = SPOKEN.sub("-", folder.name).strip("-.") or "model"
        if not folder.is_dir():
            raise BadValue(
                f"There is no folder '{name}' on this machine. Paste its whole path.",
                param="source",
            )
        if (known := self._recognised(folder, name)) is not None:
            return known
        files = {file.name for file in folder.iterdir()}
        if not files & {"config.json", hub.PIPELINE}:
            raise _not_a_model(name, files)
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        spec = self._described(self._free_id(name), name, folder, size)
        try:
            weight_files(folder, replace(spec, path=str(folder)))
        except LoadFailed as error:  # missing or pickled
            raise BadValue(error.message, param="source") from error
        return replace(spec, repo="", revision="", path=str(folder), title=folder.name[:200])

    def _recognised(self, folder: Path, name: str) -> ModelSpec | None:
        """The row of a folder in a layout of its own: a family's `recognise` tells what is in it."""
        for family_name, family in self._families.items():
            told = getattr(family, "recognise", lambda folder: None)(folder)
            if told is not None:
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                spec = ModelSpec(self._free_id(name), family=family_name, size=size, **told)
                return replace(spec, path=str(folder), title=folder.name[:200])
        return None

    def _described(self, id: str, name: str, folder: Path, size: int) -> ModelSpec:
        files = {file.name for file in folder.iterdir()}
        told = folder / ("config.json" if "config.json" in files else hub.PIPELINE)
        config = hub.parse(told.read_text(encoding="utf-8", errors="replace"))
        return hub.describe(
            id, name, "", config,
            families=tuple(self._families), is_embedder=hub.LIST in files, size=size,
        )  # fmt: skip

    def _free_id(self, name: str) -> str:
        """The name, or the name with a number where it is taken."""
        taken = {spec.id for spec in self._registry.models()}
        names = (name, *(f"{name}-{n}" for n in range(2, 10_000)))
        return next(one for one in names if one not in taken)

    async def _hub(self, text: str) -> ModelSpec:
        """The row of a repository: from the hub's cache where it is there, else from the hub."""
        repo, revision = hub.parse_name(text)
        folder = await asyncio.to_thread(cached_snapshot, repo, revision)
        name = f"{repo}@{revision}" if revision else repo
        names = ("config.json", hub.PIPELINE)
        if folder is not None and any((folder / one).is_file() for one in names):
            size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
            described = self._described(name, repo, folder, size)
            return replace(described, repo=repo, revision=revision)
        if self._settings.offline:
            raise NotDownloaded(
                f"'{repo}' is not on this machine, and the server is offline. Copy its folder here and paste "
                "the folder's path, or start without ATELIER_OFFLINE."
            )
        offer = await Offers(self._settings, self._registry, tuple(self._families)).look(
            repo, revision
        )
        return replace(offer.spec, id=name, size=offer.size)

    # Taking out

    def check_removal(self, model: str) -> ModelSpec:
        """The row that may be removed. Raises Unknown, Forbidden, Conflict as `remove` does."""
        spec = self._registry.find(model)
        if spec.starter:
            raise Forbidden(f"{spec.id} is part of Atelier and stays.")
        if spec.lane == "remote":
            raise Conflict(f"{spec.id} lives on another server. Remove that server instead.")
        return spec

    async def remove(self, model: str, files: bool = True) -> bool:
        """Forget a row of the user's own, and free the disk of what was downloaded for it.

        The folder of a local model is the user's and stays. A row that comes with Atelier stays too: only its
        downloaded files go. True: something was removed.

        Args:
            files: also delete downloaded files.

        Raises:
            Unknown: there is no such model. Forbidden: it is part of Atelier itself.
        """
        spec = self.check_removal(model)
        async with self._changing:
            mine = await asyncio.to_thread(remove_row, self._file, spec.id)
            shipped = Registry.build(self._settings, self._families)
            if mine:
                self._registry.remove(spec.id)
            try:
                self._registry.add(shipped.find(spec.id))
            except Unknown:
                if not mine:
                    self._registry.remove(spec.id)  # it was downloaded by its hub id
            freed = files and await asyncio.to_thread(self._free, spec)
            return mine or freed

    def _free(self, spec: ModelSpec) -> bool:
        """Delete the hub's files of a model, unless another row is read from them."""
        if not spec.repo or spec.path:
            return False
        shared = [
            row for row in self._registry.models() if row.repo == spec.repo and row.id != spec.id
        ]
        store = store_of(spec.repo)
        if shared or not store.is_dir():
            return False
        shutil.rmtree(store, ignore_errors=True)
        return not is_present(spec)

    def owned(self) -> frozenset[str]:
        """The ids of the user's own rows; none while the file cannot be read."""
        try:
            return frozenset(str(row.get("id")) for row in read_rows(self._file))
        except AtelierError:
            return frozenset()


def row_of(spec: ModelSpec) -> dict[str, Any]:
    """A spec as a row of `models.toml`: what differs from the defaults."""
    row: dict[str, Any] = {}
    for one in fields(spec):
        value = getattr(spec, one.name)
        default = one.default if one.default is not MISSING else None
        if one.name == "options":
            value = dict(value)
        if value not in (default, {}) or (default is None and value):
            row[one.name] = sorted(value) if isinstance(value, frozenset) else value
            if isinstance(value, tuple):
                row[one.name] = list(value)
    return row


def _is_path(text: str) -> bool:
    """Whether the text means a folder or file of this machine and not a hub id."""
    marked = text.startswith(("/", "~", "./", "../", ".\\", "\\\\")) or re.match(
        r"[A-Za-z]:\\", text
    )
    if marked or text.lower().endswith(".gguf"):
        return True
    with suppress(OSError, ValueError):  # a name that no file can have
        return Path(text).is_dir()
    return False


def _not_a_model(name: str, files: Collection[str]) -> BadValue:
    if "adapter_config.json" in files:
        what = "an adapter, which needs its base model merged into it first"
    elif any(file.lower().endswith(".gguf") for file in files):
        return BadValue(f"The folder '{name}' holds GGUF files. {GGUF}", param="source")
    else:
        what = "not a model: it has no config.json"
    return BadValue(
        f"The folder '{name}' is {what}. Paste the folder that holds config.json and the weights.",
        param="source",
    )


def _check_known(spec: ModelSpec) -> None:
    """Raise BadValue where the installed transformers does not know a checkpoint's kind; names the nearest."""
    folder = Path(spec.path) if spec.path else cached_snapshot(spec.repo, spec.revision)
    if spec.options.get("needs"):  # it is in a layout of its own, which its family knows
        return
    if folder is None or not (folder / "config.json").is_file() or is_converted(folder):
        return
    config = json.loads((folder / "config.json").read_text(encoding="utf-8", errors="replace"))
    kind = str(config.get("model_type") or "")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if kind in CONFIG_MAPPING_NAMES or "auto_map" in config:
        return
    near = difflib.get_close_matches(kind, list(CONFIG_MAPPING_NAMES), n=5, cutoff=0.4)
    hint = f" The nearest it knows: {', '.join(near)}." if near else ""
    raise BadValue(
        f"'{spec.id}' is of a kind ('{kind[:80]}') that the installed transformers does not know, of "
        f"{len(CONFIG_MAPPING_NAMES)} that it does.{hint} Choose another model, or update transformers.",
        param="source",
    )
