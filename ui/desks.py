"""Parts of the page that their scripts run by the API: painted once, and anew when models came or went."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from hashlib import blake2s
from typing import Any, Protocol, TypeVar

import gradio as gr

from engine.tongues import own_name
from ui.conversations import flat
from ui.parts import QUIET, html, reader, told_by
from ui.words import label, say

VIEW = '<div data-view="desk"></div>'
ICONS = {
    "close": "<path d='M6 6l12 12M18 6L6 18'/>",
    "copy": "<path d='M9 8.500h9.500V20H9zM15 8.500V4H5.500v11.500H9'/>",
    "ear": "<path d='M5 9.500v5h3l4.500 4v-13L8 9.500zM16 9a4 4 0 0 1 0 6M18.500 6.500a8 8 0 0 1 0 11'/>",
    "file": "<path d='M6.500 3.500H14l4 4v13H6.500zM14 3.500V8h4'/>",
    "pause": "<path d='M7.500 5.500h3v13h-3zM13.500 5.500h3v13h-3z' fill='currentColor'/>",
    "play": "<path d='M8 5.500v13l10.500-6.500z' fill='currentColor'/>",
    "record": "<rect x='9' y='3.500' width='6' height='11' rx='3'/>"
    "<path d='M5.500 11.500a6.500 6.500 0 0 0 13 0M12 18v3'/>",
    "save": "<path d='M12 4v11M7.500 10.500L12 15l4.500-4.500M5 19.500h14'/>",
    "stop": "<rect x='6.500' y='6.500' width='11' height='11' rx='2' fill='currentColor'/>",
}


class Desk(Protocol):
    """What a part shows; its stamp changes with it."""

    def stamp(self, language: str) -> str: ...


D = TypeVar("D", bound=Desk)


def add_desk(
    name: str, find: Callable[[], D], paint: Callable[[D, str], str], title: str, view: str = VIEW
) -> None:
    """Lay the part out inside the page that is being built.

    Args:
        find: what there is now; it runs beside the event loop.
        paint: its HTML in a language.
        title: key of the text that names it.
        view: what is there before it is painted.
    """
    with gr.Column(elem_id=name):
        html(f"{name}-view", view)
    painted = html(f"{name}-desk", visible="hidden")
    look = gr.Textbox(
        elem_id=f"{name}-look", visible="hidden", show_label=False, label=label(title)
    )

    async def shown(told: str, request: gr.Request) -> Any:
        """The page looks: it has come, or models came and went."""
        language = reader(request)
        found = await asyncio.to_thread(find)
        if told_by(told).get("stamp") == found.stamp(language):
            return gr.skip()
        return await asyncio.to_thread(paint, found, language)

    look.change(shown, look, painted, **{**QUIET, "trigger_mode": "always_last"})


def stamp(*names: str) -> str:
    """A short mark that changes with the names."""
    return blake2s("\n".join(names).encode(), digest_size=8).hexdigest()


def says(keys: Sequence[str], blanks: Sequence[str], language: str) -> str:
    """The texts that a part's script says, as an attribute's value; the blanks it fills in stay in braces."""
    held = {name: f"{{{name}}}" for name in blanks}
    texts = {key.partition(".")[2]: say(key, language, **held) for key in keys}
    return flat(json.dumps(texts, ensure_ascii=False))


def tongue(code: str) -> str:
    """A language's name in its own words, as a list shows it."""
    own = own_name(code)
    return own[:1].title() + own[1:]


def icon(name: str) -> str:
    """A small picture in the colour of the text."""
    return (
        '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" '
        f'stroke-linejoin="round" aria-hidden="true">{ICONS[name]}</svg>'
    )
