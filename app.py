"""The whole application: engine, API and page behind one list of middleware, and the server that runs it.

`python app.py` serves it; `create_app` is what any other ASGI server takes.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

if __name__ == "__main__":
    gc.disable()  # until the server is made: collecting among the imports is a tenth of the start

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api import ADMIN, FREE, OURS, build_api
from engine import (
    Access,
    AtelierError,
    Check,
    Engine,
    Settings,
    as_line,
    examine,
    worst,
    write_logs,
)
from middleware.body import Body
from middleware.ending import Ending
from middleware.fetches import Fetches
from middleware.front import Front
from middleware.gate import COOKIE, Gate
from middleware.hosts import Hosts
from middleware.ids import Ids
from middleware.meter import Meter
from middleware.origins import Origins
from middleware.page import Build, Page
from middleware.rates import Limiter, Rates
from middleware.safety import Safety
from middleware.scope import path_of
from middleware.sending import TimedHttp

ROOT = Path(__file__).resolve().parent
FRAMED_BY = "https://huggingface.co"  # on Spaces
PAGE_DELAY = 0.05  # the socket is opened before Gradio takes the processor
GRACE = 1.5  # seconds between the last stream's end and the process's
log = logging.getLogger("atelier.app")


class Application:
    """The ASGI app.

    Attributes:
        api: the FastAPI app with all REST routes.
        page: Gradio, once it is built.
        hosts: the names this server answers to.
    """

    def __init__(self, engine: Engine, build_page: Build) -> None:
        settings = engine.settings
        self.engine = engine
        access = Access(settings, shared=engine.shared)
        self.api = build_api(engine, access, self._live, COOKIE)
        refuse = self.api.state.refuse
        self.page = Page(build_page, settings, refuse)
        self.api.router.default = self._fallback
        origins = Origins(settings)
        self._limiter = limiter = Limiter.of(
            settings.rate_limits, settings.redis_url, settings.pokemon_rate_limit_per_min
        )
        app: ASGIApp = Front(self.api, self.page)
        if limiter is not None:
            app = Rates(app, refuse, limiter)
        app = Fetches(app, refuse)
        app = Gate(app, refuse, access, origins, FREE, ADMIN)
        uploads = {"/v1/files/upload": (settings.upload_limit, "ATELIER_UPLOAD_LIMIT")}
        app = Body(app, refuse, settings.body_limit, uploads)
        app = origins.cors(app)
        app = self.hosts = Hosts(app, refuse, _names(settings))
        app = Ending(app, refuse)
        app = Safety(app, FRAMED_BY if _on_spaces() else "")
        counts = engine.monitor.metrics
        app = Meter(
            app, counts.served, counts.broke, [route.path for route in self.api.state.routes]
        )
        self._app = Ids(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _fallback(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What no route claims is Gradio's, except below the API's own prefixes."""
        if path_of(scope).startswith(OURS):
            raise HTTPException(404)
        await self.page(scope, receive, send)

    @asynccontextmanager
    async def _live(self, api: FastAPI) -> AsyncIterator[None]:
        await self.engine.start()
        await self.page.open(PAGE_DELAY)
        api.state.ready = True
        try:
            yield
        finally:
            api.state.ready = False
            await self.page.close()
            if self._limiter is not None:
                await self._limiter.close()
            await self.engine.close()


def create_app(
    settings: Settings, engine: Engine | None = None, build_page: Build | None = None
) -> Application:
    """The application of these settings.

    Args:
        engine: one that is built and not started, in place of the settings' own.
        build_page: the page, in place of ours.
    """
    engine = engine or Engine.build(settings)
    return Application(engine, build_page or functools.partial(_page_of, engine))


def _page_of(engine: Engine) -> tuple[Any, Mapping[str, Any]]:
    """Our page; imports Gradio, so it is called in the background."""
    import ui

    return ui.build_ui(engine), ui.MOUNT


def _names(settings: Settings) -> list[str]:
    space = os.environ.get("SPACE_HOST", "")
    return [name for name in (settings.host, space, *settings.listed("hosts")) if name]


def _on_spaces() -> bool:
    return os.environ.get("SYSTEM") == "spaces"


# The server ---------------------------------------------------------------------------------------


class Server(uvicorn.Server):
    """uvicorn's server that says where it is, opens the share link, and is gone in time after a signal."""

    def __init__(self, config: uvicorn.Config, app: Application) -> None:
        super().__init__(config)
        self._application = app

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            settings = self._application.engine.settings
            port = self.servers[0].sockets[0].getsockname()[1] if self.servers else settings.port
            print(banner(self._application.engine, port, self.config.is_ssl), flush=True)
            if settings.share:
                threading.Thread(target=self._share, args=(port,), daemon=True).start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully; a library's thread that does not end may not hold the process up."""
        if not self.should_exit:
            limit = float(self.config.timeout_graceful_shutdown or 0) + GRACE
            last = threading.Timer(limit, os._exit, (1 if sig == signal.SIGINT else 0,))
            last.daemon = True
            last.start()
        super().handle_exit(sig, frame)

    def _share(self, port: int) -> None:
        """Open a public Gradio link, or say why there is none."""
        from urllib.parse import urlsplit

        try:
            url = share(port)
        except RuntimeError as error:
            print(f"No share link: {error} The server runs on without it.", flush=True)
            return
        self._application.hosts.add(urlsplit(url).hostname or "")
        print(f"  Share     {url}", flush=True)


