"""Where a model's files are, and whether they are safe and whole. Knows files; imports no library that reads them.

A checkpoint is a folder in hub layout: `config.json`, weights in safetensors, a tokenizer. It is a local folder
(`spec.path`) or a snapshot in the hub's cache (`spec.repo`, `spec.revision`). Nothing is downloaded here.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import LoadFailed, NotDownloaded
from engine.registry import ModelSpec
from engine.settings import Settings

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
EXTRAS = {"training_args", "optimizer", "scheduler", "rng_state"}  # left by trainers
INDEX = "model.safetensors.index.json"
CONVERTED = "model.bin"  # CTranslate2's weights; plain numbers, no pickle
HEADER_LIMIT = 100_000_000  # bytes of a safetensors header; the format's own limit


def find_checkpoint(spec: ModelSpec) -> Path:
    """The folder with the model's files.

    Raises:
        NotDownloaded: they are not on this machine; says how to get them.
    """
    folder = Path(spec.path) if spec.path else cached_snapshot(spec.repo, spec.revision)
    if folder is not None and folder.is_dir():
        return folder
    raise _not_here(spec)


def is_present(spec: ModelSpec) -> bool:
    """Whether all of the model's files are on this machine; a model that has none always is. Reads no weights.

    A row whose weights are no safetensors names files that it cannot do without in `options.needs`.
    """
    if not (spec.path or spec.repo):
        return True
    try:
        if needs := spec.options.get("needs"):
            folder = find_checkpoint(spec)
            return all((folder / str(name)).is_file() for name in needs)
        return bool(weight_files(find_checkpoint(spec), spec))
    except (NotDownloaded, LoadFailed):
        return False


def hub_cache() -> Path:
    """The hub's cache folder, as its own tools find it."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "huggingface" / "hub"


def cached_snapshot(repo: str, revision: str = "") -> Path | None:
    """The snapshot folder of `repo` at a branch, tag or commit (default: main); None if it is not cached."""
    if not repo or ".." in Path(revision).parts:
        return None
    store = hub_cache() / f"models--{repo.replace('/', '--')}"
    name = revision or "main"
    ref = store / "refs" / name
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else name
    folder = store / "snapshots" / commit
    return folder if folder.is_dir() else None


def may_run_code(spec: ModelSpec, settings: Settings) -> bool:
    """Whether the user named exactly this repository and revision in `allow_remote_code`."""
    name = f"{spec.repo}@{spec.revision}"
    return bool(spec.repo and spec.revision) and name in settings.listed("allow_remote_code")


def check_checkpoint(folder: Path, spec: ModelSpec, settings: Settings) -> dict[str, Any]:
    """The model's config, once its files were found whole and safe to read.

    Raises:
        NotDownloaded: only a part of the files was downloaded.
        LoadFailed: something is missing, damaged, pickled, or wants to run code of its own.
    """
    config = read_json(folder / "config.json", spec)
    others = ("tokenizer_config.json", "generation_config.json", "processor_config.json")
    files = [
        config,
        *(read_json(folder / name, spec) for name in others if (folder / name).is_file()),
    ]
    # What transformers has itself is built without the code, whose mention is left standing in some configs.
    needs = not spec.options.get("native") and any(_has_key(file, "auto_map") for file in files)
    if needs and not may_run_code(spec, settings):
        raise LoadFailed(
            f"Model '{spec.id}' brings program code of its own, which is not run here. Choose a model that "
            "needs none or, if you trust it, name it in allow_remote_code as org/name@revision."
        )
    for shard in weight_files(folder, spec):
        check_weights(shard, spec)
    return config


