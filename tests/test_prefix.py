"""What was read is kept: a next turn says the very same, sooner, and nobody learns of another's texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine import Caller, Engine, fold
from engine.errors import Cancelled, OutOfMemory
from engine.families import hf_chat
from engine.families._block import Block
from engine.families._prefix import Known, Prefixes, common, has_fixed_positions, limit_of, packed
from engine.registry import ModelSpec, Spares
from engine.requests import ChatRequest, Message
from engine.settings import Settings
from tests import tiny
from tests.fakes import Bench, spec
from tests.tiny import Listener

pytestmark = pytest.mark.slow  # real models

SLIDING: dict[str, Any] = {"sliding_window": 8}
UNTIED: dict[str, Any] = {"tie_word_embeddings": False}
KINDS = [
    ("llama", {}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("gpt2", {}),
    ("gpt_neox", {}),
    ("bloom", {}),
    ("mistral", SLIDING),
    ("gemma2", SLIDING | UNTIED),
    ("gemma3_text", SLIDING | UNTIED),
]
LONG = "the quick brown fox jumps over the lazy dog and says hello " * 6


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


def load(folder: Path, **settings: Any) -> hf_chat.HfChat:
    row = ModelSpec(
        id="tiny",
        does=frozenset({"chat"}),
        family="hf_chat",
        path=str(folder),
        options={"dtype": "float32"},
    )
    values = {"prefill_chunk": 16, "parallel": 4, "prefix_memory": 50_000_000, **settings}
    backend = hf_chat.load(row, Settings(device="cpu", **values))
    backend._ends = frozenset()
    return backend


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_checkpoint(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def backend(folder: Path) -> hf_chat.HfChat:
    return load(folder)


def turns(*texts: str, **fields: Any) -> ChatRequest:
    roles = ("user", "assistant")
    messages = tuple(Message.of(roles[n % 2], text) for n, text in enumerate(texts))
    return ChatRequest(messages=messages, **{"max_tokens": 12, **fields})


class Hearer(Listener):
    """Knows the tokens of its answer, too: those of a random model may spell no text."""

    made: list[int]


def ask(backend: hf_chat.HfChat, *requests: ChatRequest, owner: str = "me") -> list[Hearer]:
    """The answers to requests that arrive together."""
    listeners = [Hearer(owner=owner) for _ in requests]
    for request, listener in zip(requests, listeners, strict=True):
        backend.join(request, listener)
        listener.made = backend._waiting[-1].made
    for _ in range(500):
        if all(listener.over for listener in listeners):
            return listeners
        backend.step()
    raise AssertionError("an answer did not end")


def read_tokens(backend: hf_chat.HfChat, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each pass of reading takes from now on."""
    counts: list[int] = []
    read = backend._runner.read

    def counting(reading: Any, budget: int) -> Any:
        before = reading.done
        out = read(reading, budget)
        counts.append((reading.done - before) * len(reading.texts))
        return out

    monkeypatch.setattr(backend._runner, "read", counting)
    return counts


@pytest.mark.parametrize(("kind", "changed"), KINDS, ids=[kind for kind, _ in KINDS])
def test_a_second_turn_is_the_same_with_and_without(tmp_path, monkeypatch, kind, changed):
    folder = tiny.make_checkpoint(tmp_path, kind, **changed)
    kept, plain = load(folder), load(folder, prefix_memory=0)
    first = turns(LONG)
    (one,), (other,) = ask(kept, first), ask(plain, first)
    assert one.made == other.made and one.cached == 0
    counts = read_tokens(kept, monkeypatch)
    second = turns(LONG, one.text or "yes", "and what then?")
    (one,), (other,) = ask(kept, second), ask(plain, second)
    assert one.made == other.made and len(one.made) == 12
    assert other.cached == 0 and one.input == other.input
    assert one.cached > 60 and sum(counts) == one.input - one.cached


def test_drawn_answers_are_the_same_too(folder):
    kept, plain = load(folder), load(folder, prefix_memory=0)
    how: dict[str, Any] = {"temperature": 0.9, "top_p": 0.95, "seed": 5, "repetition_penalty": 1.2}
    for backend in (kept, plain):
        ask(backend, turns(LONG))
    (one,), (other,) = (ask(b, turns(LONG, "yes", "more", **how)) for b in (kept, plain))
    assert one.cached and one.made == other.made


def test_turns_that_arrive_together_and_join_running_ones(folder):
    kept, plain = load(folder), load(folder, prefix_memory=0)
    texts = [LONG + word for word in ("one", "two", "three", "four")]
    for backend in (kept, plain):
        ask(backend, *(turns(text) for text in texts))
    seconds = [
        turns(text, "yes", "go on " * n, max_tokens=6 + 5 * n) for n, text in enumerate(texts)
    ]
    ones, others = ask(kept, *seconds), ask(plain, *seconds)
    assert [one.made for one in ones] == [other.made for other in others]
    assert all(one.cached > 60 for one in ones)


