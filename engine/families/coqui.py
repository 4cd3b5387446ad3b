"""Coqui's voices: XTTS v2, which speaks with the voice of a recording, and VITS models, from folders in Coqui's layout.

Their weights are published as `.pth` files. These are read as plain tensors (torch's `weights_only`), which runs
nothing that a file holds. Speech is computed in float32; Coqui's own loaders, which may write into the folder, are
not used.
"""

from __future__ import annotations

import gc
import json
import logging
import pickletools
import zipfile
from collections import OrderedDict
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.checkpoints import find_checkpoint, read_json
from engine.errors import AtelierError, BadFormat, BadValue, LoadFailed, NotDownloaded
from engine.families._loading import choose_device
from engine.families._speaking import Speaker
from engine.families._threads import Threads
from engine.faults import is_out_of_memory
from engine.registry import Emit, ModelSpec
from engine.requests import SpeakRequest
from engine.settings import Settings
from engine.sounds import read_sound
from engine.voices import Voice, unspoken

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPECS: tuple[ModelSpec, ...] = ()
WEIGHTS = ("model.pth", "model_file.pth", "best_model.pth")
SPEAKERS = ("speakers_xtts.pth", "speaker_ids.json", "speakers.json", "speakers.pth")
SHORTEST, ENOUGH = 1.0, 30.0  # seconds of a recording whose voice is cloned
KEPT = 16  # cloned voices that are kept
REFERENCE = "reference"  # what a cloned voice is called
HEARD = 22_050  # Hz at which XTTS hears a voice
CODES = {"zh": "zh-cn"}  # ours and XTTS's
TUNING = ("temperature", "length_penalty", "repetition_penalty", "top_k", "top_p")

log = logging.getLogger("atelier.coqui")


def load(spec: ModelSpec, settings: Settings) -> Speaker:
    """The speaker of a folder. Raises NotDownloaded, LoadFailed: files are missing, broken or of another kind."""
    folder = find_checkpoint(spec)
    kind = _kind(folder, spec)
    if (file := _weights(folder)) is None:
        raise NotDownloaded(
            f"The weights of '{spec.id}' are not here. Get it on the Models tab once more."
        )
    device = choose_device(str(spec.options.get("device") or settings.device))
    build = _build_xtts if kind == "xtts" else _build_vits
    try:
        config, model = build(folder, file)
        model.to(device)
        model.eval()  # XTTS makes ready to write here
        model.requires_grad_(False)
    except AtelierError:
        raise
    # Coqui's configs and torch's files fail in as many ways as they have readers: this is their border.
    except Exception as error:
        gc.collect()
        if is_out_of_memory(error):
            raise
        log.info("%s could not be built", spec.id, exc_info=True)
        raise LoadFailed(
            f"Model '{spec.id}' could not be built ({type(error).__name__}). Copy or download its folder again."
        ) from error
    speaker = Xtts if kind == "xtts" else Vits
    return speaker(spec, voices(spec), model, config)


def voices(spec: ModelSpec) -> tuple[Voice, ...]:
    """The voices that a folder's files name; nothing is unpickled for it. Raises NotDownloaded, LoadFailed."""
    folder = find_checkpoint(spec)
    kind = _kind(folder, spec)
    names = _names(folder)
    if kind == "xtts":
        return tuple(Voice(name, spec.id, title=name) for name in names)
    config = read_json(folder / "config.json", spec)
    told = str(config.get("phoneme_language") or _language(config) or "")
    code = (spec.languages or (told.partition("-")[0].lower(),))[0]
    own = spec.title or spec.id.rpartition("/")[2]
    return tuple(Voice(name, spec.id, code, told, name) for name in names or (own,))


def recognise(folder: Path) -> dict[str, Any] | None:
    """The fields of a row for a folder in Coqui's layout; None for every other."""
    file = _weights(folder)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind = str(config["model"]).lower()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if file is None or kind not in ("xtts", "vits"):
        return None
    back = {theirs: ours for ours, theirs in CODES.items()}
    told = config.get("languages") if kind == "xtts" else [str(_language(config)).partition("-")[0]]
    codes = [back.get(str(code), str(code)) for code in told or () if code]
    needs = ["config.json", file.name, *(["vocab.json"] if kind == "xtts" else [])]
    accepts = frozenset({"audio"} if kind == "xtts" else ())
    return {
        "does": frozenset({"speak"}), "languages": tuple(codes), "accepts": accepts,
        "options": {"needs": needs},
    }  # fmt: skip


def _language(config: dict[str, Any]) -> str:
    sets = config.get("datasets")
    first = sets[0] if isinstance(sets, list) and sets and isinstance(sets[0], dict) else {}
    return str(first.get("language") or "")


