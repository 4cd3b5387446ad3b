"""The scoreboard: every figure, its target and how it is measured."""

from __future__ import annotations

from prove import contract, load, mutation, soak, supply
from prove.faults import GOAL, faults
from prove.figure import Figure, Reached, Run, judged
from prove.suite import tests

CLOSED = ("tests/test_gate.py", "tests/test_middleware.py::test_the_gate_with_tokens")
KILLS = (
    "tests/test_usage.py::test_nothing_acknowledged_is_lost_when_the_process_is_killed",
    "tests/test_files.py::test_killed_at_random",
    "tests/test_downloads_kills.py",
    "tests/test_documents_restart.py",
)


def mistakes(run: Run) -> Reached:
    """Answers with 5xx that nobody meant, over all servers that this run started."""
    if not run.mistakes:
        return Reached("no server was started in this run", "not run here")
    found = [f"{name}: {count}" for name, count in run.mistakes.items() if count]
    said = f"{sum(run.mistakes.values())} by {len(run.mistakes)} servers"
    return judged(said, not found, *found)


FIGURES: tuple[Figure, ...] = (
    Figure("conformance", "1", "Cases over the whole OpenAPI, all phases", "≥ 5,000, 0 failures", contract.conformance),
    Figure("doors", "3", "Paths that answer without a token", "the allow-list and no other", tests(
        *CLOSED, say=lambda told: f"{told['operations']} operations tried",
    )),
    Figure("paths", "4", "Changes of the files area against a model of it", "≥ 20,000, 0 escapes", tests(
        "tests/test_files_model.py", "tests/test_files.py",
        env=lambda run: {"FILES_EXAMPLES": str(run.of(4000, 200))},
        say=lambda told: f"{told['changes']} changes, 0 escapes",
        holds=lambda run, told: run.quick or int(told["changes"]) >= 20_000,
    )),
    Figure("archives", "5", "Hostile archives", "all refused, nothing written", tests("tests/test_files_archives.py")),
    Figure("addresses", "6", "Addresses that lead inside", "≥ 300, 0 hits", tests(
        "tests/test_fetch.py", "tests/test_middleware.py::test_urls_are_not_fetched",
        say=lambda told: f"{told['addresses']} tried, {told['hits']} hits",
    )),
    Figure("media", "7", "Damaged files", "≥ 20,000, 0 crashes, < 200 MB growth", tests(
        "tests/test_mutated.py::test_damaged_files_are_read_or_refused",
        "tests/test_sounds.py::test_damaged_files_never_break_more_than_themselves",
        env=lambda run: {"TEST_MUTATIONS": str(run.of(20_000, 2_000))},
        say=lambda told: f"{told['files']} tried, +{told['growth_mb']} MB",
        holds=lambda run, told: run.quick or int(told["files"]) >= 20_000,
    )),
    Figure("streams", "8", "Streams held at once, every token checked", "200, 0 lost", load.streams),
    Figure("health", "9", "/health beside them", "p99 < 250 ms", load.health),
    Figure("overload", "10", "1,000 offered to a bounded queue", "all answered or 503 with Retry-After", load.overload),
    Figure("disconnects", "11", "Hang-up until the model stops", "p99 < 300 ms, 500 trials", load.disconnects),
    Figure("faults", "12", "Faults injected and survived", f"≥ {GOAL}, all", faults),
    Figure("kills", "13", "SIGKILL at random", "200, nothing acknowledged lost or torn", tests(
        *KILLS, env=lambda run: {"TEST_KILLS": str(run.of(100, 10))},
        say=lambda told: f"{2 * int(told['kills'])} kills, {told['acknowledged']} rows acknowledged, 0 lost",
    )),
    Figure("soak", "14", "Mixed work", "slope < 1 MB/h, files and threads back", soak.soak),
    Figure("sockets", "15", "Slow sockets open after the time-out", "0 of 800", tests(
        "tests/test_shutdown.py::test_half_open_requests_are_closed",
        "tests/test_shutdown.py::test_a_dripping_header_is_closed",
        "tests/test_shutdown.py::test_a_slow_body_and_a_long_answer_are_not",
    )),
    Figure("shutdown", "16", "SIGTERM to exit with pages open", "< 6 s", tests(
        "tests/test_shutdown.py::test_a_signal_ends_it_with_streams_and_pages_open",
    )),
    Figure("browser", "17", "Hostile texts in a browser, four languages, light and dark", "0 of 50 run, 0 leave", tests(
        "tests/test_browser.py::test_hostile_text_runs_nothing", env=lambda run: {"TEST_HOSTILE": "all"},
        say=lambda told: f"{told['payloads']} texts",
    )),
    Figure("mutation", "18", "Faults put into the guarding modules", "≥ 85 % noticed", mutation.mutation),
    Figure("events", "–", "Page events that hand out a file of the machine", "0", tests("tests/test_page.py")),
    Figure("checkpoints", "–", "Pickles, foreign code and templates of models", "all refused", tests(
        "tests/test_checkpoints.py", "tests/test_hf_chat.py::test_a_template_cannot_reach_the_machine",
    )),
    Figure("alternate", "–", "Two models that do not fit together", "0 failed, < 200 MB off the plan", tests(
        "tests/test_alternate.py",
    )),
    Figure("processes", "–", "Several processes that share Redis", "one server; a kill costs its own requests", tests(
        "tests/test_workers.py", "tests/test_shared.py",
    )),
    Figure("upgrades", "–", "Databases of every older schema, and a newer one", "open with a backup; refused", tests(
        "tests/test_upgrades.py", "tests/test_database.py",
    )),
    Figure("audit", "–", "Known holes of the packages", "0", supply.audit),
    Figure("mistakes", "2", "Answers with 5xx that nobody meant", "0", mistakes),
)  # fmt: skip
