"""The slim header: name, device, memory, queue; and how models are named on the page."""

from __future__ import annotations

from html import escape

import gradio as gr

from engine import Engine, EngineStatus, LaneStatus, ModelSpec, ResidentModel
from ui.parts import QUIET, html, reader
from ui.words import label, say

SECONDS = 3.0  # between two looks at the engine; none while the page is hidden


def size(count: float) -> str:
    """Bytes for people: "1.4 GB"."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 100 or unit == "B" else f"{count:.1f} {unit}"


def span(seconds: float) -> str:
    """Seconds for people: "42 s", "3 min", "2 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.0f} h"


def name_of(spec: ModelSpec) -> str:
    return spec.title or spec.id


def title_of(engine: Engine, model: str) -> str:
    """A model's name for people; the id where the catalog no longer has it."""
    spec = next((s for s in engine.models() if s.id == model), None)
    return name_of(spec) if spec else model


def choices(specs: list[ModelSpec], loaded: set[str], language: str) -> list[tuple[str, str]]:
    """The model picker's rows: "Atelier starter · starter · loaded"."""
    rows = []
    for spec in specs:
        marks = [name_of(spec), spec.params]
        marks += [say("model.starter", language)] if spec.starter else []
        marks += [say("model.loaded", language)] if spec.id in loaded else []
        rows.append((" · ".join(mark for mark in marks if mark), spec.id))
    return rows


def live(status: EngineStatus, language: str) -> str:
    """The header's right side as HTML: per device its name, memory and queue."""
    lanes = [lane for lane in status.lanes if lane.total or lane.running or lane.waiting]
    return f'<div class="devices">{"".join(_device(lane, language) for lane in lanes)}</div>'


def _device(lane: LaneStatus, language: str) -> str:
    share = min(100, round(100 * lane.used / lane.total)) if lane.total else 0
    held = min(share, round(100 * lane.held / lane.total)) if lane.total else 0
    memory = say("page.memory", language, used=size(lane.used), total=size(lane.total))
    budget = say("page.memory_of_models", language, held=size(lane.held), budget=size(lane.budget))
    chips = "".join(_chip(model, language) for model in lane.resident)
    chips = chips or f"<p>{escape(say('page.no_model_loaded', language))}</p>"
    busy = lane.running or lane.waiting
    queue = say("page.running", language, n=lane.running) if busy else say("page.idle", language)
    if lane.waiting:
        queue += " · " + say("page.waiting", language, n=lane.waiting)
    return (
        f'<div class="device{" busy" if busy else ""}">'
        f'<span class="device-name"><i class="dot"></i>{escape(lane.title)}</span>'
        f'<span class="meter" tabindex="0" role="group" aria-label="{escape(memory)}">'
        f'<span class="bar"><i style="width:{share}%"></i><b style="width:{held}%"></b></span>'
        f'<span class="figure">{escape(size(lane.used))} / {escape(size(lane.total))}</span>'
        f'<span class="pop"><strong>{escape(memory)}</strong><em>{escape(budget)}</em>{chips}'
        f'<a href="#models">{escape(say("models.manage", language))}</a></span>'
        f'</span><span class="queue">{escape(queue)}</span></div>'
    )


def _chip(model: ResidentModel, language: str) -> str:
    state = (
        say("page.in_use", language)
        if model.leases
        else say("page.idle_for", language, time=span(model.idle_s))
    )
    if model.pinned:
        state += " · " + say("page.pinned", language)
    return (
        f'<span class="chip"><b>{escape(model.id)}</b>'
        f"<span>{escape(size(model.memory))} · {escape(state)}</span></span>"
    )


def build_header(engine: Engine, logo: str) -> None:
    """The header and the timer that keeps it true while its page is seen."""
    with gr.Row(elem_id="page-head"):
        html("page-name", f'<div class="name">{logo}<span>Atelier</span></div>')
        state = html("page-live")
        gr.Button(
            label("page.theme"), elem_classes=["icon", "pic-theme", "theme-toggle"], size="sm"
        )
    seen = gr.Textbox(elem_id="page-seen", visible="hidden", show_label=False)
    timer = gr.Timer(SECONDS)

    def show(request: gr.Request) -> str:
        return live(engine.status(), reader(request))

    def wake(told: str, request: gr.Request) -> tuple[gr.Timer, str]:
        """The page's script told that the page is seen ("1#…") or hidden ("0#…")."""
        return gr.Timer(active=not told.startswith("0")), show(request)

    timer.tick(show, None, state, **QUIET)
    seen.change(wake, seen, [timer, state], **QUIET)
