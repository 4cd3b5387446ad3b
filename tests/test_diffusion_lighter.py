"""Tiny autoencoders for previews, and pipelines held in fewer bits: real classes with random weights."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image as Pixels

from engine import BadValue, Settings
from engine.families import _diffusion_preview as previews
from engine.families import diffusion
from engine.families._diffusion_loading import load_pipeline
from engine.families._quantising import bytes_held
from tests import tiny_images

pytestmark = tiny_images.MARKS


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pipelines")
    return {kind: tiny_images.KINDS[kind](folder) for kind in ("sd", "flux")}


def test_a_tiny_autoencoder_shows_previews(
    pipelines: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its last preview is what it makes of the picture's latents; a broken one leaves the fitted map."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    folder = tmp_path / "tiny"
    AutoencoderTiny(
        encoder_block_out_channels=(16, 16), decoder_block_out_channels=(16, 16),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    ).save_pretrained(folder)  # fmt: skip
    spec = tiny_images.spec_of(pipelines["sd"], preview=str(folder))
    pipe = load_pipeline(pipelines["sd"], spec, Settings(device="cpu", _env_file=None))  # type: ignore[call-arg]
    preview = previews.find_preview(pipe, spec)
    assert preview is not None and preview.weights is None and preview.channels == 4
    latents = torch.randn(1, 4, 32, 32)
    shown = preview.draw(pipe, latents, 64, 64)
    assert shown is not None
    drawn = Pixels.open(io.BytesIO(shown))
    own = AutoencoderTiny.from_pretrained(folder)
    with torch.no_grad():
        made = own.decode(latents).sample[0].permute(1, 2, 0) / 2 + 0.5
    wanted = made.clamp(0, 1).mean((0, 1))
    seen = torch.tensor(list(drawn.get_flattened_data())).float().mean(0) / 255
    assert (seen - wanted).abs().max() < 0.03
    assert preview.draw(pipe, torch.randn(1, 8, 32, 32), 64, 64) is None
    weights = folder / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"broken")
    fitted = previews.find_preview(pipe, spec)
    assert fitted is not None and fitted.weights is not None
    assert "cannot be used" in caplog.text


def test_eight_bits_draw_and_take_less(pipelines: dict[str, Path]) -> None:
    settings = Settings(device="cpu", _env_file=None)  # type: ignore[call-arg]
    whole = diffusion.load(tiny_images.spec_of(pipelines["flux"]), settings)
    fewer = diffusion.load(tiny_images.spec_of(pipelines["flux"], quantisation="int8"), settings)
    core = fewer._pipes["text"].transformer
    assert bytes_held(core) < bytes_held(whole._pipes["text"].transformer)
    assert fewer.memory() < whole.memory()
    picture = fewer._pipes["text"]("a red dragon", num_inference_steps=1, height=64, width=64)
    assert picture.images[0].size == (64, 64)
    for each in (whole, fewer):
        each.close()


def test_four_bits_are_refused_where_they_cannot_be(pipelines: dict[str, Path]) -> None:
    settings = Settings(device="cpu", _env_file=None)  # type: ignore[call-arg]
    with pytest.raises(BadValue, match="NVIDIA GPUs alone"):
        diffusion.load(tiny_images.spec_of(pipelines["flux"], quantisation="int4"), settings)
