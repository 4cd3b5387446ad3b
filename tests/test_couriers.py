"""Who fetches: the names of ends become sentences, and an Ollama server's own pull is a download like others."""

from __future__ import annotations

import asyncio
import errno

import pytest

from engine import AtelierError
from engine import fetching as fetch
from engine.couriers import ENDS, ending
from tests.fetching import ended, until


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "full"), "disk_full"),
        (OSError(errno.EDQUOT, "full"), "disk_full"),
        (PermissionError(errno.EACCES, "no"), "disk"),
        (fetch.Failed("short"), "short"),
        (ValueError("?"), "strange"),
    ],
)
def test_ends_have_names(error: Exception, kind: str):
    assert fetch.kind_of(error) == kind


@pytest.mark.parametrize("kind", [*ENDS, "never heard of"])
def test_every_end_says_what_to_do(kind: str):
    error = ending(kind, "org/one", "Failed: model.safetensors")
    assert isinstance(error, AtelierError)
    assert error.message.count(". ") >= 1 and "{" not in error.message
    assert "/root" not in error.message


# An Ollama server's own pull


@pytest.fixture
async def ollama():
    """A server that answers /api/pull with the lines it is given."""
    from aiohttp import web

    lines: list[bytes] = []
    gone = asyncio.Event()

    async def pull(http: web.Request) -> web.StreamResponse:
        assert (await http.json())["stream"] is True
        answer = web.StreamResponse()
        await answer.prepare(http)
        try:
            for line in lines:
                if line == b"wait":
                    await asyncio.sleep(30)
                await answer.write(line + b"\n")
        except (asyncio.CancelledError, ConnectionError):
            gone.set()
            raise
        return answer

    app = web.Application()
    app.router.add_post("/api/pull", pull)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", lines, gone
    await runner.cleanup()


LAYERS = [
    b'{"status":"pulling manifest"}',
    b'{"status":"pulling a","digest":"sha256:a","total":100,"completed":40}',
    b'{"status":"pulling a","digest":"sha256:a","total":100,"completed":100}',
    b'{"status":"pulling b","digest":"sha256:b","total":50,"completed":50}',
]


async def test_a_pull_of_ollama_is_a_download_like_others(ollama, fetching):
    url, lines, _ = ollama
    lines += [*LAYERS, b'{"status":"success"}']
    async with fetching() as engine:
        engine.downloads.ollama_url = lambda: url
        looked: list[str] = []

        async def look_again() -> None:
            looked.extend(job.phase for job in engine.jobs.list())

        engine.downloads.pulled = look_again
        ticket = await engine.downloads.begin("qwen3:0.6b", source="ollama")
        done = await ended(engine, ticket)
        assert (done.phase, done.title, done.total) == ("done", "qwen3:0.6b", 150)
        assert looked == ["downloading"]  # its models are known before it says that it is done


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([b'{"error":"pull model manifest: file does not exist"}'], "file does not exist"),
        (LAYERS, "stopped before"),
    ],
)
async def test_ollamas_own_words_are_passed_on(ollama, fetching, said, error: str):
    url, lines, _ = ollama
    lines += said
    async with fetching() as engine:
        engine.downloads.ollama_url = lambda: url
        failed = await ended(engine, await engine.downloads.begin("x", source="ollama"))
        assert failed.phase == "failed" and error in failed.error
        engine.downloads.ollama_url = lambda: "http://127.0.0.1:9"
        engine.downloads.retry(failed.id)
        assert "cannot be reached" in (await ended(engine, failed)).error


async def test_pausing_a_pull_hangs_up(ollama, fetching):
    url, lines, gone = ollama
    lines += [*LAYERS, b"wait"]
    async with fetching() as engine:
        engine.downloads.ollama_url = lambda: url
        ticket = await engine.downloads.begin("x", source="ollama")
        await until(lambda: engine.jobs.get(ticket.id).done == 150)
        assert engine.downloads.pause(ticket.id).phase == "paused"
        await asyncio.wait_for(gone.wait(), 10)
        lines[-1] = b'{"status":"success"}'
        engine.downloads.resume(ticket.id)
        assert (await ended(engine, ticket)).phase == "done"
