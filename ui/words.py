"""The page's texts in its four languages, and which language a browser asked for.

Labels are translated in the browser through `label`; texts made in Python through `say`. Knows no tab.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import gradio as gr
from gradio.i18n import I18nData

LANGUAGES = ("en", "fr", "pt", "ru")
FOLDER = Path(__file__).with_name(
    "texts"
)  # a file for each part of the page; texts side by side in the languages


@cache
def table() -> dict[str, dict[str, str]]:
    """Every text by key ("chat.send") and language."""
    return {
        f"{group}.{key}": row
        for file in sorted(FOLDER.glob("*.toml"))
        for group, rows in tomllib.loads(file.read_text(encoding="utf-8")).items()
        for key, row in rows.items()
    }


def say(key: str, language: str, **values: object) -> str:
    """The text of a key, its `{names}` filled in. Raises KeyError for a key that is not in the table."""
    return table()[key][language].format(**values)


def knows(key: str) -> bool:
    return key in table()


def label(key: str) -> I18nData:
    """A text for a component's label, translated by the browser. Raises KeyError for an unknown key."""
    table()[key]
    return I18nData(key)


@cache
def translations() -> gr.I18n:
    """The table in the shape `mount_gradio_app(i18n=…)` takes."""
    return gr.I18n(**{lang: {key: row[lang] for key, row in table().items()} for lang in LANGUAGES})


def language_of(accept: str | None) -> str:
    """The best of our languages for an `Accept-Language` header; English where none fits."""
    ranked: list[tuple[float, int, str]] = []
    for place, part in enumerate((accept or "").split(",")[:20]):
        tag, _, weight = part.partition(";")
        code = tag.strip().lower().split("-")[0]
        if code in LANGUAGES:
            ranked.append((-_quality(weight), place, code))
    return min(ranked)[2] if ranked else "en"


def _quality(weight: str) -> float:
    name, _, value = weight.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
