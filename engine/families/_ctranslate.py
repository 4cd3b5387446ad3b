"""A translation model as CTranslate2 holds it: found or converted, opened on its device. Knows no language."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import re
import shutil
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.checkpoints import check_checkpoint, find_checkpoint, read_json, weight_files
from engine.errors import LoadFailed
from engine.families._loading import usable_cores
from engine.families._threads import SMALL
from engine.faults import is_out_of_memory
from engine.registry import ModelSpec
from engine.settings import Settings

BIN = "model.bin"
# Classes of transformers that become one of CTranslate2's.
CLASSES = (
    "MarianMTModel",
    "M2M100ForConditionalGeneration",
    "T5ForConditionalGeneration",
    "MT5ForConditionalGeneration",
)
CLASSES_TOLD = "Marian, M2M-100, NLLB and T5 (MADLAD)"
TEXTS = ("*.json", "*.model", "*.spm", "*.txt")  # what tokenizers are made of
log = logging.getLogger("atelier.translate")


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A translator that is ready, the folder with its tokenizer, its tokens, and bytes of its weights."""

    translator: Any
    folder: Path
    tokens: tuple[str, ...]
    size: int


def open_translator(spec: ModelSpec, settings: Settings) -> Opened:
    """The model of `spec`, converted first where it is in transformers' format.

    Raises:
        NotDownloaded: its files are not here. LoadFailed: they are no translation model, or broken.
    """
    source = find_checkpoint(spec)
    folder = source if is_converted(source) else _converted(source, spec, settings)
    size = (folder / BIN).stat().st_size
    device, index = _device(str(spec.options.get("device") or settings.device))
    small = size < SMALL
    translator = _build(
        folder,
        spec,
        device=device,
        device_index=index,
        compute_type=_compute_type(spec, settings, device, index),
        intra_threads=1 if small else usable_cores(),
        inter_threads=1,
    )
    return Opened(translator, folder, read_tokens(folder, spec), size)


def is_converted(folder: Path) -> bool:
    """Whether a folder holds a sequence-to-sequence model in CTranslate2's format; reads a few bytes."""
    try:
        with (folder / BIN).open("rb") as stream:
            _, length = struct.unpack("<IH", stream.read(6))
            name = stream.read(min(length, 64))
    except (OSError, struct.error):
        return False
    return name.startswith(b"TransformerSpec")


def _build(folder: Path, spec: ModelSpec, **how: Any) -> Any:
    import ctranslate2

    try:
        return ctranslate2.Translator(str(folder), **how)
    # Broken files are told of in many ways: this is their border. A full device is the lane's to mend.
    except (RuntimeError, ValueError, OSError) as error:
        if is_out_of_memory(error) or "out of memory" in str(error):
            raise
        raise LoadFailed(
            f"Model '{spec.id}' could not be opened by CTranslate2. Copy or download its folder again."
        ) from error


def read_tokens(folder: Path, spec: ModelSpec) -> tuple[str, ...]:
    """All tokens that the model writes, in the order of their numbers. Raises LoadFailed."""
    for name in ("shared_vocabulary", "target_vocabulary"):
        if (file := folder / f"{name}.json").is_file():
            try:
                values = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                break
            return tuple(map(str, values))
        if (file := folder / f"{name}.txt").is_file():
            return tuple(file.read_text(encoding="utf-8").split("\n"))
    raise LoadFailed(f"Model '{spec.id}' lacks its vocabulary. Copy or download its folder again.")


def _device(name: str) -> tuple[str, int]:
    """CTranslate2's device of a setting; Apple's GPUs are none to it."""
    import ctranslate2

    kind, _, number = name.partition(":")
    count = ctranslate2.get_cuda_device_count() if kind in {"auto", "cuda"} else 0
    index = int(number) if number.isdigit() else 0
    if kind == "cuda" and index >= count:
        raise LoadFailed(f"There is no device '{name}' here for translation. Use auto, or cpu.")
    return ("cuda", index) if count else ("cpu", 0)


def _compute_type(spec: ModelSpec, settings: Settings, device: str, index: int) -> str:
    """The type of numbers: what was asked for, else 8 bits on a processor and 16 on a GPU."""
    import ctranslate2

    if told := spec.options.get("compute_type"):
        return str(told)
    able = ctranslate2.get_supported_compute_types(device, index)
    asked = str(spec.options.get("quantisation") or settings.quantisation)
    wishes = ["float16", "int8_float16"] if device == "cuda" else ["int8", "int8_float32"]
    if asked in {"int8", "int4"}:
        wishes = ["int8_float16", "int8"] if device == "cuda" else ["int8"]
    if asked == "none":
        wishes = ["float16", "float32"] if device == "cuda" else ["float32"]
    return next((wish for wish in wishes if wish in able), "default")