def _kind(folder: Path, spec: ModelSpec) -> str:
    kind = str(read_json(folder / "config.json", spec).get("model", "")).lower()
    if kind in ("xtts", "vits"):
        return kind
    raise LoadFailed(
        f"'{spec.id}' is of Coqui's kind '{kind[:40]}', which is not run here: XTTS and VITS are."
    )


def _weights(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def _names(folder: Path) -> list[str]:
    """Names of speakers: keys of a JSON file, or of the dictionary in a `.pth`, read without unpickling it."""
    file = next((folder / name for name in SPEAKERS if (folder / name).is_file()), None)
    if file is None:
        return []
    if file.suffix == ".json":
        try:
            value = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            return []
        return [str(name) for name in value] if isinstance(value, dict) else []
    try:
        with zipfile.ZipFile(file) as archive:
            inner = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            data = archive.read(inner)
        return _keys(data)
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile, NotImplementedError):
        return []


def _keys(data: bytes) -> list[str]:
    """The texts before each inner dictionary of a pickle: a speaker's name, then what is known of it."""
    names: list[str] = []
    last = ""
    for operation, value, _ in pickletools.genops(data):
        if operation.name in ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE"):
            last = str(value)
        elif operation.name == "EMPTY_DICT" and last:
            names.append(last)
            last = ""
        elif operation.name in ("BINPERSID", "BINGET", "LONG_BINGET"):
            last = ""
    return names


def _read(file: Path) -> Any:
    """A file of tensors. Its pickle may name four plain classes of Coqui's configuration and nothing else."""
    import torch
    from TTS.config.shared_configs import BaseDatasetConfig
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig

    old = "TTS.tts.models.xtts"  # where two of them were when XTTS v2 was published
    known = [
        BaseDatasetConfig, XttsArgs, XttsAudioConfig, XttsConfig,
        (XttsArgs, f"{old}.XttsArgs"), (XttsAudioConfig, f"{old}.XttsAudioConfig"),
    ]  # fmt: skip
    with torch.serialization.safe_globals(known):
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)


def _build_xtts(folder: Path, file: Path) -> tuple[Any, Any]:
    from TTS.tts.configs.xtts_config import XttsConfig
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts as Model

    config = XttsConfig()
    config.load_json(str(folder / "config.json"))
    model = Model(config)
    model.tokenizer = VoiceBpeTokenizer(vocab_file=str(folder / "vocab.json"))
    model.init_models()  # sized by the tokenizer
    found = _read(file)
    state = {name.removeprefix("xtts."): value for name, value in found["model"].items()}
    trained = (
        "torch_mel_spectrogram_style_encoder",
        "torch_mel_spectrogram_dvae",
        "dvae",
        "gpt.gpt_inference",
    )
    state = {name: value for name, value in state.items() if not name.startswith(trained)}
    state.pop("gpt.gpt.wte.weight", None)
    model.load_state_dict(state)
    speakers = folder / SPEAKERS[0]
    model.known_voices = _read(speakers) if speakers.is_file() else {}
    return config, model


def _build_vits(folder: Path, file: Path) -> tuple[Any, Any]:
    from TTS.config import load_config
    from TTS.tts.models.vits import Vits as Model

    config = load_config(str(folder / "config.json"))
    for holder in (config, config.model_args):  # paths of the machine that trained it
        for name in ("speakers_file", "language_ids_file", "d_vector_file"):
            told = getattr(holder, name, None)
            if told:
                here = [
                    folder / Path(str(one)).name
                    for one in (told if isinstance(told, list) else [told])
                ]
                setattr(
                    holder,
                    name,
                    [str(one) for one in here] if isinstance(told, list) else str(here[0]),
                )
    model = Model(config)
    state = {
        k: v
        for k, v in _read(file)["model"].items()
        if not k.startswith(("speaker_encoder", "disc."))
    }
    missing = model.load_state_dict(state, strict=False).missing_keys
    if lacking := [name for name in missing if not name.startswith("disc.")]:
        raise ValueError(f"{len(lacking)} weights are missing")
    model.disc = None
    return config, model


class _Coqui(Speaker):
    """What both kinds share."""

    def __init__(self, spec: ModelSpec, voices: tuple[Voice, ...], model: Any, config: Any) -> None:
        super().__init__(spec, voices)
        self._model, self._config = model, config
        self._threads = Threads()

    def memory(self) -> int:
        """Bytes of the weights."""
        parts = (*self._model.parameters(), *self._model.buffers())
        return sum(part.numel() * part.element_size() for part in parts)

    def close(self) -> None:
        """Give everything back."""
        self._model = None
        gc.collect()


