"""Coqui's XTTS and VITS: tiny random ones of the real classes, loaded and run through the family."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine import Settings
from engine.errors import BadValue, Cancelled, LoadFailed, NotDownloaded
from engine.events import Audio, Done
from engine.families import coqui, espeak
from engine.registry import ModelSpec
from engine.requests import SpeakRequest
from engine.sound_formats import wav
from tests.test_speaking import RATE, SPEAKS, Heard, say
from tests.tiny_voices import make_vits, make_xtts

pytestmark = [
    pytest.mark.slow,  # Coqui's library takes seconds to import
    pytest.mark.skipif(not shutil.which("espeak-ng"), reason="no espeak-ng"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(device="cpu", _env_file=None)  # type: ignore[call-arg]


def spec_of(folder: Path, *languages: str) -> ModelSpec:
    return ModelSpec(folder.name, SPEAKS, "coqui", path=str(folder), languages=languages)


@pytest.fixture(scope="module")
def vits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_vits(tmp_path_factory.mktemp("models") / "css10-fr")


@pytest.fixture(scope="module")
def xtts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_xtts(tmp_path_factory.mktemp("models") / "xtts")


@pytest.fixture(scope="module")
def xtts(xtts_folder: Path, settings: Settings) -> Any:
    return coqui.load(spec_of(xtts_folder, "en", "fr"), settings)


@pytest.fixture(scope="module")
def recording(settings: Settings) -> bytes:
    """Two seconds of another voice."""
    heard = say(espeak.load(espeak.SPECS[0], settings), "This is the voice that is to be cloned.")
    data = b"".join(event.data for event in heard.events if isinstance(event, Audio))
    return wav(data, RATE)


def test_vits_speaks(vits_folder: Path, settings: Settings):
    told = coqui.recognise(vits_folder)
    assert told and told["languages"] == ("fr",) and told["options"]["needs"][1] == "model_file.pth"
    assert coqui.recognise(vits_folder.parent) is None
    speaker = coqui.load(spec_of(vits_folder), settings)
    assert [(voice.language, voice.locale) for voice in speaker.voices] == [("fr", "fr-fr")]
    heard = say(speaker, "Bonjour tout le monde. Ça va ?")
    assert isinstance(heard.events[-1], Done) and heard.units["audio_s"] > 0.5
    fast = say(speaker, "Bonjour tout le monde. Ça va ?", speed=2)
    assert fast.units["audio_s"] < 0.8 * heard.units["audio_s"]
    assert speaker.memory() > 1_000_000
    speaker.close()


def test_xtts_speaks_and_stops(xtts: Any):
    assert [voice.name for voice in xtts.voices] == ["Ana Example", "Ben Example"]
    told = coqui.recognise(Path(xtts.spec.path))
    assert told and told["accepts"] == {"audio"} and told["languages"] == ("en", "fr")
    heard = say(xtts, "Hi.")
    assert isinstance(heard.events[-1], Done) and heard.units["audio_s"] > 0
    with pytest.raises(Cancelled):
        xtts.speak(SpeakRequest(text="Hi."), Heard(ends=4))


def test_xtts_clones(xtts: Any, recording: bytes):
    heard = say(xtts, "Hi.", reference=recording, language="French")
    assert heard.units["audio_s"] > 0 and len(xtts._cloned) == 1
    latents, embedding = next(iter(xtts._cloned.values()))
    known = xtts._model.known_voices["Ana Example"]
    assert latents.shape == known["gpt_cond_latent"].shape
    assert embedding.shape == known["speaker_embedding"].shape
    for values, told in (
        ({"reference": wav(bytes(2 * RATE), RATE)}, "less than a second"),
        ({"reference": b"nonsense"}, "recording"),
        ({"language": "ru"}, "English, French"),
    ):
        with pytest.raises(BadValue, match=told):
            say(xtts, "Hi.", **values)


def test_generation_is_right_with_this_transformers(xtts: Any):
    """Newer versions of transformers broke XTTS, at times silently (wrong positions beside kept keys): what is
    generated with kept keys and values must be what plain passes over everything give."""
    import torch

    model = xtts._model
    known = model.known_voices["Ana Example"]["gpt_cond_latent"]
    tokens = torch.IntTensor(model.tokenizer.encode("hello there", lang="en"))[None]
    with torch.inference_mode():
        made, told = model.gpt.generate(
            cond_latents=known, text_inputs=tokens, do_sample=True, temperature=2.0, top_k=0,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        ids = model.gpt.compute_embeddings(known, tokens)
        for token, kept in zip(made[0].tolist(), told.logits, strict=True):
            plain = model.gpt.gpt_inference(input_ids=ids, use_cache=False, return_dict=True).logits
            assert torch.allclose(kept[0], plain[0, -1], atol=1e-4)
            ids = torch.cat([ids, torch.tensor([[token]])], 1)
    assert len(set(made[0].tolist())) > 3


def test_files_that_would_run_code_are_not_opened(
    xtts_folder: Path, settings: Settings, tmp_path: Path
):
    """Weights are read as plain tensors: a pickle that calls something is refused, and nothing is written."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("config.json", "vocab.json"):
        shutil.copy(xtts_folder / name, trap / name)
    flag = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (flag,))

    with zipfile.ZipFile(trap / "model.pth", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"model": Bomb()}))
        archive.writestr("model/version", "3")
    (trap / "speakers_xtts.pth").write_bytes((trap / "model.pth").read_bytes())
    before = (trap / "model.pth").read_bytes()
    assert coqui.voices(spec_of(trap)) == () or not flag.exists()
    with pytest.raises(LoadFailed, match="could not be built"):
        coqui.load(spec_of(trap), settings)
    assert not flag.exists() and (trap / "model.pth").read_bytes() == before


def test_folders_that_are_not_whole(vits_folder: Path, settings: Settings, tmp_path: Path):
    copy = shutil.copytree(vits_folder, tmp_path / "copy")
    (copy / "model_file.pth").write_bytes(b"PK broken")
    with pytest.raises(LoadFailed):
        coqui.load(spec_of(copy), settings)
    (copy / "model_file.pth").unlink()
    with pytest.raises(NotDownloaded):
        coqui.load(spec_of(copy), settings)
    (copy / "config.json").write_text('{"model": "tacotron2"}')
    with pytest.raises(LoadFailed, match="XTTS and VITS"):
        coqui.load(spec_of(copy), settings)
