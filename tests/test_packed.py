"""Packed linear layers: the same numbers, faster on a processor, and no memory that nobody counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.families import hf_chat
from engine.families._packed import pack_linears
from engine.families._quantising import bytes_held
from engine.registry import ModelSpec
from engine.settings import Settings
from tests import tiny


class Net(torch.nn.Module):
    """Two layers, one of them used under two names, and an output tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(64, 32)
        self.first = torch.nn.Linear(32, 48)
        self.second = torch.nn.Linear(48, 32, bias=False)
        self.again = self.second
        self.head = torch.nn.Linear(32, 64, bias=False)
        self.head.weight = self.embed.weight

    @property
    def device(self) -> torch.device:
        return self.embed.weight.device

    def forward(self, ids: Any) -> Any:
        x = self.embed(ids)
        return self.head(self.again(torch.relu(self.first(x))))


def net(dtype: torch.dtype) -> Net:
    torch.manual_seed(0)
    return Net().to(dtype).eval().requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (16, 40)])
def test_the_numbers_stay_the_same(shape: tuple[int, int]) -> None:
    plain, packed = net(torch.bfloat16), net(torch.bfloat16)
    assert pack_linears(packed) == 2
    ids = torch.randint(0, 64, shape)
    with torch.inference_mode():
        torch.testing.assert_close(packed(ids), plain(ids), rtol=0.03, atol=0.03)


def test_a_shared_layer_is_packed_once_and_a_tied_weight_is_left() -> None:
    packed = net(torch.bfloat16)
    pack_linears(packed)
    assert packed.second is packed.again and packed.second.packed_bytes == 48 * 32 * 2
    assert packed.head.weight is packed.embed.weight
    assert pack_linears(packed) == 0, "there is nothing left to pack"


def test_what_is_packed_is_counted() -> None:
    plain, packed = net(torch.bfloat16), net(torch.bfloat16)
    pack_linears(packed)
    assert bytes_held(packed) == bytes_held(plain)


def test_other_weights_are_left_alone() -> None:
    assert pack_linears(net(torch.float32)) == 0
    hooked = net(torch.bfloat16)
    for layer in (hooked.first, hooked.second):
        layer.register_forward_hook(lambda *_: None)
    assert pack_linears(hooked) == 0


@pytest.mark.parametrize(
    ("options", "packed"),
    [({"dtype": "bfloat16"}, True), ({"dtype": "float32"}, False),
     ({"dtype": "bfloat16", "quantisation": "int8"}, False)],
)  # fmt: skip
def test_models_on_a_processor_are_loaded_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], packed: bool
) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)
    folder = tiny.make_checkpoint(tmp_path / "model", "qwen3")
    spec = ModelSpec(
        id="tiny", does=frozenset({"chat"}), family="hf_chat", path=str(folder), options=options
    )
    backend = hf_chat.load(spec, Settings(device="cpu"))
    layers = [m for m in backend._model.modules() if hasattr(m, "packed_bytes")]
    assert bool(layers) is packed
    backend.close()