class Xtts(_Coqui):
    """Speaks with the voices that come along and with those of recordings, in the languages of its config."""

    clones = True
    speeds = (0.5, 2.0)

    def __init__(self, spec: ModelSpec, voices: tuple[Voice, ...], model: Any, config: Any) -> None:
        super().__init__(spec, voices, model, config)
        self.rate = int(config.model_args.output_sample_rate)
        self._cloned: OrderedDict[str, tuple[Any, Any]] = OrderedDict()

    def longest_of(self, language: str) -> int:
        """Characters that it says at once: fewer where each is a word."""
        code = CODES.get(language, language)
        return int(0.85 * self._model.tokenizer.char_limits.get(code, 220))

    def voice(self, request: SpeakRequest, language: str, text: str) -> Voice:
        """The recording's voice, else one that comes along."""
        if request.reference is not None:
            return Voice(f"{REFERENCE} {_mark(request.reference)}", self.spec.id)
        if not self.voices:
            raise BadValue(
                f"'{self.spec.id}' has no voices of its own. Send a recording of one as reference.",
                param="reference",
            )
        return super().voice(request, language, text)

    def prepare(self, request: SpeakRequest, voice: Voice, language: str, emit: Emit) -> Any:
        """Language, and what the model knows of the voice."""
        code = CODES.get(language, language)
        if code not in self._config.languages:
            back = {theirs: ours for ours, theirs in CODES.items()}
            raise unspoken(language, (back.get(one, one) for one in self._config.languages))
        if request.reference is None:
            known = self._model.known_voices[voice.name]
            return code, known["gpt_cond_latent"], known["speaker_embedding"]
        mark = _mark(request.reference)
        if mark not in self._cloned:
            self._cloned[mark] = self._hear(request.reference, emit)
        self._cloned.move_to_end(mark)
        while len(self._cloned) > KEPT:
            self._cloned.popitem(last=False)
        return code, *self._cloned[mark]

    def _hear(self, reference: bytes, emit: Emit) -> tuple[Any, Any]:
        """What makes a voice its own, from a recording."""
        import torch

        from engine.families._sound import loudness, trim

        try:
            wave = read_sound(reference, HEARD, "reference")[: int(3 * ENOUGH * HEARD)]
        except BadFormat as error:
            raise BadValue(error.message, param="reference") from error
        wave = trim(wave, HEARD)[: int(ENOUGH * HEARD)]
        if len(wave) < SHORTEST * HEARD or loudness(wave, HEARD) < -60:
            raise BadValue(
                "The recording has less than a second of a voice. Six seconds of clear speech are enough.",
                param="reference",
            )
        emit(None)
        sound = torch.from_numpy(wave)[None, :]
        settings = self._config
        with torch.inference_mode():
            embedding = self._model.get_speaker_embedding(sound, HEARD)
            emit(None)
            latents = self._model.get_gpt_cond_latents(
                sound, HEARD, length=settings.gpt_cond_len, chunk_length=settings.gpt_cond_chunk_len
            )
        return latents, embedding

    def utter(self, text: str, prepared: Any, speed: float, emit: Emit) -> NDArray[Any]:
        """See `Speaker`; asks after every token."""
        import numpy as np

        code, latents, embedding = prepared
        self._threads.use()
        tuning = {name: getattr(self._config, name) for name in TUNING}
        told = self._model.inference(
            text, code, latents, embedding, speed=speed, stopping_criteria=[_asking(emit)], **tuning
        )
        return np.asarray(told["wav"], np.float32).reshape(-1)


def _mark(reference: bytes) -> str:
    return blake2s(reference, digest_size=12).hexdigest()


def _asking(emit: Emit) -> Any:
    """A criterion that never ends a text, but asks after each token whether to go on."""
    import torch

    def asks(tokens: Any, scores: Any, **more: Any) -> Any:
        emit(None)
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    return asks


class Vits(_Coqui):
    """Speaks with the voice or voices it was trained on, mostly in one language."""

    speeds = (0.5, 2.0)

    def __init__(self, spec: ModelSpec, voices: tuple[Voice, ...], model: Any, config: Any) -> None:
        super().__init__(spec, voices, model, config)
        self.rate = int(config.audio.sample_rate)

    def utter(self, text: str, prepared: Any, speed: float, emit: Emit) -> NDArray[Any]:
        """See `Speaker`."""
        import numpy as np
        import torch

        voice, language = prepared
        self._threads.use()
        self._model.length_scale = 1 / speed
        speaker = voice.name if len(self.voices) > 1 else None
        languages = (
            self._model.language_manager.language_names
            if self._model.args.use_language_embedding
            else []
        )
        named = next((name for name in languages if name.partition("-")[0] == language), None)
        with torch.inference_mode():
            told = self._model.synthesize(text, speaker=speaker, language=named)
        return np.asarray(told["wav"], np.float32).reshape(-1)