def test_an_instruction_that_conversations_share_is_read_once(backend, monkeypatch):
    counts = read_tokens(backend, monkeypatch)
    system = Message.of("system", LONG)
    requests = [
        ChatRequest(messages=(system, Message.of("user", f"{n} please")), max_tokens=4)
        for n in range(4)
    ]
    ask(backend, requests[0])
    whole = sum(counts)
    counts.clear()
    listeners = ask(backend, *requests[1:])
    assert all(listener.cached > 60 for listener in listeners)
    assert sum(counts) < whole and len(counts) == 1  # their ends together, in one pass


def test_a_running_answer_serves_others_already(backend):
    running, late = Listener(), Listener()
    backend.join(turns(LONG, max_tokens=60), running)
    for _ in range(8):
        backend.step()
    backend.join(turns(LONG, max_tokens=6), late)
    while not (running.over and late.over):
        backend.step()
    assert late.cached == late.input - 1
    assert running.text.startswith(late.text)


def test_what_others_wrote_is_not_told(backend, monkeypatch):
    """Speed is shared, the count of known tokens is not; nor does it change what was one's own."""
    ask(backend, turns(LONG), owner="ann")
    counts = read_tokens(backend, monkeypatch)
    (bob,) = ask(backend, turns(LONG), owner="bob")
    assert bob.cached == 0 and sum(counts) == 1
    (again,) = ask(backend, turns(LONG + "x"), owner="bob")
    ask(backend, turns(LONG + "x", "yes", "more"), owner="ann")  # continues what bob has, too
    (after,) = ask(backend, turns(LONG + "x"), owner="bob")
    assert 0 < again.cached < after.cached == after.input - 1


def test_a_stopped_answer_is_kept_and_a_prompt_given_up_is_not(backend):
    backend.join(turns(LONG, max_tokens=50), stopped := Listener(Cancelled(), patience=16))
    for _ in range(60):
        backend.step()
    assert stopped.raised and 0 < stopped.output < 50 and backend.spare() > 0
    backend.shed()
    running, late = Listener(), Listener(Cancelled(), patience=1)
    backend.join(turns("hi", max_tokens=30), running)
    backend.step()
    backend.join(turns(LONG), late)
    while not running.over:
        backend.step()
    assert late.raised and late.output == 0
    ask(backend, turns("x"))
    (fresh,) = ask(backend, turns(LONG))
    assert fresh.cached < 10


def test_memory_is_counted_given_back_and_done_without(backend):
    empty = backend.memory()
    assert isinstance(backend, Spares) and backend.spare() == 0
    (one,) = ask(backend, turns(LONG))
    assert backend.memory() == empty + backend.spare() > empty
    assert backend.shed() > 0 and backend.memory() == empty
    (other,) = ask(backend, turns(LONG))
    assert other.cached == 0 and other.text == one.text
    backend.close()
    assert backend.memory() == backend.spare() == 0


@pytest.mark.parametrize("where", ["copying in", "keeping"])
def test_running_out_of_memory_costs_what_was_kept_only(backend, monkeypatch, where):
    (one,) = ask(backend, turns(LONG))
    copy, left = Block.copy, [1]

    def failing(*args: Any) -> None:
        if left and left.pop():
            raise MemoryError
        copy(*args)

    if where == "keeping":  # the only copy that a new text makes
        backend.shed()
    monkeypatch.setattr(Block, "copy", failing)
    (other,) = ask(backend, turns(LONG))
    assert other.text == one.text and other.error is None and other.cached == 0 and not left


