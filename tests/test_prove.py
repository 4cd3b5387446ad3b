"""The tool that proves: what it reads, when it says "missed", and that every line leads to something that runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.servers import COUNTED, DELIBERATE, ROOT
from prove import contract, soak
from prove.__main__ import main
from prove.board import FIGURES, mistakes
from prove.faults import FAULTS, GOAL, judge
from prove.figure import Figure, Reached, Run, judged
from prove.mutants import mutants
from prove.suite import Suite, read_report, run_tests, tests
from prove.supply import LOCK, pins

REPORT = """<?xml version="1.0"?><testsuites><testsuite>
<properties><property name="changes" value="812" /></properties>
<testcase classname="tests.test_a" name="test_one[x]"><properties>
<property name="kills" value="5" /></properties></testcase>
<testcase classname="tests.test_a" name="test_two"><failure message="assert 1 == 2">trace</failure></testcase>
<testcase classname="tests.test_b.TestArea" name="runTest"><skipped message="no Chromium" /></testcase>
</testsuite></testsuites>"""
GOOD = """
def test_fine(record_property):
    record_property("tried", 3)
"""
BAD = GOOD + "\ndef test_wrong():\n    assert 1 == 2\n"
SKIPPED = "import pytest\n\ndef test_absent():\n    pytest.skip('no such program')\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(quick=True, seed=1, folder=tmp_path)


def test_a_report_is_read():
    suite = read_report(REPORT)
    assert suite.ends == {
        "tests/test_a.py::test_one[x]": "passed",
        "tests/test_a.py::test_two": "failed",
        "tests/test_b.py::TestArea::runTest": "skipped",
    }
    assert suite.told == {"changes": "812", "kills": "5"}
    assert suite.reasons[0].endswith("test_two: assert 1 == 2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "verdict", "said"),
    [
        (GOOD, "reached", "3 tried, 1 of 1 tests"),
        (BAD, "missed", "1 of 2 tests"),
        (SKIPPED, "not run here", "no such program"),
        ("x = 1\n", "missed", "no test ran"),
        ("import nothing_of_this_name\n", "missed", "0 of 1 tests"),
    ],
)
def test_tests_are_run(tmp_path: Path, run: Run, text: str, verdict: str, said: str):
    file = tmp_path / "test_it.py"
    file.write_text(text)
    measure = tests(str(file), say=lambda told: f"{told['tried']} tried")
    reached = measure(run)
    assert (reached.verdict, reached.said) == (verdict, said), reached.details


@pytest.mark.slow
def test_what_a_test_tells_is_held_against_the_target(tmp_path: Path, run: Run):
    file = tmp_path / "test_it.py"
    file.write_text(GOOD)
    few = tests(str(file), holds=lambda run, told: int(told["tried"]) >= 4)(run)
    assert few.verdict == "missed"
    assert run_tests([str(file)]).count("passed") == 1


def figure(name: str, reached: Reached) -> Figure:
    return Figure(name, "1", name, "all", lambda run: reached)


def test_the_exit_status_and_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    figures = (
        figure("fine", judged("3 of 3", True)),
        figure("poor", judged("2 of 3", False, "the third")),
        figure("absent", Reached("no Chromium", "not run here")),
    )

    def proved(*flags: str) -> int:
        return main(["--out", str(tmp_path), *flags], figures)

    assert proved("--only", "fine", "absent") == 0
    assert proved("--skip", "poor", "--seed", "7") == 0
    assert proved() == 1
    printed = capsys.readouterr()
    assert (
        "| **missed** |" in printed.out and "the third" in printed.err and "Seed 7" in printed.out
    )
    told = json.loads((tmp_path / "prove.json").read_text())
    assert not told["passed"] and [f["verdict"] for f in told["figures"]] == [
        "reached", "missed", "not run here",
    ]  # fmt: skip
    assert "2 of 3" in (tmp_path / "prove.md").read_text()
    with pytest.raises(SystemExit):
        proved("--only", "nothing of this name")


def test_every_line_has_a_name_of_its_own():
    names = [figure.name for figure in FIGURES]
    assert len(set(names)) == len(names) > 20
    assert {str(n) for n in range(1, 19)} <= {figure.number for figure in FIGURES}


def names_in(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


@pytest.mark.parametrize(("fault", "where"), FAULTS)
def test_every_fault_has_its_test(fault: str, where: str):
    path, _, name = where.partition("::")
    assert f"def {name.partition('[')[0]}" in names_in(path) if name else (ROOT / path).is_file()


def passed() -> Suite:
    return Suite(ends={f"{where}x]" if "[" in where else where: "passed" for _, where in FAULTS})


def test_what_security_names_is_there():
    text = names_in("SECURITY.md")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")][2:]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[2])}
    files = {name for name in named if name.startswith("tests/")}
    assert all(re.search("`", row[2]) for row in rows) and len(rows) > 20
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert named - files - {figure.name for figure in FIGURES} == set()


def test_faults_are_judged_one_by_one():
    assert len(FAULTS) == len(set(FAULTS)) >= GOAL
    assert judge(passed()).verdict == "reached"
    failed, absent = passed(), passed()
    failed.ends[next(iter(failed.ends))] = "failed"
    assert judge(failed).verdict == "missed" and FAULTS[0][0] in judge(failed).details[0]
    del absent.ends[next(iter(absent.ends))]
    assert judge(absent).verdict == "missed", "a fault without a test is not survived"
    skipped = passed()
    skipped.ends[next(iter(skipped.ends))] = "skipped"
    assert judge(skipped).verdict == "reached" and "1 not run here" in judge(skipped).said


def report(**changed: Any) -> dict[str, Any]:
    phases = {name: {"status": "success"} for name in contract.PHASES.split(",")}
    return {
        "test_cases": {"generated": 6000, "unique_failures": 0},
        "operations": {"tested": 130, "total": 130},
        "failures": [], "errors": [], "phases": phases, "complete": True, **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "reached"),
        ({"test_cases": {"generated": 6000, "unique_failures": 1}}, "missed"),
        ({"test_cases": {"generated": 4999, "unique_failures": 0}}, "missed"),
        ({"operations": {"tested": 129, "total": 130}}, "missed"),
        ({"errors": [{"title": "Network Error"}]}, "missed"),
        ({"complete": False}, "missed"),
        ({"phases": {"fuzzing": {"status": "skip"}}}, "missed"),
    ],
)
def test_the_contract_is_kept_whole_or_not(run: Run, changed: dict[str, Any], verdict: str):
    assert contract.verdict(report(**changed), run).verdict == verdict


def test_servers_errors_are_counted_by_the_server():
    text = (
        'atelier_http_requests_total{method="GET",route="/x",status="500"} 2.0\n'
        'atelier_http_requests_total{method="GET",route="/x",status="503"} 9.0\n'
        'atelier_http_requests_total{method="GET",route="/x",status="200"} 7.0\n'
    )
    found = [(int(s), float(n)) for s, n in COUNTED.findall(text)]
    assert [n for s, n in found if s not in DELIBERATE] == [2.0]


def test_mistakes_are_those_of_all_servers(run: Run):
    assert mistakes(run).verdict == "not run here"
    run.mistakes["a"] = 0
    assert mistakes(run).verdict == "reached"
    run.mistakes["b"] = 1
    assert mistakes(run).verdict == "missed"


SAMPLE = '''
"""Words."""
LIMIT = 3


def f(x: int) -> int:
    """More words."""
    if x < LIMIT and not x:
        raise ValueError("no 7")
    return x + 1
'''


def test_faults_are_put_in_one_at_a_time():
    found = mutants(SAMPLE)
    assert [one.what for one in found] == [
        "3 + 1", "left out", "never", "Or instead", "Lt → LtE",
        "not left out", "returns None", "Sub instead", "1 + 1",
    ]  # fmt: skip
    assert len({one.source for one in found}) == len(found)
    assert all("no 7" in one.source or one.what == "left out" for one in found)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_tests_hold_on_to_is_noticed(tmp_path: Path):
    file = tmp_path / "test_it.py"
    file.write_text("from engine.cooling import Cooling\n\ndef test_it():\n    assert Cooling\n")

    def ended(source: str, seconds: int) -> str:
        """In a process of its own: this one has the module already."""
        given = ["engine.cooling", source, [str(file)], seconds]
        code = f"from prove.mutation import ends; print(ends(*{given!r}))"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        return done.stdout.strip() or done.stderr

    assert ended((ROOT / "engine" / "cooling.py").read_text(), 60) == "0"
    assert ended("Cooling = None\n", 60) == "1"
    assert ended("import time\ntime.sleep(99)\n", 3) == "None"


def test_a_leak_is_seen():
    watch = soak.Watch()
    for n in range(100):
        watch.seen.append((n * 60.0, 500_000_000 + n * 100_000, 40, 20))
    assert watch.slope() == pytest.approx(6.0) and 5 < watch.growth() < 7
    still = soak.Watch(seen=[(n * 60.0, 500_000_000, 40, 20) for n in range(100)])
    assert still.slope() == still.growth() == 0


def test_the_lock_is_read():
    found = dict(pins(LOCK))
    assert found["fastapi"] and found["pytest"] and len(found) > 100
