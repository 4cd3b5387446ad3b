"""The page as an ASGI app that is there before it is: Gradio is imported and mounted in the background.

Knows how to mount a Blocks app safely and keep its upload folder small, not what is on the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.machinery
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engine import BadValue, Settings, Unavailable
from middleware.origins import Origins
from middleware.scope import Refuse, header, path_of

Build = Callable[[], tuple[Any, Mapping[str, Any]]]  # -> (a gradio.Blocks, mount keywords)
PATIENCE = 8.0
HOUR = 3600.0
DAY = 24 * HOUR
STARTING = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Atelier</title><body style="font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh">
<p role="status">Atelier is starting…</p></body></html>"""
log = logging.getLogger("atelier.page")


class Page:
    """Gradio behind a wait.

    Attributes:
        app: Gradio's own app, once it is there.
        folder: where uploads lie.

    Args:
        build: makes the Blocks, its queue set up, and the keywords for mounting it; called in a thread.
        settings: the upload folder lies in its data folder.
    """

    def __init__(self, build: Build, settings: Settings, refuse: Refuse) -> None:
        self._build = build
        self._settings = settings
        self._refuse = refuse
        self.app: ASGIApp | None = None
        self._ready = asyncio.Event()
        self._close = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.folder = settings.data_dir / "uploads"

    async def open(self, delay: float = 0.0) -> None:
        """Begin to build, after `delay` seconds; returns at once."""
        self._task = asyncio.create_task(self._live(delay), name="page")
        self._task.add_done_callback(self._note)

    async def close(self) -> None:
        """End Gradio's background work."""
        self._close.set()
        if self._task is not None:
            if self.app is None:  # a thread cannot be stopped: it is left to finish alone
                self._task.cancel()
            await asyncio.wait((self._task,), timeout=1.0)

    async def ready(self) -> None:
        """Return when the page is there, or failed."""
        await self._ready.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), PATIENCE)
        if self.app is not None:
            await self.app(scope, receive, send)
            return
        answer: Response
        if not self._ready.is_set() and "text/html" in header(scope, b"accept"):
            answer = HTMLResponse(STARTING, 503, {"retry-after": "2"})
        else:
            failed = self._ready.is_set()
            message = "could not be built; the log says why" if failed else "is starting. Ask again"
            error = Unavailable(f"The page {message}. The API works.", retry_after=2)
            answer = self._refuse(path_of(scope), error)
        await answer(scope, receive, send)

    def _note(self, task: asyncio.Task[None]) -> None:
        self._ready.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("The page could not be built.", exc_info=task.exception())

    async def _live(self, delay: float) -> None:
        """Build, run Gradio's own lifespan, sweep the uploads every hour, until `close`."""
        await asyncio.sleep(delay)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        began = time.monotonic()
        app, blocks = await asyncio.to_thread(self._mount)
        async with app.router.lifespan_context(app):
            blocks.run_startup_events()
            await blocks.run_extra_startup_events()
            self.app = app
            self._ready.set()
            log.info("The page is ready after %.1f s.", time.monotonic() - began)
            while not self._close.is_set():
                await asyncio.to_thread(sweep, self.folder, DAY)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._close.wait(), HOUR)

    def _mount(self) -> tuple[Any, Any]:
        """Import Gradio, build the page and make its ASGI app, with every door closed that we do not use."""
        os.environ["GRADIO_TEMP_DIR"] = str(self.folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        # Nobody sees Gradio's own table of past events; counted anew at every event, it makes each one slower.
        os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(sys.maxsize)
        os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
        _skip_stubs()
        import gradio.routes
        from fastapi import FastAPI
        from starlette.middleware.cors import CORSMiddleware

        _no_fetching()
        _light_sessions()
        blocks, keywords = self._build()
        parent = FastAPI(openapi_url=None)  # Gradio leaves CORS to a parent that has its own
        origins = Origins(self._settings)
        parent.add_middleware(CORSMiddleware, **origins.cors_options)
        closed = {
            "auth_dependency": _who,
            "max_file_size": self._settings.body_limit,
            "enable_monitoring": False,
            "run_history": False,
            "show_error": False,
            "footer_links": [],
            "allowed_paths": [],
        }
        gradio.mount_gradio_app(parent, blocks, path="/", **{**keywords, **closed})
        blocks.has_launched = True  # else a mounted app skips the check on the paths of file inputs
        apps = [getattr(route, "app", None) for route in parent.router.routes]
        return next(app for app in apps if isinstance(app, gradio.routes.App)), blocks


def _who(http: Request) -> str | None:
    """Gradio's question who is signed in; the gate has answered it already."""
    rank: str | None = http.scope.get("state", {}).get("rank")
    return rank


def sweep(folder: Path, age: float) -> int:
    """Remove uploads not touched for `age` seconds, and folders left empty. Returns how many files."""
    gone = 0
    limit = time.time() - age
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            file = Path(parent, name)
            with contextlib.suppress(OSError):
                if file.lstat().st_mtime < limit:
                    file.unlink()
                    gone += 1
        if Path(parent) != folder:
            with contextlib.suppress(OSError):
                if Path(parent).stat().st_mtime < limit:
                    Path(parent).rmdir()
    return gone


def _no_fetching() -> None:
    """Take from Gradio the function by which a file input given as a URL is downloaded.

    It has no bound on size or time and its filter lets private addresses through.
    """
    from gradio import processing_utils

    async def refuse(url: str) -> NoReturn:
        raise BadValue("This server opens no URL for a page. Upload the file instead.")

    processing_utils.async_ssrf_protected_get = refuse


def _light_sessions() -> None:
    """Keep Gradio from describing every component anew for each page that opens, and what each one last held.

    Both are for links to the state of a page, which we do not offer. For a page of ours that is a tenth of a second
    of the event loop, and memory for each of the last 10,000 pages.
    """
    from gradio.state_holder import SessionState

    begin = SessionState.__init__
    if begin.__module__ == __name__:
        return

    def begin_light(self: SessionState, blocks: Any) -> None:
        bare: Any = SimpleNamespace(default_config=blocks.default_config, blocks={})
        begin(self, bare)

    SessionState.__init__ = begin_light
    SessionState._update_config = lambda self, key: None
    SessionState._update_value_in_config = lambda self, key, value: None


class _NoStubs(MetaPathFinder):
    """Finds `gradio.component_meta` as usual, less its rewriting of every component's type stub.

    That parses all of Gradio's components at each start, which takes half of its import.
    """

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "gradio.component_meta":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def without(module: ModuleType) -> None:
            run(module)
            module.create_or_modify_pyi = lambda *a, **k: None  # type: ignore[attr-defined]

        spec.loader.exec_module = without  # type: ignore[method-assign]
        return spec


def _skip_stubs() -> None:
    if not any(isinstance(finder, _NoStubs) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoStubs())
