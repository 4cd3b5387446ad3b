"""The Speech tab: texts spoken aloud, recordings written down; what no model can do is left out."""

from __future__ import annotations

import gradio as gr

from engine import Engine
from ui.hearing import build_hearing
from ui.speaking import build_speaking
from ui.words import label

TITLE = "speaking.tab"
ORDER = 15
NEEDS = ("speak", "transcribe")


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    parts = (
        ("speak", "speaking.mode", build_speaking),
        ("transcribe", "hearing.mode", build_hearing),
    )
    able = [part for part in parts if engine.models(part[0])]  # type: ignore[arg-type]
    if len(able) == 1:
        able[0][2](engine)
        return
    with gr.Tabs(elem_id="speech-modes"):
        for does, title, lay_out in able:
            with gr.Tab(label(title), id=does, elem_id=f"speech-{does}"):
                lay_out(engine)
