"""Loading a causal LM and its tokenizer from a checked folder: device, type of weights, threads, errors.

Publishes only what was built whole; a failure leaves nothing in memory.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.checkpoints import check_checkpoint, may_run_code, read_json
from engine.errors import AtelierError, LoadFailed
from engine.families._packed import pack_linears
from engine.families._quantising import loading_options
from engine.families._threads import SMALL
from engine.faults import is_out_of_memory
from engine.fit import anatomy_of, forms
from engine.registry import ModelSpec
from engine.settings import Settings

log = logging.getLogger("atelier.hf_chat")


def load_model(
    folder: Path, spec: ModelSpec, settings: Settings, kind: str = "AutoModelForCausalLM"
) -> tuple[Any, Any]:
    """The model, built by transformers' class `kind`, on its device and ready to run, and its tokenizer.

    Raises:
        LoadFailed, NotDownloaded: see `check_checkpoint`; or transformers does not know or cannot fill the model.
    """
    config = check_checkpoint(folder, spec, settings)
    return _load(folder, spec, settings, config, kind, _load_tokenizer)


def load_seeing(folder: Path, spec: ModelSpec, settings: Settings) -> tuple[Any, Any, Any]:
    """A model that chats, as `load_model` gives it; third its processor of pictures, None where it does not see."""
    config = check_checkpoint(folder, spec, settings)
    if not (kind := seeing_kind(config)):
        return *load_model(folder, spec, settings), None
    model, processor = _load(folder, spec, settings, config, kind, _load_processor)
    tokenizer = processor.tokenizer
    tokenizer.chat_template = processor.chat_template or tokenizer.chat_template
    return model, tokenizer, processor


def seeing_kind(config: Mapping[str, Any]) -> str:
    """Transformers' class that builds a model which takes pictures with its text, by its config; "" for others."""
    from transformers.models.auto import modeling_auto

    own = config.get("auto_map")
    if isinstance(own, Mapping) and "vision_config" in config:  # code of its own, which was allowed
        kinds = ("AutoModelForImageTextToText", "AutoModelForCausalLM")
        return next((kind for kind in kinds if kind in own), "")
    named = config.get("architectures")
    classes = {str(name) for name in named} if isinstance(named, list) else set()
    kinds_known = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    known = kinds_known.get(str(config.get("model_type"))) in classes
    return "AutoModelForImageTextToText" if known else ""


def _load(
    folder: Path,
    spec: ModelSpec,
    settings: Settings,
    config: dict[str, Any],
    kind: str,
    read: Callable[[Path, ModelSpec, bool], Any],
) -> tuple[Any, Any]:
    """The model, and what `read` makes its inputs with."""
    remote = may_run_code(spec, settings)
    try:
        maker = read(folder, spec, remote)
        return load_weights(folder, spec, settings, config, remote, kind), maker
    except BaseException:
        gc.collect()
        raise


def _load_processor(folder: Path, spec: ModelSpec, remote: bool) -> Any:
    """The processor of pictures; its tokenizer is the model's."""
    from transformers import AutoImageProcessor, AutoProcessor

    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": remote}
    if read_json(folder / "config.json", spec).get("model_type") == "smolvlm":
        spell_numbers()
    try:
        processor = AutoProcessor.from_pretrained(folder, **how)
        # Without torch: it works in another thread than the model.
        processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil", **how)
    # A processor is built of as many foreign files as a tokenizer, and more.
    except Exception as error:
        raise LoadFailed(
            f"What model '{spec.id}' prepares pictures with cannot be read. Copy or download the model's "
            "folder again."
        ) from error
    if not all(hasattr(processor, name) for name in ("tokenizer", "image_token", "chat_template")):
        raise LoadFailed(
            f"Model '{spec.id}' takes pictures in a way that is not supported here. Choose another model."
        )
    return processor


def spell_numbers() -> None:
    """Give SmolVLM's processor something for the package it wants for films alone, which are not shown here."""
    from transformers.models.smolvlm import processing_smolvlm

    processing_smolvlm.num2words = processing_smolvlm.num2words or str


