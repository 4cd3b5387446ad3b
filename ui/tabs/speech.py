"""The Speech tab: recordings written down, texts spoken aloud."""

from __future__ import annotations

import gradio as gr

from engine import Engine
from ui.hearing import build_hearing
from ui.speaking import build_speaking
from ui.words import label

TITLE = "speaking.tab"
ORDER = 15
NEEDS = "speak"


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Tabs(elem_id="speech-modes"):
        with gr.Tab(label("speaking.mode"), id="speak", elem_id="speech-speak"):
            build_speaking(engine)
        with gr.Tab(label("hearing.mode"), id="hear", elem_id="speech-hear"):
            build_hearing(engine)
