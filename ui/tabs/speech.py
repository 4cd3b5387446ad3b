"""The Speech tab: texts spoken aloud."""

from __future__ import annotations

from engine import Engine
from ui.speaking import build_speaking

TITLE = "speaking.tab"
ORDER = 15
NEEDS = "speak"


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    build_speaking(engine)
