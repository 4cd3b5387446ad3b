"""Tiny random checkpoints of classes that find things in pictures, in hub layout with their own processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.lookers import NAMES, RESNET, TEXT, VISION, bert_tokenizer, clip_tokenizer


def _backbone() -> Any:
    from transformers import ResNetConfig

    return ResNetConfig(**RESNET, out_features=["stage4"])


def _detr(folder: Path) -> Any:
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor

    DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    config = DetrConfig(backbone_config=_backbone(), **_SIZES, num_queries=12, id2label=NAMES)
    return DetrForObjectDetection(config)


def _conditional(folder: Path) -> Any:
    from transformers import (
        ConditionalDetrConfig,
        ConditionalDetrForObjectDetection,
        ConditionalDetrImageProcessor,
    )

    ConditionalDetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)  # fmt: skip
    config = ConditionalDetrConfig(
        backbone_config=_backbone(), **_SIZES, num_queries=12, id2label=NAMES
    )
    return ConditionalDetrForObjectDetection(config)


def _yolos(folder: Path) -> Any:
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    YolosImageProcessor(size={"shortest_edge": 64, "longest_edge": 512}).save_pretrained(folder)
    sizes = {**VISION, "image_size": [64, 96]}
    return YolosForObjectDetection(YolosConfig(**sizes, num_detection_tokens=12, id2label=NAMES))


_SIZES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}


def _rt(version: str, folder: Path) -> Any:
    import transformers
    from transformers import RTDetrImageProcessor, RTDetrResNetConfig

    RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    config = getattr(transformers, f"{version}Config")(
        backbone_config=RTDetrResNetConfig(**RESNET, out_indices=[2, 3, 4]),
        encoder_in_channels=[16, 16, 16],
        encoder_hidden_dim=32,
        decoder_in_channels=[32, 32, 32],
        num_queries=12,
        id2label=NAMES,
        **{**_SIZES, "encoder_layers": 1},
    )
    return getattr(transformers, f"{version}ForObjectDetection")(config)


def _d_fine(folder: Path) -> Any:
    from transformers import (
        DFineConfig,
        DFineForObjectDetection,
        HGNetV2Config,
        RTDetrImageProcessor,
    )

    RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    eyes = HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        embedding_size=8,
        stage_in_channels=[8, 8, 16, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 16, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 3, 3],
        stage_numb_of_layers=[2, 2, 2, 2],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = DFineConfig(
        backbone_config=eyes,
        encoder_in_channels=[16, 16, 16],
        encoder_hidden_dim=32,
        decoder_in_channels=[32, 32, 32],
        feat_channels=[32, 32, 32],
        num_queries=12,
        id2label=NAMES,
        **{**_SIZES, "encoder_layers": 1},
    )
    return DFineForObjectDetection(config)


def _owl(version: str, folder: Path) -> Any:
    import transformers

    tokenizer = clip_tokenizer(16)
    text = {
        **TEXT,
        "max_position_embeddings": 16,
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = getattr(transformers, f"{version}Config")(
        text_config=text, vision_config=VISION, projection_dim=32
    )
    pictures = getattr(transformers, f"{version}ImageProcessor")(size={"height": 32, "width": 32})
    getattr(transformers, f"{version}Processor")(pictures, tokenizer).save_pretrained(folder)
    model = getattr(transformers, f"{version}ForObjectDetection")(config)
    with torch.no_grad():
        model.class_head.logit_shift.bias.fill_(2.0)  # so that something is found,
        for weight in model.box_head.parameters():  # and not at an edge
            weight.mul_(0.05)
    return model


def _grounding(version: str, folder: Path) -> Any:
    import transformers
    from transformers import (
        BertConfig,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    tokenizer = bert_tokenizer(256)
    sizes = {**TEXT, "max_position_embeddings": 256, "vocab_size": len(tokenizer)}
    eyes = SwinConfig(
        image_size=64, window_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2],
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = getattr(transformers, f"{version}Config")(
        backbone_config=eyes,
        text_config=BertConfig(**sizes),
        max_text_len=40,
        num_queries=12,
        **_SIZES,
    )
    pictures = GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 160})
    GroundingDinoProcessor(pictures, tokenizer).save_pretrained(folder)
    return getattr(transformers, f"{version}ForObjectDetection")(config)


def _timm(folder: Path) -> Any:
    """A DETR as published: its config names a backbone of another library."""
    from transformers import DetrConfig, DetrForObjectDetection, DetrImageProcessor

    DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    eyes = {"use_timm_backbone": True, "backbone": "resnet10t", "use_pretrained_backbone": False}
    return DetrForObjectDetection(DetrConfig(**eyes, **_SIZES, num_queries=12, id2label=NAMES))


OWN: dict[str, Callable[[Path], Any]] = {
    "detr": _detr,
    "detr-timm": _timm,
    "conditional-detr": _conditional,
    "rt-detr": lambda folder: _rt("RTDetr", folder),
    "rt-detr-v2": lambda folder: _rt("RTDetrV2", folder),
    "d-fine": _d_fine,
    "yolos": _yolos,
}
OPEN: dict[str, Callable[[Path], Any]] = {
    "owlvit": lambda folder: _owl("OwlViT", folder),
    "owlv2": lambda folder: _owl("Owlv2", folder),
    "grounding-dino": lambda folder: _grounding("GroundingDino", folder),
    "mm-grounding-dino": lambda folder: _grounding("MMGroundingDino", folder),
}
