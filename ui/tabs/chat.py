"""The chat tab: its layout and its wiring. What its events do is `ui/talk.py` and `ui/shelf.py`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine import Engine
from ui.painting import Painter, Widgets
from ui.parts import QUIET, Views, closer, html, opener
from ui.shelf import Dialogs, Shelf
from ui.talk import OPTIONS, Talk
from ui.words import label

TITLE = "chat.tab"
ORDER = 10
NEEDS = "chat"
DELIMITERS: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Row(elem_id="chat"):
        side = _side()
        with gr.Column(elem_id="chat-main"):
            bar = _bar()
            log = _log()
            with gr.Column(elem_id="chat-foot"):
                state = html("chat-state")
                box, send, stop = _composer()
        settings = _settings()
        code = _code()
    dialogs, buttons = _dialogs()
    opened = gr.State("")
    bridge = gr.Textbox(elem_id="chat-opened", visible="hidden", show_label=False)
    widgets = Widgets(
        opened=opened,
        log=log,
        state=state,
        box=box,
        code=code,
        tools=tuple(bar[name] for name in ("rename", "markdown", "json", "delete")),
        **{name: side[name] for name in ("search", "listing")},
        **{name: bar[name] for name in ("model", "title")},
        **settings,
    )
    views = Views()
    paint = Painter(engine, widgets, views)
    talk = Talk(engine, widgets, views, paint)
    _wire_talk(talk, widgets, bridge, {"new": side["new"], "send": send, "stop": stop})
    _wire_shelf(Shelf(engine, widgets, dialogs, paint, talk), widgets, dialogs, bar, buttons)


def _side() -> dict[str, Any]:
    with gr.Column(elem_id="chat-side"):
        return {
            "new": gr.Button(label("chat.new"), elem_id="chat-new", elem_classes=["pic-new"]),
            "search": gr.Textbox(
                placeholder=label("chat.search"),
                label=label("chat.search"),
                show_label=False,
                container=False,
                max_lines=1,
                elem_id="chat-search",
            ),
            "listing": html("chat-list"),
        }


def _bar() -> dict[str, Any]:
    with gr.Row(elem_id="chat-bar"):
        opener("chat-side", label("chat.conversations"), "list")
        model = gr.Dropdown(
            label=label("chat.model"), show_label=False, container=False, elem_id="chat-model"
        )
        title = html("chat-title")
        opener("chat-menu", label("chat.more"), "more")
        opener("chat-settings", label("chat.settings"), "tune")
        opener("chat-code", label("chat.code"), "code")
    with gr.Column(elem_id="chat-menu"):
        rows = (
            ("rename", "chat.rename", "rename"),
            ("markdown", "chat.export_markdown", "export"),
            ("json", "chat.export_json", "export"),
            ("delete", "chat.delete", "delete"),
        )
        menu = {
            name: gr.Button(
                label(key), elem_id=f"chat-{name}", elem_classes=[f"pic-{icon}"], interactive=False
            )
            for name, key, icon in rows
        }
    return {"model": model, "title": title, **menu}


def _log() -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="chat-log",
        show_label=False,
        container=False,
        editable="user",
        buttons=["copy"],
        feedback_options=None,
        latex_delimiters=DELIMITERS,
        allow_tags=False,
        height="100%",
    )


def _composer() -> tuple[gr.Textbox, gr.Button, gr.Button]:
    """The box and its two buttons; the style sheet shows the one that fits the line above."""
    with gr.Row(elem_id="chat-compose"):
        box = gr.Textbox(
            placeholder=label("chat.ask"),
            label=label("chat.ask"),
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            max_length=200_000,
            elem_id="chat-box",
        )
        send = gr.Button(
            label("chat.send"), variant="primary", elem_id="chat-send", elem_classes=["pic-send"]
        )
        stop = gr.Button(label("chat.stop"), elem_id="chat-stop", elem_classes=["pic-stop"])
    gr.Markdown(label("chat.keys"), elem_id="chat-keys")
    return box, send, stop


def _settings() -> dict[str, Any]:
    with gr.Column(elem_id="chat-settings", elem_classes=["side-panel"]):
        _head("chat.settings")
        gr.Markdown(label("chat.settings_hint"), elem_classes=["panel-note"])
        system = gr.Textbox(
            label=label("chat.system"),
            placeholder=label("chat.system_hint"),
            lines=3,
            max_lines=10,
            elem_id="chat-system",
        )
        with gr.Row(elem_classes=["fields"]):
            # Text boxes, because a number box that is empty sends 0
            fields = {
                name: gr.Textbox(
                    label=label(f"chat.{name}"),
                    placeholder=label("chat.model_default"),
                    max_lines=1,
                    max_length=24,
                    elem_id=f"chat-{name.replace('_', '-')}",
                    elem_classes=["number"],
                )
                for name in OPTIONS
            }
        fields["stop"] = gr.Textbox(
            label=label("chat.stop_strings"),
            info=label("chat.stop_hint"),
            lines=2,
            max_lines=6,
            elem_id="chat-stop-strings",
        )
    return {"system": system, "fields": fields}


def _code() -> gr.Markdown:
    with gr.Column(elem_id="chat-code", elem_classes=["side-panel"]):
        _head("chat.code")
        return html("chat-snippets")


def _head(key: str) -> None:
    with gr.Row(elem_classes=["panel-head"]):
        gr.Markdown(label(key), elem_classes=["panel-title"])
        closer(label("page.close"))


def _dialog(elem_id: str) -> gr.Column:
    return gr.Column(visible=False, elem_id=elem_id, elem_classes=["dialog"])


def _card() -> gr.Column:
    return gr.Column(elem_classes=["dialog-card"])


def _dialogs() -> tuple[Dialogs, dict[str, gr.Button]]:
    with _dialog("chat-rename-dialog") as rename, _card():
        name = gr.Textbox(
            label=label("chat.rename_title"), max_lines=1, max_length=200, elem_id="chat-name"
        )
        with gr.Row():
            keep_name = gr.Button(label("page.cancel"), elem_classes=["dialog-cancel"])
            save = gr.Button(label("chat.save"), variant="primary", elem_id="chat-save")
    with _dialog("chat-delete-dialog") as delete, _card():
        question = html("chat-question")
        with gr.Row():
            keep = gr.Button(label("page.cancel"), elem_classes=["dialog-cancel"])
            really = gr.Button(label("chat.delete"), variant="stop", elem_id="chat-really")
    file = html("chat-file", visible="hidden")
    buttons = {"keep_name": keep_name, "save": save, "keep": keep, "really": really}
    return Dialogs(rename, name, delete, question, file), buttons


def _wire_talk(talk: Talk, w: Widgets, bridge: gr.Textbox, buttons: dict[str, gr.Button]) -> None:
    asking: dict[str, Any] = {"outputs": w.painted, "inputs_kwargs": w.form, **QUIET}
    typed = {**w.form, "message": w.box}
    for trigger in (w.box.submit, buttons["send"].click):
        trigger(talk.send, **{**asking, "inputs_kwargs": typed})
    w.log.example_select(talk.sample, **asking)
    w.log.edit(talk.edit, **asking)
    w.log.retry(talk.retry, **asking)
    buttons["stop"].click(talk.halt, w.opened, None, **QUIET)
    w.model.input(talk.choose, w.model, None, **QUIET)
    turned = bridge.change(talk.turn_to, bridge, w.painted, **QUIET)
    buttons["new"].click(talk.new, None, w.painted, **QUIET)
    turned.then(talk.resume, None, w.painted, **QUIET)


def _wire_shelf(
    shelf: Shelf, w: Widgets, d: Dialogs, bar: dict[str, Any], buttons: dict[str, gr.Button]
) -> None:
    latest = {**QUIET, "trigger_mode": "always_last"}
    w.search.change(shelf.search, w.search, w.listing, **latest)
    bar["rename"].click(shelf.ask_name, w.opened, [d.rename, d.name], **QUIET)
    renamed = [d.rename, w.title, w.listing, *w.tools]
    for trigger in (d.name.submit, buttons["save"].click):
        trigger(shelf.rename, [w.opened, d.name, w.search], renamed, **QUIET)
    bar["delete"].click(shelf.ask_delete, w.opened, [d.delete, d.question], **QUIET)
    buttons["really"].click(shelf.delete, w.opened, [*w.painted, d.delete], **QUIET)
    for button, dialog in ((buttons["keep_name"], d.rename), (buttons["keep"], d.delete)):
        button.click(lambda: gr.Column(visible=False), None, dialog, **QUIET)
    for name, export in (("markdown", shelf.export_markdown), ("json", shelf.export_json)):
        bar[name].click(export, w.opened, d.file, **QUIET)
