"""Two real models on a device that holds one and a half: nobody fails, and memory is what the plans said."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import alternate
from tests import tiny

pytestmark = pytest.mark.slow  # a model loaded forty times


async def test_two_models_that_do_not_fit_together_alternate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)
    folder = tiny.make_checkpoint(
        tmp_path / "model",
        "qwen3",
        hidden_size=256,
        intermediate_size=1024,
        max_position_embeddings=64,
    )
    figures = await alternate.run(rounds=6, clients=4, checkpoint=folder)
    assert (figures.asked, figures.failed, figures.broken) == (24, [], [])
    assert figures.switches == 6
    assert max(abs(value) for value in figures.off) < 200_000_000