def _converted(source: Path, spec: ModelSpec, settings: Settings) -> Path:
    """The model of a folder in transformers' format, converted once and kept in the data folder."""
    config = check_checkpoint(source, spec, settings)
    named = config.get("architectures") or ()
    if not any(name in CLASSES for name in named):
        raise LoadFailed(
            f"Model '{spec.id}' is a {', '.join(map(str, named))[:100] or 'model without a class'}, which does not "
            f"translate here. These do: {CLASSES_TOLD}, and any of them in CTranslate2's format."
        )
    plain = (spec.options.get("quantisation") or settings.quantisation) == "none"
    form = "float32" if plain else "int8"
    store = settings.data_dir / "converted"
    target = store / f"{_spoken(spec.id)}-{_mark(source, spec)}-{form}"
    if not is_converted(target):
        store.mkdir(parents=True, exist_ok=True)
        convert(source, target, form, spec)
    return target


def _spoken(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:80]


def _mark(source: Path, spec: ModelSpec) -> str:
    """A short name of exactly these files: others make another conversion."""
    files = (source / "config.json", *weight_files(source, spec))
    stamps = [f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("|".join((str(source), *stamps)).encode()).hexdigest()[:12]


def convert(source: Path, target: Path, form: str, spec: ModelSpec) -> None:
    """Write a folder's model anew in CTranslate2's format, with its tokenizer; appears when it is whole.

    Args:
        form: "int8", "float16" or "float32", the type of its weights.

    Raises:
        LoadFailed: it cannot be converted.
    """
    log.info("converting %s to CTranslate2 (%s)", spec.id, form)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".converting-") as working:
        made = Path(working) / "model"
        _convert(source, made, form, spec)
        for pattern in TEXTS:
            for file in source.glob(pattern):
                if not (made / file.name).exists():
                    shutil.copyfile(file, made / file.name)
        made.replace(target)
    gc.collect()


def _convert(source: Path, target: Path, form: str, spec: ModelSpec) -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers.utils.logging import disable_progress_bar

    class Converter(TransformersConverter):
        """The library's, given the tokens itself: it asks tokenizers for them as they were before transformers 5."""

        def load_tokenizer(self, tokenizer_class: Any, name: str, **how: Any) -> Any:
            return _Words(super().load_tokenizer(tokenizer_class, name, **how), source, spec)

    disable_progress_bar()
    try:
        quantisation = None if form == "float32" else form
        Converter(str(source)).convert(str(target), quantization=quantisation)
    # A converter meets any checkpoint in any state: this is its border.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise LoadFailed(
            f"Model '{spec.id}' cannot be converted to CTranslate2 ({type(error).__name__}). Copy or download its "
            "folder again, or choose one that is converted already."
        ) from error


class _Words:
    """A tokenizer as the converter wants it: every number of the model has a token of its own."""

    num_madeup_words = 0

    def __init__(self, tokenizer: Any, folder: Path, spec: ModelSpec) -> None:
        self._tokenizer = tokenizer
        size = int(read_json(folder / "config.json", spec)["vocab_size"])
        self._tokens: dict[str, int] = {}
        for number in range(size):
            token = tokenizer.convert_ids_to_tokens(number)
            name = f"madeupword{number}" if token is None or token in self._tokens else str(token)
            self._tokens[name] = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def get_vocab(self) -> dict[str, int]:
        """The number of every token."""
        return self._tokens


def pair_of(folder: Path, spec: ModelSpec) -> tuple[str, str]:
    """The source and target that a model for one pair of languages was made for, as its files or its row say."""
    told = (
        read_json(folder / "tokenizer_config.json", spec)
        if (folder / "tokenizer_config.json").is_file()
        else {}
    )
    source, target = told.get("source_lang"), told.get("target_lang")
    if not source or not target:
        found = re.search(
            r"opus-mt-(?:tc-\w+-)?([a-zA-Z_]+)-([a-zA-Z_]+)", spec.repo or spec.path or spec.id
        )
        source, target = found.groups() if found else spec.languages[:2] or ("", "")
    return str(spec.options.get("from") or source), str(spec.options.get("to") or target)


def worked(scores: Sequence[float]) -> float:
    """The mean chance of an answer's tokens, of CTranslate2's score of it."""
    from math import exp

    return exp(min(0.0, scores[0])) if scores else 0.0
