"""Figures that are tests: run by pytest in a process of its own, and read from the report that it writes.

A test tells its figures with `record_property` or `record_testsuite_property`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.servers import ROOT
from prove.figure import Reached, Run, judged

Told = Mapping[str, str]
ENDS = {"failure": "failed", "error": "failed", "skipped": "skipped"}


@dataclass(slots=True)
class Suite:
    """What a run of tests came to.

    Attributes:
        ends: "passed", "failed" or "skipped" for each test, by its id.
        told: the figures that the tests gave.
        reasons: why tests failed or were skipped.
        printed: the end of pytest's own output.
    """

    ends: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    printed: str = ""

    def count(self, end: str) -> int:
        return sum(each == end for each in self.ends.values())


def run_tests(
    nodes: Sequence[str], env: Mapping[str, str] | None = None, seconds: float = 7200
) -> Suite:
    """Run these tests one after the other."""
    with tempfile.TemporaryDirectory(prefix="atelier-prove-") as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider",
            "-o", "timeout=0", "-o", "junit_family=xunit1", f"--junitxml={report}", *nodes,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True,
                timeout=seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Suite(printed=f"the tests had not ended after {seconds:g} s")
        suite = read_report(report.read_text("utf-8")) if report.is_file() else Suite()
    suite.printed = (done.stdout + done.stderr)[-3000:]
    return suite


def read_report(text: str) -> Suite:
    """What a JUnit report says."""
    suite = Suite()
    for element in ET.fromstring(text).iter("testcase"):
        module, _, of_class = element.get("classname", "").partition(".Test")
        path = module.replace(".", "/") + ".py" + (f"::Test{of_class}" if of_class else "")
        node = f"{path}::{element.get('name')}"
        suite.ends[node] = next((ENDS[c.tag] for c in element if c.tag in ENDS), "passed")
        for child in element:
            if child.tag in ENDS:
                words = " ".join((child.get("message") or "").split())
                suite.reasons.append(f"{node}: {words[:300]}")
    for given in ET.fromstring(text).iter("property"):
        suite.told[given.get("name", "")] = given.get("value", "")
    return suite


def tests(
    *nodes: str,
    say: Callable[[Told], str] = lambda told: "",
    env: Callable[[Run], Mapping[str, str]] = lambda run: {},
    holds: Callable[[Run, Told], bool] = lambda run, told: True,
) -> Callable[[Run], Reached]:
    """A measurement that is these tests.

    Args:
        say: the reached figures, from what the tests told.
        env: how much is tried, by the form of the run.
        holds: whether so much was reached as the target names; all tests must pass in any case.
    """

    def measure(run: Run) -> Reached:
        suite = run_tests(nodes, env(run))
        passed, failed, skipped = map(suite.count, ("passed", "failed", "skipped"))
        if passed == failed == 0:
            why = re.sub(r"^.*?: ", "", suite.reasons[0]) if suite.reasons else ""
            if skipped:
                return Reached(why, "not run here", tuple(suite.reasons))
            return judged("no test ran", False, suite.printed)
        counted = f"{passed} of {passed + failed} tests" + (
            f", {skipped} skipped" if skipped else ""
        )
        said = ", ".join(part for part in (say(suite.told) if not failed else "", counted) if part)
        good = failed == 0 and holds(run, suite.told)
        return judged(said, good, *suite.reasons, *((suite.printed,) if failed else ()))

    return measure
