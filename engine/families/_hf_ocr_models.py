"""How each class of reading model is asked: its prompts, its picture options, the end of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

# A long page (so many times its width, and more pixels) is read by GOT-OCR2 in pieces: squeezed into its square of
# 1,024 pixels, nothing of it could be read.
LONG, LARGE = 2.0, 1500


@dataclass(frozen=True, slots=True)
class Manner:
    """How a class is asked to read.

    Args:
        plain, formatted: what it is told beside the picture; "" nothing.
        templated: it is asked through its chat template; otherwise its processor writes the prompt.
        tokens: at most so many are made for a page.
        ends: tokens that end an answer, beside those of its generation config.
        writes: "always" where its plain answer is Markdown too.
    """

    plain: str = ""
    formatted: str = ""
    templated: bool = True
    tokens: int = 8192
    ends: tuple[str, ...] = ()
    writes: str = "asked"


# Model type of the config → manner. Prompts are those the models were trained with.
MANNERS: Mapping[str, Manner] = MappingProxyType(
    {
        "got_ocr2": Manner(templated=False, tokens=4096, ends=("<|im_end|>",)),
        "paddleocr_vl": Manner("OCR:", "OCR:", ends=("</s>",)),
        "glm_ocr": Manner(
            "Text Recognition:",
            "Text Recognition:",
            ends=("<|endoftext|>", "<|user|>"),
            writes="always",
        ),
        "lighton_ocr": Manner(ends=("<|im_end|>",), writes="always"),
    }
)


def prepare(
    manner: Manner, processor: Any, picture: Image.Image, formatted: bool
) -> Mapping[str, Any]:
    """The model's inputs for one picture, by its own processor."""
    if not manner.templated:
        longest, shortest = max(picture.size), min(picture.size)
        pieces = longest > LARGE and longest > LONG * shortest
        inputs: Mapping[str, Any] = processor(
            picture, return_tensors="pt", format=formatted, crop_to_patches=pieces
        )
        return inputs
    asked = manner.formatted if formatted else manner.plain
    parts = [{"type": "image"}, *([{"type": "text", "text": asked}] if asked else [])]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
    )
    templated: Mapping[str, Any] = processor(text=[prompt], images=[picture], return_tensors="pt")
    return templated
