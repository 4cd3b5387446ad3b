"""The doctor's panel: does everything work here? Painted check by check while it looks.

`build_doctor` lays it out wherever it is called; it stands once on the page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from engine import Check, Engine, examine, worst
from ui.conversations import flat
from ui.keeping import is_admin
from ui.parts import QUIET, address, html, reader, warn
from ui.words import label, say

GROUPS = {
    "machine": "doctor.machine", "run": "doctor.runs", "versions": "doctor.versions", "data": "doctor.data",
    "ports": "doctor.ports", "programs": "doctor.programs", "page": "doctor.page", "servers": "doctor.servers",
}  # fmt: skip
LEVELS = {"ok": "doctor.ok", "warn": "doctor.warn", "fail": "doctor.fail", "skip": "doctor.skip"}
SUMS = {"ok": "doctor.all_well", "warn": "doctor.some_warn", "fail": "doctor.some_fail"}
COMMANDS = ("sudo ", "pip ", "python ", "ATELIER_", "make ", "ssh ")
BEAT = 0.5  # seconds
Steps = AsyncGenerator[dict[Any, Any]]


def build_doctor(engine: Engine) -> None:
    """Lay the panel out inside the page that is being built."""
    with gr.Column(elem_id="doctor"):
        with gr.Row(elem_id="doctor-head"):
            gr.Markdown(label("doctor.about"), elem_id="doctor-about")
            button = gr.Button(label("doctor.examine"), elem_id="doctor-go", size="sm", scale=0)
        view = html("doctor-view")
    panel = Panel(engine, view)
    button.click(panel.examine, outputs=[view], **QUIET)


@dataclass(slots=True)
class Panel:
    """The panel's handler. One examination runs at a time, since its runs take the device; it goes on when its page
    is closed, and whoever asks meanwhile follows it."""

    engine: Engine
    view: gr.Markdown
    _found: list[Check] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def examine(self, request: gr.Request) -> Steps:
        """Look at everything; what was found so far is painted with each new check."""
        language = reader(request)
        if not is_admin(request):
            warn(say("models.admins_only", language))
            yield {self.view: gr.skip()}
            return
        if self._task is None or self._task.done():
            self._found = []
            self._task = asyncio.create_task(self._look(address(request)))
        task, painted = self._task, -1
        while not task.done():
            news, painted = len(self._found) != painted, len(self._found)
            # the empty ones are signs of life: loading a model may take a minute
            yield {self.view: paint(self._found, language, going=True) if news else gr.skip()}
            await asyncio.wait([task], timeout=BEAT)
        await task
        yield {self.view: paint(self._found, language)}

    async def _look(self, origin: str) -> None:
        async for check in examine(self.engine, origin=origin, serving=True):
            self._found.append(check)


def paint(checks: Sequence[Check], language: str, going: bool = False) -> str:
    """All checks so far, by group, and what they come to."""
    parts = []
    for group, key in GROUPS.items():
        rows = "".join(_row(check, language) for check in checks if check.group == group)
        if rows:
            parts.append(f"<section><h4>{flat(say(key, language))}</h4><ul>{rows}</ul></section>")
    if going:
        dots = '<i class="dots"><b></b><b></b><b></b></i>'
        head = f'<p class="sum" role="status">{dots} {flat(say("doctor.going", language))}</p>'
    else:
        level = worst(list(checks))
        bad = sum(check.level in {"warn", "fail"} for check in checks)
        text = say(SUMS[level], language, n=bad)
        head = f'<p class="sum {level}" role="status"><i class="mark"></i>{flat(text)}</p>'
    return f'<div class="checks">{head}{"".join(parts)}</div>'


def _row(check: Check, language: str) -> str:
    word = flat(say(LEVELS[check.level], language))
    fix = ""
    if check.fix:
        tag = "code" if check.fix.startswith(COMMANDS) else "span"
        fix = f'<p class="fix"><{tag}>{flat(check.fix)}</{tag}></p>'
    return (
        f'<li class="{check.level}"><i class="mark" title="{word}"></i><div><b>{flat(check.name)}</b>'
        f'<span class="aside"> ({word})</span> <span>{flat(check.text)}</span>{fix}</div></li>'
    )
