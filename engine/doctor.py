"""Looks whether everything works here: a real run of each family, versions, disk, ports, programs, other servers.

Each look ends in a `Check`, the bad ones with what to do. Nothing is changed; models that a run loaded are unloaded
again. Knows no HTTP of ours and no page.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine.checks import Check, Level
from engine.doctor_runs import runs
from engine.doctor_versions import versions
from engine.settings import ROOT, Settings

if TYPE_CHECKING:
    from engine.engine import Engine

LITTLE, ENOUGH = 2e9, 10e9  # bytes of free disk below which something fails, or soon may
ANSWER = 4.0  # seconds another server has
PROGRAMS = {  # Debian package and program: what fails without it
    ("ffmpeg", "ffmpeg"): "recordings in rarer formats, torchcodec",
    ("tesseract-ocr", "tesseract"): "reading pages in most alphabets",
    ("espeak-ng", "espeak-ng"): "voices that speak from phonemes",
}


async def examine(engine: Engine, origin: str = "", serving: bool = False) -> AsyncGenerator[Check]:
    """Look at everything, one by one. The engine must have been started.

    Args:
        origin: the page's address as a browser has it; "": what the settings say.
        serving: this process is the server, so its port is taken by itself.
    """
    settings = engine.settings
    for check in machine(engine):
        yield check
    async for check in runs(engine):
        yield check
    for look in (versions, lambda: list(data(settings)), lambda: list(programs())):
        for check in await asyncio.to_thread(look):
            yield check
    yield await port(settings, serving)
    for check in page(settings, origin):
        yield check
    async for check in servers(engine):
        yield check


# The looks ----------------------------------------------------------------------------------------


def machine(engine: Engine) -> Iterator[Check]:
    """Python, and the device that models run on."""
    version = ".".join(map(str, sys.version_info[:3]))
    fine = sys.version_info >= (3, 11)
    fix = "" if fine else "Install Python 3.11 or newer, then run: make install"
    yield Check("machine", "Python", "ok" if fine else "fail", version, fix)
    lane = engine.status().lanes[0]
    free = max(0, lane.total - lane.used)
    text = (
        f"{lane.title}; {_size(free)} of {_size(lane.total)} free, {_size(lane.budget)} for models"
    )
    short = free < 1e9
    fix = "Close other programs, or set ATELIER_MEMORY_BUDGET lower." if short else ""
    yield Check("machine", "Device", "warn" if short else "ok", text, fix)
    if lane.name == "cpu" and Path("/dev/nvidiactl").exists():
        yield Check(
            "machine", "GPU", "fail", "There is an NVIDIA GPU, and models run on the processor.",
            "Check `nvidia-smi`; install a torch with CUDA (pip install torch) and set ATELIER_DEVICE=auto.",
        )  # fmt: skip


def data(settings: Settings) -> Iterator[Check]:
    """The data folder and the room on its disk; the hub's cache where it lies on another."""
    from engine.checkpoints import hub_cache

    began = time.perf_counter()
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(65536))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        fix = "Correct its permissions, or name another folder in ATELIER_DATA_DIR."
        yield Check("data", "Data folder", "fail", f"It cannot be written ({error.strerror}).", fix)
        return
    seconds = time.perf_counter() - began
    slow = seconds > 1
    yield Check(
        "data", "Data folder", "warn" if slow else "ok",
        f"Written and synced in {seconds * 1000:.0f} ms.",
        "Its disk is slow: put ATELIER_DATA_DIR on a local one." if slow else "", seconds,
    )  # fmt: skip
    for name, place, variable in (
        ("Disk of the data", folder, "ATELIER_DATA_DIR"),
        ("Disk of the models", hub_cache(), "HF_HOME"),
    ):
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        level: Level = "fail" if free < LITTLE else "warn" if free < ENOUGH else "ok"
        fix = f"Free some space, or name a folder on another disk in {variable}."
        yield Check("data", name, level, f"{_size(free)} free.", fix if level != "ok" else "")


