"""Speaking a text: its place on the page. The page's script speaks by the API; here it gets voices and texts.

What it looks like is `ui/speaking_views.py`, what it does `assets/speaking.js`.
"""

from __future__ import annotations

from engine import Engine, ModelSpec
from ui.desks import add_desk
from ui.header import name_of
from ui.speaking_views import Desk, desk


def build_speaking(engine: Engine) -> None:
    """Lay the part out inside the page that is being built."""
    add_desk("speaking", lambda: _desk(engine), desk, "speaking.title")


def _desk(engine: Engine) -> Desk:
    """What there is to speak with."""
    specs = engine.models("speak")
    present = [spec for spec in specs if engine.downloads.is_present(spec)]
    absent = [spec for spec in specs if spec not in present]
    return Desk(
        models=tuple((spec.id, name_of(spec)) for spec in present),
        voices=tuple(engine.voices()),
        titles={spec.id: name_of(spec) for spec in specs},
        licences={spec.id: spec.licence for spec in specs},
        better=tuple(name_of(spec) for spec in absent),
        cloners=tuple(name_of(spec) for spec in specs if clones(spec)),
        clones=any(clones(spec) for spec in present),
    )


def clones(spec: ModelSpec) -> bool:
    """Whether a model speaks with the voice of a recording."""
    return "audio" in spec.accepts
