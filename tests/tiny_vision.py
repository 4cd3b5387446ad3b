"""Tiny random checkpoints of models that see, each with its real processor, in hub layout; and pictures for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.families._loading import spell_numbers
from tests.tiny import SIZES, make_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for p in m['content'] %}"
    "{% if p['type'] == 'image' %}IMAGE{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As SmolVLM's: parts only, and the first one decides a space.
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}{% if m['content'][0]['type'] == 'image' %}:"
    "{% else %}: {% endif %}{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}"
    "{% elif p['type'] == 'image' %}<image>{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
QWEN = "<|vision_start|><|image_pad|><|vision_end|>"
TEXT: dict[str, Any] = {**SIZES, "num_hidden_layers": 2, "head_dim": 16}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
    "initializer_range": 0.3,
}


def tokenizer_of(template: str, tokens: list[str], **named: Any) -> Any:
    """The tests' tokenizer with a class's own special tokens."""
    tokenizer = make_tokenizer(template=template, **named)
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    return tokenizer


def qwen(kind: str) -> tuple[Any, Any]:
    """Config and processor of Qwen2-VL, Qwen2.5-VL, Qwen3-VL or its MoE."""
    from transformers import (
        AutoConfig,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = tokenizer_of(
        CHATML.replace("IMAGE", QWEN),
        ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    )
    patch = 16 if kind.startswith("qwen3") else 14
    edge = 2 * patch
    tower: dict[str, Any] = {
        "depth": 2,
        "num_heads": 4,
        "patch_size": patch,
        "initializer_range": 0.3,
    }
    text: dict[str, Any] = {**TEXT, "rope_parameters": ROPE, "vocab_size": len(tokenizer)}
    if kind == "qwen2_vl":
        tower |= {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    else:
        tower |= {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 64}
    if kind == "qwen2_5_vl":
        tower |= {"window_size": 56, "fullatt_block_indexes": [1]}
    if kind.startswith("qwen3"):
        tower |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1], "depth": 3}
    if kind == "qwen3_vl_moe":
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    size = {"shortest_edge": 4 * edge * edge, "longest_edge": 16 * edge * edge}
    pictures = Qwen2VLImageProcessor(patch_size=patch, merge_size=2, size=size)
    made, films = {
        "qwen2_vl": (Qwen2VLProcessor, Qwen2VLVideoProcessor),
        "qwen2_5_vl": (Qwen2_5_VLProcessor, Qwen2VLVideoProcessor),
    }.get(kind, (Qwen3VLProcessor, Qwen3VLVideoProcessor))
    processor = made(pictures, tokenizer, films(), chat_template=tokenizer.chat_template)
    known = tokenizer.convert_tokens_to_ids
    config = AutoConfig.for_model(
        kind,
        text_config=text,
        vision_config=tower,
        image_token_id=known("<|image_pad|>"),
        video_token_id=known("<|video_pad|>"),
        vision_start_token_id=known("<|vision_start|>"),
        vision_end_token_id=known("<|vision_end|>"),
    )
    return config, processor


def idefics(kind: str) -> tuple[Any, Any]:
    """Config and processor of Idefics3 or SmolVLM: pictures are cut into tiles."""
    spell_numbers()
    from transformers import (
        AutoConfig,
        Idefics3ImageProcessorPil,
        Idefics3Processor,
        SmolVLMImageProcessorPil,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = tokenizer_of(
        PARTS,
        ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles],
    )
    sizes = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
    if kind == "smolvlm":
        processor: Any = SmolVLMProcessor(
            SmolVLMImageProcessorPil(**sizes), tokenizer, SmolVLMVideoProcessor(),
            image_seq_len=1, chat_template=PARTS,
        )  # fmt: skip
    else:
        processor = Idefics3Processor(
            Idefics3ImageProcessorPil(**sizes), tokenizer, image_seq_len=1, chat_template=PARTS
        )
    config = AutoConfig.for_model(
        kind,
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokenizer)},
        vision_config=TOWER,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
    )
    return config, processor


def llava(kind: str) -> tuple[Any, Any]:
    """Config and processor of LLaVA 1.5, NeXT or OneVision."""
    from transformers import (
        AutoConfig,
        CLIPImageProcessor,
        LlavaNextImageProcessor,
        LlavaNextProcessor,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        LlavaProcessor,
    )

    tokenizer = tokenizer_of(
        CHATML.replace("IMAGE", "<image>\n"),
        ["<image>", "<video>"],
        bos_token="<|endoftext|>",
    )
    square, points = {"height": 28, "width": 28}, [[28, 56], [56, 28], [56, 56]]
    crop = {"size": {"shortest_edge": 28}, "crop_size": square}
    named = {"patch_size": 14, "chat_template": tokenizer.chat_template}
    tower = {**TOWER, "model_type": "clip_vision_model"}
    known: dict[str, Any] = {
        "vision_feature_select_strategy": "default",
        "vision_feature_layer": -2,
    }
    if kind == "llava":
        processor: Any = LlavaProcessor(
            CLIPImageProcessor(**crop), tokenizer, num_additional_image_tokens=1,
            vision_feature_select_strategy="default", **named,
        )  # fmt: skip
    elif kind == "llava_next":
        processor = LlavaNextProcessor(
            LlavaNextImageProcessor(**crop, image_grid_pinpoints=points), tokenizer,
            num_additional_image_tokens=1, vision_feature_select_strategy="default", **named,
        )  # fmt: skip
        known["image_grid_pinpoints"] = points
    else:
        processor = LlavaOnevisionProcessor(
            LlavaOnevisionImageProcessor(size=square, image_grid_pinpoints=points), tokenizer,
            LlavaOnevisionVideoProcessor(size=square), num_image_tokens=4,
            vision_feature_select_strategy="full", chat_template=tokenizer.chat_template,
        )  # fmt: skip
        tower["model_type"] = "siglip_vision_model"
        known = {
            "vision_feature_select_strategy": "full",
            "vision_feature_layer": -1,
            "image_grid_pinpoints": points,
            "video_token_id": tokenizer.convert_tokens_to_ids("<video>"),
        }
    text = {"model_type": "qwen2" if kind == "llava_onevision" else "llama"}
    config = AutoConfig.for_model(
        kind,
        text_config={**TEXT, **text, "vocab_size": len(tokenizer)},
        vision_config=tower,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=False,
        **known,
    )
    return config, processor


def gemma(kind: str) -> tuple[Any, Any]:
    """Config and processor of Gemma 3: the tokens of a picture see each other forwards and backwards."""
    from transformers import AutoConfig, Gemma3ImageProcessor, Gemma3Processor

    named = {"boi_token": "<begin>", "eoi_token": "<end>", "image_token": "<soft>"}
    tokenizer = make_tokenizer(
        template=CHATML.replace("IMAGE", "<begin>"), extra_special_tokens=named
    )
    square = {"height": 28, "width": 28}
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size=square), tokenizer, tokenizer.chat_template, image_seq_length=4
    )
    known = tokenizer.convert_tokens_to_ids
    config = AutoConfig.for_model(
        kind,
        text_config={**TEXT, "vocab_size": len(tokenizer), "sliding_window": 16},
        vision_config={**TOWER, "model_type": "siglip_vision_model"},
        mm_tokens_per_image=4,
        image_token_id=known("<soft>"),
        boi_token_id=known("<begin>"),
        eoi_token_id=known("<end>"),
    )
    return config, processor


MAKERS: dict[str, Callable[[str], tuple[Any, Any]]] = {
    "qwen2_vl": qwen,
    "qwen2_5_vl": qwen,
    "qwen3_vl": qwen,
    "qwen3_vl_moe": qwen,
    "idefics3": idefics,
    "smolvlm": idefics,
    "llava": llava,
    "llava_next": llava,
    "llava_onevision": llava,
    "gemma3": gemma,
}


def make_checkpoint(folder: Path, kind: str, seed: int = 0) -> Path:
    """A random model of `kind` with its processor, saved in `folder`."""
    import torch
    from transformers import AutoModelForImageTextToText

    config, processor = MAKERS[kind](kind)
    for part in (config, config.get_text_config(decoder=True)):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(part, name, None)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # With the usual small numbers a random model ignores what it sees.
            if weight.ndim > 1 and not name.endswith(("norm.weight", "embed_tokens.weight")):
                weight.normal_(0, 0.25)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.generation_config, name, None)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(seed: int = 0, size: tuple[int, int] = (60, 40), format: str = "PNG") -> bytes:
    """An encoded picture of coloured stripes; another seed is another picture."""
    from PIL import Image

    width, height = size
    shades = [
        ((seed * 97 + n * 61) % 256, (seed * 41 + n * 37) % 256, n * 29 % 256) for n in range(9)
    ]
    made = Image.new("RGB", size)
    for n, shade in enumerate(shades):
        made.paste(shade, (n * width // 9, 0, (n + 1) * width // 9 + 1, height - n * height // 12))
    out = io.BytesIO()
    made.save(out, format)
    return out.getvalue()
