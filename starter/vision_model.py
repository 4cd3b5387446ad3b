"""The processor and the empty model of starter-vision, and their folder in Hugging Face layout."""

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from starter.byte_pairs import train_bpe

CONTEXT = 1024
VOCABULARY = 2048
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
LOOK, LOOKED, PICTURE, VIDEO = (
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PATCH, MERGE, FRAMES = 8, 2, 2
# Every picture is brought to about this many pixels: 40 to 49 picture tokens, whatever its size.
LEAST_PIXELS, MOST_PIXELS = 96 * 96, 12_900

# Pictures stand before the words of their message, in whichever order the parts come.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] in ('image', 'image_url') or 'image' in part or 'image_url' in part %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part['type'] == 'video' or 'video' in part %}"
    "{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{{ part['text'] if 'text' in part }}{% endfor %}"
    "{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the given texts."""
    special = [START, LOOK, LOOKED, PICTURE, VIDEO]
    return PreTrainedTokenizerFast(
        tokenizer_object=train_bpe(texts, VOCABULARY, [PAD, END, *special]),
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=special,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLProcessor:
    """Tokenizer, chat template and the rule that makes patches of pictures."""
    size = {"shortest_edge": LEAST_PIXELS, "longest_edge": MOST_PIXELS}
    shape = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": FRAMES}
    even = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **shape, **even),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=size, **shape, **even),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLForConditionalGeneration:
    """An untrained model of about four million weights; draw torch's seed before."""
    width = 192
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 512,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 48,
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [8, 8, 8],
            "mrope_interleaved": True,
        },
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": FRAMES,
        "out_hidden_size": width,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [1],
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids(PICTURE),
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO),
        vision_start_token_id=tokenizer.convert_tokens_to_ids(LOOK),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(LOOKED),
        tie_word_embeddings=True,
    )
    return Qwen3VLForConditionalGeneration(config)


def save_model(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, out: Path
) -> None:
    """Writes weights rounded to bfloat16, configuration and processor; the model stays as it is."""
    rounded = Qwen3VLForConditionalGeneration(model.config).to(torch.bfloat16)
    rounded.load_state_dict(model.state_dict())
    tokenizer = processor.tokenizer
    rounded.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    rounded.save_pretrained(out)
    processor.save_pretrained(out)
    for path in out.iterdir():
        path.chmod(0o644)
