"""Threads of a processor: few for small models, kept apart for models that take turns, and calm while they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.devices import SPINS
from engine.families import hf_chat
from engine.families._threads import Threads
from engine.registry import ModelSpec
from engine.settings import Settings
from tests import tiny


@pytest.fixture(autouse=True)
def _restore() -> object:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def test_models_that_take_turns_keep_their_own_number() -> None:
    torch.set_num_threads(1)
    small = Threads()
    torch.set_num_threads(2)
    large = Threads()
    small.use()
    assert torch.get_num_threads() == 1
    large.use()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("small", "threads"), [(50_000_000, 1), (0, 2)])
def test_a_small_model_runs_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, threads: int
) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 2)
    monkeypatch.setattr("engine.families._loading.SMALL", small)
    folder = tiny.make_checkpoint(tmp_path / "model", "llama")
    spec = ModelSpec(id="tiny", does=frozenset({"chat"}), family="hf_chat", path=str(folder))
    backend = hf_chat.load(spec, Settings(device="cpu"))
    torch.set_num_threads(3)
    backend.step()
    assert torch.get_num_threads() == threads
    backend.close()


@pytest.mark.parametrize(("given", "found"), [(None, SPINS), ("7", "7")])
def test_an_engine_calms_them_before_torch_is_there(given: str | None, found: str) -> None:
    code = (
        "import os, sys; from engine import Engine, Settings;"
        "Engine.build(Settings(device='cpu'));"
        "assert not {'torch', 'numpy'} & set(sys.modules); assert os.environ['OPENBLAS_NUM_THREADS'] == '1'; "
        "print(os.environ['GOMP_SPINCOUNT'])"
    )
    own = ("GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS")
    env = {key: value for key, value in os.environ.items() if key not in own}
    env |= {} if given is None else {"GOMP_SPINCOUNT": given}
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.strip() == found
