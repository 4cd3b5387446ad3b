"""What a model will need, told from headers and configs."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from engine.fit import PLANNED, Anatomy, Form, Shape, anatomy_of, forms, shape_of, weights_type
from engine.registry import ModelSpec
from engine.settings import Settings

CONFIG = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "max_position_embeddings": 2048,
}
TENSORS: dict[str, tuple[str, list[int], int]] = {
    "model.embed_tokens.weight": ("F32", [100, 64], 4),
    "model.layers.0.mlp.up_proj.weight": ("F32", [128, 64], 4),
    "model.layers.0.mlp.experts.3.up_proj.weight": ("F32", [128, 64], 4),
    "model.layers.0.norm.weight": ("F32", [64], 4),
    "lm_head.weight": ("F32", [100, 64], 4),
    "packed": ("I8", [1000], 1),
}


def make_folder(folder: Path, **config: Any) -> ModelSpec:
    """A folder whose weights are all holes."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    header, at = {}, 0
    for name, (kind, shape, width) in TENSORS.items():
        size = width
        for side in shape:
            size *= side
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + at)
    return ModelSpec("m", frozenset({"chat"}), "hf_chat", path=str(folder))


def test_headers_tell_what_can_be_quantised(tmp_path):
    anatomy = anatomy_of(make_folder(tmp_path / "m"))
    assert anatomy == Anatomy(
        kept=6400 + 8192 + 64 + 6400, linear=8192, other=1000,
        token=2 * 4 * 2 * 16, work=2 * 128 + 6 * 64, context=2048,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "token"),
    [
        ({"num_key_value_heads": None}, 2 * 4 * 8 * 16),
        ({"head_dim": None}, 2 * 4 * 2 * 8),
        ({"layer_types": ["linear_attention"] * 3 + ["full_attention"]}, 2 * 1 * 2 * 16),
        ({"text_config": CONFIG, "num_hidden_layers": 99}, 2 * 4 * 2 * 16),
    ],
)
def test_the_cache_is_told_by_the_config(tmp_path, config, token):
    anatomy = anatomy_of(make_folder(tmp_path / "m", **config))
    assert anatomy is not None and anatomy.token == token


@pytest.mark.parametrize(
    ("tower", "patches", "wide"),
    [
        ({"hidden_size": 32, "intermediate_size": 64, "patch_size": 16}, 3906, 2 * 64 + 6 * 32),
        ({"embed_dim": 32, "hidden_size": 999, "patch_size": 14}, 5102, 2 * 128 + 6 * 32),
        (None, 0, 0),
    ],
)
def test_what_a_picture_takes_is_planned_for(tmp_path, tower, patches, wide):
    anatomy = anatomy_of(make_folder(tmp_path / "m", vision_config=tower))
    assert anatomy is not None and anatomy.sight == patches * wide
    plain = anatomy_of(make_folder(tmp_path / "n"))
    more = anatomy.need(Form("bfloat16"), Shape(8)) - plain.need(Form("bfloat16"), Shape(8))
    assert more == 2 * patches * wide


def test_a_changed_folder_is_read_anew(tmp_path):
    assert anatomy_of(make_folder(tmp_path / "m")).context == 2048
    assert anatomy_of(make_folder(tmp_path / "m", max_position_embeddings=10_000)).context == 10_000


def test_the_need_is_weights_cache_and_work():
    anatomy = Anatomy(kept=10, linear=1000, other=5, token=3, work=7, context=100)
    assert anatomy.need(Form("float32"), Shape(0)) == 4045
    assert anatomy.need(Form("bfloat16"), Shape(0)) == 2025
    assert anatomy.need(Form("bfloat16", "int8"), Shape(0)) == 20 + 1010 + 5
    assert anatomy.need(Form("bfloat16", "int4"), Shape(0)) == 20 + 570 + 5
    one = anatomy.need(Form("bfloat16"), Shape(50))
    assert one - 2025 == 50 * 3 * 2 + 50 * 7 * 2
    assert anatomy.need(Form("bfloat16"), Shape(50, rows=4)) - one == 3 * 50 * 3 * 2
    assert anatomy.need(Form("bfloat16"), Shape(9999)) == anatomy.need(Form("bfloat16"), Shape(100))


@pytest.mark.parametrize(
    ("row", "parameters"),
    [
        ({"size": 2000}, 1000),
        ({"size": 4000, "params": "1K"}, 1000),
        ({"size": 2000, "params": "1K"}, 1000),
        ({"size": 2000, "params": "many"}, 1000),
    ],
)
def test_without_files_the_row_tells(row, parameters):
    anatomy = anatomy_of(ModelSpec("m", frozenset({"chat"}), "hf_chat", repo="o/n", **row))
    assert anatomy is not None and anatomy.parameters == parameters


def test_nothing_is_known_of_nothing():
    assert anatomy_of(ModelSpec("m", frozenset({"chat"}), "hf_chat", repo="o/n")) is None
    told = anatomy_of(ModelSpec("m", frozenset({"chat"}), "x", memory=123))
    assert told is not None and told.need(Form(), Shape(5000)) == 123


def test_the_shape_is_the_least_of_all_limits():
    anatomy = Anatomy(kept=1, context=100_000)
    spec = ModelSpec("m", frozenset({"chat"}), "x")
    shape = shape_of(spec, Settings(), anatomy)
    assert (shape.context, shape.rows, shape.bucket) == (PLANNED, 1, "8192x1")
    assert shape_of(spec, Settings(), anatomy, context=50_000).bucket == "65536x1"
    assert shape_of(spec, Settings(context_limit=300), anatomy, context=50_000, rows=2) == Shape(
        300, 2
    )


def test_small_models_run_in_float32_on_a_processor(monkeypatch):
    monkeypatch.setattr("engine.fit.fast_bfloat16", lambda: True)
    assert weights_type("auto", "cpu", 10_000_000) == "float32"
    assert weights_type("auto", "cpu", 100_000_000) == "bfloat16"
    monkeypatch.setattr("engine.fit.fast_bfloat16", lambda: False)
    assert weights_type("auto", "cpu", 100_000_000) == "float32"
    assert weights_type("auto", "cuda:0", 10) == "bfloat16"
    assert weights_type("float16", "cpu", 10) == "float16"


@pytest.mark.parametrize(
    ("device", "options", "tried"),
    [
        ("cpu", {}, ["bfloat16", "int8", "int4"]),
        ("cuda:0", {}, ["bfloat16", "int8", "int4", "bfloat16+offload"]),
        ("mps", {}, ["bfloat16"]),
        ("cuda:0", {"offload": True}, ["bfloat16+offload"]),
        ("cuda:0", {"offload": True, "quantisation": "int4"}, ["int4+offload"]),
        ("cpu", {"quantisation": "none"}, ["bfloat16"]),
    ],
)
def test_forms_are_tried_from_the_best_on(device, options, tried):
    spec = ModelSpec("m", frozenset({"chat"}), "x", options={"dtype": "bfloat16", **options})
    found = forms(spec, Settings(), device, Anatomy(linear=1000), True)
    assert [form.label for form in found] == tried