def read_json(file: Path, spec: ModelSpec) -> dict[str, Any]:
    """A JSON object from a checkpoint. Raises LoadFailed where it is missing or is not one."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LoadFailed(f"Model '{spec.id}' has no {file.name}. {_again(spec)}") from None
    except (OSError, ValueError) as error:
        raise LoadFailed(
            f"The {file.name} of model '{spec.id}' cannot be read. {_again(spec)}"
        ) from error
    if not isinstance(value, dict):
        raise LoadFailed(
            f"The {file.name} of model '{spec.id}' is not a JSON object. {_again(spec)}"
        )
    return value


def weight_files(folder: Path, spec: ModelSpec) -> list[Path]:
    """The safetensors files a model consists of, all present.

    Raises:
        LoadFailed: there are pickled weights only, or a local folder lacks files.
        NotDownloaded: the cached snapshot lacks files.
    """
    index = folder / INDEX
    if index.is_file():
        names = read_json(index, spec).get("weight_map")
        if not isinstance(names, Mapping) or not names:
            raise LoadFailed(f"The list of weights of model '{spec.id}' is damaged. {_again(spec)}")
        shards = [folder / Path(str(name)).name for name in sorted(set(names.values()))]
    else:
        shards = [folder / "model.safetensors"]
    if all(shard.is_file() for shard in shards):
        return shards
    if not index.is_file() and is_converted(folder):
        return [folder / CONVERTED]
    pickled = [
        file for file in folder.iterdir() if file.suffix in PICKLED and file.stem not in EXTRAS
    ]
    if pickled and not index.is_file():
        raise LoadFailed(
            f"Model '{spec.id}' has its weights in a pickled file, which could run code, so it is not opened. "
            "Use a version of the model with safetensors weights."
        )
    if not spec.path:
        raise _not_here(spec, "Only a part of")
    raise LoadFailed(f"Files with weights of model '{spec.id}' are missing. {_again(spec)}")


def is_converted(folder: Path, spec: str = "") -> bool:
    """Whether a folder's weights are in CTranslate2's format; `spec`: of this kind ("WhisperSpec")."""
    try:
        with (folder / CONVERTED).open("rb") as stream:
            head = stream.read(64)
    except OSError:
        return False
    named = head[6 : 6 + int.from_bytes(head[4:6], "little")].rstrip(b"\0")  # after the version
    return named.endswith(b"Spec") and (not spec or named == spec.encode())


def check_weights(file: Path, spec: ModelSpec) -> None:
    """Read a safetensors header and compare it with the file's size: finds empty, cut and foreign files."""
    broken = LoadFailed(
        f"The weights of model '{spec.id}' are damaged or cut short. {_again(spec)}"
    )
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size - 8, HEADER_LIMIT):
                raise broken
            header = json.loads(stream.read(length))
        ends = [
            entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"
        ]
    except (
        OSError,
        ValueError,
        struct.error,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        raise broken from error
    if not ends or max(ends) != size - 8 - length:
        raise broken


def weight_bytes(folder: Path, spec: ModelSpec) -> int:
    """Bytes of the weights on disk."""
    return sum(shard.stat().st_size for shard in weight_files(folder, spec))


def _has_key(value: Any, key: str) -> bool:
    """Whether `key` is anywhere in a JSON value."""
    return any(key in entry for entry in _objects(value))


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    parts = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    )
    for part in parts:
        yield from _objects(part)


def _not_here(spec: ModelSpec, what: str = "None of") -> NotDownloaded:
    if spec.path or not spec.repo:
        return NotDownloaded(
            f"The folder of model '{spec.id}' is not on this machine. Correct its path in models.toml."
        )
    at = f" --revision {spec.revision}" if spec.revision else ""
    return NotDownloaded(
        f"{what} the files of model '{spec.id}' {'are' if what == 'None of' else 'is'} on this machine. "
        f"Get them on the Models tab, by POST /v1/models/download, or with: hf download {spec.repo}{at}"
    )


def _again(spec: ModelSpec) -> str:
    if spec.path or not spec.repo:
        return "Copy the model's folder again."
    at = f" --revision {spec.revision}" if spec.revision else ""
    return f"Download it again with: hf download {spec.repo}{at} --force-download"
