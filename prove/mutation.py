"""How many small faults in the guarding modules their tests notice.

`python -m prove.mutation MODULE COUNT SEED TESTS…` is a process that has the libraries in and makes a child for each
mutant. The child finds the changed module where the true one would be, runs the tests, and says by its exit status
whether one failed.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from bench.servers import ROOT
from prove.figure import Reached, Run, judged
from prove.mutants import Mutant, mutants

SHARE = 0.85
GUARDS: Mapping[str, tuple[str, ...]] = {
    "engine.names": ("tests/test_files.py", "tests/test_files_model.py"),
    "engine.jail": ("tests/test_files.py", "tests/test_files_model.py"),
    "engine.archives": ("tests/test_files_archives.py", "tests/test_files_model.py"),
    "engine.addresses": ("tests/test_fetch.py",),
    "engine.access": ("tests/test_access.py",),
    "middleware.gate": ("tests/test_middleware.py", "tests/test_gate.py"),
    "middleware.origins": ("tests/test_middleware.py",),
}
LIBRARIES = (
    "pytest", "_pytest.assertion.rewrite", "hypothesis.stateful", "pytest_asyncio", "sqlalchemy", "alembic", "httpx",
    "fastapi", "uvicorn", "aiohttp", "pydantic_settings",
)  # fmt: skip


def mutation(run: Run) -> Reached:
    """The share of noticed faults, over all guarding modules together."""
    noticed, tried, details = 0, 0, []
    count = run.of(0, 4)  # 0: all of them
    for module, tests in GUARDS.items():
        command = [
            sys.executable,
            "-m",
            "prove.mutation",
            module,
            str(count),
            str(run.seed),
            *tests,
        ]
        env = {**os.environ, "FILES_EXAMPLES": "15"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            return judged(f"{module} could not be tried", False, done.stderr[-2000:])
        told = json.loads(done.stdout.splitlines()[-1])
        noticed, tried = noticed + told["noticed"], tried + told["tried"]
        details += [f"{module}: {told['noticed']} of {told['tried']}", *told["lived"]]
    said = f"{noticed} of {tried} noticed ({noticed / tried:.0%})"
    (run.folder / "mutants.txt").write_text("\n".join(details), "utf-8")
    return judged(said, noticed / tried >= SHARE, *details)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives out another source for one module."""

    def __init__(self, module: str, source: str) -> None:
        self._module, self._source = module, source
        self._file = str(ROOT / (module.replace(".", "/") + ".py"))

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._file, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._file, "exec", dont_inherit=True), module.__dict__)


def ends(module: str, source: str, tests: Sequence[str], seconds: float) -> int | None:
    """pytest's exit status over the changed module; None: it took too long."""
    child = os.fork()
    if child == 0:
        os.setsid()
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silent, stream)
        sys.meta_path.insert(0, Changed(module, source))
        import pytest

        flags = [
            "-x",
            "-q",
            "-p",
            "no:xdist",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow and not browser",
        ]
        os._exit(int(pytest.main([*flags, *tests])))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main(module: str, count: int, seed: int, tests: Sequence[str]) -> None:
    """Try the mutants of a module; the last line says what came of it."""
    for library in LIBRARIES:
        importlib.import_module(library)
    source = (ROOT / (module.replace(".", "/") + ".py")).read_text("utf-8")
    began = time.monotonic()
    if ends(module, source, tests, 600) != 0:
        sys.exit(f"the tests of {module} fail without any fault")
    limit = 3 * (time.monotonic() - began) + 10
    chosen = mutants(source)
    if count and count < len(chosen):
        chosen = random.Random(seed).sample(chosen, count)
    lived: list[Mutant] = [one for one in chosen if ends(module, one.source, tests, limit) == 0]
    told = {
        "tried": len(chosen), "noticed": len(chosen) - len(lived),
        "lived": [f"  {Path(module.replace('.', '/')).name}.py:{one.line} {one.what}" for one in lived],
    }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
