"""The Models tab: its layout and its wiring. What its events do is `ui/keeping.py`."""

from __future__ import annotations

import gradio as gr

from engine import Engine
from ui.keeping import Keeping, Places
from ui.parts import QUIET, html
from ui.stock import Stock
from ui.words import label

TITLE = "models.tab"
ORDER = 20
NEEDS = None
FILTERS = (("all", "models.all"), ("ready", "models.ready"), ("fitting", "models.fitting"))
# The page's script keeps these three alive: what the server paints is moved into them piece by piece.
VIEW = (
    '<div data-view="live"></div><div data-view="cards"></div>'
    '<p class="aside" role="status" data-view="news"></p><dialog data-view="sheet"></dialog>'
)


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Column(elem_id="models"):
        with gr.Row(elem_id="models-bar"):
            gr.Textbox(
                placeholder=label("models.search"),
                label=label("models.search"),
                show_label=False,
                container=False,
                max_lines=1,
                elem_id="models-search",
            )
            with gr.Row(elem_id="models-filters"):
                for name, key in FILTERS:
                    gr.Button(label(key), elem_id=f"models-show-{name}", size="sm")
            gr.Button(label("models.add"), elem_id="models-add", elem_classes=["pic-plus"])
        html("models-view", VIEW)
        places = Places(
            *(
                html(f"models-{name}", visible="hidden")
                for name in ("cards", "live", "sheet", "outcome")
            )
        )
        looks, does = (
            gr.Textbox(elem_id=f"models-{name}", visible="hidden", show_label=False)
            for name in ("look", "do")
        )
    keeping = Keeping(engine, places, Stock(engine))
    once = {**QUIET, "trigger_mode": "once"}
    looks.change(keeping.look, looks, [places.cards, places.live], **once)
    does.change(keeping.act, does, places.all, **QUIET)
