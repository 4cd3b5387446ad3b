"""The catalog: the rows that ship, the user's own file, and models that are brought by pasting."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine import hub
from engine.adopt import Adoption, row_of
from engine.errors import AtelierError, BadValue, Forbidden, NotDownloaded, Unknown
from engine.fit import Form, Shape, anatomy_of
from engine.registry import ModelSpec, Registry, discover, read_catalog
from engine.rows import add_row, read_rows, remove_row
from engine.settings import ROOT, Settings
from tests.test_checkpoints import write_weights

TIERS = {"cpu-8": 5.6e9, "gpu-6": 5.4e9, "gpu-12": 10.8e9, "gpu-24": 21.6e9, "gpu-80": 72e9}
MINE = """\
# what I like
[[model]]
id = "one"   # the first
family = "hf_chat"
does = ["chat"]
path = "one"
[model.options]
dtype = "float32"

# about the second
[[model]]
id = "two"
family = "hf_chat"
does = ["chat"]
path = "two"

# the end
"""


# The rows that ship


@pytest.fixture(scope="module")
def shipped() -> list[ModelSpec]:
    return read_catalog(ROOT / "models.toml")


def test_every_row_says_what_a_user_must_know(shipped):
    names = [name for spec in shipped for name in (spec.id, *spec.aliases)]
    assert len(names) == len(set(names))
    for spec in shipped:
        assert spec.family in discover() and spec.title and spec.licence and spec.languages
        assert spec.starter or (hub.NAME.fullmatch(spec.repo) and spec.size and spec.memory)
        assert set(spec.tiers) <= set(TIERS) and (spec.tiers or spec.starter)
        assert (ROOT / spec.path).is_dir() if spec.starter else not spec.path


@pytest.mark.parametrize("capability", ["chat", "embed"])
def test_every_kind_of_machine_has_a_model_that_fits_in_some_form(shipped, capability):
    for tier, room in TIERS.items():
        rows = [s for s in shipped if tier in s.tiers and capability in s.does]
        assert rows, (tier, capability)
        for spec in rows:
            anatomy = anatomy_of(spec)
            assert anatomy is not None
            smallest = anatomy.need(Form("bfloat16", "int4"), Shape(2048))
            assert smallest < room, (spec.id, tier, smallest)


def test_the_default_is_what_needs_no_download(shipped):
    assert Registry(shipped).default("chat").starter


# The user's file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(MINE, encoding="utf-8")
    return file


def test_a_row_is_added_at_the_end_and_the_rest_stays(file):
    row = {
        "id": 'é "quoted" \\ \x7f',
        "does": ["chat"],
        "starter": False,
        "size": 5,
        "options": {"a b": 0.5, "list": ["x"]},
    }
    add_row(file, row)
    assert file.read_text(encoding="utf-8").startswith(MINE.rstrip("\n"))
    assert read_rows(file)[-1] == row and len(read_rows(file)) == 3


@pytest.mark.parametrize("id", ["one", "two"])
def test_a_row_is_taken_out_and_comments_stay(file, id):
    assert remove_row(file, id)
    text = file.read_text(encoding="utf-8")
    assert [row["id"] for row in read_rows(file)] == [({"one", "two"} - {id}).pop()]
    for comment in ("# what I like", "# about the second", "# the end"):
        assert comment in text
    assert not remove_row(file, id)


def test_adding_and_removing_leaves_the_file_as_it_was(file):
    add_row(file, {"id": "three", "family": "x", "does": ["chat"]})
    assert remove_row(file, "three")
    assert file.read_text(encoding="utf-8").rstrip("\n") == MINE.rstrip("\n")


def test_a_heading_inside_a_text_is_no_heading(file):
    file.write_text(MINE + '\n[[model]]\nid = "three"\ntitle = """\n[[model]]\nid = "one"\n"""\n')
    assert remove_row(file, "two")
    assert [row["id"] for row in read_rows(file)] == ["one", "three"]


def test_a_new_file_explains_itself(tmp_path):
    add_row(tmp_path / "new" / "models.toml", {"id": "a"})
    assert (tmp_path / "new" / "models.toml").read_text().startswith("# Models of your own")


def test_a_broken_file_is_left_alone(file):
    file.write_text("[[model\n")
    for change in (lambda: add_row(file, {"id": "a"}), lambda: remove_row(file, "a")):
        with pytest.raises(BadValue, match="not valid TOML"):
            change()
    assert file.read_text() == "[[model\n"


def test_a_row_is_read_back_as_it_was(tmp_path):
    spec = ModelSpec(
        id="x", does=frozenset({"chat"}), family="hf_chat", repo="a/b", size=7, languages=("en",),
        accepts=frozenset({"tools"}), options={"dtype": "float32"},
    )  # fmt: skip
    add_row(tmp_path / "models.toml", row_of(spec))
    assert read_catalog(tmp_path / "models.toml") == [spec]


# Models that are brought


@pytest.fixture
def adoption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adoption:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = Settings(data_dir=tmp_path / "data", offline=True)
    families = {"hf_chat": SimpleNamespace(SPECS=()), "hf_embed": SimpleNamespace(SPECS=())}
    return Adoption(settings, Registry.build(settings, families), families)


def make_folder(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    values = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **config}
    (folder / "config.json").write_text(json.dumps(values))
    write_weights(folder / "model.safetensors")
    return folder


async def test_a_folder_becomes_a_row_that_survives_a_restart(adoption, tmp_path):
    folder = make_folder(tmp_path / "My model!", max_position_embeddings=512)
    (spec,) = await adoption.add(f' "{folder}" ')
    assert (spec.id, spec.path, spec.does) == ("My-model", str(folder), {"chat"})
    assert await adoption.add(str(folder)) == [spec]
    again = Registry.build(adoption._settings, adoption._families)
    assert again.find("My-model") == spec
    assert adoption.owned() == {"My-model"}
    assert await adoption.remove("My-model")
    assert folder.is_dir() and adoption.owned() == frozenset()
    with pytest.raises(Unknown):
        adoption._registry.find("My-model")


async def test_two_folders_of_one_name_get_two_ids(adoption, tmp_path):
    first = await adoption.add(str(make_folder(tmp_path / "a" / "model")))
    second = await adoption.add(str(make_folder(tmp_path / "b" / "model")))
    assert [spec.id for spec in (*first, *second)] == ["model", "model-2"]


def spoil(folder: Path, how: str) -> str:
    """Make a folder that cannot be added; what to paste."""
    if how == "empty":
        folder.mkdir()
    elif how == "gguf":
        folder.mkdir()
        (folder / "m.gguf").touch()
    elif how == "adapter":
        folder.mkdir()
        (folder / "adapter_config.json").touch()
    elif how == "gguf file":
        return str(folder / "m.gguf")
    elif how != "missing":
        make_folder(folder)
    if how in {"pickled", "weightless"}:
        (folder / "model.safetensors").unlink()
    if how == "pickled":
        (folder / "pytorch_model.bin").touch()
    classes = {"class": ("vit", "ViTModel"), "kind": ("qwen33", "Qwen33ForCausalLM")}.get(how)
    if classes:
        config = {"model_type": classes[0], "architectures": [classes[1]]}
        (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "There is no folder"),
        ("empty", "no config.json"),
        ("adapter", "an adapter"),
        ("gguf", "ollama create"),
        ("gguf file", "ollama create"),
        ("pickled", "pickled"),
        ("weightless", "missing"),
        ("class", "These classes are run: .*ForCausalLM"),
        ("kind", "nearest it knows: .*qwen3"),
    ],
)
async def test_what_is_no_model_says_so(adoption, tmp_path, how, said):
    folder = tmp_path / "secret-place" / "model"
    folder.parent.mkdir()
    with pytest.raises(BadValue, match=said) as caught:
        await adoption.add(spoil(folder, how))
    assert "secret-place" not in caught.value.message
    assert not (adoption._settings.data_dir / "models.toml").exists()


@pytest.mark.parametrize("text", ["", "x" * 3000, "only-a-name", "a/b/c", "org/name@../x"])
async def test_what_is_nothing_is_refused(adoption, text):
    with pytest.raises(BadValue):
        await adoption.add(text)


async def test_a_hub_id_is_read_from_the_cache(adoption, tmp_path):
    store = tmp_path / "hub" / "models--org--name"
    make_folder(store / "snapshots" / "abc")
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text("abc")
    (spec,) = await adoption.add("https://huggingface.co/org/name")
    assert (spec.id, spec.repo, spec.path) == ("org/name", "org/name", "")
    assert await adoption.remove("org/name")
    assert not store.exists()


async def test_offline_says_what_to_do(adoption):
    with pytest.raises(NotDownloaded, match="offline"):
        await adoption.add("org/other")


async def test_the_address_of_a_server_goes_to_the_servers(adoption):
    asked = []

    async def add(url: str, *, key: str = "") -> Any:
        asked.append((url, key))
        row = ModelSpec("s/m", frozenset({"chat"}), "remote", options={"server": "s"})
        adoption._registry.add(row)
        return SimpleNamespace(name="s")

    adoption._servers = SimpleNamespace(add=add)
    assert [spec.id for spec in await adoption.add("http://127.0.0.1:1/v1", "k")] == ["s/m"]
    assert asked == [("http://127.0.0.1:1/v1", "k")]


async def test_what_ships_stays(adoption):
    with pytest.raises(Forbidden):
        await adoption.remove("starter-chat")
    assert not await adoption.remove("Qwen/Qwen3-0.6B")
    assert adoption._registry.find("Qwen/Qwen3-0.6B")


async def test_a_row_of_mine_over_a_shipped_one_gives_it_free_again(adoption, tmp_path):
    data = adoption._settings.data_dir
    data.mkdir()
    row = {"id": "Qwen/Qwen3-8B", "family": "hf_chat", "does": ["chat"], "repo": "me/other"}
    add_row(data / "models.toml", row)
    adoption._registry.add(read_catalog(data / "models.toml")[0])
    assert await adoption.remove("Qwen/Qwen3-8B")
    assert adoption._registry.find("Qwen/Qwen3-8B").repo == "Qwen/Qwen3-8B"
    assert tomllib.loads((data / "models.toml").read_text()).get("model", []) == []


async def test_a_broken_file_of_mine_is_named(adoption, tmp_path):
    data = adoption._settings.data_dir
    data.mkdir()
    (data / "models.toml").write_text("[[")
    with pytest.raises(AtelierError, match="not valid TOML"):
        await adoption.add(str(make_folder(tmp_path / "model")))
