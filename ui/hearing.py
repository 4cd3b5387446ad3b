"""Writing recordings down: its place on the page. The page's script transcribes by the API; here it gets pickers and
texts.

What it looks like is `ui/hearing_views.py`, what it does `assets/hearing.js`.
"""

from __future__ import annotations

from engine import Engine
from ui.desks import add_desk
from ui.header import name_of
from ui.hearing_views import Ears, Hearer, desk


def build_hearing(engine: Engine) -> None:
    """Lay the part out inside the page that is being built."""
    add_desk("hearing", lambda: _ears(engine), desk, "hearing.title")


def _ears(engine: Engine) -> Ears:
    """What there is to listen with, the default first."""
    specs = engine.models("transcribe")
    present = [spec for spec in specs if engine.downloads.is_present(spec)]
    absent = [name_of(spec) for spec in specs if spec not in present]
    chosen = engine.registry.default("transcribe").id if specs else ""
    present.sort(key=lambda spec: spec.id != chosen)
    return Ears(
        tuple(
            Hearer(
                spec.id,
                name_of(spec),
                spec.languages,
                "translate" in spec.options.get("tasks", ("translate",)),
            )
            for spec in present
        ),
        tuple(absent),
        any(spec.starter for spec in present[:1]),
    )
