"""What a checkpoint says about its own use: context, end tokens, default sampling. Knows configs, no weights."""

from __future__ import annotations

from typing import Any

from engine.families._sampling import Sampling
from engine.registry import ModelSpec
from engine.requests import ChatRequest
from engine.settings import Settings

UNKNOWN_CONTEXT = 8192  # for models that name no limit
LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
)


def context_of(config: Any, tokenizer: Any, spec: ModelSpec, settings: Settings) -> int:
    """Tokens that prompt and answer may have together: the least of what model, catalog and settings allow."""
    text = config.get_text_config(decoder=True)
    own = next(
        (n for name in LENGTHS if isinstance(n := getattr(text, name, None), int) and n > 0), 0
    )
    told = getattr(tokenizer, "model_max_length", 0)
    own = own or (told if 0 < told < 10**9 else 0)
    limits = [limit for limit in (own, spec.context, settings.context_limit) if limit > 0]
    return min(limits, default=UNKNOWN_CONTEXT)


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The ids after which an answer is over."""
    ends: set[int] = set()
    for named in (
        model.generation_config.eos_token_id,
        getattr(model.config.get_text_config(decoder=True), "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        ends.update(named if isinstance(named, list) else [named] if isinstance(named, int) else [])
    return frozenset(ends)


def default_sampling(config: Any) -> Sampling:
    """How the checkpoint's generation config wants its tokens drawn."""
    drawn = bool(config.do_sample)
    heat = 1.0 if config.temperature is None else float(config.temperature)
    return Sampling(
        temperature=heat if drawn else 0.0,
        top_k=config.top_k or 0 if drawn else 0,
        top_p=config.top_p or 1.0 if drawn else 1.0,
        min_p=config.min_p or 0.0 if drawn else 0.0,
        repetition_penalty=config.repetition_penalty or 1.0,
    )


def sampling_of(request: ChatRequest, default: Sampling) -> Sampling:
    """The request's own wishes over the model's defaults."""
    asked = {
        name: value
        for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
        if (value := getattr(request, name)) is not None
    }
    known = {name: getattr(default, name) for name in Sampling.__dataclass_fields__}
    more = {
        "presence": request.presence_penalty or 0.0,
        "frequency": request.frequency_penalty or 0.0,
        "bias": request.logit_bias,
    }
    return Sampling(**{**known, **asked, **more})
