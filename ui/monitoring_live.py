"""The Monitoring tab's tiles: a figure for each thing that is measured, and its last minutes. Values in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine import Sample
from ui.conversations import flat
from ui.header import size, span
from ui.words import say

WIDTH, HEIGHT = 120, 30  # of a sparkline's own units
WINDOW = 600.0  # seconds that a sparkline shows
POINTS = 100
FULL = 100.0


def tiles(sample: Sample, past: Mapping[str, Sequence[float]], language: str) -> str:
    """One tile each for processor, memory, GPUs, tokens, queue, network, disk and this process.

    Args:
        past: the last minutes as `System.history` tells them.
    """

    def line(name: str, top: float = 0.0) -> str:
        return spark(past.get(name, ()), top)

    load = say("monitoring.load", language, n=f"{sample.load[0]:.1f}", cores=sample.cores)
    used = sample.memory_total - sample.memory_available
    memory = say("page.memory", language, used=size(used), total=size(sample.memory_total))
    status, own = sample.engine, sample.process
    work = (
        say("page.running", language, n=status.running)
        if status.running
        else say("page.idle", language)
    )
    if status.waiting:
        work += " · " + say("page.waiting", language, n=status.waiting)
    free = say(
        "monitoring.free", language, size=size(sample.disk_free), total=size(sample.disk_total)
    )
    traffic = say(
        "monitoring.traffic",
        language,
        received=f"{size(sample.received_s)}/s",
        sent=f"{size(sample.sent_s)}/s",
    )
    process = say(
        "monitoring.process_figures", language, threads=own.threads, time=span(own.uptime_s)
    )
    lag = say("monitoring.lag", language, ms=f"{1000 * own.loop_lag_s:.0f}")
    rate = f"{size(sample.received_s + sample.sent_s)}/s"
    shares = {
        "cpu": sample.cpu_percent,
        "memory": sample.memory_percent,
        "disk": sample.disk_percent,
    }
    cpu, ram, disk = map(percent, shares.values())
    made = [
        _tile("cpu", say("monitoring.cpu", language), cpu, load, line("cpu_percent", FULL)),
        _tile("memory", say("models.memory", language), ram, memory, line("memory_percent", FULL)),
        *_gpus(sample, past, language),
        _tile("tokens", say("monitoring.tokens_s", language), f"{sample.tokens_s:.0f}", work, line("tokens_s")),
        _tile("queue", say("monitoring.queue", language), str(status.waiting), lag, line("waiting")),
        _tile("network", say("monitoring.network", language), rate, traffic, line("received_s")),
        _tile("disk", say("monitoring.disk", language), disk, free, _bar(sample.disk_percent)),
        _tile("process", say("monitoring.process", language), size(own.memory), process, line("process_memory")),
    ]  # fmt: skip
    return f'<div class="tiles" data-key="tiles">{"".join(made)}</div>'


def _gpus(sample: Sample, past: Mapping[str, Sequence[float]], language: str) -> list[str]:
    found = []
    for gpu in sample.gpus:
        facts = [say("page.memory", language, used=size(gpu.used), total=size(gpu.total))]
        facts += [f"{gpu.temperature:.0f} °C"] if gpu.temperature is not None else []
        facts += [f"{gpu.power:.0f} W"] if gpu.power is not None else []
        figure = percent(gpu.utilization) if gpu.utilization is not None else percent(gpu.percent)
        known = (
            gpu.utilization is not None and len(sample.gpus) == 1
        )  # the history holds the busiest
        name = "gpu_percent" if known else "gpu_memory_percent"
        picture = spark(past.get(name, ()), FULL) if len(sample.gpus) == 1 else _bar(gpu.percent)
        found.append(_tile(f"gpu{gpu.index}", gpu.name, figure, " · ".join(facts), picture))
    return found


def percent(value: float) -> str:
    return f"{value:.0f} %"


def _tile(key: str, title: str, figure: str, more: str, picture: str) -> str:
    return (
        f'<section class="tile" data-key="{key}"><h3>{flat(title)}</h3><b>{flat(figure)}</b>'
        f"<p>{flat(more)}</p>{picture}</section>"
    )


def _bar(value: float) -> str:
    return f'<span class="track"><i style="width:{min(100.0, max(0.0, value)):.1f}%"></i></span>'


def spark(values: Sequence[float], top: float = 0.0) -> str:
    """A small chart without axes.

    Args:
        top: what its upper edge stands for; 0: the largest value.
    """
    top = top or max(values, default=0.0) or 1.0
    if len(values) < 2:
        values = [*values, *values] or [0.0, 0.0]
    step = WIDTH / (len(values) - 1)
    places = [
        f"{n * step:.1f},{HEIGHT - 1 - (HEIGHT - 2) * min(1.0, max(0.0, value / top)):.1f}"
        for n, value in enumerate(values)
    ]
    way = "L".join(places)
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="area" d="M0,{HEIGHT}L{way}L{WIDTH},{HEIGHT}Z"></path>'
        f'<path class="line" d="M{way}"></path></svg>'
    )
