"""Tiny random checkpoints of models that read pages, each with its real processor, in hub layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny import SIZES, make_tokenizer
from tests.tiny_vision import ROPE, TEXT, TOWER

# The parts of a message in the order they are given, as these models' own templates write them.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}IMAGE{% else %}{{ p['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GLM = (
    "<|begin_of_image|>", "<|image|>", "<|end_of_image|>",
    "<|begin_of_video|>", "<|video|>", "<|end_of_video|>", "<|user|>",
)  # fmt: skip


def tokenizer_of(image: str, tokens: tuple[str, ...], **named: str) -> Any:
    """The tests' tokenizer with a class's own special tokens."""
    tokenizer = make_tokenizer(
        template=TEMPLATE.replace("IMAGE", image), extra_special_tokens=named or None
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    return tokenizer


def got() -> tuple[Any, Any]:
    """Config and processor of GOT-OCR2: every picture becomes a square of 64 x 64 patches; no template."""
    from transformers import AutoConfig, GotOcr2ImageProcessor, GotOcr2Processor

    tokenizer = tokenizer_of("", ("<img>", "</img>", "<imgpad>"))
    tokenizer.chat_template = None
    pictures = GotOcr2ImageProcessor(size={"height": 64, "width": 64})
    config = AutoConfig.for_model(
        "got_ocr2",
        text_config={
            **SIZES, "num_hidden_layers": 2, "model_type": "qwen2", "vocab_size": len(tokenizer),
            "max_position_embeddings": 2048,
        },
        vision_config={
            "hidden_size": 16, "output_channels": 8, "num_hidden_layers": 1, "mlp_dim": 16,
            "num_attention_heads": 1, "image_size": 64, "patch_size": 1, "window_size": 8,
            "global_attn_indexes": [],
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<imgpad>"),
    )  # fmt: skip
    return config, GotOcr2Processor(pictures, tokenizer)


def paddle() -> tuple[Any, Any]:
    """Config and processor of PaddleOCR-VL: pictures of any size, three-part positions."""
    from transformers import AutoConfig, PaddleOCRVLImageProcessor, PaddleOCRVLProcessor

    tokenizer = tokenizer_of(
        "<begin><pad><end>", ("<begin>", "<end>", "<film>", "</s>"), image_token="<pad>"
    )
    edge = 28 * 28
    pictures = PaddleOCRVLImageProcessor(
        size={"shortest_edge": 4 * edge, "longest_edge": 16 * edge}
    )
    known = tokenizer.convert_tokens_to_ids
    config = AutoConfig.for_model(
        "paddleocr_vl",
        text_config={**TEXT, "rope_parameters": ROPE, "vocab_size": len(tokenizer)},
        vision_config=TOWER,
        image_token_id=known("<pad>"),
        video_token_id=known("<film>"),
        vision_start_token_id=known("<begin>"),
        vision_end_token_id=known("<end>"),
    )
    return config, PaddleOCRVLProcessor(pictures, tokenizer, tokenizer.chat_template)


def glm() -> tuple[Any, Any]:
    """Config and processor of GLM-OCR, which shares that of GLM-4.6V."""
    from transformers import (
        AutoConfig,
        Glm46VImageProcessor,
        Glm46VProcessor,
        Glm46VVideoProcessor,
    )

    tokenizer = tokenizer_of("".join(GLM[:3]), GLM)
    edge = 28 * 28
    size = {"shortest_edge": 4 * edge, "longest_edge": 16 * edge}
    known = tokenizer.convert_tokens_to_ids
    named = ("image_start", "image", "image_end", "video_start", "video", "video_end")
    config = AutoConfig.for_model(
        "glm_ocr",
        text_config={**TEXT, "rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}, "vocab_size": len(tokenizer)},
        vision_config={
            "depth": 2, "hidden_size": 32, "num_heads": 4, "image_size": 56, "patch_size": 14,
            "out_hidden_size": 64, "intermediate_size": 64, "initializer_range": 0.3,
        },
        **{f"{name}_token_id": known(token) for name, token in zip(named, GLM, strict=False)},
    )  # fmt: skip
    processor = Glm46VProcessor(
        Glm46VImageProcessor(size=size), tokenizer, Glm46VVideoProcessor(size=size),
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return config, processor


def lighton() -> tuple[Any, Any]:
    """Config and processor of LightOnOCR: Pixtral's eyes, no words beside the picture."""
    from transformers import AutoConfig, LightOnOcrProcessor, PixtralImageProcessor

    tokenizer = tokenizer_of(
        "<pad>", (), image_token="<pad>", image_break_token="<break>", image_end_token="<over>"
    )
    pictures = PixtralImageProcessor(
        patch_size={"height": 14, "width": 14}, size={"longest_edge": 448}
    )
    processor = LightOnOcrProcessor(
        pictures, tokenizer, patch_size=14, spatial_merge_size=2, chat_template=tokenizer.chat_template
    )  # fmt: skip
    config = AutoConfig.for_model(
        "lighton_ocr",
        text_config={**TEXT, "model_type": "qwen3", "vocab_size": len(tokenizer)},
        vision_config={**TOWER, "model_type": "pixtral", "image_size": 448, "head_dim": 8},
        image_token_id=tokenizer.convert_tokens_to_ids("<pad>"),
    )
    return config, processor


MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "got_ocr2": got,
    "paddleocr_vl": paddle,
    "glm_ocr": glm,
    "lighton_ocr": lighton,
}


def make_reader(folder: Path, kind: str, seed: int = 0) -> Path:
    """A random model of `kind` with its processor, saved in `folder`."""
    import torch
    from transformers import AutoModelForImageTextToText

    config, processor = MAKERS[kind]()
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # With the usual small numbers a random model ignores what it sees.
            if weight.ndim > 1 and not name.endswith(("norm.weight", "embed_tokens.weight")):
                weight.normal_(0, 0.25)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
