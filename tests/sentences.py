"""Tiny random encoders in sentence-transformers layout, and the embedding family driven without a lane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from engine.events import Done, Vector
from engine.families import hf_embed
from engine.registry import ModelSpec
from engine.requests import EmbedRequest
from engine.settings import Settings
from tests import tiny
from tests.tiny import Listener

KINDS = ("bert", "xlm-roberta", "mpnet", "distilbert", "modernbert", "qwen3", "gemma3_text")
POOLINGS = ("mean", "cls", "lasttoken", "max", "mean_sqrt_len_tokens", "weightedmean")
TEXTS = (
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog. " * 3,
    "Привет",
    "how are you today, and how is the weather over there",
)


def make(
    folder: Path,
    kind: str = "bert",
    pooling: dict[str, Any] | None = None,
    normalise: bool = True,
    dense: str = "",
    more: dict[str, Any] | None = None,
    prompts: dict[str, str] | None = None,
) -> Path:
    """A random encoder in sentence-transformers layout."""
    from transformers import AutoModel

    tokenizer = tiny.make_tokenizer(template=None)
    sizes = {**tiny.SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 130}
    if kind == "distilbert":
        sizes |= {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128}
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
            sizes.pop(name)
    if kind == "modernbert":
        sizes |= {"pad_token_id": 0, "num_hidden_layers": 2}
    torch.manual_seed(0)
    config = _config(kind, sizes)
    model = AutoModel.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    size = {"word_embedding_dimension": 64}
    write(
        folder / "1_Pooling" / "config.json",
        size | (pooling or {"pooling_mode_mean_tokens": True}),
    )
    if dense:
        modules.append(("2_Dense", "Dense"))
        write(
            folder / "2_Dense" / "config.json",
            {
                "in_features": 64,
                "out_features": 32,
                "bias": True,
                "activation_function": f"torch.nn.modules.activation.{dense}",
            },
        )
        weights = {"linear.weight": torch.randn(32, 64), "linear.bias": torch.randn(32)}
        save_file(weights, folder / "2_Dense" / "model.safetensors")
    if normalise:
        modules.append(("3_Normalize", "Normalize"))
    rows = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(modules)
    ]
    write(folder / "modules.json", rows)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 96, **(more or {})})
    if prompts:
        told = {"prompts": prompts, "default_prompt_name": next(iter(prompts))}
        write(folder / "config_sentence_transformers.json", told)
    return folder


def _config(kind: str, sizes: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if kind in ("qwen3", "gemma3_text"):
        return tiny.config_of(kind, **sizes)
    return AutoConfig.for_model(kind, **sizes)


def write(file: Path, value: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value))


def load(folder: Path, **options: Any) -> hf_embed.HfEmbed:
    spec = ModelSpec(
        id="tiny",
        does=frozenset({"embed"}),
        family="hf_embed",
        path=str(folder),
        options={"dtype": "float32", **options},
    )
    return hf_embed.load(spec, Settings(device="cpu"))


def run(backend: hf_embed.HfEmbed, *listeners: Listener) -> None:
    for _ in range(2000):
        if all(listener.over for listener in listeners):
            return
        backend.step()
    raise AssertionError("a request did not end")


def vectors(listener: Listener) -> list[tuple[float, ...]]:
    found = [event for event in listener.events if isinstance(event, Vector)]
    assert [event.index for event in found] == list(range(len(found)))
    return [event.values for event in found]


def embed(backend: hf_embed.HfEmbed, *texts: str, **fields: Any) -> list[tuple[float, ...]]:
    listener = Listener()
    backend.join(EmbedRequest(texts=texts, **fields), listener)
    run(backend, listener)
    assert listener.error is None and isinstance(listener.events[-1], Done)
    return vectors(listener)
