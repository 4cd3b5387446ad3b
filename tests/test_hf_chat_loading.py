"""Loading a checkpoint of the transformers family: what cannot be loaded says so and leaves nothing."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import BadValue, LoadFailed
from engine.families import hf_chat
from engine.families._loading import choose_device
from engine.registry import ModelSpec
from engine.requests import ChatRequest
from engine.settings import Settings
from tests import tiny

pytestmark = pytest.mark.slow  # real models


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


def spec_of(folder: Path, **options: Any) -> ModelSpec:
    return ModelSpec(
        id="tiny", does=frozenset({"chat"}), family="hf_chat", path=str(folder), options=options
    )


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises((LoadFailed, BadValue)) as caught:
        hf_chat.load(spec_of(folder, **options), Settings(device="cpu"))
    assert str(folder) not in caught.value.message
    return caught.value.message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.make_checkpoint(tmp_path / "model")


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_defaults_come_from_the_generation_config(folder):
    (folder / "generation_config.json").write_text(
        json.dumps(
            {
                "do_sample": True,
                "temperature": 0.6,
                "top_k": 20,
                "top_p": 0.8,
                "eos_token_id": [0, 5],
            }
        )
    )
    backend = hf_chat.load(spec_of(folder), Settings(device="cpu"))
    default = backend._defaults
    assert (default.temperature, default.top_k, default.top_p) == (0.6, 20, 0.8)
    assert backend._ends >= {0, 5, backend._tokenizer.eos_token_id}
    greedy = hf_chat.sampling_of(ChatRequest(prompt="x", temperature=0, seed=3), default)
    assert (greedy.temperature, greedy.top_k, greedy.seed) == (0, 20, 3)


def test_the_context_is_the_least_of_all_limits(folder):
    def context(limit: int = 0, row: int = 0) -> int:
        spec = ModelSpec(
            id="t", does=frozenset({"chat"}), family="hf_chat", path=str(folder), context=row
        )
        return hf_chat.load(spec, Settings(device="cpu", context_limit=limit)).context

    assert (context(), context(limit=100), context(row=90), context(100, 90)) == (512, 100, 90, 90)


def test_an_unknown_architecture(folder):
    edit(folder / "config.json", model_type="hyperbrain")
    assert "'hyperbrain'" in refusal(folder)


def test_an_architecture_that_does_not_chat(folder):
    edit(folder / "config.json", model_type="vit", architectures=["ViTModel"])
    assert "could not be built" in refusal(folder) or "does not know" in refusal(folder)


def test_weights_of_another_shape(folder):
    edit(folder / "config.json", intermediate_size=64)
    assert "do not match" in refusal(folder)


def test_weights_that_are_missing(folder):
    edit(folder / "config.json", num_hidden_layers=4)
    assert "lacks" in refusal(folder)


def test_no_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "tokenizer" in refusal(folder)


def test_a_damaged_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"model": 3}')
    assert "tokenizer" in refusal(folder)


def test_code_in_a_checkpoint_is_never_run(folder):
    canary = folder.parent / "ran"
    (folder / "own.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass Model: pass\n")
    edit(
        folder / "config.json",
        auto_map={"AutoModelForCausalLM": "own.Model", "AutoConfig": "own.Model"},
    )
    assert "allow_remote_code" in refusal(folder)
    assert not canary.exists()


def test_a_failed_load_leaves_nothing(folder):
    def held() -> int:
        gc.collect()
        found = (t for t in gc.get_objects() if issubclass(type(t), torch.Tensor))
        return sum(tensor.numel() for tensor in found)

    edit(folder / "config.json", num_hidden_layers=4)
    refusal(folder)
    before = held()
    refusal(folder)
    assert held() <= before


def test_close_gives_the_weights_back(folder):
    import weakref

    backend = hf_chat.load(spec_of(folder), Settings(device="cpu"))
    model = weakref.ref(backend._model)
    backend.close()
    assert model() is None


def test_options_go_before_settings(folder):
    backend = hf_chat.load(
        spec_of(folder, dtype="bfloat16"), Settings(device="cpu", dtype="float32")
    )
    assert backend._model.dtype == torch.bfloat16
    assert "device" in refusal(folder, device="cuda:63")
    assert "device" in refusal(folder, device="toaster")
    assert "type of weights" in refusal(folder, dtype="int3")


def test_the_device_is_found():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in {"cpu", "cuda", "mps"}
