"""The live part of the Models tab: memory by device, what runs and downloads, other servers. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from zlib import crc32

from engine import LaneStatus, ResidentModel, Ticket
from ui.cards import PHASES, button
from ui.conversations import flat
from ui.header import name_of, size, span
from ui.stock import Scene
from ui.words import say

KEEP = {
    "300": "models.keep_short",
    "3600": "models.keep_hour",
    "-1": "models.keep_always",
    "0": "models.keep_none",
}
SHADES = 6  # colours of the models in the bar; the style sheet has them


def monitor(scene: Scene, mine: Collection[str], keep_alive: float, language: str) -> str:
    """Memory, jobs and servers.

    Args:
        mine: ids of the tickets that this reader may see whole and change.
        keep_alive: seconds a model stays when nobody says otherwise.
    """
    names = {card.spec.id: name_of(card.spec) for card in scene.cards}
    lanes = [lane for lane in scene.status.lanes if lane.total]
    devices = "".join(_device(lane, names, keep_alive, language) for lane in lanes)
    return (
        f'<div class="monitor" data-moving="{int(scene.moving)}"><div class="side">{devices}'
        f'{_servers(scene.servers, language)}</div><div class="side">'
        f"{_jobs(scene.jobs, mine, names, language)}</div></div>"
    )


# Memory


def _device(lane: LaneStatus, names: dict[str, str], keep_alive: float, language: str) -> str:
    others = max(0, lane.used - lane.held)
    shades = _shades([model.id for model in lane.resident])
    parts = [
        _span(model.memory, lane.total, f"shade-{shades[model.id]}", names.get(model.id, model.id))
        for model in lane.resident
    ]
    other = say("models.others", language, size=size(others))
    parts.append(_span(others, lane.total, "others", say("models.other_programs", language)))
    free = say("models.free", language, size=size(max(0, lane.total - lane.used)))
    limit = min(100.0, 100 * lane.budget / lane.total)
    budget = say("page.memory_of_models", language, held=size(lane.held), budget=size(lane.budget))
    chips = "".join(
        _chip(model, shades[model.id], names, keep_alive, language) for model in lane.resident
    )
    chips = chips or f'<p class="none">{flat(say("page.no_model_loaded", language))}</p>'
    return (
        f'<section class="panel memory" data-key="device:{flat(lane.name)}">'
        f"<header><h3>{flat(say('models.memory', language))}</h3><span>{flat(lane.title)}</span>"
        f'<span class="end">{flat(budget)}</span></header>'
        f'<div class="stack" role="img" aria-label="{flat(f"{budget}. {other}. {free}.")}">'
        f'{"".join(parts)}<u style="left:{limit:.2f}%" title="{flat(budget)}"></u></div>'
        f'<p class="legend"><span><i class="others"></i>{flat(other)}</span>'
        f"<span><i></i>{flat(free)}</span></p>"
        f'<div class="chips">{chips}</div></section>'
    )


def _shades(models: Sequence[str]) -> dict[str, int]:
    """A colour for each model, its own as far as there are enough: it keeps it when others come and go."""
    taken: dict[str, int] = {}
    for model in sorted(models):
        first = crc32(model.encode()) % SHADES
        free = [n for n in range(SHADES) if n not in taken.values()]
        taken[model] = first if first in free or not free else free[0]
    return taken


def _span(count: int, total: int, kind: str, name: str) -> str:
    width = 100 * count / total if total else 0
    title = flat(f"{name} · {size(count)}")
    return f'<i class="{kind}" style="width:{width:.2f}%" title="{title}"></i>'


def _chip(
    model: ResidentModel, shade: int, names: dict[str, str], keep_alive: float, language: str
) -> str:
    name = names.get(model.id, model.id)
    state = (
        say("page.in_use", language)
        if model.leases
        else say("page.idle_for", language, time=span(model.idle_s))
    )
    pin = "models.unpin" if model.pinned else "models.pin"
    pinned = button(
        "pin", say(pin, language), icon="pin", pressed=model.pinned,
        model=model.id, value="" if model.pinned else "on",
    )  # fmt: skip
    eject = button("unload", say("models.unload", language), icon="eject", model=model.id)
    figures = " · ".join(part for part in (size(model.memory), model.form, state) if part)
    return (
        f'<div class="chip-row" data-key="{flat(model.id)}"><i class="swatch shade-{shade}"></i>'
        f'<span class="who"><b>{flat(name)}</b><span>{flat(figures)}</span></span>'
        f"{_keep(model, keep_alive, language)}{pinned}{eject}</div>"
    )


def _keep(model: ResidentModel, keep_alive: float, language: str) -> str:
    """How long it stays unused. What is set but not offered is shown as it is."""
    told = f"{keep_alive:g}"
    usual = span(keep_alive) if keep_alive >= 0 else say("models.keep_always", language)
    now = f"{model.keep_alive:g}"
    rows = [(value, say(key, language)) for value, key in KEEP.items() if value != told]
    if now not in KEEP and now != told:
        rows.append((now, span(model.keep_alive)))
    rows.append((told, say("models.keep_server", language, time=usual)))
    options = "".join(
        f'<option value="{value}"{" selected" if value == now else ""}>{flat(text)}</option>'
        for value, text in rows
    )
    text = flat(say("models.keep", language))
    return (
        f'<label class="keep" title="{text}"><span class="aside">{text}</span>'
        f'<select data-act="keep" data-model="{flat(model.id)}">{options}</select></label>'
    )


# What runs


def _jobs(
    jobs: Sequence[Ticket], mine: Collection[str], names: dict[str, str], language: str
) -> str:
    title = flat(say("models.activity", language))
    rows = "".join(_job(job, job.id in mine, names, language) for job in jobs)
    rows = rows or f'<p class="none">{flat(say("models.no_jobs", language))}</p>'
    return (
        f'<section class="panel jobs" data-key="jobs" aria-label="{title}"><header><h3>{title}</h3>'
        f"</header>{rows}</section>"
    )


def _job(job: Ticket, mine: bool, names: dict[str, str], language: str) -> str:
    model = names.get(job.model, job.model)
    about: list[str] = []
    if job.kind == "download":
        title = model
    elif job.kind == "media":
        title = job.title if mine else say("models.a_request", language)
    else:
        title, about = job.title if mine else say("models.a_request", language), [model]
    percent = min(100.0, 100 * job.done / job.total) if job.total else 0.0
    icon = "download" if job.kind == "download" else "chat"
    figures = " · ".join([*about, _phase(job, language), *_figures(job, language)])
    failed = f'<p class="failed">{flat(job.error)}</p>' if job.phase == "failed" else ""
    bar = (
        f'<span class="track" role="progressbar" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent:.0f}" aria-label="{flat(title)}">'
        f'<i style="width:{percent:.1f}%"></i></span>'
        if job.total and job.phase != "failed"
        else ""
    )
    over = f"{title}: {say(PHASES['done'], language)}"
    return (
        f'<div class="job {job.phase}" data-key="{flat(job.id)}" data-job="{flat(job.id)}" '
        f'data-told="{flat(f"{title}: {_phase(job, language)}")}" data-done="{percent:.1f}" '
        f'data-of="{flat(job.model)}" data-over="{flat(over)}">'
        f'<i class="pic-{icon}"></i><span class="who"><b>{flat(title)}</b>'
        f"<span>{flat(figures)}</span></span>"
        f'<span class="tools">{_tools(job, language) if mine else ""}</span>{bar}{failed}</div>'
    )


def _phase(job: Ticket, language: str) -> str:
    if job.phase == "queued" and job.ahead:
        return say("models.ahead", language, n=job.ahead)
    return say(PHASES[job.phase], language)


def _figures(job: Ticket, language: str) -> list[str]:
    """How far it is, how fast, how long still."""
    found = []
    if job.kind == "download" and job.total:
        done, total = size(job.done), size(job.total)
        found.append(say("models.of", language, done=done, total=total))
        if job.phase == "downloading" and job.speed:
            found.append(f"{size(job.speed)}/s")
    elif job.phase == "running" and job.done:
        found.append(say("chat.tokens", language, n=job.done))
        found.append(say("chat.rate", language, n=f"{job.speed:.0f}"))
    elif job.phase in ("loading", "downloading") and job.total:
        found.append(f"{100 * job.done // job.total} %")
    if job.kind == "download" and job.seconds_left is not None:
        found.append(say("models.left", language, time=span(job.seconds_left)))
    return found


def _tools(job: Ticket, language: str) -> str:
    if job.kind == "request":
        return button("stop", say("chat.stop", language), icon="stop", job=job.id)
    again = {
        "paused": ("resume", "models.resume", "play"),
        "failed": ("retry", "models.retry", "again"),
    }.get(job.phase, ("pause", "models.pause", "pause"))
    first = button(again[0], say(again[1], language), icon=again[2], job=job.id)
    cancel = say("models.cancel_yes", language)
    if job.kind == "media":
        return button("stop", cancel, icon="stop", job=job.id)
    return first + button("ask_cancel", cancel, icon="close", job=job.id)


# Other servers


def _servers(servers: Sequence[Any], language: str) -> str:
    if not servers:
        return ""
    title = flat(say("models.servers", language))
    rows = "".join(_server(server, language) for server in servers)
    again = button("refresh", say("models.refresh", language), icon="again")
    return (
        f'<section class="panel servers" data-key="servers" aria-label="{title}">'
        f"<header><h3>{title}</h3>{again}</header>{rows}</section>"
    )


def _server(server: Any, language: str) -> str:
    state = {True: "models.server_up", False: "models.server_is_down", None: "models.server_new"}
    kind = {True: "up", False: "down", None: "new"}[server.healthy]
    count = say("models.server_models", language, n=len(server.models))
    figures = " · ".join([say(state[server.healthy], language), count, server.url])
    error = f'<p class="failed">{flat(server.error)}</p>' if server.healthy is False else ""
    pull = ""
    if server.kind == "ollama" and server.healthy:
        pull = button("ask_pull", say("models.pull", language), icon="download")
    remove = (
        button(
            "ask_forget", say("models.remove_server", language), icon="delete", server=server.name
        )
        if server.source == "added"
        else ""
    )
    return (
        f'<div class="job server {kind}" data-key="{flat(server.name)}"><i class="dot"></i>'
        f'<span class="who"><b>{flat(server.name)}</b><span>{flat(figures)}</span></span>'
        f'<span class="tools">{pull}{remove}</span>{error}</div>'
    )
