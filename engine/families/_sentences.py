"""The layout of sentence-transformers models: which modules follow the transformer, prompts, lengths.

Knows files and what their fields mean; runs nothing. The fields are those that sentence-transformers 2 to 5 write.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.checkpoints import read_json
from engine.errors import LoadFailed
from engine.registry import ModelSpec

POOLINGS = ("mean", "cls", "lasttoken", "max", "mean_sqrt_len_tokens", "weightedmean")
# As older versions name them, one flag each.
FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder says about turning tokens into one vector.

    Args:
        transformer: the folder of config, weights and tokenizer.
        poolings: how token vectors become one; several are joined end to end.
        counts_prompt: whether the tokens of a prompt are pooled, too.
        dense: folders of linear layers, with the name of what follows each.
        normalises: vectors have length 1.
        prompts: prefixes by name; `default` names the one used unasked, "" none.
        longest: tokens of a text; 0: as the model says.
        lowers: text is put in lower case first.
    """

    transformer: Path
    poolings: tuple[str, ...] = ("mean",)
    counts_prompt: bool = True
    dense: tuple[tuple[Path, str], ...] = ()
    normalises: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default: str = ""
    longest: int = 0
    lowers: bool = False


def read_layout(folder: Path, spec: ModelSpec) -> Layout:
    """The layout of a folder; without `modules.json` plain mean pooling, as sentence-transformers has it.

    The row's options `pooling` and `normalise` go before the files.

    Raises:
        LoadFailed: a file is damaged, or asks for a module that is not known here.
    """
    values: dict[str, Any] = {"transformer": folder}
    for row in _modules(folder, spec):
        kind = str(row.get("type", "")).rsplit(".", 1)[-1]
        place = folder / Path(str(row.get("path", ""))).name
        if kind == "Transformer":
            values["transformer"] = place
        elif kind == "Pooling":
            values |= _pooling(read_json(place / "config.json", spec), spec)
        elif kind == "Dense":
            values["dense"] = (*values.get("dense", ()), _dense(place, spec))
        elif kind == "Normalize":
            values["normalises"] = True
        elif kind != "Dropout":
            raise LoadFailed(
                f"Model '{spec.id}' has a module '{kind[:80]}', which is not known here. Choose another model."
            )
    values |= _lengths(values["transformer"], spec) | _prompts(folder, spec)
    if wish := str(spec.options.get("pooling") or ""):
        values["poolings"] = _known((wish,), spec)
    if "normalise" in spec.options:
        values["normalises"] = bool(spec.options["normalise"])
    return Layout(**values)


def _modules(folder: Path, spec: ModelSpec) -> list[dict[str, Any]]:
    file = folder / "modules.json"
    if not file.is_file():
        return []
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged("modules.json", spec) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _damaged("modules.json", spec)
    return rows


def _pooling(config: dict[str, Any], spec: ModelSpec) -> dict[str, Any]:
    named = config.get("pooling_mode")
    if named:
        modes = tuple(named) if isinstance(named, list) else (str(named),)
    else:
        modes = tuple(mode for flag, mode in FLAGS.items() if config.get(flag))
    counts = bool(config.get("include_prompt", True))
    return {"poolings": _known(modes or ("mean",), spec), "counts_prompt": counts}


def _known(modes: tuple[str, ...], spec: ModelSpec) -> tuple[str, ...]:
    if strange := [mode for mode in modes if mode not in POOLINGS]:
        raise LoadFailed(
            f"Model '{spec.id}' pools by '{str(strange[0])[:80]}', which is not known here. "
            f"Known: {', '.join(POOLINGS)}."
        )
    return modes


def _dense(place: Path, spec: ModelSpec) -> tuple[Path, str]:
    config = read_json(place / "config.json", spec)
    name = str(config.get("activation_function") or "Identity").rsplit(".", 1)[-1]
    if name not in ACTIVATIONS:
        raise LoadFailed(
            f"Model '{spec.id}' uses the activation '{name[:80]}', which is not known here. "
            f"Known: {', '.join(ACTIVATIONS)}."
        )
    file = place / "model.safetensors"
    if not file.is_file():
        raise LoadFailed(
            f"Model '{spec.id}' lacks the safetensors weights of a dense layer. Use a version that has them."
        )
    return file, name


def _lengths(folder: Path, spec: ModelSpec) -> dict[str, Any]:
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return {}
    config = read_json(file, spec)
    longest = config.get("max_seq_length") or 0
    return {
        "longest": longest if isinstance(longest, int) else 0,
        "lowers": bool(config.get("do_lower_case")),
    }


def _prompts(folder: Path, spec: ModelSpec) -> dict[str, Any]:
    file = folder / "config_sentence_transformers.json"
    if not file.is_file():
        return {}
    config = read_json(file, spec)
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise _damaged(file.name, spec)
    known = {str(name): str(text) for name, text in prompts.items()}
    default = str(config.get("default_prompt_name") or "")
    return {"prompts": known, "default": default if default in known else ""}


def _damaged(name: str, spec: ModelSpec) -> LoadFailed:
    return LoadFailed(
        f"The {name} of model '{spec.id}' is damaged. Copy or download the model's folder again."
    )
