"""Quantised weights on a processor: they take less, answer nearly the same, and are batched all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.errors import BadValue
from engine.families import hf_chat
from engine.families._quantising import bytes_held, loading_options
from engine.families._slots import Reading, Slots
from engine.fit import Form, Shape, anatomy_of
from engine.registry import ModelSpec
from engine.requests import ChatRequest
from engine.settings import Settings
from tests import tiny

pytestmark = pytest.mark.slow  # real models


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough that its linear layers are most of it."""
    return tiny.make_checkpoint(
        tmp_path_factory.mktemp("q") / "model", "qwen3", hidden_size=256, intermediate_size=1024,
        num_attention_heads=8, initializer_range=0.05,
    )  # fmt: skip


def spec_of(folder: Path, **options: object) -> ModelSpec:
    return ModelSpec(
        id="tiny", does=frozenset({"chat"}), family="hf_chat", path=str(folder), options=options
    )


def load(folder: Path, how: str) -> hf_chat.HfChat:
    return hf_chat.load(spec_of(folder, quantisation=how), Settings(device="cpu", dtype="bfloat16"))


def logits(backend: hf_chat.HfChat) -> torch.Tensor:
    slots = Slots(backend._model, 1)
    read = slots.read(Reading([[(7 * n + 3) % 400 for n in range(40)]], plan=48), budget=64)
    assert read is not None
    return read.float()


def answer(backend: hf_chat.HfChat, count: int) -> list[str]:
    """As many answers at once, greedy."""
    listeners = [tiny.Listener() for _ in range(count)]
    for n, listener in enumerate(listeners):
        prompt = "The quick brown fox " + "jumps " * n
        backend.join(ChatRequest(prompt=prompt, max_tokens=12, temperature=0), listener)
    while not all(listener.over for listener in listeners):
        backend.step()
    assert not any(listener.error for listener in listeners)
    return [listener.text for listener in listeners]


@pytest.mark.parametrize(("how", "far", "share"), [("int8", 0.05, 0.62), ("int4", 0.45, 0.4)])
def test_smaller_weights_answer_nearly_the_same(folder, how, far, share):
    plain, small = load(folder, "none"), load(folder, how)
    own, other = logits(plain), logits(small)
    assert float((own - other).norm() / own.norm()) < far
    assert bytes_held(small._model) < share * bytes_held(plain._model)
    assert small.memory() == bytes_held(small._model)
    small.close()
    plain.close()


@pytest.mark.parametrize("how", ["int8", "int4"])
def test_quantised_models_are_batched_and_answer_as_they_do_alone(folder, how):
    backend = load(folder, how)
    assert isinstance(backend._runner, Slots) and backend.parallel > 1
    together = answer(backend, 3)
    alone = answer(backend, 1)
    assert together[0] == alone[0]
    backend.close()


@pytest.mark.parametrize("how", ["none", "int8", "int4"])
def test_what_is_held_is_what_was_estimated(folder, how):
    backend = load(folder, how)
    anatomy = anatomy_of(spec_of(folder))
    assert anatomy is not None
    told = anatomy.need(Form("bfloat16", "" if how == "none" else how), Shape(0))
    assert abs(told - bytes_held(backend._model)) < 0.06 * told
    backend.close()


def test_what_is_quantised_already_is_not_quantised_again(folder, tmp_path):
    import json
    import shutil

    packed = tmp_path / "packed"
    shutil.copytree(folder, packed)
    config = json.loads((packed / "config.json").read_text())
    (packed / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "gptq"}})
    )
    with pytest.raises(BadValue, match=r"quantised already \(gptq"):
        load(packed, "int8")


def test_the_rest_of_an_offloaded_model_goes_to_ram():
    options = loading_options(Form("bfloat16", offload=True), torch.device("cuda:1"), 5_000)
    assert options["device_map"] == "auto"
    assert options["max_memory"][1] == 5_000 and options["max_memory"]["cpu"] > 0
    assert loading_options(Form("bfloat16"), torch.device("cuda:1"), 0) == {
        "device_map": {"": torch.device("cuda:1")}
    }
