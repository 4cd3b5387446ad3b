"""The Monitoring tab's plotly figures; text and grid take their colours from the style sheet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ui.words import say

COLOURS = ("#12827b", "#c98a1b", "#5a76c8", "#b0566f", "#6f9440", "#8763b8", "#3f9fc4", "#a2795a")
GREY = "#8b877f"
TOP = 7  # things with a colour of their own; the rest is put together


def hour(past: Mapping[str, Sequence[float]], gpu: bool, language: str) -> Any:
    """Processor, memory and GPU over the last hour, and the tokens made, as lines over minutes ago."""
    import plotly.graph_objects as go

    now = past["time"][-1] if past["time"] else 0.0
    ago = [round((at - now) / 60, 2) for at in past["time"]]
    lines = [("cpu_percent", "monitoring.cpu"), ("memory_percent", "models.memory")]
    if gpu:
        lines += [
            ("gpu_percent", "monitoring.gpu"),
            ("gpu_memory_percent", "monitoring.gpu_memory"),
        ]
    figure = go.Figure()
    for colour, (name, key) in zip(COLOURS, lines, strict=False):
        figure.add_scatter(
            x=ago, y=past[name], name=say(key, language), mode="lines",
            line={"color": colour, "width": 1.6}, hovertemplate="%{y:.0f} %",
        )  # fmt: skip
    figure.add_scatter(
        x=ago, y=past["tokens_s"], name=say("monitoring.tokens_s", language), mode="lines", yaxis="y2",
        line={"color": COLOURS[5], "width": 1.6, "dash": "dot"}, hovertemplate="%{y:.0f}",
    )  # fmt: skip
    figure.update_layout(
        **_layout(260),
        xaxis={"title": {"text": say("monitoring.minutes", language)}, "zeroline": False},
        yaxis={"range": [0, 101], "ticksuffix": " %", "zeroline": False},
        yaxis2={"overlaying": "y", "side": "right", "rangemode": "tozero", "showgrid": False},
    )
    return figure


def amounts(
    series: Sequence[tuple[str, str, float]],
    moments: Sequence[str],
    names: Mapping[str, str],
    language: str,
) -> Any:
    """Stacked bars over time, a colour for each of the largest.

    Args:
        moments: all that are shown, those without an amount too, as the series writes them.
        names: what keys are called; a key that is not there is its own name.
    """
    import plotly.graph_objects as go

    sums: dict[str, float] = defaultdict(float)
    for _, key, number in series:
        sums[key] += number
    top = sorted(sums, key=lambda key: -sums[key])[:TOP]
    found: dict[str | None, dict[str, float]] = {key: defaultdict(float) for key in (*top, None)}
    for at, key, number in series:
        found[key if key in top else None][at] += number
    figure = go.Figure()
    rest = say("monitoring.others", language)
    none = say("monitoring.none", language)
    bars = [(found[key], names.get(key) or key or none) for key in top]
    for colour, (amount, name) in zip(
        (*COLOURS[: len(top)], GREY), [*bars, (found[None], rest)], strict=True
    ):
        if amount:
            heights = [round(amount.get(at, 0.0), 3) for at in moments]
            figure.add_bar(x=moments, y=heights, name=name[:40], marker={"color": colour})
    figure.update_layout(
        **_layout(280),
        barmode="stack",
        bargap=0.25,
        xaxis={"type": "date", "range": [moments[0], moments[-1]] if len(moments) > 60 else None},
        yaxis={"rangemode": "tozero"},
    )
    return figure


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 48, "r": 40, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "y": 1.16, "x": 0},
        "hovermode": "x unified",
        "showlegend": True,
        "template": "none",
    }