def test_without_anything_to_give_back_the_prompt_fails(backend, monkeypatch):
    def failing(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(backend._runner, "read", failing)
    (one,) = ask(backend, turns(LONG))
    assert isinstance(one.error, OutOfMemory)


def test_a_model_with_a_cache_of_its_own_keeps_nothing(tmp_path):
    backend = load(tiny.make_checkpoint(tmp_path, "mamba"))
    for _ in range(2):
        (one,) = ask(backend, turns(LONG))
        assert one.cached == 0 and backend.spare() == 0


def test_positions_that_move_are_not_used_again():
    assert has_fixed_positions(tiny.config_of("llama"))
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert not has_fixed_positions(tiny.config_of("llama", rope_parameters=scaled))


# -- the store by itself


def block(tokens: int = 64) -> Block:
    made = Block(1, 1, tokens)
    made.layers[0].update(*(torch.zeros(1, 1, 1, 4),) * 2)
    return made


def text(owner: str, *ids: int) -> Known:
    return Known.of(owner, ids, block())


SIZE = text("", 1).size


def test_the_one_unused_for_longest_goes():
    store = Prefixes(2 * SIZE, least=2)
    store.keep(text("a", 1, 1, 1))
    store.keep(text("a", 2, 2, 2))
    assert store.find("a", [1, 1, 1, 9]).length == 3  # used, so the other one goes
    store.keep(text("a", 3, 3, 3))
    lengths = [store.find("a", [n, n, n, 9]).length for n in (1, 2, 3)]
    assert lengths == [3, 0, 3] and store.memory() == 2 * SIZE


def test_a_longer_text_replaces_its_beginning_of_the_same_owner():
    store = Prefixes(9 * SIZE, least=2)
    for one in (text("a", 1, 2), text("b", 1, 2), text("a", 1, 2, 3), text("a", 1, 2)):
        store.keep(one)
    assert store.memory() == 2 * SIZE
    assert store.find("b", [1, 2, 3, 4]).told == 2
    assert store.find("c", [1, 2, 3, 4]).told == 0


def test_the_last_token_is_always_read():
    store = Prefixes(9 * SIZE, least=2)
    store.keep(text("a", 1, 2, 3, 4))
    assert store.find("a", [1, 2, 3, 4]).length == 3


def test_what_is_too_large_or_too_short_is_not_kept():
    store = Prefixes(SIZE - 1, least=2)
    store.keep(text("a", 1, 2, 3))
    assert store.memory() == 0
    store = Prefixes(SIZE, least=4)
    store.keep(text("a", 1, 2, 3))
    assert store.memory() == 0 and not store.worth(3) and store.worth(4)
    assert not Prefixes(0).worth(1000)


@pytest.mark.parametrize("shared", [0, 1, 2, 31, 99, 100])
def test_common_counts_whole_tokens(shared):
    one = [300 + n for n in range(100)]
    other = one[:shared] + [n + 1 for n in one[shared:]]
    assert common(packed(one), packed(other)) == shared
    assert common(packed(one), packed(one[:shared])) == shared


def test_the_limit_follows_the_device_unless_told():
    assert limit_of(Settings(prefix_memory=7)) == 7
    assert limit_of(Settings(memory_budget=1000)) == 50
    assert limit_of(Settings(device="cpu")) > 10_000_000


# -- in the lane's memory


class Hoarder:
    """A model that keeps 300 of its 500 bytes only to be quicker."""

    def __init__(self, model: Any) -> None:
        self.model, self.extra, self.chat = model, 0, model.chat

    def memory(self) -> int:
        return 200 + self.extra

    def spare(self) -> int:
        return self.extra

    def shed(self) -> int:
        freed, self.extra = self.extra, 0
        self.model.family.device.taken -= freed
        return freed

    def close(self) -> None:
        self.shed()
        self.model.close()


async def test_kept_texts_go_before_models_do(monkeypatch):
    bench = Bench(total=1000)
    load_ = bench.family.load
    monkeypatch.setattr(
        bench.family,
        "load",
        lambda row, settings: (
            Hoarder(load_(row, settings)) if row.id == "a" else load_(row, settings)
        ),
    )
    bench.ask(a := spec("a", 200))
    bench.turns()
    models = bench.lane._models
    hoarder = models.get(a).backend  # type: ignore[union-attr]
    hoarder.extra = 300
    bench.device.taken += 300
    bench.ask(a)
    bench.turns()
    assert models.held == 500
    assert models.get(a).peak == 200  # type: ignore[union-attr]
    bench.ask(spec("small", 400))
    bench.turns()
    assert hoarder.extra == 300  # there was room for both
    bench.ask(spec("large", 350))
    bench.turns()
    assert sorted(bench.resident) == ["a", "large", "small"] and hoarder.extra == 0


async def test_the_engine_tells_the_asker_alone(folder, settings):
    row = ModelSpec(id="tiny", does=frozenset({"chat"}), family="hf_chat", path=str(folder))
    engine = Engine.build(settings, families={"hf_chat": hf_chat}, specs=(row,))
    await engine.start()
    try:
        told = []
        for name in ("ann", "ann", "bob", "bob"):
            answer = await fold(engine.run(turns(LONG, max_tokens=4), Caller(name=name)))
            told.append(answer.usage.cached_tokens)
        assert told[0] == told[2] == 0 and told[1] == told[3] == answer.usage.input_tokens - 1
        (lane,) = (lane for lane in engine.status().lanes if lane.resident)
        assert lane.resident[0].memory > 0
    finally:
        await engine.close()
