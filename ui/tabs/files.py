"""The Files tab: its layout and its wiring. What its events do is `ui/files_desk.py`."""

from __future__ import annotations

import gradio as gr

from engine import Engine
from ui.files_desk import Desk, Places
from ui.media import build_media
from ui.parts import QUIET, html
from ui.words import label

TITLE = "files.tab"
ORDER = 18
NEEDS = None
# The page's script keeps these places alive: what the server paints is moved into them piece by piece.
LIST = '<div data-view="list"></div>'
FILE = '<div data-view="file"></div>'
MORE = '<div data-view="news"></div><dialog data-view="sheet"></dialog>'
SENDS = '<ul data-view="sends"></ul>'
HIDDEN = ("list", "file", "sheet", "outcome")
# What the script says by itself, in the reader's language.
SAYS = ("files.sent", "files.stopped", "files.failed", "files.too_large")


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Row(elem_id="files"):
        with gr.Column(elem_id="files-main"):
            _bar()
            html("files-sends", SENDS)
            html("files-list-view", LIST)
            _corner(engine)
        with gr.Column(elem_id="files-side"):
            html("files-file-view", FILE)
            words = gr.Markdown(elem_id="files-words", latex_delimiters=[], sanitize_html=True)
    html("files-view", MORE)
    for key in SAYS:
        gr.Markdown(label(key), elem_id=key.replace(".", "-says-"), visible="hidden")
    hidden = {name: html(f"files-{name}", visible="hidden") for name in HIDDEN}
    looks, does = (
        gr.Textbox(elem_id=f"files-{name}", visible="hidden", show_label=False)
        for name in ("look", "do")
    )
    places = Places(words=words, **hidden)
    desk = Desk(engine, places)
    looks.change(desk.look, looks, places.looked, **{**QUIET, "trigger_mode": "always_last"})
    does.change(desk.act, does, places.all, **QUIET)


def _bar() -> None:
    """Finding, uploading, a new folder, the trash: all of it is the script's."""
    with gr.Row(elem_id="files-bar"):
        gr.Button(
            label("files.upload"),
            variant="primary",
            elem_id="files-upload",
            elem_classes=["pic-upload"],
        )
        gr.Button(label("files.new_folder"), elem_id="files-new", elem_classes=["pic-folder-new"])
        gr.Textbox(
            placeholder=label("files.find"), label=label("files.find"), show_label=False, container=False,
            max_lines=1, max_length=200, elem_id="files-find",
        )  # fmt: skip
        gr.Button(label("files.trash"), elem_id="files-trash", elem_classes=["icon", "pic-delete"])


def _corner(engine: Engine) -> None:
    """The web's media, taken into the files."""
    with gr.Column(elem_id="files-media"):
        build_media(engine)
