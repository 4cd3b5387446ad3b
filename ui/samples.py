"""The sample pictures and documents of `assets/samples`: their bytes, and as buttons of painted HTML."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from pathlib import Path

from engine import Unknown
from ui.conversations import flat
from ui.words import say

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "samples"
PICTURES = {
    "shapes.png": "samples.shapes",
    "balls.png": "samples.balls",
    "house.png": "samples.house",
    "sign.png": "samples.sign",
}
DOCUMENTS = {
    "note-en.png": "samples.note",
    "letter-fr.png": "samples.letter",
    "columns-pt.png": "samples.columns",
    "scan-ru.jpg": "samples.scan",
    "booklet-en.pdf": "samples.booklet",
}


def sample(name: str) -> bytes:
    """A sample's bytes. Raises Unknown for a name that is none."""
    if name not in PICTURES and name not in DOCUMENTS:
        raise Unknown("There is no such sample. Choose one of those shown.", param="name")
    return (FOLDER / name).read_bytes()


def gallery(samples: dict[str, str], language: str) -> str:
    """A row of small pictures; pressing one tells `sample` and its name."""
    shown = "".join(
        f'<button type="button" class="sample" data-act="sample" data-name="{name}">'
        f'<img src="{_small(name)}" alt=""><span>{flat(say(key, language))}</span></button>'
        for name, key in samples.items()
    )
    return f'<div class="samples">{shown}</div>'


@cache
def _small(name: str) -> str:
    data = (FOLDER / "thumbs" / f"{name.partition('.')[0]}.webp").read_bytes()
    return f"data:image/webp;base64,{b64encode(data).decode()}"
