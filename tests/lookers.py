"""Tiny random checkpoints of classes that label pictures or find things, in hub layout with their own processors."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from engine.events import Done, Segment
from engine.registry import Backend, ModelSpec
from engine.settings import Settings
from tests.tiny import TEXTS, Listener

WORDS = ("a photo of {}", "cat dog red circle square bird person umbrella", "photo фото une uma")
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 24,
}
NAMES = {0: "person", 1: "traffic light", 2: "dog", 3: "N/A", 4: "hot dog", 5: "cell phone"}
RESNET = {
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 16, 16],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}


def _core(pieces: Any) -> Any:
    """A trained vocabulary and merges of pairs of letters, as CLIP's tokenizer is made of."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|none|>", "<|startoftext|>", "<|endoftext|>"],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    core.train_from_iterator(pieces, trainer)
    return core


def clip_tokenizer(longest: int = 24) -> Any:
    """CLIP's own tokenizer over a small vocabulary."""
    import json

    from transformers import CLIPTokenizer

    model = json.loads(_core((*TEXTS, *WORDS)).to_str())["model"]
    vocabulary = dict(model["vocab"])
    for letter in list(vocabulary):  # CLIP's ends of words, of every letter too
        if len(letter) == 1:
            vocabulary.setdefault(f"{letter}</w>", len(vocabulary))
    merges = [tuple(pair) for pair in model["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=longest)


def bert_tokenizer(longest: int = 24) -> Any:
    """BERT's own tokenizer; the marks have the numbers that Grounding DINO looks for."""
    from transformers import BertTokenizer

    fixed = {101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?", 0: "[PAD]", 100: "[UNK]"}
    letters = "abcdefghijklmnopqrstuvwxyzабвгдежзийклмнопрстуфхцчшщъыьэюя0123456789'"
    words = [w for text in WORDS for w in text.split()]
    pieces = [*words, *letters, *(f"##{letter}" for letter in letters), "[MASK]"]
    names = [fixed.get(n, f"[unused{n}]") for n in range(1100)]
    free = (n for n in range(103, 1100) if n not in fixed)
    for piece, n in zip(dict.fromkeys(pieces), free, strict=False):
        names[n] = piece
    return BertTokenizer(vocab={name: n for n, name in enumerate(names)}, model_max_length=longest)


def _clip(folder: Path) -> Any:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    tokenizer = clip_tokenizer()
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    text = {**TEXT, **ends, "pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)}
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return CLIPModel(config)


def _siglip(folder: Path) -> Any:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

    tokenizer = clip_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer), "projection_size": 32}
    config = SiglipConfig(text_config=_plain(text, tokenizer), vision_config=VISION)
    pictures = SiglipImageProcessor(size={"height": 32, "width": 32})
    SiglipProcessor(pictures, tokenizer).save_pretrained(folder)
    return SiglipModel(config)


def _siglip2(folder: Path) -> Any:
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model, Siglip2Processor

    tokenizer = clip_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer), "projection_size": 32}
    vision = {**VISION, "num_patches": 16}
    vision.pop("image_size")
    config = Siglip2Config(text_config=_plain(text, tokenizer), vision_config=vision)
    pictures = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    Siglip2Processor(pictures, tokenizer).save_pretrained(folder)
    return Siglip2Model(config)


def _plain(text: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    return {
        **text,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _chinese_clip(folder: Path) -> Any:
    from transformers import (
        ChineseCLIPConfig,
        ChineseCLIPImageProcessor,
        ChineseCLIPModel,
        ChineseCLIPProcessor,
    )

    tokenizer = bert_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer)}
    config = ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    pictures = ChineseCLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    ChineseCLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return ChineseCLIPModel(config)


