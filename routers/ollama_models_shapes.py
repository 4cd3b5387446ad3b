"""Models in Ollama's words: names, times, and what lists and cards say of them. Values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from engine import Card, Engine, ModelSpec, ResidentModel, Unknown

LATEST = ":latest"
# What the templates of models that think say of it.
THOUGHT = ("<think>", "</think>", "enable_thinking", "reasoning_effort", "[THINK]", "<|channel")
NEVER = datetime(1, 1, 1, tzinfo=UTC)  # Go's zero time
FOREVER = timedelta(days=292 * 365)  # Go's longest duration


# Names --------------------------------------------------------------------------------------------


def full(name: str) -> str:
    """A model's name as Ollama lists it: with a tag."""
    return name if ":" in name.rpartition("/")[2] else name + LATEST


def find(engine: Engine, name: str) -> ModelSpec:
    """The model of a name, with or without its tag, in capitals or not. Raises Unknown in Ollama's words."""
    bare = name[: -len(LATEST)] if name.lower().endswith(LATEST) else name
    hint = ""
    for candidate in (name, bare):
        try:
            return engine.registry.find(candidate)
        except Unknown as error:
            hint = error.message.partition(" Nearest: ")[2]
    meant = {name.lower(), bare.lower(), full(name).lower()}
    for spec in engine.models():
        if spec.id.lower() in meant:
            return spec
    near = f". Nearest: {hint}" if hint else ""
    raise Unknown(f"model '{name[:200]}' not found{near}", param="model")


# What a model is ----------------------------------------------------------------------------------


def details(card: Card) -> dict[str, Any]:
    """Ollama's short description of a model."""
    kind = card.architecture
    return {
        "parent_model": "",
        "format": "safetensors" if card.modified else "",
        "family": kind,
        "families": [kind] if kind else None,
        "parameter_size": card.spec.params or counted(card.parameters),
        "quantization_level": card.weights,
    }


def counted(number: int) -> str:
    """A number of parameters as people write it: "4.43M", "8.2B"."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= size:
            value = number / size
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 or letter == 'B' else 2}f}{letter}"
    return str(number) if number else ""


def capabilities(card: Card) -> list[str]:
    """What Ollama's clients ask a model's abilities by."""
    spec, template = card.spec, card.template
    found = {
        "completion": "chat" in spec.does,
        "embedding": "embed" in spec.does,
        "tools": "tools" in spec.accepts or "tools" in template,
        "vision": "image" in spec.accepts,
        "thinking": "reasoning" in spec.accepts or any(mark in template for mark in THOUGHT),
    }
    return [name for name, able in found.items() if able]


# config.json's words, and those of Ollama's model_info below the architecture's name.
FACTS = {
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "vocab_size": "vocab_size",
}


def model_info(card: Card) -> dict[str, Any]:
    """The numbers of a model, by Ollama's names."""
    kind = card.architecture or "unknown"
    if not (card.architecture or card.parameters or card.context):
        return {}
    info: dict[str, Any] = {"general.architecture": kind}
    if card.parameters:
        info["general.parameter_count"] = card.parameters
    if card.context:
        info[f"{kind}.context_length"] = card.context
    facts = {name: card.config.get(word) for word, name in FACTS.items()}
    info |= {f"{kind}.{name}": value for name, value in facts.items() if value is not None}
    return dict(sorted(info.items()))


def parameters(card: Card) -> str:
    """The sampling a model asks for by itself, a line each."""
    given = card.sampling
    if not given:
        return ""
    values = {
        "repeat_penalty": given.get("repetition_penalty"),
        "temperature": given.get("temperature") if given.get("do_sample") else 0,
        "top_k": given.get("top_k"),
        "top_p": given.get("top_p"),
    }
    return "\n".join(f"{name:<30} {value}" for name, value in values.items() if value is not None)


def shown_card(card: Card) -> dict[str, Any]:
    """The body of `/api/show`."""
    lines = [f"FROM {card.spec.id}"]
    lines += [f"PARAMETER {' '.join(line.split())}" for line in parameters(card).splitlines()]
    answer = {
        "license": card.spec.licence,
        "modelfile": "\n".join(lines) + "\n",
        "parameters": parameters(card),
        "template": card.template,
        "details": details(card),
        "model_info": model_info(card),
        "capabilities": capabilities(card),
        "modified_at": stamp(card.modified or NEVER),
    }
    return {name: value for name, value in answer.items() if value != ""}


def stamp(time: datetime) -> str:
    """A time as Ollama writes it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def row(card: Card) -> dict[str, Any]:
    """A model in `/api/tags`."""
    return {
        "name": full(card.spec.id),
        "model": full(card.spec.id),
        "modified_at": stamp(card.modified or NEVER),
        "size": card.size,
        "digest": card.digest,
        "details": details(card),
    }


def running(card: Card, resident: ResidentModel, on_gpu: bool, now: datetime) -> dict[str, Any]:
    """A loaded model in `/api/ps`."""
    stays = resident.expires_s
    if stays is None and resident.leases and not resident.pinned and resident.keep_alive >= 0:
        stays = resident.keep_alive
    return {
        "name": full(card.spec.id),
        "model": full(card.spec.id),
        "size": resident.memory,
        "digest": card.digest,
        "details": details(card),
        "expires_at": stamp(now + (FOREVER if stays is None else timedelta(seconds=stays))),
        "size_vram": resident.memory if on_gpu else 0,
        "context_length": card.context,
    }
