"""The faults that are injected, and the test of each.

A fault is survived when every test of its line passes: the process lives, the next request is right, memory is back,
and what was in the way fails with an error of its own kind.
"""

from __future__ import annotations

from prove.figure import Reached, Run, judged
from prove.suite import Suite, run_tests

GOAL = 40
BREAK = "tests/test_remote_chaos.py::test_a_break_is_said"
LANE = "tests/test_lane_faults.py::test_"
HUB = "tests/test_downloads_faults.py::test_"
PAGE = "tests/test_fetch.py::test_what_misbehaves_is_left"
CHECKPOINT = "tests/test_checkpoints.py::test_"

# What happens, and how the ids of its tests begin.
FAULTS: tuple[tuple[str, str], ...] = (
    # another server (Ollama and OpenAI alike)
    ("it is down", f"{BREAK}[down-"),
    ("it resets the connection", f"{BREAK}[reset-"),
    ("it takes the request and says nothing", f"{BREAK}[hole-"),
    ("it hangs up before its headers", f"{BREAK}[cut-0-"),
    ("it ends in the middle of a line", f"{BREAK}[cut-400-"),
    ("it is reset in the middle of its answer", f"{BREAK}[snap-400-"),
    ("it falls silent within its headers", f"{BREAK}[stall-60-"),
    ("it falls silent in the middle of its answer", f"{BREAK}[stall-400-"),
    ("it sends a few bytes at a time", "tests/test_remote_chaos.py::test_slow_is_not_broken["),
    ("it goes and comes back", "tests/test_remote_chaos.py::test_a_server_that_comes_back_answers_again["),
    # Redis
    ("Redis is down: rates", "tests/test_rates.py::test_a_lost_redis_is_replaced"),
    ("Redis hangs: rates", "tests/test_rates.py::test_a_hung_redis_does_not_hang_us"),
    ("Redis goes and comes back: answers", "tests/test_answers.py::test_a_redis_that_goes_is_missed_and"),
    ("Redis hangs: answers", "tests/test_answers.py::test_a_hung_redis_does_not_hang_us"),
    # memory
    ("out of memory at load", f"{LANE}load_out_of_memory_evicts_everything_idle"),
    ("out of memory at load, nothing to evict", f"{LANE}load_out_of_memory_with_nothing_to_evict"),
    ("out of memory at prefill", "tests/test_prefix.py::test_running_out_of_memory_costs_what_was_kept_only["),
    ("out of memory at prefill, nothing to give back", "tests/test_prefix.py::test_without_anything_to_give_back"),
    ("out of memory at decode", "tests/test_hf_chat.py::test_a_step_that_ran_out_of_memory_can_be_repeated"),
    ("out of memory in a batch's step", f"{LANE}a_batch_step_out_of_memory_drops_only_the_newest"),
    ("out of memory twice", f"{LANE}out_of_memory_twice_fails_that_request_alone"),
    ("out of memory after text went out", f"{LANE}out_of_memory_after_text_was_sent"),
    ("out of memory while drawing", "tests/test_diffusion.py::test_memory_that_runs_out"),
    # a model
    ("its backend dies", f"{LANE}a_dead_backend_is_loaded_anew"),
    ("a foreign error in a step", f"{LANE}a_foreign_fault_in_a_step"),
    ("it never says that it is done", f"{LANE}a_backend_that_never_says_done"),
    ("loading fails", f"{LANE}failed_load_fails_all_who_asked_once"),
    ("one picture breaks the pipeline", "tests/test_diffusion.py::test_one_that_breaks_is_told_alone"),
    # a checkpoint
    ("its weights are cut", f"{CHECKPOINT}cut_weights["),
    ("something else lies in their place", f"{CHECKPOINT}foreign_files_in_place_of_weights["),
    ("its config is damaged", f"{CHECKPOINT}a_damaged_config["),
    ("a shard is missing", f"{CHECKPOINT}shards"),
    ("its index names a file outside", f"{CHECKPOINT}an_index_reaches_no_file_outside"),
    ("its weights are pickled", f"{CHECKPOINT}pickled_weights_are_not_opened["),
    # the hub
    ("it cannot be reached", f"{HUB}an_unreachable_hub"),
    ("its connection breaks", f"{HUB}a_connection_that_breaks_is_taken_up_again"),
    ("it sends a wrong file", f"{HUB}a_wrong_file_never_gets_its_name[wrong"),
    ("it sends half a file", f"{HUB}a_wrong_file_never_gets_its_name[short"),
    ("a part on the disk is damaged", f"{HUB}damage_done_to_a_part_is_found_and_mended"),
    ("it answers with errors", f"{HUB}answers_that_are_none["),
    ("the downloading process is killed", f"{HUB}a_courier_that_dies_is_an_error"),
    # an address on the web
    ("it never ends", f"{PAGE}[/endless-"),
    ("it unpacks to very much", f"{PAGE}[/bomb-"),
    ("it drips", f"{PAGE}[/drip-"),
    ("it is silent", f"{PAGE}[/silent-"),
    ("it leads in a circle", f"{PAGE}[/loop-"),
    # the disk
    ("it is full: an upload", "tests/test_files.py::test_a_full_disk"),
    ("it is full: the database", "tests/test_database.py::test_a_full_disk_fails_a_write_and_no_later_one"),
    ("a model's folder cannot be written", f"{HUB}a_cache_that_cannot_be_written"),
    ("the database is damaged", "tests/test_database.py::test_a_damaged_file_is_refused_in_words["),
    ("another program holds the database", "tests/test_database.py::test_a_file_that_another_program_holds"),
    ("a migration fails", "tests/test_database.py::test_a_migration_that_fails_changes_nothing"),
    # the process
    ("killed while a document is read", "tests/test_documents_restart.py::test_kill_9_in_the_middle_of_a_document"),
    ("killed among its renames", "tests/test_files.py::test_a_plan_is_brought_to_its_end"),
    ("told to end with pages and streams open", "tests/test_shutdown.py::test_a_signal_ends_it_with_streams"),
    ("the clock jumps", "tests/test_clock.py::"),
    # a client
    ("it hangs up in the middle of an answer", "tests/test_engine.py::test_leaving_stops_the_device_within_a_token["),
    ("it hangs up while it uploads", "tests/test_files_routes.py::test_a_client_that_hangs_up_leaves_nothing"),
    ("it never ends its headers", "tests/test_shutdown.py::test_half_open_requests_are_closed"),
    ("it closes its tab", "tests/test_browser.py::test_a_closed_tab_ends_its_answer"),
)  # fmt: skip


