"""What is installed: known holes of the packages at their pinned versions, and the hashes they are installed by.

Knows the lists and the tool; not what the packages are for.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.servers import ROOT
from prove.contract import environment
from prove.figure import Reached, Run, judged

AUDITOR = "pip-audit==2.10.1"
LOCK = ROOT / "requirements-dev.lock"
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)", re.MULTILINE)
# Known holes that cannot be reached here, and why. One that is not here fails the line.
ACCEPTED: Mapping[str, str] = {}


def audit(run: Run) -> Reached:
    """The lock file against the advisories of PyPI."""
    try:
        program = environment(AUDITOR) / "pip-audit"
    except subprocess.CalledProcessError:
        return Reached(f"{AUDITOR} cannot be installed", "not run here")
    names = run.folder / "audited.txt"
    names.write_text("".join(f"{n}=={v}\n" for n, v in pins(LOCK)), "utf-8")
    command = [
        str(program), "--requirement", str(names), "--no-deps", "--disable-pip", "--format", "json",
        "--progress-spinner", "off", "--cache-dir", str(run.folder / "advisories"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return Reached("no advisory database answers", "not run here", (done.stderr[-500:],))
    holes = {
        f"{package['name']} {package['version']}: {hole['id']}": hole["id"]
        for package in found
        for hole in package.get("vulns", ())
    }
    open_ones = sorted(where for where, hole in holes.items() if hole not in ACCEPTED)
    said = f"{len(found)} packages, {len(holes)} known holes, {len(open_ones)} of them open"
    return judged(said, not open_ones and len(found) > 100, *open_ones)


def pins(lock: Path) -> list[tuple[str, str]]:
    """(name, version) of every package of a lock file."""
    return PIN.findall(lock.read_text("utf-8"))
