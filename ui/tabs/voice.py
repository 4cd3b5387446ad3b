"""The Voice tab: its layout and its wiring. What it shows is `ui/voice_facts.py`; talking is the page's script's."""

from __future__ import annotations

import gradio as gr

from engine import Engine
from ui.parts import QUIET, html
from ui.voice_facts import Facts
from ui.words import label

TITLE = "voice.tab"
ORDER = 13
NEEDS = "speak"
# The page's script fills these places and keeps them.
MAIN = (
    '<div class="voice-page">'
    '<div class="voice-bar" data-view="bar"></div>'
    '<div class="voice-log" data-view="log" role="log" aria-live="off" tabindex="0"></div>'
    '<div class="voice-desk" data-view="desk"></div>'
    '<p class="aside" role="status" aria-live="polite" data-view="news"></p>'
    "</div>"
)


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Column(elem_id="voice"):
        html("voice-view", MAIN)
    facts = html("voice-facts", visible="hidden")
    look = gr.Textbox(elem_id="voice-look", visible="hidden", show_label=False, label=label(TITLE))
    look.change(Facts(engine).look, look, facts, **{**QUIET, "trigger_mode": "always_last"})
