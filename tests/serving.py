"""A real server in a thread, over an engine of its own: what HTTP tests talk to."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn

from app import Application, create_app, server_options
from engine import Engine, Settings
from tests import echo


@dataclass
class Served:
    """A server that runs: its address, its application and its engine."""

    url: str
    port: int
    app: Application
    engine: Engine
    loop: asyncio.AbstractEventLoop

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(**{"base_url": self.url, "timeout": 30, **options})

    def gradio(self, **options: Any) -> Any:
        """A `gradio_client` of the page, which by itself waits five seconds for an answer."""
        from gradio_client import Client

        return Client(self.url, verbose=False, httpx_kwargs={"timeout": 60}, **options)

    def call(self, work: Any) -> Any:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def rows(self, **filters: Any) -> list[Any]:
        """The ledger's rows, newest first, once all are written."""

        async def read() -> list[Any]:
            await self.engine.usage.flush()
            return await self.engine.usage.rows(**filters)

        return self.call(read())

    @property
    def running(self) -> int:
        status = self.engine.status()
        return status.running + status.waiting

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


def until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for something to become true; what it was at last."""
    end = time.monotonic() + seconds
    while not (value := true()) and time.monotonic() < end:
        time.sleep(0.005)
    return value


def tiny_page() -> tuple[Any, Mapping[str, Any]]:
    """The smallest page with what the tests try: a text event, a stream, an upload and a chat."""
    import gradio as gr

    def shout(text: str) -> str:
        return text.upper()

    async def count(n: float) -> Any:
        for i in range(int(n)):
            yield i
            await asyncio.sleep(0)

    def size(file: Any, picture: Any, history: Any) -> str:
        return f"{file!r} {picture!r} {history!r}"

    with gr.Blocks(title="tiny") as page:
        text, shown = gr.Textbox(label="in", elem_id="in"), gr.Textbox(label="out", elem_id="out")
        number, counted = gr.Number(), gr.Number()
        file, picture = gr.File(), gr.Image(type="filepath")
        history, looked = gr.Chatbot(), gr.Textbox()
        gr.Button("Shout", elem_id="go").click(shout, text, shown, api_name="shout")
        gr.Button("Count").click(count, number, counted, api_name="count")
        gr.Button("Size").click(size, [file, picture, history], looked, api_name="size")
    return page.queue(max_size=64, default_concurrency_limit=None), {}


def echo_engine(settings: Settings) -> Engine:
    return Engine.build(settings, families={"echo": echo}, specs=echo.SPECS)


@contextmanager
def serve(
    settings: Settings, build_page: Any = tiny_page, engine: Engine | None = None, **options: Any
) -> Iterator[Served]:
    """Serve these settings on a free loopback port until the block ends."""
    engine = engine or echo_engine(settings)
    app = create_app(settings, engine, build_page)
    config = uvicorn.Config(app, **{**server_options(settings), "port": 0, **options})
    server = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []

    async def live() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve()

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(live())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert until(lambda: server.started or not thread.is_alive(), 30) and server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Served(f"http://127.0.0.1:{port}", port, app, engine, loops[0])
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def served(settings: Settings) -> Iterator[Callable[..., Served]]:
    """Starts servers with the settings given by keyword; they end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(build_page: Any = tiny_page, **values: Any) -> Served:
            own = settings.model_copy(update=values)
            return stack.enter_context(serve(own, build_page))

        yield start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for a whole test module, without a token."""
    folder = tmp_path_factory.mktemp("server")
    settings = Settings(data_dir=folder, device="cpu", _env_file=None)  # type: ignore[call-arg]
    with serve(settings) as running:
        yield running
