"""The Translate tab: two panes, files, a glossary. What it looks like is `ui/translate_views.py`."""

from __future__ import annotations

from engine import Engine
from ui import desks
from ui.desks import add_desk
from ui.header import name_of
from ui.translate_views import Desk, desk

TITLE = "translate.tab"
ORDER = 16
NEEDS = "translate"
# The page's script translates by the API; here it gets languages, models and texts.
VIEW = f'{desks.VIEW}<p class="aside" role="status" data-view="news"></p>'


def build(engine: Engine) -> None:
    """Lay the tab out inside the page that is being built."""
    add_desk("translate", lambda: _desk(engine), desk, TITLE, VIEW)


def _desk(engine: Engine) -> Desk:
    """What there is to translate with."""
    present = engine.downloads.is_present
    rows = [spec for spec in engine.translators() if spec.lane == "remote" or present(spec)]
    made = [spec for spec in rows if "translate" in spec.does]
    absent = [spec for spec in engine.models("translate") if not present(spec)]
    return Desk(
        models=tuple((spec.id, name_of(spec)) for spec in made),
        chats=tuple((spec.id, name_of(spec)) for spec in rows if spec not in made),
        languages={spec.id: engine.tongues(spec.id) for spec in made},
        everything=engine.tongues(),
        any=_any(engine),
        starters=tuple(spec.id for spec in made if spec.starter),
        better=tuple(name_of(spec) for spec in absent),
        speaks=bool(engine.models("speak")),
    )


def _any(engine: Engine) -> tuple[str, ...]:
    """The languages that a chat model may be asked for."""
    chats = [spec for spec in engine.translators() if "translate" not in spec.does]
    return engine.tongues(chats[0].id) if chats else ()
