"""`scripts/install.sh` with a stubbed Python and no rights: what it does, once, and what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from prove.supply import pins

ROOT = Path(__file__).resolve().parent.parent
FILES = ("scripts/install.sh", "requirements.lock", "requirements-dev.lock")

# Logs what it is asked; `-m venv` leaves a copy of itself behind, unless FAKE says that it cannot.
PYTHON = """#!/bin/bash
echo "$*" >>"$CALLS"
case "$*" in
    *"-m venv"*) [ "$FAKE" = no-venv ] && exit 1; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *"-m pip install"*) [ "$FAKE" = no-network ] && exit 1 ;;
    "-c "*) [ "$FAKE" = old ] && exit 1 ;;
esac
exit 0
"""


class House:
    """A checkout in a folder of its own and the stubs before it on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        for name in FILES:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / "packages.txt").write_text("no-such-package-0\n")
        stubs = folder / "stubs"
        stubs.mkdir()
        for name in ("python3.11", "python3.12", "python3.13", "python3"):
            self._stub(stubs / name, PYTHON)
        self._stub(stubs / "id", "#!/bin/bash\necho 1000\n")
        self._stub(stubs / "virtualenv", "#!/bin/bash\nexit 1\n")
        self.path = f"{stubs}:/usr/bin:/bin"

    @staticmethod
    def _stub(file: Path, text: str) -> None:
        file.write_text(text)
        file.chmod(0o755)

    def install(self, want: str, fake: str = "") -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": self.path,
            "HOME": os.environ["HOME"],
            "CALLS": str(self.calls),
            "FAKE": fake,
        }
        command = ["bash", "scripts/install.sh", want]
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)

    def pip_calls(self) -> list[str]:
        return [c for c in self.calls.read_text().splitlines() if c.startswith("-m pip install")]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_run_installs_what_the_server_needs(house: House):
    done = house.install("run")
    assert done.returncode == 0, done.stderr
    (call,) = house.pip_calls()
    assert call.endswith("--require-hashes --no-deps -r requirements.lock")


def test_test_installs_more(house: House):
    assert house.install("test").returncode == 0
    (call,) = house.pip_calls()
    assert call.endswith("--require-hashes --no-deps -r requirements-dev.lock")


@pytest.mark.parametrize(("first", "second"), [("run", "run"), ("test", "test"), ("test", "run")])
def test_it_happens_once(house: House, first: str, second: str):
    house.install(first)
    house.install(second)
    assert len(house.pip_calls()) == 1


def test_tests_need_more_than_a_run(house: House):
    house.install("run")
    house.install("test")
    assert len(house.pip_calls()) == 2


@pytest.mark.parametrize(
    ("want", "name"), [("run", "requirements.lock"), ("test", "requirements-dev.lock")]
)
def test_it_happens_again_when_a_list_changed(house: House, want: str, name: str):
    house.install(want)
    with (house.folder / name).open("a") as file:
        file.write("# newer\n")
    house.install(want)
    assert len(house.pip_calls()) == 2


def test_a_failed_install_is_tried_again(house: House):
    done = house.install("run", "no-network")
    assert done.returncode == 1
    assert "Check the network" in done.stderr
    assert house.install("run").returncode == 0
    assert len(house.pip_calls()) == 2


def test_missing_packages_are_named_and_do_not_stop_it(house: House):
    done = house.install("run")
    assert done.returncode == 0
    assert "Missing no-such-package-0: " in done.stderr
    assert "sudo apt-get install no-such-package-0" in done.stderr


def test_missing_venv_is_said_clearly(house: House):
    done = house.install("run", "no-venv")
    assert done.returncode == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not (house.folder / ".venv").exists()


def test_an_old_python_is_refused(house: House):
    done = house.install("run", "old")
    assert done.returncode == 1
    assert "Python 3.11 to 3.13 is needed" in done.stderr


def named(name: str) -> dict[str, str]:
    """Package to version of a list that people write."""
    found = re.findall(
        r"^([\w.-]+)(?:\[\w+\])?==(\S+)", (ROOT / name).read_text("utf-8"), re.MULTILINE
    )
    return {package.lower().replace("_", "-"): version for package, version in found}


def test_lock_agrees_with_requirements():
    run, dev = (dict(pins(ROOT / name)) for name in ("requirements.lock", "requirements-dev.lock"))
    assert dev.items() >= run.items() >= named("requirements.txt").items()
    assert dev.items() >= named("requirements-dev.txt").items()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_locked_package_has_the_hashes_of_its_files(name):
    pieces = re.split(r"^(?=[A-Za-z0-9])", (ROOT / name).read_text("utf-8"), flags=re.MULTILINE)
    bare = [p.split()[0] for p in pieces[1:] if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", p)]
    assert len(pieces) > 100 and bare == []
