"""Doubles with behaviour for the lane's tests: a clock, a device with memory, a family that fills it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from engine.callers import Caller, Priority
from engine.errors import Cancelled, LoadFailed
from engine.events import Done, Event, Text
from engine.footprints import Footprint, Key
from engine.job import Job
from engine.lane import Lane
from engine.registry import BatchEmit, Emit, ModelSpec
from engine.requests import ChatRequest, Message, Request
from engine.settings import Settings


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeDevice:
    """Memory as a number: what models take is added here, and `release` is counted."""

    name: str = "fake:0"
    title: str = "Fake device"
    total: int = 1000
    taken: int = 0
    foreign: int = 0
    released: int = 0

    def used(self) -> int:
        return self.taken + self.foreign

    def held(self) -> int:
        return self.taken

    def release(self) -> None:
        self.released += 1


class Remembered(dict[Key, Footprint]):
    """Footprints in a dictionary."""

    def remember(self, key: Key, footprint: Footprint) -> None:
        self[key] = footprint


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@dataclass
class Model:
    """A loaded fake: answers `words` words; `script` may act at each of them."""

    family: Family
    spec: ModelSpec
    words: int = 3
    script: Callable[[int, ChatRequest, Emit], None] | None = None
    closed: bool = False

    def chat(self, request: ChatRequest, emit: Emit) -> None:
        emit.count(input=1)
        for n in range(self.words):
            if self.script:
                self.script(n, request, emit)
            self.family.log.append(f"{self.spec.id}:{request.messages[-1].text}:{n}")
            emit.count(output=1)
            emit(Text(f"{n} "))
        emit(Done())

    def close(self) -> None:
        self.closed = True
        self.family.device.taken -= self.spec.memory
        self.family.log.append(f"close {self.spec.id}")


@dataclass
class BatchModel(Model):
    """The same in a batch."""

    parallel: int = 2
    rows: dict[int, list[object]] = field(default_factory=dict)
    faults: list[Exception] = field(default_factory=list)

    def join(self, request: Request, emit: BatchEmit) -> None:
        assert len(self.rows) < self.parallel
        self.rows[id(emit)] = [request, emit, 0]

    def step(self) -> None:
        if self.faults:
            raise self.faults.pop(0)
        for key, row in list(self.rows.items()):
            request, emit, n = row
            going = False
            try:
                self.family.log.append(f"{self.spec.id}:{request.messages[-1].text}:{n}")  # type: ignore[attr-defined]
                emit(Text(f"{n} "))  # type: ignore[operator]
                row[2] = n + 1  # type: ignore[operator]
                going = n + 1 < self.words  # type: ignore[operator]
                if not going:
                    emit(Done())  # type: ignore[operator]
            except Cancelled:
                going = False
            finally:
                if not going:
                    self.rows.pop(key, None)

    def drop(self, emit: BatchEmit) -> None:
        self.rows.pop(id(emit), None)


@dataclass
class Family:
    """Loads fakes, takes memory and time for it, fails as told."""

    device: FakeDevice
    clock: Clock
    log: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    words: int = 3
    script: Callable[[int, ChatRequest, Emit], None] | None = None
    load_s: float = 2.0

    def load(self, spec: ModelSpec, settings: Settings) -> Model:
        self.log.append(f"load {spec.id}")
        self.clock.pass_(self.load_s)
        if self.failures:
            raise self.failures.pop(0)
        if self.device.used() + spec.memory > self.device.total:
            raise OutOfMemoryError("full")
        self.device.taken += spec.memory
        kind = BatchModel if spec.options.get("batch") else Model
        model = kind(self, spec, self.words, self.script)
        self.models.append(model)
        return model


def key_of(model: str) -> Key:
    """Under which the bench's lane keeps a model's footprint."""
    return Key(model, "", "fake:0", "bfloat16", "8192x16")


def spec(id: str, memory: int = 100, **options: object) -> ModelSpec:
    return ModelSpec(id=id, does=frozenset({"chat"}), family="fake", memory=memory, options=options)


class Bench:
    """A lane on fakes, driven turn by turn."""

    def __init__(self, total: int = 1000, **settings: object) -> None:
        self.clock = Clock()
        self.device = FakeDevice(total=total)
        self.family = Family(self.device, self.clock)
        self.remembered = Remembered()
        values: dict[str, object] = {"memory_budget": total, "keep_alive": 300, **settings}
        self.lane = Lane(
            self.device,
            {"fake": self.family},
            Settings(_env_file=None, **values),  # type: ignore[arg-type]
            self.remembered,
            clock=self.clock,
            threaded=False,
        )

    def ask(
        self,
        model: ModelSpec,
        text: str = "hi",
        *,
        caller: str = "a",
        priority: Priority = Priority.API,
        keep_alive: float | None = None,
        seconds: float | None = None,
        request_id: str = "",
    ) -> Job:
        request = ChatRequest(
            messages=(Message.of("user", text),), keep_alive=keep_alive, seconds=seconds
        )
        named = Caller(name=caller, priority=priority, request_id=request_id)
        return self.lane.submit(model, request, named)

    def turns(self, count: int = 10) -> None:
        for _ in range(count):
            self.lane.turn()

    @property
    def resident(self) -> list[str]:
        return [model.id for model in self.lane.status().resident]

    @property
    def loads(self) -> list[str]:
        return [entry for entry in self.family.log if entry.startswith("load")]


async def read(job: Job) -> list[Event]:
    return [event async for event in job]


async def text_of(job: Job) -> str:
    return "".join(event.delta for event in await read(job) if isinstance(event, Text))


async def run(bench: Bench, model: ModelSpec) -> str:
    """One whole answer of a model."""
    job = bench.ask(model)
    bench.turns()
    return await text_of(job)


__all__ = [
    "BatchModel",
    "Bench",
    "Clock",
    "LoadFailed",
    "Model",
    "OutOfMemoryError",
    "key_of",
    "read",
    "run",
    "spec",
    "text_of",
]