def share(port: int) -> str:
    """The URL of a new Gradio tunnel to this port.

    Raises:
        RuntimeError: Gradio's servers, or its tunnel program, are out of reach.
    """
    import secrets

    import httpx
    from gradio import networking

    try:
        url: str = networking.setup_tunnel("127.0.0.1", port, secrets.token_urlsafe(32), None, None)
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        log.warning("share link: %s", error)
        raise RuntimeError("Gradio's share servers cannot be reached from here.") from error
    return url


def banner(engine: Engine, port: int, secure: bool) -> str:
    """What a user reads at the start."""
    settings = engine.settings
    host = settings.host
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"
    elif ":" in host:
        host = f"[{host}]"
    url = f"{'https' if secure else 'http'}://{host}:{port}"
    lines = [
        f"  Page      {url}/",
        f"  API       {url}/v1  (docs: {url}/docs)",
        f"  Data      {settings.data_dir}",
        f"  Device    {engine.status().lanes[0].title}",
    ]
    return "\n".join(["", "Atelier", *lines, ""])


def warning(settings: Settings) -> str:
    """The boxed warning of a server that anyone on the network can use; empty where there is none."""
    if settings.token or (settings.is_loopback and not settings.share):
        return ""
    reach = "anyone with the share link" if settings.is_loopback else "everyone who can reach it"
    lines = [
        "NO TOKEN IS SET",
        f"This server is open to {reach}: its models, its",
        "conversations and its files. Set one, then start again:",
        "",
        "    ATELIER_TOKEN=$(openssl rand -hex 24) make run",
    ]
    width = max(map(len, lines)) + 4
    box = [f"┃  {line:<{width - 2}}┃" for line in lines]
    return "\n".join([f"┏{'━' * width}┓", *box, f"┗{'━' * width}┛"])


def certificates(settings: Settings) -> tuple[Path, Path] | None:
    """The certificate and key to serve with: the settings', else those in `certs/`, else none.

    Raises:
        FileNotFoundError: a named file is not there, or one of the two is missing.
    """
    cert = settings.tls_cert or ROOT / "certs" / "cert.pem"
    key = settings.tls_key or ROOT / "certs" / "key.pem"
    if (
        settings.tls_cert is None
        and settings.tls_key is None
        and not (cert.is_file() or key.is_file())
    ):
        return None
    for file, name in ((cert, "ATELIER_TLS_CERT"), (key, "ATELIER_TLS_KEY")):
        if not file.is_file():
            raise FileNotFoundError(
                f"TLS needs a certificate and a key: {file} is not there ({name})."
            )
    return cert, key


def server_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told, for one process or several."""
    tls = certificates(settings)
    return {
        "host": settings.host,
        "port": settings.port,
        "http": functools.partial(TimedHttp, header_timeout=settings.header_timeout),
        "ws": "none",
        "timeout_graceful_shutdown": settings.shutdown_timeout,
        "server_header": False,
        "access_log": False,
        "log_config": None,  # uvicorn's records go where ours do
        "log_level": "warning",
        "ssl_certfile": tls and str(tls[0]),
        "ssl_keyfile": tls and str(tls[1]),
    }


async def doctor(argv: Sequence[str]) -> int:
    """`python app.py doctor [--json]` with any of the server's flags: does everything work here? 1: something fails."""
    as_json = "--json" in argv
    settings = Settings.from_args([flag for flag in argv if flag != "--json"])
    engine = Engine.build(settings)
    checks: list[Check] = []
    await engine.start()
    try:
        async for check in examine(engine):
            checks.append(check)
            if not as_json:
                print(as_line(check, colour=sys.stdout.isatty()), flush=True)
    finally:
        await engine.close()
    if as_json:
        told = {"level": worst(checks), "checks": [asdict(check) for check in checks]}
        print(json.dumps(told, indent=1))
    return int(worst(checks) == "fail")


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until a signal comes."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["doctor"]:
        sys.exit(asyncio.run(doctor(argv[1:])))
    settings = Settings.from_args(argv)
    write_logs(settings)
    alarm = warning(settings)
    if alarm:
        print(alarm, file=sys.stderr, flush=True)
        log.warning("No token is set and the server can be reached from elsewhere.")
    try:
        options = server_options(settings)
    except FileNotFoundError as error:
        sys.exit(str(error))
    if settings.workers > 1:
        if not settings.redis_url:
            print(
                "Several processes know of each other through Redis alone (ATELIER_REDIS_URL): without it sign-ins,"
                " sessions, stop and rates belong to the process that was asked.",
                file=sys.stderr,
                flush=True,
            )
        _hand_down(settings)
        print(
            f"Atelier: {settings.workers} processes on {settings.host}:{settings.port}", flush=True
        )
        uvicorn.run("api:app", workers=settings.workers, **options)
        return
    try:
        app = create_app(settings)
    except AtelierError as error:
        sys.exit(error.message)
    gc.freeze()  # what was imported lives as long as the process
    gc.enable()
    with suppress(KeyboardInterrupt):  # the server has stopped by then
        Server(uvicorn.Config(app, **options), app).run()


def _hand_down(settings: Settings) -> None:
    """Put the settings into the environment, where the worker processes read theirs."""
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        os.environ[f"ATELIER_{name.upper()}"] = "" if value is None else str(value)


def run() -> None:
    """The program: `main`, then out at once. Taking its libraries apart would hold the process up."""
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    run()