def programs() -> Iterator[Check]:
    """The Debian programs that packages call."""
    for (package, program), use in PROGRAMS.items():
        path = shutil.which(program)
        if path is None:
            fix = f"sudo apt-get install -y {package}"
            yield Check("programs", program, "fail", f"It is missing; needed for {use}.", fix)
            continue
        flag = "-version" if program == "ffmpeg" else "--version"
        try:
            done = subprocess.run(
                [path, flag], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            fix = f"sudo apt-get install --reinstall -y {package}"
            yield Check("programs", program, "fail", "It does not start.", fix)
            continue
        said = (done.stdout or done.stderr).partition("\n")[0]
        for rest in (" Copyright", "  Data at"):  # no years and no folders of this machine
            said = said.partition(rest)[0].strip()
        yield Check("programs", program, "ok", said[:100])
    wanted = [
        line.strip().removeprefix("tesseract-ocr-")
        for line in (ROOT / "packages.txt").read_text("utf-8").splitlines()
        if line.startswith("tesseract-ocr-")
    ]
    missing = sorted(set(wanted) - _packs()) if shutil.which("tesseract") else []
    if missing:
        names = " ".join(f"tesseract-ocr-{code}" for code in missing)
        text = f"Alphabets and languages are missing: {', '.join(missing)}."
        yield Check(
            "programs", "tesseract's languages", "warn", text, f"sudo apt-get install -y {names}"
        )


def _packs() -> set[str]:
    done = subprocess.run(
        ["tesseract", "--list-langs"], capture_output=True, text=True, timeout=20, check=False
    )
    return set(done.stdout.split())


async def port(settings: Settings, serving: bool) -> Check:
    """Whether the server can listen where it should."""
    where = f"{settings.host}:{settings.port}"
    if serving:
        return Check("ports", "Port", "ok", f"This server listens on {where}.")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((settings.host, settings.port))
            return Check("ports", "Port", "ok", f"{where} is free.")
        except OSError as error:
            reason = error.strerror or "taken"
    fix = f"python app.py --port {settings.port + 1}"
    if await _is_atelier(settings):
        return Check("ports", "Port", "ok", f"An Atelier listens on {where} already.")
    return Check("ports", "Port", "fail", f"{where} cannot be listened on ({reason}).", fix)


async def _is_atelier(settings: Settings) -> bool:
    import aiohttp

    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host
    limits = aiohttp.ClientTimeout(total=ANSWER)
    try:
        async with (
            aiohttp.ClientSession(timeout=limits) as session,
            session.get(f"http://{host}:{settings.port}/health") as answer,
        ):
            return "models_loaded" in await answer.text()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return False


def page(settings: Settings, origin: str) -> Iterator[Check]:
    """Who can reach the page, and whether their browsers will let it listen."""
    secure = bool(settings.tls_cert) or (ROOT / "certs" / "cert.pem").is_file() or settings.share
    text = "Browsers give the microphone to this address."
    fix = ""
    level: Level = "ok"
    shown = urlsplit(origin)
    here = settings.is_loopback if not origin else _is_local(shown.hostname or "")
    if not (secure or shown.scheme == "https" or here):
        level = "warn"
        text = (
            "Browsers give the microphone to https and to localhost only; this address is neither."
        )
        fix = (
            "Put a certificate into certs/cert.pem and certs/key.pem, or reach it as localhost: "
            f"ssh -L {settings.port}:localhost:{settings.port} THIS-MACHINE"
        )
    yield Check("page", "Microphone", level, text, fix)
    if settings.token or (settings.is_loopback and not settings.share):
        text = "A token is set." if settings.token else "Only this machine can connect."
        yield Check("page", "Token", "ok", text)
    else:
        fix = "ATELIER_TOKEN=$(openssl rand -hex 24) make run"
        yield Check("page", "Token", "fail", "Everybody on the network can use this server.", fix)


def _is_local(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.") or host.endswith(".localhost")


async def servers(engine: Engine) -> AsyncGenerator[Check]:
    """The hub that models come from, and other servers that answer for us."""
    yield await _hub(engine.settings)
    await engine.servers.refresh()
    known = engine.servers.list()
    if not any(server.kind == "ollama" for server in known):
        fix = "Start it (ollama serve), or set OLLAMA_BASE_URL, if you want its models here."
        yield Check(
            "servers", "Ollama", "skip", "None is set, and none was found on this machine.", fix
        )
    for server in known:
        if server.healthy:
            yield Check("servers", server.name, "ok", f"{server.url}: {len(server.models)} models.")
        else:
            fix = "Start that server, correct its address, or remove it on the Models tab."
            text = f"{server.url} does not answer. {server.error}".strip()
            yield Check("servers", server.name, "fail", text, fix)


async def _hub(settings: Settings) -> Check:
    import aiohttp

    if settings.offline or os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return Check("servers", "Model hub", "skip", "Atelier is offline; nothing is downloaded.")
    url = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    began = time.perf_counter()
    limits = aiohttp.ClientTimeout(total=ANSWER)
    try:
        async with (
            aiohttp.ClientSession(timeout=limits, trust_env=True) as session,
            session.head(f"{url}/api/models/gpt2", allow_redirects=True) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        fix = "Check the network and HTTPS_PROXY, or set ATELIER_OFFLINE=true to say that there is none."
        text = f"{url} cannot be reached: no model can be downloaded."
        return Check("servers", "Model hub", "warn", text, fix)
    seconds = time.perf_counter() - began
    if status >= 500:
        fix = "Try again later."
        return Check("servers", "Model hub", "warn", f"{url} answers {status}.", fix, seconds)
    return Check(
        "servers", "Model hub", "ok", f"{url} answers in {seconds * 1000:.0f} ms.", "", seconds
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
