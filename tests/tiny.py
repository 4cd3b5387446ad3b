"""Tiny random checkpoints in hub layout, with a real BPE tokenizer and a chat template; an emit that keeps events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.events import Done, Event, Text

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXTS = (
    "The quick brown fox jumps over the lazy dog. Hello, world! How are you today?",
    "Bonjour, comment allez-vous ? Olá, tudo bem? Привет, как дела? Сегодня хорошая погода.",
    "user assistant system one two three four five six seven eight nine ten",
)


def make_tokenizer(
    vocab: int = 512, texts: Any = TEXTS, template: str | None = TEMPLATE, **named: Any
) -> Any:
    """A byte-level BPE tokenizer of about `vocab` entries trained on `texts`; ends with `<|im_end|>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **named}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **named)
    if template:
        tokenizer.chat_template = template
    return tokenizer


SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    # Wide, so that attention matters: with the usual 0.02 a random model ignores what it has read.
    "initializer_range": 0.3,
}


def config_of(kind: str, **changed: Any) -> Any:
    """A tiny config of a model type that transformers knows natively."""
    from transformers import AutoConfig

    sizes = {**SIZES, "vocab_size": 512, **changed}
    if kind in ("gpt2",):
        names = {
            "n_embd": "hidden_size",
            "n_layer": "num_hidden_layers",
            "n_head": "num_attention_heads",
        }
        names.update(n_positions="max_position_embeddings")
        sizes = {new: sizes[old] for new, old in names.items()} | {
            "vocab_size": sizes["vocab_size"],
            "initializer_range": sizes["initializer_range"],
        }
    if kind == "gpt_neox":
        sizes.pop("num_key_value_heads")
    if kind.startswith(("gemma", "qwen3")):
        sizes.setdefault("head_dim", 16)
    if kind == "gemma2":
        sizes.setdefault("query_pre_attn_scalar", 16)
    if kind == "gemma3_text":
        sizes.setdefault("query_pre_attn_scalar", 16)
    config = AutoConfig.for_model(kind, **sizes)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, None)
    return config


class Listener:
    """An emit that keeps what it is told; raises `ending` once it heard `patience` events."""

    def __init__(
        self, ending: BaseException | None = None, patience: int = 0, owner: str = "me"
    ) -> None:
        self.owner = owner
        self.events: list[Event] = []
        self.input = self.output = self.cached = self.reasoning = self.pages = self.calls = 0
        self.error: Exception | None = None
        self.raised = False
        self._ending, self._patience = ending, patience

    def __call__(self, event: Event | None) -> None:
        self.calls += 1
        if self._ending is not None and self.calls > self._patience:
            self.raised = True
            raise self._ending
        if event is not None:
            self.events.append(event)

    def count(
        self,
        *,
        input: int = 0,
        output: int = 0,
        cached: int = 0,
        reasoning: int = 0,
        pages: int = 0,
    ) -> None:
        self.pages += pages
        self.input += input
        self.output += output
        self.cached += cached
        self.reasoning += reasoning

    def fail(self, error: Exception) -> None:
        self.error = error

    @property
    def text(self) -> str:
        return "".join(event.delta for event in self.events if isinstance(event, Text))

    @property
    def finish(self) -> str | None:
        return next((event.finish for event in self.events if isinstance(event, Done)), None)

    @property
    def over(self) -> bool:
        return self.error is not None or self.raised or self.finish is not None


def make_checkpoint(
    folder: Path, kind: str = "llama", *, seed: int = 0, tokenizer: Any = None, **changed: Any
) -> Path:
    """A random model of `kind` with a tokenizer, saved in `folder`."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tokenizer or make_tokenizer()
    changed.setdefault("vocab_size", len(tokenizer))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config_of(kind, **changed))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
