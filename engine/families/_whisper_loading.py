"""Loading a Whisper model in CTranslate2's format: files, device, type of numbers, threads; and whether CUDA lives.

Publishes only what was built whole.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.checkpoints import find_checkpoint, is_converted, read_json
from engine.errors import LoadFailed
from engine.families._loading import usable_cores
from engine.faults import is_out_of_memory
from engine.registry import ModelSpec
from engine.settings import ROOT, Settings

log = logging.getLogger("atelier.whisper")

NEEDED = ("model.bin", "config.json", "tokenizer.json")
PROBE = ROOT / "assets" / "starters" / "starter-stt"  # small, so that probing costs a moment
PROBE_SECONDS = 120
FALLEN = (
    "The GPU cannot run this model beside the other libraries here (cuDNN failed in a trial), so the processor "
    "does, in 8 bits: slower, with the same words."
)
WHOLE = 50_000  # tokens from which a vocabulary is Whisper's own
# Whether both libraries work on a GPU in one process is found out in a process that may die over it.
TRIAL = """
import sys
try:
    import torch
    torch.nn.functional.conv1d(torch.zeros(1, 2, 8, device="cuda"), torch.zeros(2, 2, 3, device="cuda"))
except ImportError:
    pass
import numpy, faster_whisper
model = faster_whisper.WhisperModel(sys.argv[1], device="cuda", device_index=int(sys.argv[2]))
mels, frames = model.model.n_mels, model.feature_extractor.nb_max_frames
model.encode(numpy.zeros((1, mels, frames), "float32")).to_device
print("alive")
"""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model and how it runs.

    Args:
        model: faster-whisper's.
        device: "cpu" or "cuda".
        workers: passes that run at once.
        languages: codes it was trained on; one alone for models of English.
        timed: whether it writes the times of its sentences.
        note: what a user should know of how it runs.
        size: bytes of its weights.
    """

    model: Any
    device: str
    workers: int
    languages: tuple[str, ...]
    timed: bool
    note: str
    size: int


def load_whisper(spec: ModelSpec, settings: Settings) -> Loaded:
    """The model of `spec`, ready.

    Raises:
        NotDownloaded: its files are not here. LoadFailed: they are no such model, or broken.
    """
    folder = find_checkpoint(spec)
    _check(folder, spec)
    device, index = _device(str(spec.options.get("device") or settings.device), spec)
    note = ""
    if device == "cuda" and not _alive(str(PROBE if PROBE.is_dir() else folder), index):
        device, index, note = "cpu", 0, FALLEN
        log.warning("%s: CTranslate2 failed on CUDA in a trial; it runs on the processor", spec.id)
    cores = usable_cores()
    workers = int(spec.options.get("workers") or (max(1, min(cores, max(2, cores // 4)))))
    if device == "cuda":
        workers = 1
    model = _build(
        folder,
        spec,
        device=device,
        device_index=index,
        compute_type=_compute_type(spec, settings, device, index),
        cpu_threads=max(1, cores // workers),
        num_workers=workers,
    )
    return Loaded(
        model, device, workers, _languages(model), _is_timed(folder), note,
        (folder / "model.bin").stat().st_size,
    )  # fmt: skip


def _build(folder: Path, spec: ModelSpec, **how: Any) -> Any:
    from faster_whisper import WhisperModel

    try:
        return WhisperModel(str(folder), local_files_only=True, **how)
    # CTranslate2 and tokenizers tell of broken files in many ways: this is their border.
    except Exception as error:
        if is_out_of_memory(error) or "out of memory" in str(error):
            raise
        raise LoadFailed(
            f"Model '{spec.id}' could not be opened by CTranslate2 ({type(error).__name__}). {_again(spec)}"
        ) from error


def _check(folder: Path, spec: ModelSpec) -> None:
    """Refuse folders that are no Whisper of CTranslate2's, before a library is asked."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if "model.bin" in missing and list(folder.glob("*.safetensors")):
        raise LoadFailed(
            f"Model '{spec.id}' is in transformers' format. Convert it once with: ct2-transformers-converter "
            "--model FOLDER --output_dir NEW --copy_files tokenizer.json preprocessor_config.json"
        )
    if missing:
        raise LoadFailed(f"Model '{spec.id}' lacks {', '.join(missing)}. {_again(spec)}")
    read_json(folder / "config.json", spec)
    if not is_converted(folder, "WhisperSpec"):
        raise LoadFailed(
            f"Model '{spec.id}' is no Whisper in CTranslate2's format. Choose one that is."
        )


def _again(spec: ModelSpec) -> str:
    return "Copy the model's folder again." if spec.path else "Download it again."


def _device(name: str, spec: ModelSpec) -> tuple[str, int]:
    """CTranslate2's device of a setting; Apple's GPUs are none to it."""
    import ctranslate2

    kind, _, number = name.partition(":")
    count = ctranslate2.get_cuda_device_count() if kind in {"auto", "cuda"} else 0
    index = int(number) if number.isdigit() else 0
    if kind == "cuda" and index >= count:
        raise LoadFailed(
            f"There is no device '{name}' for model '{spec.id}'. Use auto, or cpu.",
        )
    return ("cuda", index) if count else ("cpu", 0)


def _compute_type(spec: ModelSpec, settings: Settings, device: str, index: int) -> str:
    """The type of numbers: what was asked for, else 8 bits, which cost no words and save half the time."""
    import ctranslate2

    if told := spec.options.get("compute_type"):
        return str(told)
    able = ctranslate2.get_supported_compute_types(device, index)
    plain = settings.quantisation == "none" or spec.options.get("quantisation") == "none"
    wishes = ["int8_float16", "int8", "float16"] if device == "cuda" else ["int8"]
    if plain:
        wishes = ["float16", "float32"] if device == "cuda" else ["float32"]
    return next((wish for wish in wishes if wish in able), "default")


@cache
def _alive(folder: str, index: int) -> bool:
    """Whether torch and CTranslate2 run on this GPU in one process; asked once."""
    try:
        trial = subprocess.run(
            [sys.executable, "-c", TRIAL, folder, str(index)],
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    if b"alive" not in trial.stdout:
        log.warning("CUDA trial: %s", trial.stderr[-2000:].decode("utf-8", "replace"))
    return b"alive" in trial.stdout


def _languages(model: Any) -> tuple[str, ...]:
    """The codes whose tokens the model knows. Models of English keep the tokens, though not their meaning."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    vocabulary: Mapping[str, int] = model.hf_tokenizer.get_vocab(with_added_tokens=True)
    if not model.model.is_multilingual:
        return ("en",)
    return tuple(code for code in sorted(_LANGUAGE_CODES) if f"<|{code}|>" in vocabulary) or ("en",)


def _is_timed(folder: Path) -> bool:
    for name in ("vocabulary.json", "vocabulary.txt"):
        if (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            tokens = json.loads(text) if name.endswith("json") else text.splitlines()
            return len(tokens) > WHOLE or "<|0.00|>" in tokens
    return True
