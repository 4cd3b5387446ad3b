"""Tokens per second of many clients on one model: our batching beside answering one at a time, transformers'
own continuous batching, and a bare `generate`; and how long running answers pause while a long prompt arrives.

`python -m bench.chat [--model random-88m] [--cases 128/64,1024/64] [--clients 1,4,16] [--repeats 3] [--sides …]`

Every side runs in a process of its own with one thread for all torch work (two threads of one process spoil each
other's pace) and the same weights, type, prompts and token counts; the sides take turns, round by round.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, cast

from bench.models import SMALL, folder_of, ids
from bench.report import median, quantile, table
from engine.errors import AtelierError
from engine.events import Done, Event
from engine.registry import ModelSpec
from engine.requests import ChatRequest
from engine.settings import Settings

SERIAL = 4  # requests that are enough to tell the pace of one at a time
Prompts = list[list[int]]


@dataclass(slots=True)
class Round:
    """One run: tokens per second over all, and seconds to each request's first token."""

    pace: float
    first: list[float]
    gaps: list[float] = field(default_factory=list)


class Listener:
    """An emit that notes when tokens were made."""

    owner = "bench"

    def __init__(self) -> None:
        self.asked = time.perf_counter()
        self.times: list[float] = []
        self.over = False

    def __call__(self, event: Event | None) -> None:
        self.over = self.over or isinstance(event, Done)

    def count(self, *, input: int = 0, output: int = 0, cached: int = 0) -> None:
        if output:
            self.times.append(time.perf_counter())

    def fail(self, error: Exception) -> None:
        raise error


class Ours:
    """The family itself, driven as the lane drives it."""

    def __init__(self, model: str, dtype: str) -> None:
        from engine.families import hf_chat

        spec = ModelSpec(
            id=model, does=frozenset({"chat"}), family="hf_chat", path=str(folder_of(model))
        )
        self.backend: Any = hf_chat.load(spec, Settings(dtype=dtype, device="cpu", parallel=16))
        # Ids in, so that every side reads the very same prompt.
        self.backend._prompter.encode = lambda text, request, context: (  # type: ignore[method-assign]
            [int(n) for n in (request.prompt or "").split()],
            True,
        )

    def ask(self, prompt: list[int], new: int) -> Listener:
        listener = Listener()
        text = " ".join(map(str, prompt))
        self.backend.join(ChatRequest(prompt=text, max_tokens=new, temperature=0), listener)
        return listener

    def together(self, prompts: Prompts, new: int) -> Round:
        began = time.perf_counter()
        listeners = [self.ask(prompt, new) for prompt in prompts]
        while not all(listener.over for listener in listeners):
            self.backend.step()
        return _round(began, listeners)

    def serial(self, prompts: Prompts, new: int) -> Round:
        began = time.perf_counter()
        listeners = []
        for prompt in prompts[:SERIAL]:
            listeners.append(self.ask(prompt, new))
            while not listeners[-1].over:
                self.backend.step()
        return _round(began, listeners)

    def arrival(self, prompts: Prompts, new: int) -> Round:
        """Answers are running; the last prompt, a long one, arrives. The gaps are those of the running ones."""
        began = time.perf_counter()
        running = [self.ask(prompt, new) for prompt in prompts[:-1]]
        while len(running[-1].times) < new // 4:
            self.backend.step()
        late = self.ask(prompts[-1], new // 2)
        while not all(listener.over for listener in [*running, late]):
            self.backend.step()
        result = _round(began, [*running, late])
        for listener in running:
            pairs = zip(listener.times, listener.times[1:], strict=False)
            result.gaps += [after - before for before, after in pairs]
        return result


class Bare:
    """`model.generate` with a streamer, one prompt after the other."""

    def __init__(self, model: str, dtype: str) -> None:
        self.model = _plain_model(model, dtype)

    def serial(self, prompts: Prompts, new: int) -> Round:
        import torch

        began, listeners = time.perf_counter(), []
        for prompt in prompts[:SERIAL]:
            listener = Listener()
            self.model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
                streamer=_Streamer(listener),
            )
            listeners.append(listener)
        return _round(began, listeners)


