"""The OCR tab: its layout and its wiring. What its events do is `ui/ocr_reads.py`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine import Engine
from ui.ocr_reads import Places, Reads
from ui.parts import QUIET, html
from ui.words import label

TITLE = "ocr.tab"
ORDER = 14
NEEDS = "ocr"
# The page's script keeps these places alive: what the server paints is moved into them piece by piece.
SIDE = '<div data-view="docs"></div>'
MAIN = '<div data-view="page"></div>'
TEXT = '<div data-view="lines"></div>'
MORE = '<p class="aside" role="status" data-view="news"></p><dialog data-view="sheet"></dialog>'
HIDDEN = ("docs", "page", "lines", "sheet", "outcome")
DELIMITERS: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Row(elem_id="ocr"):
        with gr.Column(elem_id="ocr-side"):
            gr.Button(label("ocr.choose"), elem_id="ocr-choose", elem_classes=["pic-plus"])
            form = _form()
            html("ocr-docs-view", SIDE)
        with gr.Column(elem_id="ocr-main"):
            html("ocr-page-view", MAIN)
        with gr.Column(elem_id="ocr-text"):
            html("ocr-lines-view", TEXT)
            layout = gr.Markdown(
                elem_id="ocr-layout", latex_delimiters=DELIMITERS, sanitize_html=True
            )
    html("ocr-view", MORE)
    hidden = {name: html(f"ocr-{name}", visible="hidden") for name in HIDDEN}
    looks, does = (
        gr.Textbox(elem_id=f"ocr-{name}", visible="hidden", show_label=False)
        for name in ("look", "do")
    )
    with gr.Column(elem_id="ocr-upload", elem_classes=["away"]):
        upload = gr.UploadButton(file_count="multiple")
    places = Places(layout=layout, language=form["language"], engine=form["model"], **hidden)
    reads = Reads(engine, places)
    looks.change(reads.look, looks, places.looked, **{**QUIET, "trigger_mode": "always_last"})
    does.change(reads.act, does, places.all, **QUIET)
    upload.upload(
        reads.bring,
        outputs=places.all,
        inputs_kwargs={"files": upload, **form},
        preprocess=False,
        **QUIET,
    )


def _form() -> dict[str, Any]:
    """How the documents that come next are read."""
    with gr.Column(elem_id="ocr-form"):
        language = gr.Dropdown(
            choices=["auto"], value="auto", allow_custom_value=True,
            label=label("ocr.language"), elem_id="ocr-language", filterable=True,
        )  # fmt: skip
        model = gr.Dropdown(
            choices=["auto"], value="auto", label=label("ocr.engine"), elem_id="ocr-model",
        )  # fmt: skip
        with gr.Accordion(label("ocr.more"), open=False, elem_id="ocr-more"):
            with gr.Row(elem_classes=["fields"]):
                pages = gr.Textbox(
                    label=label("ocr.range"), placeholder="1-3, 7", max_lines=1, max_length=200,
                    elem_id="ocr-pages",
                )  # fmt: skip
                dpi = gr.Textbox(
                    label=label("ocr.dpi"), placeholder="200", max_lines=1, max_length=4,
                    elem_id="ocr-dpi",
                )  # fmt: skip
            password = gr.Textbox(
                label=label("ocr.password"), type="password", max_lines=1, max_length=200,
                elem_id="ocr-password",
            )  # fmt: skip
            layer = gr.Checkbox(True, label=label("ocr.layer"), elem_id="ocr-layer")
            formatted = gr.Checkbox(False, label=label("ocr.formatted"), elem_id="ocr-formatted")
    return {
        "language": language, "model": model, "pages": pages, "dpi": dpi, "password": password,
        "text_layer": layer, "formatted": formatted,
    }  # fmt: skip
