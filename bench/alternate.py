"""Two models that do not fit together, asked in turn by several clients: failures, and memory against the plan.

`python -m bench.alternate [ROUNDS] [CLIENTS] [MODEL]`. The two are one checkpoint under two ids. In each round all
clients ask one of them at once, in the next the other. Before a model is loaded its plan is asked for; afterwards
the process is measured: what it grew by since both were gone should be what the plans of the resident models said.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from bench.models import SMALL, folder_of
from engine import AtelierError, Caller, ChatRequest, Engine, ModelSpec, Plan, Result, Settings
from engine.devices import Cpu
from engine.fit import Form, Shape, anatomy_of

TOKENS = 4
CONTEXT = 1024


@dataclass(slots=True)
class Figures:
    """What a run showed; bytes and seconds."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)
    switches: int = 0
    off: list[int] = field(default_factory=list)  # measured minus planned
    broken: list[str] = field(default_factory=list)  # plans that were not what happened
    waits: list[float] = field(default_factory=list)


def specs(folder: Path) -> list[ModelSpec]:
    """Two catalog rows of one checkpoint."""
    return [
        ModelSpec(id=name, does=frozenset({"chat"}), family="hf_chat", path=str(folder))
        for name in ("first", "second")
    ]


def build(rows: list[ModelSpec], budget: int, folder: Path) -> Engine:
    """An engine whose models may hold `budget` bytes together."""
    settings = Settings(
        data_dir=folder,
        device="cpu",
        memory_budget=budget,
        prefix_memory=0,
        quantisation="none",
        context_limit=CONTEXT,
        dtype="bfloat16",
        _env_file=None,
    )
    return Engine.build(settings, specs=rows)


async def ask(engine: Engine, model: str, client: int, figures: Figures) -> None:
    """One answer of some tokens."""
    request = ChatRequest(
        prompt=f"{client} import value", model=model, max_tokens=TOKENS, temperature=0
    )
    began, result = time.perf_counter(), Result()
    figures.asked += 1
    try:
        async with aclosing(engine.run(request, Caller(name=f"client {client}"))) as events:
            async for event in events:
                result.add(event)
        if result.usage.output_tokens != TOKENS:
            figures.failed.append(f"{model}: {result.usage.output_tokens} tokens")
    except AtelierError as error:
        figures.failed.append(f"{model}: {error}")
    figures.waits.append(time.perf_counter() - began)


def residents(engine: Engine) -> set[str]:
    """The ids of the models in memory."""
    return {model.id for model in engine.status().resident}


def check(plan: Plan, before: set[str], after: set[str], figures: Figures) -> None:
    """Whether what the plan said is what happened."""
    told = (before - {leaving.id for leaving in plan.unloads}) | {plan.model}
    if told != after:
        figures.broken.append(f"{plan.model}: told {sorted(told)}, found {sorted(after)}")


async def alternate(engine: Engine, models: list[str], rounds: int, clients: int) -> Figures:
    """The run itself, after one round of each that brings the libraries in and measures the models."""
    figures, device = Figures(), Cpu.find()
    needed: dict[str, int] = {}
    for model in (*models, *models):
        await ask(engine, model, 0, Figures())
        needed[model] = engine.plan(model).needed
    for model in models:
        await engine.evict(model)
    device.release()
    empty = device.held()
    for n in range(rounds):
        model = models[n % len(models)]
        before, plan = residents(engine), engine.plan(model)
        needed[model] = plan.needed
        figures.switches += not plan.resident
        await asyncio.gather(*(ask(engine, model, client, figures) for client in range(clients)))
        after = residents(engine)
        check(plan, before, after, figures)
        gc.collect()
        figures.off.append(device.held() - empty - sum(needed[one] for one in after))
        if n % 10 == 9:
            off = figures.off[-1] / 1e6
            print(f"{n + 1} rounds, {len(figures.failed)} failed, {off:+.0f} MB", flush=True)
    return figures


async def run(rounds: int, clients: int, checkpoint: Path) -> Figures:
    """Alternate between two models on a device that holds one of them at its full context."""
    rows = specs(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        anatomy = anatomy_of(rows[0])
        assert anatomy is not None
        need = anatomy.need(Form("bfloat16"), Shape(CONTEXT))
        engine = build(rows, int(1.02 * need), Path(folder))
        await engine.start()
        try:
            return await alternate(engine, [row.id for row in rows], rounds, clients)
        finally:
            await engine.close()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    began = time.perf_counter()
    model = sys.argv[3] if len(sys.argv) > 3 else SMALL
    figures = asyncio.run(run(rounds, clients, folder_of(model)))
    megabytes = [round(value / 1e6) for value in figures.off]
    print(f"{figures.asked} requests, {len(figures.failed)} failed, {figures.switches} switches")
    print(f"memory minus plan: {min(megabytes)} to {max(megabytes)} MB")
    print(f"  first ten {megabytes[:10]}, last ten {megabytes[-10:]}")
    print(f"plans that were not what happened: {len(figures.broken)}")
    print(
        f"answer median {statistics.median(figures.waits):.1f} s, "
        f"whole run {time.perf_counter() - began:.0f} s"
    )
    for line in (*figures.failed[:5], *figures.broken[:5]):
        print(" ", line)


if __name__ == "__main__":
    main()
