"""Offline means offline: a child process with every outside connection refused still answers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from engine import Settings
from engine.network import OFFLINE, SILENT, set_switches
from engine.settings import ROOT

CODE = """
import asyncio, socket
real = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
        raise AssertionError(f"reached out to {address}")
    return real(self, address)
socket.socket.connect = connect
def resolve(host, *rest, **more):
    raise AssertionError(f"asked for the address of {host}")
socket.getaddrinfo = resolve
from engine import Caller, ChatRequest, Engine, Message, Settings, Unavailable, fold
async def main():
    engine = Engine.build(Settings(offline=True, auto_download=True))
    await engine.start()
    try:
        await engine.downloads.begin("org/one", accept_licence=True)
        raise AssertionError("a download began")
    except Unavailable as error:
        assert "ATELIER_OFFLINE" in error.message
    request = ChatRequest(messages=(Message.of("user", "Hello!"),), max_tokens=4)
    print((await fold(engine.run(request, Caller()))).usage.output_tokens)
    await engine.close()
    import huggingface_hub, transformers
    assert huggingface_hub.constants.is_offline_mode()
    assert transformers.utils.hub.is_offline_mode()
asyncio.run(main())
"""


def test_the_switches_are_set(monkeypatch: pytest.MonkeyPatch):
    for name in (*SILENT, *OFFLINE):
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)
    set_switches(Settings())
    assert all(os.environ[name] == value for name, value in SILENT.items())
    assert not any(name in os.environ for name in OFFLINE)
    set_switches(Settings(offline=True))
    assert all(os.environ[name] == value for name, value in OFFLINE.items())


def test_a_library_that_came_before_is_told_too(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    for name in (*SILENT, *OFFLINE):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    set_switches(Settings(offline=True))
    assert constants.is_offline_mode()


@pytest.mark.slow
def test_nothing_reaches_out_offline():
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > 0
