"""The Monitoring tab: its layout and its wiring. What its events do is `ui/monitoring_watch.py`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine import Engine
from ui.doctor import build_doctor
from ui.monitoring_usage import GROUPS, MEASURES, PERIODS
from ui.monitoring_watch import Places, Watch
from ui.parts import QUIET, html
from ui.stock import Stock
from ui.words import label

TITLE = "monitoring.tab"
ORDER = 19
NEEDS = None
PARTS = {
    "now": "monitoring.now", "usage": "monitoring.usage", "containers": "monitoring.containers",
    "log": "monitoring.log", "doctor": "monitoring.doctor",
}  # fmt: skip
WORDS = {
    "model": "monitoring.model", "project": "monitoring.project", "user_key": "monitoring.key",
    "dialect": "monitoring.dialect", "task": "monitoring.task",
}  # fmt: skip
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
NEWS = '<p class="aside" role="status" data-view="news"></p><dialog data-view="sheet"></dialog>'


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    with gr.Column(elem_id="monitoring"):
        with gr.Row(elem_id="monitoring-bar"):
            for name, key in PARTS.items():
                gr.Button(label(key), elem_id=f"monitoring-show-{name}", size="sm")
        with gr.Column(elem_id="monitoring-now", elem_classes=["part"]):
            html("monitoring-now-view", '<div data-view="live"></div>')
            hour = gr.Plot(show_label=False, elem_id="monitoring-hour", container=False)
        with gr.Column(elem_id="monitoring-usage", elem_classes=["part"]):
            form = _usage_form()
            html("monitoring-usage-view", '<div data-view="usage"></div>')
            amounts = gr.Plot(show_label=False, elem_id="monitoring-amounts", container=False)
            html("monitoring-rows-view", '<div data-view="rows"></div>')
        with gr.Column(elem_id="monitoring-containers", elem_classes=["part"]):
            html("monitoring-containers-view", '<div data-view="containers"></div>')
        with gr.Column(elem_id="monitoring-log", elem_classes=["part"]):
            form |= _log_form()
            html("monitoring-log-view", '<div data-view="log"></div>')
        with gr.Column(elem_id="monitoring-doctor", elem_classes=["part"]):
            build_doctor(engine)
        html("monitoring-view", NEWS)
        places = _places(hour, amounts)
        looks, does = (
            gr.Textbox(elem_id=f"monitoring-{name}", visible="hidden", show_label=False)
            for name in ("look", "do")
        )
    watch = Watch(engine, places, Stock(engine))
    looks.change(
        watch.glance,
        inputs_kwargs={"told": looks, **form},
        outputs=places.looked,
        **{**QUIET, "trigger_mode": "always_last"},
    )
    does.change(watch.act, does, places.all, **QUIET)


def _places(hour: gr.Plot, amounts: gr.Plot) -> Places:
    names = ("cards", "live", "outcome", "containers", "log", "usage", "rows")
    hidden = {name: html(f"monitoring-{name}-painted", visible="hidden") for name in names}
    hidden["sheet"] = html("monitoring-sheet", visible="hidden")
    return Places(hour=hour, amounts=amounts, **hidden)


def _usage_form() -> dict[str, Any]:
    """Which rows are meant, and how they are put together."""
    with gr.Row(elem_id="monitoring-usage-form", elem_classes=["form-bar"]):
        period, by, measure = (
            gr.Dropdown(
                choices=[(label(key), value) for value, key in rows.items()],
                value=value,
                label=label(title),
                filterable=False,
                elem_id=f"monitoring-{name}",
            )
            for name, rows, value, title in (
                ("period", PERIODS, "7", "monitoring.period"),
                ("by", GROUPS, "model", "monitoring.by"),
                ("measure", MEASURES, "requests", "monitoring.measure"),
            )
        )
        words = {
            name: gr.Textbox(
                label=label(key), max_lines=1, max_length=256, elem_id=f"monitoring-{name}"
            )
            for name, key in WORDS.items()
        }
    return {"period": period, "by": by, "measure": measure, **words}


def _log_form() -> dict[str, Any]:
    with gr.Row(elem_id="monitoring-log-form", elem_classes=["form-bar"]):
        level = gr.Dropdown(
            choices=list(LEVELS),
            value="INFO",
            label=label("monitoring.level"),
            filterable=False,
            elem_id="monitoring-level",
        )
        text = gr.Textbox(
            label=label("monitoring.search_log"),
            max_lines=1,
            max_length=200,
            elem_id="monitoring-text",
        )
    return {"level": level, "text": text}
