"""The contract: Schemathesis over the whole published description, in an environment of its own.

Knows how the tool is started and what its report says. Nothing is excluded; what is deliberate is named below.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.servers import ROOT, Server, atelier
from prove.figure import Reached, Run, judged

PINNED = "schemathesis==4.32.5"
ENVIRONMENT = ROOT / ".venv-prove"
PHASES = "examples,coverage,fuzzing,stateful"
TOKEN = "prove"
CASES = 5000
# Statuses that are answers and no failures. A server error is what nobody meant: 502, 503, 504 and 507 say that
# another server, the device, the time or the disk refuses. What fits the schema may still be refused where a sentence
# and not a schema can say why: 400 (a voice that there is not), 413, 415, 416. 422 stays a failure.
# In a form everything is text: where a boolean is asked for, the number 0 arrives as the text that means false.
CONFIG = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 502, 503, 504, 507]
positive_data_acceptance.expected-statuses = [
  "2xx", "3xx", 400, 401, 403, 404, 409, 413, 415, 416, 429, 502, 503, 504, 507,
]

[[operations]]
include-path = ["/v1/ocr/read", "/v1/ocr/documents"]
checks.negative_data_rejection.enabled = false
"""
# Forms of a body that Schemathesis does not know to write by itself.
HOOKS = """
import schemathesis


@schemathesis.serializer("audio/wav")
def sound(context, value):
    return value if isinstance(value, bytes) else str(value).encode()
"""
# No network, no container engine; a request may run for seconds, so that bodies that ask for much end.
SERVER = {
    "ATELIER_TOKEN": TOKEN,
    "ATELIER_PROBE_LOCAL": "false",
    "ATELIER_TIME_LIMIT": "20",
    "ATELIER_MEDIA_SITES": "",
    "ATELIER_MEDIA_SECONDS": "5",
    "ATELIER_DOCKER_HOST": "unix:///nonexistent/docker.sock",
}


def environment(package: str = PINNED) -> Path:
    """The programs of an environment that holds the tools and nothing of ours; made when it is first needed."""
    programs = ENVIRONMENT / "bin"
    if not programs.is_dir():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(programs / "pip"), "install", "-q", "--disable-pip-version-check", package]
    subprocess.run(pip, check=True)
    return programs


def conformance(run: Run) -> Reached:
    """Every operation, with bodies that fit its schema and bodies that do not, in all phases."""
    try:
        program = environment() / "schemathesis"
    except subprocess.CalledProcessError as error:
        return Reached(f"{PINNED} cannot be installed ({error.returncode})", "not run here")
    with atelier(env=SERVER) as server:
        server.wait("/ready")
        report = _fuzz(program, server, run)
        if report is None:
            return judged("the tool broke off", False, server.printed())
        run.mistakes["conformance"] = server.mistakes(TOKEN)
    return verdict(report, run)


def _fuzz(program: Path, server: Server, run: Run) -> dict[str, Any] | None:
    folder = run.folder
    (folder / "schemathesis.toml").write_text(CONFIG, "utf-8")
    (folder / "contract_hooks.py").write_text(HOOKS, "utf-8")
    report, log = folder / "schemathesis.json", folder / "schemathesis.txt"
    report.unlink(missing_ok=True)
    command = [
        str(program), "--config-file", "schemathesis.toml", "run", f"{server.url}/openapi.json",
        "-H", f"Authorization: Bearer {TOKEN}", "--checks", "all", "--max-response-time", "120", "--phases", PHASES,
        "--max-examples", str(run.of(50, 5)), "--seed", str(run.seed), "--workers", "1",
        "--request-timeout", "120", "--continue-on-failure", "--report", "json",
        "--report-json-path", report.name,
    ]  # fmt: skip
    env = {
        "SCHEMATHESIS_HOOKS": "contract_hooks",
        "PYTHONPATH": str(folder),
        "PATH": "/usr/bin:/bin",
        "PYTHONUTF8": "1",
    }
    with log.open("wb") as out:
        subprocess.run(command, cwd=folder, env=env, stdout=out, stderr=out)
    found: dict[str, Any] | None = json.loads(report.read_bytes()) if report.is_file() else None
    return found


def verdict(report: dict[str, Any], run: Run) -> Reached:
    """What the tool's report comes to."""
    cases, operations = report["test_cases"]["generated"], report["operations"]
    kinds = [f"{kind['title']}: {', '.join(kind['operations'])}" for kind in report["failures"]]
    failures, errors = report["test_cases"]["unique_failures"], report["errors"]
    phases = [name for name, phase in report["phases"].items() if phase["status"] == "skip"]
    said = f"{cases} cases over {operations['tested']} operations, {failures} failures"
    whole = operations["tested"] == operations["total"] and report["complete"] and not phases
    good = failures == 0 and not errors and whole and cases >= CASES
    details = [*kinds, *(str(error) for error in errors), *(f"skipped: {p}" for p in phases)]
    return judged(said, good, *details, f"seed {run.seed}, {run.folder / 'schemathesis.txt'}")
