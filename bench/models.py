"""Random-weight models that benchmarks load: real sizes and a real tokenizer, made once, no download.

`python -m bench.models` makes them. They never end an answer by themselves, so every side makes as many tokens.
"""

from __future__ import annotations

import random
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.tiny import make_tokenizer

SMALL, TINY, MEDIUM = "random-88m", "random-7m", "random-494m"
VOCABULARY = 16384
SHAPES: dict[str, dict[str, int]] = {
    TINY: {"hidden": 256, "layers": 6, "heads": 4, "kv": 2, "inner": 704},
    SMALL: {"hidden": 768, "layers": 12, "heads": 12, "kv": 4, "inner": 2048},
    MEDIUM: {
        "hidden": 896,
        "layers": 24,
        "heads": 14,
        "kv": 2,
        "inner": 4864,
        "vocabulary": 151936,
    },
}


def folder_of(model: str) -> Path:
    """The model's folder, made if it is not there."""
    folder = Path(tempfile.gettempdir()) / "atelier-bench" / model
    if not (folder / "model.safetensors").is_file():
        make(model, folder)
    return folder


def make(model: str, folder: Path) -> None:
    """A Qwen2-shaped model with bfloat16 weights and a byte-level BPE tokenizer trained on Python's own library."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    shape = SHAPES[model]
    tokenizer = make_tokenizer(VOCABULARY, _sources(), eos_token=None)
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        hidden_size=shape["hidden"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv"],
        intermediate_size=shape["inner"],
        vocab_size=shape.get("vocabulary", VOCABULARY),
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def row(model: str) -> str:
    """A catalog row of the model, as TOML."""
    return f'[[model]]\nid = "{model}"\nfamily = "hf_chat"\ndoes = ["chat"]\npath = "{folder_of(model)}"\n'


def prompt(tokens: int, seed: int) -> str:
    """A question of about `tokens` tokens with its template; unlike for every seed, from its first word on."""
    words = (
        "import",
        "return",
        "value",
        "self",
        "class",
        "object",
        "string",
        "result",
        "number",
        "list",
    )
    draw = random.Random(seed)
    return f"{seed} " + " ".join(draw.choice(words) for _ in range(max(1, tokens - 12)))


def ids(tokens: int, seed: int) -> list[int]:
    """Exactly `tokens` random token ids, for sides that take ids."""
    draw = random.Random(seed)
    return [draw.randrange(10, VOCABULARY) for _ in range(tokens)]


def _sources() -> Iterator[str]:
    library: Any = sysconfig.get_paths()["stdlib"]
    for file in sorted(Path(library).glob("*.py")):
        yield file.read_text("utf-8", errors="ignore")


if __name__ == "__main__":
    for name in SHAPES:
        print(name, folder_of(name))