class Theirs:
    """transformers' own continuous batching. Its manager has a thread of its own, which does all its torch work."""

    def __init__(self, model: str, dtype: str) -> None:
        import torch
        from transformers import ContinuousBatchingConfig, GenerationConfig

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so that loading opens no second pool of threads
        self.model = _plain_model(model, dtype)
        torch.set_num_threads(threads)
        config = ContinuousBatchingConfig(
            num_blocks=256, max_batch_tokens=1024, page_size=256, auto_switch_to_flash=False
        )
        generation = GenerationConfig(
            max_new_tokens=64, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
        self.manager = self.model.init_continuous_batching(generation, config)
        self.manager.start()
        self.number = 0

    def together(self, prompts: Prompts, new: int) -> Round:
        began = time.perf_counter()
        listeners: dict[str, Listener] = {}
        for prompt in prompts:
            self.number += 1
            name = f"r{self.number}"
            listeners[name] = Listener()
            self.manager.add_request(prompt, request_id=name, max_new_tokens=new, streaming=True)
        while not all(listener.over for listener in listeners.values()):
            result = self.manager.get_result(timeout=60)
            if result is None:
                raise RuntimeError("transformers' batching stopped answering")
            listener = listeners.get(result.request_id)
            if listener is not None:
                made = len(result.generated_tokens)
                listener.times += [time.perf_counter()] * (made - len(listener.times))
                listener.over = listener.over or made >= new
        return _round(began, list(listeners.values()))


class _Streamer:
    def __init__(self, listener: Listener) -> None:
        self.listener, self.prompt = listener, True

    def put(self, value: Any) -> None:
        if not self.prompt:
            self.listener.count(output=1)
        self.prompt = False

    def end(self) -> None:
        self.listener.over = True


def _plain_model(model: str, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(
        folder_of(model), dtype=getattr(torch, dtype), local_files_only=True
    )
    return loaded.eval()


def _round(began: float, listeners: Sequence[Listener]) -> Round:
    made = sum(len(listener.times) for listener in listeners)
    ended = max(listener.times[-1] for listener in listeners)
    return Round(made / (ended - began), [one.times[0] - one.asked for one in listeners])


SIDES: dict[str, Callable[[str, str], Any]] = {"ours": Ours, "bare": Bare, "theirs": Theirs}


def serve(pipe: Connection, side: str, model: str, dtype: str) -> None:
    """A side's process: runs what it is told, one thing at a time, until it is ended."""
    worker = SIDES[side](model, dtype)
    pipe.send("ready")
    while True:
        what, prompts, new = pipe.recv()
        try:
            pipe.send(getattr(worker, what)(prompts, new))
        except (AtelierError, RuntimeError, ValueError) as error:
            pipe.send(error)


class Process:
    """A side, seen from here."""

    def __init__(self, side: str, model: str, dtype: str) -> None:
        context = mp.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, side, model, dtype), daemon=True)
        self.process.start()
        other.close()  # so that the end of the process is the end of the pipe
        self._pause()

    def _pause(self) -> Any:
        """Wait for its word, then halt it: transformers' manager turns in circles while it has no work."""
        result = self.pipe.recv()
        os.kill(self.process.pid or 0, signal.SIGSTOP)
        return result

    def run(self, what: str, prompts: Prompts, new: int) -> Round:
        os.kill(self.process.pid or 0, signal.SIGCONT)
        self.pipe.send((what, prompts, new))
        result = self._pause()
        if isinstance(result, Exception):
            raise result
        return cast(Round, result)

    def close(self) -> None:
        self.process.kill()
        self.process.join()


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    side: str
    what: str
    prompt: int
    new: int
    clients: int

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.side, self.what, self.clients)