def _load_tokenizer(folder: Path, spec: ModelSpec, remote: bool) -> Any:
    from transformers import AutoTokenizer

    names = (
        "tokenizer.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "spiece.model",
        "tekken.json",
    )
    if not any((folder / name).is_file() for name in names) and not remote:
        raise LoadFailed(
            f"Model '{spec.id}' has no tokenizer. Copy or download the model's folder again."
        )
    try:
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=remote
        )
    # Tokenizer files fail in as many ways as there are formats; this is their border.
    except Exception as error:
        raise LoadFailed(
            f"The tokenizer of model '{spec.id}' cannot be read. Copy or download the model's folder again."
        ) from error


def load_weights(
    folder: Path,
    spec: ModelSpec,
    settings: Settings,
    config: dict[str, Any],
    remote: bool,
    kind: str,
) -> Any:
    """The model alone, built by transformers' class `kind`, on its device. Raises LoadFailed."""
    import torch
    import transformers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    device = choose_device(str(spec.options.get("device") or settings.device))
    anatomy = anatomy_of(spec)
    if device.type == "cpu":
        small = anatomy is not None and anatomy.parameters < SMALL
        torch.set_num_threads(1 if small else usable_cores())
    form = forms(spec, settings, device.type, anatomy, able=True)[0]
    room = int(spec.options.get("device_memory") or 0)
    try:
        model, found = getattr(transformers, kind).from_pretrained(
            folder,
            dtype=getattr(torch, form.dtype),
            local_files_only=True,
            trust_remote_code=remote,
            use_safetensors=True,
            output_loading_info=True,
            **loading_options(form, device, room, sees="vision_config" in config),
        )
        check_filled(found, spec)
        placed = form.offload or form.quantisation == "int4"
        model = (model if placed else model.to(device)).eval().requires_grad_(False)
        if device.type == "cpu" and not form.quantisation:
            pack_linears(model)
        return model
    except AtelierError:
        raise
    # Building a model runs the code of any architecture: this is its border. A full device is the lane's to mend.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise LoadFailed(_reason(error, spec, config)) from error


def _reason(error: Exception, spec: ModelSpec, config: dict[str, Any]) -> str:
    kind = str(config.get("model_type") or "")
    text = str(error)
    if "Unrecognized" in text or "does not recognize this architecture" in text:
        return (
            f"Model '{spec.id}' is of a kind ('{kind[:80]}') that the installed transformers does not know. "
            "Choose another model, or update transformers."
        )
    if "size mismatch" in text or "mismatch" in text or "shape" in text:
        return f"The weights of model '{spec.id}' do not match its config. Copy or download the model's folder again."
    return f"Model '{spec.id}' could not be built ({type(error).__name__}). Copy or download its folder again."


def check_filled(found: dict[str, Any], spec: ModelSpec) -> None:
    """Refuse a model some of whose weights were not in its files: they would be random numbers."""
    # The pooler of BERT's kin serves a head that is not used here; many checkpoints leave it out.
    missing = sorted(k for k in found.get("missing_keys") or () if not k.startswith("pooler."))
    wrong = sorted(str(key) for key in found.get("mismatched_keys") or ())
    if wrong:
        raise LoadFailed(
            f"The weights of model '{spec.id}' do not match its config ({len(wrong)} of another shape). "
            "Copy or download the model's folder again."
        )
    if missing:
        raise LoadFailed(
            f"Model '{spec.id}' lacks {len(missing)} of its weights, the first is {missing[0][:120]}. "
            "Copy or download the model's folder again."
        )


def choose_device(name: str) -> Any:
    """The torch device of a setting; auto is the first GPU, else Apple's, else the processor.

    Raises:
        LoadFailed: there is no such device.
    """
    import torch

    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda:0" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise LoadFailed(
            f"'{name}' is not a device. Use auto, cpu, cuda, cuda:1 or mps."
        ) from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise LoadFailed(f"This machine has no device '{name}'. Use auto, or cpu.")
    return device


def usable_cores() -> int:
    """Physical cores this process may use; OMP_NUM_THREADS goes before what the machine says."""
    import psutil

    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(told) > 0:
        return int(told)
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    return max(1, min(cores, allowed, _quota() or cores))


def _quota() -> int:
    """Whole cores a container may use; 0 where nothing says."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return 0 if limit == "max" else max(1, int(limit) // int(period))
    except (OSError, ValueError):
        return 0
