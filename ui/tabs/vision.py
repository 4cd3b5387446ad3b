"""The Vision tab: its layout and its wiring. What its events do is `ui/vision_talk.py`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine import Engine
from ui.parts import QUIET, html
from ui.vision_finds import Finds
from ui.vision_talk import Look, Places
from ui.words import label

TITLE = "vision.tab"
ORDER = 12
NEEDS = "chat"
# The page's script moves what the server paints into these places.
STAGE = '<div data-view="stage"></div>'
DELIMITERS: list[dict[str, str | bool]] = [{"left": "$$", "right": "$$", "display": True}]


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Row(elem_id="vision"):
        with gr.Column(elem_id="vision-stage"):
            html("vision-view", STAGE)
        with gr.Column(elem_id="vision-side"), gr.Tabs(elem_id="vision-modes"):
            with gr.Tab(label("vision.ask_tab"), id="ask", elem_id="vision-ask"):
                asking = _ask()
            with gr.Tab(label("vision.find_tab"), id="find", elem_id="vision-find"):
                finding = _find()
            with gr.Tab(label("vision.label_tab"), id="label", elem_id="vision-label"):
                labelling = _label()
    hidden = {name: html(f"vision-{name}", visible="hidden") for name in HIDDEN}
    desk, did = (
        gr.Textbox(elem_id=f"vision-{name}", visible="hidden", show_label=False)
        for name in ("desk", "do")
    )
    with gr.Column(elem_id="vision-upload", elem_classes=["away"]):
        upload = gr.UploadButton()
    places = Places(
        desk=desk,
        stage=hidden.pop("painted"),
        **hidden,
        **{name: asking[name] for name in ("log", "state", "box", "model")},
        finder=finding["model"],
        labeller=labelling["model"],
    )
    look = Look(engine, places)
    _wire_look(look, places, {"did": did, "upload": upload}, asking)
    _wire_finds(Finds(engine, look.desks, places.found, places.bars), places, finding, labelling)


HIDDEN = ("painted", "presets", "found", "bars", "outcome")


def _picker(elem_id: str) -> gr.Dropdown:
    return gr.Dropdown(
        label=label("chat.model"), show_label=False, container=False, elem_id=elem_id,
        elem_classes=["picker"],
    )  # fmt: skip


def _words(elem_id: str, key: str, hint: str) -> gr.Textbox:
    return gr.Textbox(
        label=label(key), placeholder=label(hint), lines=1, max_lines=4, max_length=4000,
        elem_id=elem_id,
    )  # fmt: skip


def _ask() -> dict[str, Any]:
    model = _picker("vision-model")
    log = gr.Chatbot(
        elem_id="vision-log", show_label=False, container=False,
        buttons=["copy"], feedback_options=None, latex_delimiters=DELIMITERS, allow_tags=False,
        height="100%",
    )  # fmt: skip
    html("vision-quick", '<div data-view="presets"></div>')
    with gr.Column(elem_id="vision-foot"):
        state = html("vision-state")
        with gr.Row(elem_id="vision-compose", elem_classes=["compose"]):
            box = gr.Textbox(
                placeholder=label("vision.question"), label=label("vision.question"),
                show_label=False, container=False, lines=1, max_lines=6, max_length=20_000,
                elem_id="vision-box",
            )  # fmt: skip
            send = gr.Button(
                label("chat.send"), variant="primary", elem_id="vision-send", elem_classes=["pic-send"]
            )  # fmt: skip
            stop = gr.Button(label("chat.stop"), elem_id="vision-stop", elem_classes=["pic-stop"])
        gr.Markdown(label("vision.kept"), elem_id="vision-kept")
    return {"model": model, "log": log, "state": state, "box": box, "send": send, "stop": stop}


def _find() -> dict[str, Any]:
    model = _picker("vision-finder")
    words = _words("vision-words", "vision.words", "vision.words_hint")
    gr.Slider(
        0.05, 0.95, value=0.3, step=0.01, label=label("vision.threshold"), elem_id="vision-least",
        interactive=True,
        buttons=[],
    )  # fmt: skip
    go = gr.Button(label("vision.find"), variant="primary", elem_id="vision-go-find")
    html("vision-found-view", '<div data-view="found"></div>')
    return {"model": model, "words": words, "go": go}


def _label() -> dict[str, Any]:
    model = _picker("vision-labeller")
    words = _words("vision-labels", "vision.label_words", "vision.label_words_hint")
    go = gr.Button(label("vision.label"), variant="primary", elem_id="vision-go-label")
    html("vision-bars-view", '<div data-view="bars"></div>')
    return {"model": model, "words": words, "go": go}


def _wire_look(look: Look, w: Places, hidden: dict[str, Any], asking: dict[str, Any]) -> None:
    told: dict[str, Any] = {"outputs": w.all, **QUIET}
    w.desk.change(look.arrive, w.desk, w.all, **QUIET)
    hidden["upload"].upload(look.bring, [hidden["upload"], w.desk], preprocess=False, **told)
    hidden["did"].change(look.act, [hidden["did"], w.desk, w.model], **told)
    for trigger in (w.box.submit, asking["send"].click):
        trigger(look.ask, [w.box, w.desk, w.model], **told)
    w.log.retry(look.retry, [w.desk, w.model], **told)
    asking["stop"].click(look.halt, w.desk, None, **QUIET)


def _wire_finds(
    finds: Finds, w: Places, finding: dict[str, Any], labelling: dict[str, Any]
) -> None:
    for trigger in (finding["words"].submit, finding["go"].click):
        trigger(finds.find, [finding["words"], w.desk, w.finder], w.found, **QUIET)
    for trigger in (labelling["words"].submit, labelling["go"].click):
        trigger(finds.compare, [labelling["words"], w.desk, w.labeller], w.bars, **QUIET)
