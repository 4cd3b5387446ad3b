"""The Image tab: its layout and its wiring. What its events do is `ui/image_draws.py`."""

from __future__ import annotations

import gradio as gr

from engine import Engine
from ui.image_draws import Draws, Places
from ui.parts import QUIET, html
from ui.words import label

TITLE = "image.tab"
ORDER = 11
NEEDS = None  # creatures can be met without any model
# The page's script keeps these places alive: what the server paints is moved into them piece by piece.
SIDE = '<div data-view="form"></div>'
MAIN = (
    '<div data-view="stage"></div><div data-view="bar"></div><div data-view="shelf"></div>'
    '<div data-view="corner"></div>'
)
HIDDEN = ("form", "stage", "shelf", "corner", "outcome")


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Row(elem_id="image"):
        with gr.Column(elem_id="image-side"):
            html("image-form-view", SIDE)
        with gr.Column(elem_id="image-main"):
            with gr.Row(elem_id="image-bar"):
                gr.Button(label("image.pictures"), elem_id="image-pictures", elem_classes=["mode"])
                gr.Button(
                    label("image.creatures"), elem_id="image-creatures", elem_classes=["mode"]
                )
                gr.Textbox(
                    placeholder=label("image.search"), label=label("image.search"), show_label=False,
                    container=False, max_lines=1, max_length=200, elem_id="image-search",
                )  # fmt: skip
                gr.Button(
                    label("image.favourites"),
                    elem_id="image-starred",
                    elem_classes=["icon", "pic-star"],
                )
                gr.Button(
                    label("image.compare"),
                    elem_id="image-compare",
                    elem_classes=["icon", "pic-compare"],
                )
                gr.Button(
                    label("image.pack"), elem_id="image-pack", elem_classes=["icon", "pic-export"]
                )
            html("image-view", MAIN)
    hidden = {name: html(f"image-{name}", visible="hidden") for name in HIDDEN}
    looks, does = (
        gr.Textbox(elem_id=f"image-{name}", visible="hidden", show_label=False)
        for name in ("look", "do")
    )
    with gr.Column(elem_id="image-upload", elem_classes=["away"]):
        upload = gr.UploadButton(file_count="single")
    places = Places(**hidden)
    draws = Draws(engine, places)
    looks.change(draws.look, looks, places.all, **{**QUIET, "trigger_mode": "always_last"})
    does.change(draws.act, does, places.all, **QUIET)
    upload.upload(draws.bring, upload, places.all, preprocess=False, **QUIET)
