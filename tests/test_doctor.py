"""The doctor: real runs, faults it finds, and what it says to do about them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import engine.doctor as doctor
import engine.doctor_versions as packages
from engine import Check, Engine, Settings, as_line, examine, worst
from engine.checks import GROUPS
from engine.doctor_runs import runs
from tests.serving import Served
from ui.doctor import paint

ROOT = Path(__file__).resolve().parent.parent


async def test_every_family_is_really_run(engine: Engine):
    """The echo family answers chats; what it loaded for that is unloaded again."""
    found = [check async for check in runs(engine)]
    [chat] = [check for check in found if check.name == "chat · echo"]
    assert chat.level == "ok" and "s;" in chat.text and (chat.seconds or 0) >= 0
    assert engine.status().resident == ()
    await engine.usage.flush()
    [row] = await engine.usage.rows()
    assert (row.dialect, row.task, row.status) == ("doctor", "chat", "ok")


async def test_an_examination_covers_everything(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "versions", lambda: [*packages.pins(), *packages.trio()])
    found = [check async for check in examine(engine)]
    assert {check.group for check in found} == set(GROUPS)
    for check in found:
        assert check.text and (check.fix or check.level in {"ok", "skip"}), check
        assert str(ROOT) not in check.text + check.fix
    assert worst(found) in {"ok", "warn", "fail"}


def test_what_packages_ask_is_compared(monkeypatch: pytest.MonkeyPatch):
    real = packages.installed

    def older(name: str) -> str:
        return {"torchaudio": "2.9.0", "transformers": "4.0.0"}.get(name, real(name))

    monkeypatch.setattr(packages, "installed", older)
    [trio] = packages.trio()
    assert trio.level == "fail" and trio.fix == packages.INSTALL
    [demands] = packages.demands()
    assert demands.level == "fail" and "transformers" in demands.text
    [pins] = packages.pins()
    assert pins.level == "warn" and "transformers 4.0.0" in pins.text


def test_a_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        packages, "LOADED", {"json": "", "no_such_library": "pip install it=={torch}"}
    )
    monkeypatch.setattr(packages, "installed", lambda name: "1.0")
    [check] = packages.loads()
    assert check.name == "no_such_library loads" and check.level == "fail"
    assert "ModuleNotFoundError" in check.text and check.fix == "pip install it==1.0"


def test_missing_programs_and_folders(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    by_name = {check.name: check for check in doctor.programs()}
    assert by_name["espeak-ng"].fix == "sudo apt-get install -y espeak-ng"
    assert {check.level for check in by_name.values()} == {"fail"}
    (tmp_path / "file").write_text("x")
    [bad] = doctor.data(settings.model_copy(update={"data_dir": tmp_path / "file" / "data"}))
    assert bad.level == "fail" and "ATELIER_DATA_DIR" in bad.fix and str(tmp_path) not in bad.text


async def test_a_taken_port(settings: Settings):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        check = await doctor.port(settings.model_copy(update={"port": port}), serving=False)
    assert check.level == "fail" and check.fix == f"python app.py --port {port + 1}"


def test_microphone_and_token(settings: Settings):
    wide = settings.model_copy(update={"host": "0.0.0.0"})
    levels = {check.name: check.level for check in doctor.page(wide, "http://10.0.0.5:7860")}
    assert levels == {"Microphone": "warn", "Token": "fail"}
    safe = wide.model_copy(update={"token": "x"})
    levels = {check.name: check.level for check in doctor.page(safe, "https://atelier.example")}
    assert levels == {"Microphone": "ok", "Token": "ok"}


def test_lines_and_panel():
    bad = Check("programs", "<b>", "fail", "It is missing.", "sudo apt-get install -y x")
    assert as_line(bad).endswith("-> sudo apt-get install -y x") and "FAIL" in as_line(bad)
    shown = paint([bad, Check("run", "chat", "ok", "fine")], "fr")
    assert "&lt;b&gt;" in shown and "<code>sudo apt-get" in shown and "Essais réels" in shown
    assert worst([bad]) == "fail" and worst([]) == "ok"


@pytest.mark.slow
def test_only_an_admin_asks_over_http(served: object, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "versions", lambda: list(packages.trio()))
    server: Served = served(token="user", admin_token="admin")  # type: ignore[operator]
    asked = {
        name: httpx.get(f"{server.url}/v1/doctor", headers={"authorization": f"Bearer {name}"}, timeout=120)
        for name in ("user", "admin")
    }  # fmt: skip
    assert asked["user"].status_code == 403
    value = asked["admin"].json()
    assert {"level", "checks"} == value.keys()
    assert any(check["name"] == "chat · echo" for check in value["checks"])
    assert any(check["text"].startswith("This server listens") for check in value["checks"])


@pytest.mark.slow
def test_the_command(tmp_path: Path):
    """As a user calls it; its status says whether something fails."""
    environment = {**os.environ, "ATELIER_DATA_DIR": str(tmp_path), "ATELIER_OFFLINE": "true"}
    done = subprocess.run(
        [sys.executable, "app.py", "doctor", "--json", "--port", "0"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=560, check=False,
    )  # fmt: skip
    value = json.loads(done.stdout)
    assert done.returncode == int(value["level"] == "fail"), done.stderr[-2000:]
    ran = {check["name"]: check["level"] for check in value["checks"] if check["group"] == "run"}
    assert ran["chat · hf_chat"] == "ok"