def faults(run: Run) -> Reached:
    """All faults; each is told by name where it was not survived."""
    nodes = dict.fromkeys(where.partition("[")[0] for _, where in FAULTS)
    return judge(run_tests(sorted(_whole(node) for node in nodes)))


def _whole(node: str) -> str:
    """What pytest is asked for: the test where the line has its whole name, else its file."""
    path, _, name = node.partition("::")
    return path if not name or not _is_test(path, name) else node


def _is_test(path: str, name: str) -> bool:
    from bench.servers import ROOT

    return f"def {name}(" in (ROOT / path).read_text("utf-8")


def judge(suite: Suite) -> Reached:
    """How many of the faults were survived."""
    survived, lost, absent = 0, [], []
    for fault, where in FAULTS:
        ends = {end for node, end in suite.ends.items() if node.startswith(where)}
        if ends == {"passed"}:
            survived += 1
        elif ends <= {"skipped", "passed"} and ends:
            absent.append(f"not run here: {fault} ({where})")
        else:
            lost.append(f"NOT SURVIVED: {fault} ({where})")
    said = f"{len(FAULTS)} faults, {survived} survived, {len(absent)} not run here"
    reasons = [*lost, *absent, *suite.reasons[:20], *((suite.printed,) if lost else ())]
    return judged(said, not lost and survived >= GOAL, *reasons)
