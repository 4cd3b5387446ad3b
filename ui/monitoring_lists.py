"""The Monitoring tab's containers and log. Values in, HTML out."""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine import Container, Record
from ui.cards import button
from ui.conversations import flat
from ui.dialogs import sheet
from ui.header import size
from ui.words import say

STATES = {
    "running": "monitoring.state_running", "exited": "monitoring.state_exited", "created": "monitoring.state_created",
    "paused": "monitoring.state_paused", "restarting": "monitoring.state_restarting", "dead": "monitoring.state_dead",
}  # fmt: skip
ASKED = {
    "stop": ("monitoring.stop_title", "monitoring.stop_body", "monitoring.stop"),
    "restart": ("monitoring.restart_title", "monitoring.stop_body", "monitoring.restart"),
}


def nothing(text: str) -> str:
    """What is said in place of a list."""
    return f'<div class="shelf"><p class="none">{flat(text)}</p></div>'


def containers(
    found: Sequence[Container], opened: str, output: str, prefix: str, language: str
) -> str:
    """A card for each container.

    Args:
        opened: the id of the one whose output is shown; `output`: its last lines.
        prefix: how the names of those begin that may be seen.
    """
    if not found:
        return nothing(say("monitoring.no_containers", language, prefix=prefix))
    cards = "".join(_container(one, one.id == opened, output, language) for one in found)
    return f'<div class="shelf containers">{cards}</div>'


def _container(one: Container, opened: bool, output: str, language: str) -> str:
    going = one.status in ("running", "restarting", "paused")
    state = say(STATES[one.status], language) if one.status in STATES else one.status
    tools = (
        button("ask_restart", say("monitoring.restart", language), "quiet", id=one.id)
        + button("ask_stop", say("monitoring.stop", language), "quiet", id=one.id)
        if going
        else button("start", say("monitoring.start", language), "primary", id=one.id)
    )
    logs = say("monitoring.hide_output" if opened else "monitoring.output", language)
    show = (
        f'<button type="button" class="act quiet" data-output="{flat(one.id)}" aria-expanded="{str(opened).lower()}">'
        f"{flat(logs)}</button>"
    )
    ports = ", ".join(
        f"{bound['HostPort']} → {inner}" for inner, outer in one.ports.items() for bound in outer
    )
    facts = [one.image, one.uptime, ports]
    figures = ""
    if going:
        used = say(
            "page.memory",
            language,
            used=size(one.load.memory_usage),
            total=size(one.load.memory_limit),
        )
        figures = (
            f'<p class="figures"><span>{flat(say("monitoring.cpu", language))} '
            f"<b>{one.load.cpu_percent:.1f} %</b></span>"
            f"<span>{flat(used)}</span></p>"
            f'<span class="track"><i style="width:{min(100.0, one.load.memory_percent):.1f}%"></i></span>'
        )  # fmt: skip
    text = flat(output) if output.strip() else flat(say("monitoring.no_output", language))
    tail = f'<pre class="output" tabindex="0" data-key="output">{text}</pre>' if opened else ""
    return (
        f'<article class="crate {"up" if going else "off"}" data-key="{flat(one.id)}"><header><i class="dot"></i>'
        f'<h4>{flat(one.name)}</h4><span class="badge">{flat(state)}</span></header>'
        f'<p class="facts">{" · ".join(flat(fact) for fact in facts if fact)}</p>{figures}'
        f"<footer>{tools}{show}</footer>{tail}</article>"
    )


def confirm(act: str, id: str, name: str, language: str) -> str:
    """Asks before something is stopped."""
    title, body, verb = (say(key, language, name=name) for key in ASKED[act])
    return sheet(title, f"<p>{flat(body)}</p>", language, act=act, submit=verb, style="stop", id=id)


def log(records: Sequence[Record], language: str) -> str:
    """The log's records, newest first."""
    if not records:
        return nothing(say("monitoring.no_records", language))
    rows = "".join(_record(record) for record in records)
    return f'<div class="shelf log" role="log" aria-live="off">{rows}</div>'


def _record(record: Record) -> str:
    stamp = time.strftime("%H:%M:%S", time.localtime(record.time))
    name = f"<code>{flat(record.request_id)}</code>" if record.request_id else ""
    error = f'<span class="failed">{flat(record.error)}</span>' if record.error else ""
    return (
        f'<p class="record {record.level.lower()}" data-key="{record.number}"><time>{stamp}</time>'
        f"<i>{flat(record.level)}</i><b>{flat(record.logger.removeprefix('atelier.'))}</b>"
        f"<span>{flat(record.message)}</span>{name}{error}</p>"
    )
