"""What files tell of a model: sizes, template, age, and a digest that changes with them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine import ModelSpec, Unknown
from engine.cards import Cards, read_card
from engine.registry import Registry
from engine.settings import ROOT

STARTER = ROOT / "assets/starters/starter-chat"


def spec(path: Path | str = "", **more: object) -> ModelSpec:
    return ModelSpec(id="m", does=frozenset({"chat"}), family="hf_chat", path=str(path), **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "model"))


def test_a_card(folder: Path):
    card = read_card(spec(folder, memory=5, context=600))
    assert (card.architecture, card.weights, card.parameters) == ("llama", "BF16", 4_426_496)
    assert card.present and card.context == 600 and "<|im_start|>" in card.template
    assert card.size == sum(file.stat().st_size for file in folder.rglob("*"))
    assert card.modified and card.modified.tzinfo and len(card.digest) == 64
    assert read_card(spec(folder)).context == 1024


def test_a_changed_file_is_seen(folder: Path):
    before = read_card(spec(folder))
    (folder / "chat_template.jinja").write_text("new", "utf-8")
    after = read_card(spec(folder))
    assert after.template == "new" and after.digest != before.digest
    assert read_card(replace(spec(folder), id="n")).digest != after.digest


def test_the_text_part_of_a_config_counts(folder: Path):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    whole = {"model_type": "seer", "dtype": "float16", "text_config": {"hidden_size": 7}}
    (folder / "config.json").write_text(json.dumps({**config, **whole}), "utf-8")
    card = read_card(spec(folder))
    assert (card.architecture, card.weights, card.config["hidden_size"]) == ("seer", "F16", 7)


@pytest.mark.parametrize("broken", ["", "{", "[]", "\xff"])
def test_broken_files_leave_gaps(folder: Path, broken: str):
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        (folder / name).write_text(broken, "latin-1")
    (folder / "chat_template.jinja").unlink()
    card = read_card(spec(folder))
    assert (card.architecture, card.template, dict(card.sampling)) == ("", "", {})


def test_models_without_files():
    here = read_card(spec())
    assert here.present and here.modified is None and len(here.digest) == 64
    away = read_card(spec(repo="org/none"))
    assert not away.present and away.digest != here.digest
    there = read_card(spec(lane="remote", size=7, context=9))
    assert there.present and (there.size, there.context) == (7, 9)
    assert read_card(spec("/nowhere")).present is False


async def test_the_catalog_in_cards(folder: Path):
    cards = Cards(Registry([spec(folder, aliases=("alias",)), replace(spec(), id="n")]))
    assert [card.spec.id for card in await cards.all()] == ["m", "n"]
    assert (await cards.read("alias")).spec.id == "m"
    with pytest.raises(Unknown):
        await cards.read("nope")
