"""The embedding family: vectors are those of a plain computation, in any company, and what is wrong is told.

Compared once with sentence-transformers 6.2.0 on the folders built here, every kind, pooling and prompt: no value
differed by more than 5e-6.
"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import Caller, Engine, Priority, fold
from engine.errors import BadValue, Cancelled, LoadFailed, OutOfMemory, TimedOut
from engine.events import Progress
from engine.families import hf_embed
from engine.registry import Batcher, ModelSpec
from engine.requests import ChatRequest, EmbedRequest, Message
from tests.sentences import KINDS, POOLINGS, TEXTS, embed, load, make, run, vectors, write
from tests.tiny import Listener


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def backend(folder: Path) -> hf_embed.HfEmbed:
    return load(folder)


def plain(backend: hf_embed.HfEmbed, text: str, how: str) -> torch.Tensor:
    """One text by itself, pooled as the name says, before dense layers and length 1."""
    ids = backend._tokenizer(text)["input_ids"]
    with torch.inference_mode():
        hidden = backend._model(input_ids=torch.tensor([ids])).last_hidden_state[0].float()
    places = torch.arange(1, len(ids) + 1)[:, None]
    return {
        "mean": hidden.mean(0),
        "cls": hidden[0],
        "lasttoken": hidden[-1],
        "max": hidden.max(0).values,
        "mean_sqrt_len_tokens": hidden.sum(0) / math.sqrt(len(ids)),
        "weightedmean": (hidden * places).sum(0) / places.sum(),
    }[how]


def close(one: Any, other: Any) -> bool:
    return torch.allclose(torch.tensor(one), torch.as_tensor(other), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_equal_a_plain_computation(tmp_path, kind):
    backend = load(make(tmp_path, kind))
    found = embed(backend, *TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        own = plain(backend, text, "mean")
        assert close(vector, own / own.norm())
        assert math.isclose(sum(v * v for v in vector), 1.0, rel_tol=1e-4)


@pytest.mark.parametrize("how", POOLINGS)
@pytest.mark.parametrize("new", [False, True], ids=["flags", "named"])
def test_every_pooling(tmp_path, how, new):
    ends = {"cls": "cls_token", "lasttoken": how, "mean_sqrt_len_tokens": how}
    flags = {f"pooling_mode_{ends.get(how, how + '_tokens')}": True}
    pooling = {"pooling_mode": how} if new else {"pooling_mode_mean_tokens": False, **flags}
    backend = load(make(tmp_path, "bert", pooling, normalise=False))
    for text, vector in zip(TEXTS, embed(backend, *TEXTS), strict=True):
        assert close(vector, plain(backend, text, how))


def test_poolings_are_joined_and_dense_layers_follow(tmp_path):
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    backend = load(make(tmp_path / "a", "bert", both, normalise=False))
    own = torch.cat([plain(backend, TEXTS[0], "mean"), plain(backend, TEXTS[0], "cls")])
    assert close(embed(backend, TEXTS[0])[0], own) and backend.width == 128
    backend = load(make(tmp_path / "b", "bert", normalise=False, dense="Tanh"))
    assert backend.width == 32
    assert close(
        embed(backend, TEXTS[0])[0], backend._dense[0](plain(backend, TEXTS[0], "mean")[None])[0]
    )


def test_without_modules_the_mean_is_taken_unless_the_row_says_otherwise(tmp_path):
    make(tmp_path)
    (tmp_path / "modules.json").unlink()
    backend = load(tmp_path)
    assert close(embed(backend, TEXTS[0])[0], plain(backend, TEXTS[0], "mean"))
    backend = load(tmp_path, pooling="cls", normalise=True)
    own = plain(backend, TEXTS[0], "cls")
    assert close(embed(backend, TEXTS[0])[0], own / own.norm())


def test_requests_share_a_pass_and_equal_single_ones(backend, monkeypatch):
    assert isinstance(backend, Batcher)
    alone = [embed(backend, text)[0] for text in TEXTS]
    passes = []
    inner = backend._vectors
    monkeypatch.setattr(
        backend,
        "_vectors",
        lambda texts, skipped: passes.append(len(texts)) or inner(texts, skipped),
    )
    listeners = [Listener() for _ in range(3)]
    for listener in listeners:
        backend.join(EmbedRequest(texts=TEXTS), listener)
    run(backend, *listeners)
    assert sum(passes) == 12 and len(passes) <= 4  # texts of about one length, of all requests
    for listener in listeners:
        assert all(close(one, other) for one, other in zip(vectors(listener), alone, strict=True))
        assert listener.input == sum(len(backend._tokenizer(t)["input_ids"]) for t in TEXTS)


def test_a_long_job_is_told_in_steps(backend, monkeypatch):
    backend._room = 64
    monkeypatch.setattr(hf_embed, "MOMENT", 0.0)
    listener = Listener()
    backend.join(EmbedRequest(texts=tuple(f"text {n}" for n in range(60))), listener)
    run(backend, listener)
    steps = [event for event in listener.events if isinstance(event, Progress)]
    assert len(steps) > 3 and len(vectors(listener)) == 60
    assert [event.done for event in steps] == sorted(event.done for event in steps)


@pytest.mark.parametrize("size", [1, 10, 63, 64])
def test_fewer_dimensions_have_length_one_again(backend, size):
    (whole,), (cut,) = embed(backend, TEXTS[0]), embed(backend, TEXTS[0], dimensions=size)
    norm = math.sqrt(sum(v * v for v in whole[:size]))
    assert close(cut, [v / norm for v in whole[:size]])


def test_prompts(tmp_path):
    prompts = {"query": "query: ", "document": ""}
    backend = load(make(tmp_path, prompts=prompts))
    assert embed(backend, "x") == embed(backend, "x", prompt="query")
    assert close(embed(backend, "query: x", prompt="document"), embed(backend, "x"))
    with pytest.raises(BadValue, match=r"no prompt 'q'\. It has: query, document"):
        backend.join(EmbedRequest(texts=("x",), prompt="q"), Listener())


def test_a_prompt_may_stay_out_of_the_mean(tmp_path):
    pooling = {"pooling_mode_mean_tokens": True, "include_prompt": False}
    backend = load(make(tmp_path, "bert", pooling, False, prompts={"query": "query: "}))
    ids = backend._tokenizer("query: hello there")["input_ids"]
    skip = len(backend._tokenizer("query: ")["input_ids"])
    hidden = backend._model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    assert close(embed(backend, "hello there")[0], hidden[skip:].mean(0))


def test_text_in_lower_case_where_the_model_wants_it(tmp_path):
    backend = load(make(tmp_path, more={"do_lower_case": True}))
    assert embed(backend, "HELLO") == embed(backend, "hello")


def test_too_long_is_told_with_both_lengths_or_cut(backend):
    text = "word " * 300
    tokens = len(backend._tokenizer(text)["input_ids"])
    with pytest.raises(BadValue, match=f"Text 2 has {tokens:,} tokens, but tiny reads 96") as told:
        backend.join(EmbedRequest(texts=("x", text)), Listener())
    assert told.value.param == "input" and not backend._works
    ids = backend._tokenizer(text)["input_ids"][:96]
    assert close(
        embed(backend, text, truncate=True), embed(backend, backend._tokenizer.decode(ids))
    )
    with pytest.raises(BadValue, match="more than"):
        backend.join(EmbedRequest(texts=("word " * 100_000,)), Listener())


def test_positions_behind_the_paddings_are_not_counted_on(tmp_path):
    make(tmp_path, "xlm-roberta", more={"max_seq_length": 512})
    backend = load(tmp_path)
    assert backend.longest == 130 - backend._model.config.pad_token_id - 1
    embed(backend, "word " * 400, truncate=True)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (EmbedRequest(texts=("a", "")), "Text 2 is empty"),
        (EmbedRequest(texts=("a",), dimensions=65), "65 dimensions.*have 64"),
        (ChatRequest(messages=(Message.of("user", "hi"),)), "embeds texts only"),
    ],
    ids=["empty", "dimensions", "chat"],
)
def test_what_cannot_be_is_refused(backend, request_, words):
    listener = Listener()
    with pytest.raises(BadValue, match=words):
        backend.join(request_, listener)
    assert not listener.calls and not backend._works


@pytest.mark.parametrize("fields", [{"texts": ()}, {"texts": ("a",), "dimensions": 0}], ids=str)
def test_requests_are_bounded(fields):
    with pytest.raises(ValueError):
        EmbedRequest(**fields)


@pytest.mark.parametrize("ending", [Cancelled(), TimedOut("late")], ids=["cancelled", "timed out"])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_one_that_ends_early_touches_nobody_else(backend, ending, patience, monkeypatch):
    backend._room = 32
    monkeypatch.setattr(hf_embed, "MOMENT", 0.0)
    gone, stays = Listener(ending, patience), Listener()
    texts = tuple(f"text number {n}" for n in range(12))
    backend.join(EmbedRequest(texts=texts), gone)
    backend.join(EmbedRequest(texts=texts), stays)
    run(backend, gone, stays)
    assert gone.raised and len(vectors(stays)) == 12 and not backend._works
    assert (gone.error is ending) == isinstance(ending, TimedOut)


def test_a_lane_that_drops_what_failed_takes_nobody_else_along(backend):
    class Dropping(Listener):
        def fail(self, error: Exception) -> None:
            super().fail(error)
            backend.drop(self)

    late, stays = Dropping(TimedOut("late")), Listener()
    backend.join(EmbedRequest(texts=("a",)), late)
    backend.join(EmbedRequest(texts=("b",)), stays)
    run(backend, late, stays)
    assert isinstance(late.error, TimedOut) and len(vectors(stays)) == 1


def test_drop_forgets_a_request(backend):
    one, other = Listener(), Listener()
    backend.join(EmbedRequest(texts=("a",)), one)
    backend.join(EmbedRequest(texts=("b",)), other)
    backend.drop(one)
    backend.drop(Listener())
    run(backend, other)
    assert not one.events and vectors(other)
    backend.step()  # nothing to do


def test_a_text_that_breaks_the_model_fails_alone(backend, monkeypatch):
    inner = backend._vectors

    def breaking(texts: list[list[int]], skipped: list[int]) -> Any:
        if bad in texts:
            raise ValueError("broken")
        return inner(texts, skipped)

    bad = backend._tokenizer("bad text")["input_ids"]
    monkeypatch.setattr(backend, "_vectors", breaking)
    good, broken = Listener(), Listener()
    backend.join(EmbedRequest(texts=("bad text", "x")), broken)
    backend.join(EmbedRequest(texts=("fine text",)), good)
    run(backend, good, broken)
    assert isinstance(broken.error, ValueError) and len(vectors(good)) == 1


def test_short_memory_means_smaller_passes(backend, monkeypatch):
    inner, tried = backend._vectors, []

    def scarce(texts: list[list[int]], skipped: list[int]) -> Any:
        tried.append(len(texts))
        if len(texts) > limit:
            raise MemoryError
        return inner(texts, skipped)

    monkeypatch.setattr(backend, "_vectors", scarce)
    limit = 3
    assert len(embed(backend, *(f"text {n}" for n in range(20)))) == 20
    assert tried[0] > 3 and min(tried) <= 3
    limit = 0
    listener = Listener()
    backend.join(EmbedRequest(texts=("a",)), listener)
    run(backend, listener)
    assert isinstance(listener.error, OutOfMemory)


def test_memory_is_told_and_given_back(folder):
    import weakref

    backend = load(folder)
    weights = sum(p.numel() * 4 for p in backend._model.parameters())
    assert backend.memory() >= weights
    model = weakref.ref(backend._model)
    backend.close()
    assert model() is None and backend.memory() == 0


DAMAGES = {
    "an unknown module": ("modules.json", [{"path": "", "type": "x.LSTM"}], "module 'LSTM'"),
    "modules that are no list": ("modules.json", {"a": 1}, "modules.json"),
    "an unknown pooling": ("1_Pooling/config.json", {"pooling_mode": "attention"}, "pools by"),
    "pooling that is no object": ("1_Pooling/config.json", [1], "not a JSON object"),
    "prompts that are no object": (
        "config_sentence_transformers.json",
        {"prompts": ["a"]},
        "damaged",
    ),
    "a dense layer without weights": (
        "modules.json",
        [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Dense"}],
        "dense layer",
    ),
    "an unknown activation": (
        "1_Pooling/config.json",
        {"activation_function": "x.Strange", "pooling_mode": "mean"},
        "",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_folders_are_told(tmp_path, case):
    name, value, words = DAMAGES[case]
    make(tmp_path)
    write(tmp_path / name, value)
    if not words:  # the same file, read as a dense layer's
        write(tmp_path / "modules.json", [{"path": "1_Pooling", "type": "x.Dense"}])
        words = "activation 'Strange'"
    with pytest.raises(LoadFailed, match=words) as told:
        load(tmp_path)
    assert str(tmp_path) not in str(told.value)


def test_a_modules_path_stays_in_the_folder(tmp_path):
    make(tmp_path / "model")
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "max"})
    write(
        tmp_path / "model" / "modules.json",
        [{"path": "", "type": "x.Transformer"}, {"path": "../1_Pooling", "type": "x.Pooling"}],
    )
    backend = load(tmp_path / "model")
    assert backend._layout.poolings == ("mean",)


async def test_requests_reach_it_through_the_engine(folder, settings):
    row = ModelSpec(id="tiny", does=frozenset({"embed"}), family="hf_embed", path=str(folder))
    engine = Engine.build(settings, families={"hf_embed": hf_embed}, specs=(row,))
    await engine.start()
    try:
        caller = Caller(name="test", dialect="test", priority=Priority.API)
        asked = [fold(engine.run(EmbedRequest(texts=TEXTS[n:]), caller)) for n in range(3)]
        results = await asyncio.gather(*asked)
        assert [len(result.vectors) for result in results] == [4, 3, 2]
        assert close(results[0].vectors[3].values, results[2].vectors[1].values)
        assert results[0].usage.input_tokens > results[2].usage.input_tokens > 0
        with pytest.raises(BadValue, match="reads 96"):
            await fold(engine.run(EmbedRequest(texts=("word " * 300,)), caller))
    finally:
        await engine.close()
