"""Writing recordings down: its place on the page. The page's script transcribes by the API; here it gets pickers and
texts.

What it looks like is `ui/hearing_views.py`, what it does `assets/hearing.js`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from engine import Engine
from ui.header import name_of
from ui.hearing_views import Ears, Hearer, desk
from ui.parts import QUIET, html, reader, told_by

VIEW = '<div data-view="desk"></div>'


def build_hearing(engine: Engine) -> None:
    """Lay the part out inside the page that is being built."""
    with gr.Column(elem_id="hearing"):
        html("hearing-view", VIEW)
    painted = html("hearing-desk", visible="hidden")
    look = gr.Textbox(elem_id="hearing-look", visible="hidden", show_label=False)

    async def heard(told: str, request: gr.Request) -> Any:
        """The page looks: it has come, or models came and went."""
        language = reader(request)
        found = await asyncio.to_thread(_ears, engine)
        same = told_by(told).get("stamp") == found.stamp(language)
        return gr.skip() if same else await asyncio.to_thread(desk, found, language)

    look.change(heard, look, painted, **{**QUIET, "trigger_mode": "always_last"})


def _ears(engine: Engine) -> Ears:
    """What there is to listen with, the default first."""
    specs = engine.models("transcribe")
    present = [spec for spec in specs if engine.downloads.is_present(spec)]
    absent = [name_of(spec) for spec in specs if spec not in present]
    chosen = engine.registry.default("transcribe").id if specs else ""
    present.sort(key=lambda spec: spec.id != chosen)
    return Ears(
        tuple(
            Hearer(
                spec.id,
                name_of(spec),
                spec.languages,
                "translate" in spec.options.get("tasks", ("translate",)),
            )
            for spec in present
        ),
        tuple(absent),
        any(spec.starter for spec in present[:1]),
    )
