"""The page: a Gradio app over an engine. `build_ui` makes it, `MOUNT` says how to serve it.

Knows the engine's public surface and no HTTP route. Imported late: Gradio costs a second.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr

from engine import Engine
from ui import tabs
from ui.endpoints import add_endpoints
from ui.header import build_header
from ui.parts import html
from ui.theme import theme
from ui.words import label, translations

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SCRIPTS = ("page.js", "paint.js", "models.js", "vision.js", "ocr.js", "files.js", "media.js")
STYLES = (
    "atelier.css",
    "chat.css",
    "models.css",
    "vision.css",
    "ocr.css",
    "files.css",
    "media.css",
    "doctor.css",
)
MAX_WAITING = (
    1024  # events of all pages that may wait; the engine's own queue is the one that limits
)
MAX_RUNNING = 1024


def find_tabs(engine: Engine) -> list[ModuleType]:
    """The tabs a user can use, in their order: modules in `ui/tabs/` whose capability some model has."""
    modules = [
        importlib.import_module(f"{tabs.__name__}.{info.name}")
        for info in pkgutil.iter_modules(tabs.__path__)
        if not info.name.startswith("_")
    ]
    usable = [m for m in modules if m.NEEDS is None or engine.models(m.NEEDS)]
    return sorted(usable, key=lambda module: module.ORDER)


def build_ui(engine: Engine) -> gr.Blocks:
    """The whole page, not yet mounted."""
    with gr.Blocks(
        title="Atelier", fill_width=True, fill_height=True, analytics_enabled=False
    ) as page:
        build_header(engine, (ASSETS / "logo.svg").read_text(encoding="utf-8").replace("\n", ""))
        found = find_tabs(engine)
        names = " ".join(tab.__name__.rpartition(".")[2] for tab in found)
        html("page-order", f'<i data-tabs="{names}"></i>', visible="hidden")
        with gr.Tabs(elem_id="page-tabs"):
            for tab in found:
                name = tab.__name__.rpartition(".")[2]
                with gr.Tab(label(tab.TITLE), id=name, elem_id=f"tab-{name}"):
                    tab.build(engine)
        add_endpoints(engine)
    page.max_threads = MAX_RUNNING
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=None)


def _mount() -> dict[str, Any]:
    script = "".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return {
        "theme": theme(),
        "css_paths": [ASSETS / name for name in STYLES],
        "head": (
            '<meta name="referrer" content="same-origin">'
            '<meta name="theme-color" content="#faf8f4" media="(prefers-color-scheme: light)">'
            '<meta name="theme-color" content="#101518" media="(prefers-color-scheme: dark)">'
            f"<script>{script}</script>"
        ),
        "favicon_path": str(ASSETS / "logo.svg"),
        "i18n": translations(),
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "show_error": False,
        "ssr_mode": False,
    }


MOUNT = _mount()  # what `gr.mount_gradio_app` needs besides app, page and path
