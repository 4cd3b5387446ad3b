"""The Speech tab: recordings written down."""

from __future__ import annotations

from engine import Engine
from ui.hearing import build_hearing

TITLE = "hearing.tab"
ORDER = 15
NEEDS = "transcribe"


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    build_hearing(engine)