def _align(folder: Path) -> Any:
    from transformers import AlignConfig, AlignModel, AlignProcessor, EfficientNetImageProcessor

    tokenizer = bert_tokenizer()
    text = {**TEXT, "vocab_size": len(tokenizer)}
    vision = {
        "image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.2, "hidden_dim": 32,
        "depth_divisor": 8, "kernel_sizes": [3, 3], "in_channels": [32, 16], "out_channels": [16, 24],
        "strides": [1, 2], "num_block_repeats": [1, 1], "expand_ratios": [1, 6], "depthwise_padding": [],
    }  # fmt: skip
    config = AlignConfig(text_config=text, vision_config=vision, projection_dim=8)
    pictures = EfficientNetImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    AlignProcessor(pictures, tokenizer).save_pretrained(folder)
    return AlignModel(config)


def _vit(folder: Path) -> Any:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return ViTForImageClassification(ViTConfig(**VISION, id2label=NAMES))


def _resnet(folder: Path) -> Any:
    from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

    ConvNextImageProcessor(size={"shortest_edge": 32}).save_pretrained(folder)
    return ResNetForImageClassification(ResNetConfig(**RESNET, id2label=NAMES))


LABELS: dict[str, Callable[[Path], Any]] = {
    "clip": _clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "chinese-clip": _chinese_clip,
    "align": _align,
}
CLASSES: dict[str, Callable[[Path], Any]] = {"vit": _vit, "resnet": _resnet}


def build(folder: Path, make: Callable[[Path], Any], seed: int = 0, wide: float = 2.5) -> Path:
    """A random checkpoint in `folder`, its weights `wide` enough for pictures to matter."""
    torch.manual_seed(seed)
    model = make(folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and not any(part in name for part in ("embed", "backbone", "box")):
                weight.mul_(wide)
    model.save_pretrained(folder)
    return folder


def row(folder: Path, family: str, **options: Any) -> ModelSpec:
    does = {"hf_label": "label", "hf_detect": "detect"}[family]
    return ModelSpec(
        id="tiny",
        does=frozenset({does}),  # type: ignore[arg-type]
        family=family,
        path=str(folder),
        languages=("en", "fr", "pt", "ru"),
        options=options,
    )


def load(folder: Path, family: Any, **options: Any) -> Any:
    name = family.__name__.rpartition(".")[2]
    backend: Backend = family.load(row(folder, name, **options), Settings(device="cpu"))
    return backend


class Zoo:
    """Checkpoints that are built, and models that are loaded, when they are first asked for."""

    def __init__(
        self, root: Path, makers: dict[str, Callable[[Path], Any]], family: Any, **how: Any
    ) -> None:
        self._root, self._makers, self._family, self._how = root, makers, family, how
        self._loaded: dict[str, Any] = {}

    def folder(self, kind: str) -> Path:
        folder = self._root / kind
        return folder if folder.is_dir() else build(folder, self._makers[kind], **self._how)

    def load(self, kind: str, **options: Any) -> Any:
        """A model of its own."""
        return load(self.folder(kind), self._family, **options)

    def __getitem__(self, kind: str) -> Any:
        """The model that all tests share."""
        if kind not in self._loaded:
            self._loaded[kind] = self.load(kind)
        return self._loaded[kind]


def picture(width: int = 48, height: int = 40, seed: int = 0) -> Image.Image:
    """Blocks of colour."""
    torch.manual_seed(seed)
    blocks = (torch.rand(5, 6, 3) * 255).to(torch.uint8).numpy()
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def png(drawn: Image.Image | None = None, **how: Any) -> bytes:
    out = io.BytesIO()
    (drawn or picture()).save(out, "PNG", **how)
    return out.getvalue()


def turned(drawn: Image.Image) -> bytes:
    """The picture lying on its side, with a note that says how to put it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    return png(drawn.transpose(Image.Transpose.ROTATE_90), exif=exif)


def told(listener: Listener) -> list[Segment]:
    """The segments of an answer that came to its end."""
    assert isinstance(listener.events[-1], Done) and listener.error is None
    found = [event for event in listener.events if isinstance(event, Segment)]
    assert len(found) == len(listener.events) - 1
    return found