def measure(
    processes: dict[str, Process], cases: list[Case], repeats: int
) -> dict[Case, list[Round]]:
    """All cases in turn, `repeats` times after one warm-up."""
    rounds: dict[Case, list[Round]] = {case: [] for case in cases}
    for number in range(repeats + 1):
        for case in cases:
            prompts = [ids(case.prompt, 1000 * number + n) for n in range(case.clients)]
            result = processes[case.side].run(case.what, prompts, case.new if number else 8)
            if number:
                rounds[case].append(result)
    return rounds


def rows_of(rounds: dict[Case, list[Round]], prompt: int, new: int) -> list[list[str]]:
    """Lines of the table with the ratios that are goals."""
    paces = {
        case.key: median(r.pace for r in runs)
        for case, runs in rounds.items()
        if (case.prompt, case.new) == (prompt, new)
    }
    serial = paces.get(("ours", "serial", SERIAL))
    rows = []
    for case, runs in rounds.items():
        if (case.prompt, case.new) != (prompt, new):
            continue
        pace = paces[case.key]
        theirs = paces.get(("theirs", "together", case.clients))
        bare = paces.get(("bare", "serial", SERIAL))
        notes = []
        if case.side == "ours" and case.what == "together":
            notes += [f"{pace / serial:.2f}x one at a time"] if serial else []
            notes += [f"{pace / theirs:.2f}x transformers' own"] if theirs else []
        if case.side == "ours" and case.what == "serial" and bare:
            notes.append(f"{pace / bare:.2f}x bare generate")
        rows.append([
            f"{prompt}/{new}",
            {"ours": "Atelier", "bare": "generate + streamer", "theirs": "transformers batching"}[case.side],
            "one at a time" if case.what == "serial" else str(case.clients),
            f"{pace:.1f}",
            f"{min(r.pace for r in runs):.1f}",
            f"{median(median(r.first) for r in runs):.2f}",
            ", ".join(notes),
        ])  # fmt: skip
    return rows


def gap_row(process: Process, repeats: int) -> list[str]:
    """Running answers while a 1,000-token prompt arrives."""
    worst, usual = [], []
    for number in range(repeats + 1):
        prompts = [ids(64, 7000 + 10 * number + n) for n in range(4)] + [
            ids(1000, 7009 + 10 * number)
        ]
        result = process.run("arrival", prompts, 96)
        if number:
            worst.append(max(result.gaps))
            usual.append(quantile(result.gaps, 0.5))
    ratio = median(w / u for w, u in zip(worst, usual, strict=True))
    note = f"longest gap {1000 * median(worst):.0f} ms, median {1000 * median(usual):.0f} ms: {ratio:.1f}x"
    return ["64/96 + 1000", "Atelier", "4, then a long one", "", "", "", note]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=SMALL)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--cases", default="128/64,1024/64")
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--sides", default="ours,bare,theirs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-gap", action="store_true")
    given = parser.parse_args()
    clients = [int(n) for n in given.clients.split(",")]
    sides = given.sides.split(",")
    folder_of(given.model)
    processes = {side: Process(side, given.model, given.dtype) for side in sides}
    rows = []
    for shape in given.cases.split(","):
        prompt, new = (int(n) for n in shape.split("/"))
        cases = [
            *(Case(side, "serial", prompt, new, SERIAL) for side in sides if side != "theirs"),
            *(Case(s, "together", prompt, new, n) for n in clients for s in sides if s != "bare"),
        ]
        rows += rows_of(measure(processes, cases, given.repeats), prompt, new)
    if "ours" in sides and not given.no_gap:
        rows.append(gap_row(processes["ours"], given.repeats))
    for process in processes.values():
        process.close()
    table(
        f"Many clients on one model ({given.model}, {given.dtype}, processor)",
        ["prompt/new", "side", "clients", "tokens/s", "worst", "first token, s", ""],
        rows,
        "Medians of rounds in turn after a warm-up; greedy, no end token, random weights. Each side has a process "
        "of its own with one thread for torch.",
    )


if __name__ == "__main__":
    main()
