"""Finding checkpoints, and refusing what is missing, damaged or unsafe before any library reads it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from engine.checkpoints import (
    cached_snapshot,
    check_checkpoint,
    find_checkpoint,
    hub_cache,
    may_run_code,
)
from engine.errors import AtelierError, LoadFailed, NotDownloaded
from engine.registry import ModelSpec
from engine.settings import Settings


def spec_of(**fields: str) -> ModelSpec:
    return ModelSpec(id="m", does=frozenset({"chat"}), family="hf_chat", **fields)


def write_weights(file: Path, values: int = 8) -> None:
    entry = {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": entry}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    write_weights(folder / "model.safetensors")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with org/name at main, tag v1 and the commit beneath."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    store = tmp_path / "hub" / "models--org--name"
    for ref in ("main", "v1", "refs/pr/1"):
        file = store / "refs" / ref
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("abc123")
    snapshot = store / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def refusal(folder: Path, spec: ModelSpec | None = None, **settings: str) -> AtelierError:
    with pytest.raises(AtelierError) as caught:
        check_checkpoint(folder, spec or spec_of(path=str(folder)), Settings(**settings))
    assert str(folder) not in caught.value.message and "Traceback" not in caught.value.message
    return caught.value


def test_a_whole_checkpoint_passes(folder):
    assert check_checkpoint(folder, spec_of(path=str(folder)), Settings())["model_type"] == "llama"


@pytest.mark.parametrize("revision", ["", "main", "v1", "refs/pr/1", "abc123"])
def test_a_snapshot_is_found_by_branch_tag_or_commit(cache, revision):
    assert find_checkpoint(spec_of(repo="org/name", revision=revision)) == cache


@pytest.mark.parametrize("revision", ["v2", "..", "../../..", "abc123/.."])
def test_other_revisions_are_not_found(cache, revision):
    assert cached_snapshot("org/name", revision) is None


def test_a_missing_model_says_how_to_get_it(cache):
    with pytest.raises(NotDownloaded, match=r"hf download org/other --revision v2"):
        find_checkpoint(spec_of(repo="org/other", revision="v2"))
    with pytest.raises(NotDownloaded, match=r"models\.toml"):
        find_checkpoint(spec_of(path="/nowhere"))


def test_the_cache_is_where_the_hubs_tools_put_it(monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", "/data/hf")
    assert hub_cache() == Path("/data/hf/hub")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert hub_cache() == Path("/x/huggingface/hub")


def test_half_a_download_says_how_to_get_the_rest(cache):
    error = refusal(cache, spec_of(repo="org/name"))
    assert isinstance(error, NotDownloaded) and "hf download org/name" in error.message


def test_no_config(folder):
    (folder / "config.json").unlink()
    assert "config.json" in refusal(folder).message


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\xff"])
def test_a_damaged_config(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    assert isinstance(refusal(folder), LoadFailed)


@pytest.mark.parametrize("cut", [0, 4, 8, 40, -1])
def test_cut_weights(folder, cut):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    assert "damaged" in refusal(folder).message


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff" * 64,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_foreign_files_in_place_of_weights(folder, junk):
    (folder / "model.safetensors").write_bytes(junk)
    assert "damaged" in refusal(folder).message


def test_shards(folder):
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    write_weights(folder / "b.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    check_checkpoint(folder, spec_of(path=str(folder)), Settings())
    (folder / "b.safetensors").unlink()
    assert "missing" in refusal(folder).message
    index.write_text('{"weight_map": {}}')
    assert isinstance(refusal(folder), LoadFailed)


def test_an_index_reaches_no_file_outside(folder):
    outside = folder.parent / "outside.safetensors"
    write_weights(outside)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../outside.safetensors"}}))
    assert isinstance(refusal(folder), LoadFailed)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "model.pth"])
def test_pickled_weights_are_not_opened(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n")
    assert "safetensors" in refusal(folder).message


def test_a_trainers_leavings_are_not_weights(folder):
    (folder / "training_args.bin").write_bytes(b"x")
    check_checkpoint(folder, spec_of(path=str(folder)), Settings())


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_model_with_code_of_its_own_is_refused_unless_it_is_named(folder, file, nested):
    value: object = {"auto_map": {"AutoModelForCausalLM": "own.Model"}}
    (folder / file).write_text(json.dumps({"text_config": [value]} if nested else value))
    spec = spec_of(repo="org/name", revision="abc")
    assert "allow_remote_code" in refusal(folder, spec).message
    assert "allow_remote_code" in refusal(folder, spec, allow_remote_code="org/name").message
    assert "allow_remote_code" in refusal(folder, spec, allow_remote_code="org/name@abcd").message
    check_checkpoint(folder, spec, Settings(allow_remote_code="a/b@c, org/name@abc"))


def test_code_needs_a_pinned_revision():
    assert not may_run_code(spec_of(repo="org/name"), Settings(allow_remote_code="org/name@"))
