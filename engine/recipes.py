"""How a picture was made, kept in its PNG: written into a text chunk, read back from any file. Knows no model."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from engine.pictures import media_type

if TYPE_CHECKING:
    from PIL import Image

KEY = "atelier"  # the chunk that is ours; "parameters" says the same in the way other programs read
LONGEST = 200_000  # characters of a recipe that are read
# A recipe's fields and their types; what else a chunk holds is dropped.
FIELDS: dict[str, tuple[type, ...]] = {
    "prompt": (str,),
    "negative": (str,),
    "model": (str,),
    "revision": (str,),
    "width": (int,),
    "height": (int,),
    "steps": (int,),
    "guidance": (int, float),
    "seed": (int,),
    "scheduler": (str,),
    "strength": (int, float),
    "mode": (str,),
    "source": (str,),
    "loras": (list,),
    "dtype": (str,),
    "made": (str,),
}
Recipe = dict[str, Any]


def write_png(picture: Image.Image, recipe: Recipe) -> bytes:
    """The picture as a PNG that carries its recipe."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(KEY, json.dumps(recipe, ensure_ascii=False, separators=(",", ":")))
    info.add_itxt("parameters", _for_others(recipe))
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=info, compress_level=4)
    return out.getvalue()


def read_recipe(data: bytes) -> Recipe | None:
    """The recipe that a file carries; None where it is no PNG of ours. Reads no pixel."""
    from PIL import Image

    if media_type(data) != "image/png":
        return None
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            text = picture.info.get(KEY)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return clean(_parsed(text))


def clean(value: Any) -> Recipe | None:
    """The fields of a recipe that are what they should be; None where it is none at all."""
    if not isinstance(value, dict):
        return None
    kept = {
        name: value[name]
        for name, kinds in FIELDS.items()
        if isinstance(value.get(name), kinds) and not isinstance(value.get(name), bool)
    }
    kept["loras"] = [pair for pair in kept.get("loras", []) if _is_lora(pair)]
    return kept if isinstance(kept.get("prompt"), str) else None


def _is_lora(pair: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], int | float)
    )


def _parsed(text: Any) -> Any:
    if not isinstance(text, str) or len(text) > LONGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _for_others(recipe: Recipe) -> str:
    """The recipe as many programs write it: prompt, negative prompt, then "Name: value" pairs."""
    lines = [str(recipe.get("prompt", ""))]
    if recipe.get("negative"):
        lines.append(f"Negative prompt: {recipe['negative']}")
    names = {
        "steps": "Steps",
        "scheduler": "Sampler",
        "guidance": "CFG scale",
        "seed": "Seed",
        "model": "Model",
        "strength": "Denoising strength",
    }
    told = [
        f"{label}: {recipe[name]}"
        for name, label in names.items()
        if recipe.get(name) not in (None, "")
    ]
    if recipe.get("width"):
        told.insert(4, f"Size: {recipe['width']}x{recipe['height']}")
    return "\n".join([*lines, ", ".join(told)])
