"""The transformers family: many answers at once are what `generate` makes, and none touches another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import BadValue, Cancelled, OutOfMemory, TimedOut
from engine.events import Done, Progress
from engine.families import hf_chat
from engine.registry import ModelSpec
from engine.requests import AudioPart, ChatRequest, ImagePart, Message, TextPart, Tool
from engine.settings import Settings
from tests import tiny
from tests.tiny import Listener

SLIDING: dict[str, Any] = {"sliding_window": 8}
UNTIED: dict[str, Any] = {"tie_word_embeddings": False}
KINDS = [
    ("llama", {}, "Slots"),
    ("qwen2", {}, "Slots"),
    ("qwen3", {}, "Slots"),
    ("gpt2", {}, "Slots"),
    ("gpt_neox", {}, "Slots"),
    ("bloom", {}, "Slots"),  # positions by bias, no position ids
    ("mistral", SLIDING, "Slots"),
    ("gemma2", SLIDING | UNTIED, "Slots"),  # windows in every other layer, eager attention
    ("gemma3_text", SLIDING | UNTIED, "Slots"),
    ("mamba", {}, "Solo"),  # a state in place of keys and values
]


def load(folder: Path, **settings: Any) -> hf_chat.HfChat:
    spec = ModelSpec(
        id="tiny",
        does=frozenset({"chat"}),
        family="hf_chat",
        path=str(folder),
        options={"dtype": "float32"},
    )
    return hf_chat.load(
        spec, Settings(device="cpu", **{"prefill_chunk": 16, "parallel": 4, **settings})
    )


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models this small are slower with more, and much slower on a busy machine."""
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_checkpoint(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def backend(folder: Path) -> hf_chat.HfChat:
    backend = load(folder)
    backend._ends = frozenset()
    return backend


def chat(text: str, **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message.of("user", text),), **{"max_tokens": 12, **fields})


def finish(backend: hf_chat.HfChat, *listeners: Listener, steps: int = 500) -> None:
    for _ in range(steps):
        if all(listener.over for listener in listeners):
            return
        backend.step()
    raise AssertionError("an answer did not end")


def answer(backend: hf_chat.HfChat, request: ChatRequest) -> Listener:
    listener = Listener()
    backend.join(request, listener)
    finish(backend, listener)
    return listener


def generated(backend: hf_chat.HfChat, request: ChatRequest) -> list[int]:
    """What transformers itself answers, greedily."""
    ids, _ = backend._prompter.ids(request, backend.context)
    out = backend._model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=request.max_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return out[0, len(ids) :].tolist()


WORDS = "the quick brown fox jumps over lazy dog привет"


def questions(count: int) -> list[ChatRequest]:
    words = WORDS.split()
    return [
        chat(" ".join(words[n * k % 9] for k in range(3 + 7 * n)), max_tokens=14 + 3 * n)
        for n in range(count)
    ]


@pytest.mark.parametrize(("kind", "changed", "runner"), KINDS, ids=[kind for kind, _, _ in KINDS])
def test_batched_answers_equal_generate(tmp_path, kind, changed, runner):
    """Five answers, joined while others run, of unlike lengths, prompts read in pieces."""
    backend = load(tiny.make_checkpoint(tmp_path, kind, **changed))
    backend._ends = frozenset()
    assert type(backend._runner).__name__ == runner
    requests, listeners, made = questions(5), [], []
    for request in requests:
        listener = Listener()
        while len(list(backend._everyone())) >= backend.parallel:
            backend.step()
        backend.join(request, listener)
        made.append(backend._waiting[-1])
        listeners.append(listener)
        for _ in range(3):
            backend.step()
    finish(backend, *listeners)
    for request, one, listener in zip(requests, made, listeners, strict=True):
        expected = generated(backend, request)
        assert one.made == expected
        text = backend._tokenizer.decode(expected, skip_special_tokens=True)
        assert text.startswith(listener.text) and set(text[len(listener.text) :]) <= {"\ufffd"}
        assert (listener.input, listener.output) == (len(one.ids), len(expected))
        assert listener.finish == "length"


def test_a_burst_of_short_prompts_is_read_together(backend, monkeypatch):
    calls = []
    read = backend._runner.read
    monkeypatch.setattr(
        backend._runner, "read", lambda r, b: calls.append(len(r.texts)) or read(r, b)
    )
    requests = questions(4)
    listeners = [Listener() for _ in requests]
    for request, listener in zip(requests, listeners, strict=True):
        backend.join(request, listener)
    made = list(backend._waiting)
    finish(backend, *listeners)
    assert calls == [4]
    assert [one.made for one in made] == [generated(backend, request) for request in requests]


def test_a_long_prompt_is_read_between_the_steps_of_others(backend):
    running, late = Listener(), Listener()
    backend.join(chat("hello", max_tokens=60), running)
    backend.step()
    backend.join(chat("word " * 60, max_tokens=5), late)
    before, steps = running.output, 0
    while late.output == 0:
        backend.step()
        steps += 1
    assert steps > 3
    assert running.output == before + steps  # a token at every step
    progress = [event for event in late.events if isinstance(event, Progress)]
    assert progress and all(event.done < event.total == late.input for event in progress)
    finish(backend, running, late)


@pytest.mark.parametrize("ending", [Cancelled(), TimedOut("late")], ids=["cancelled", "timed out"])
@pytest.mark.parametrize("patience", [0, 1, 4])
def test_one_that_ends_early_frees_its_row_and_touches_nobody(backend, ending, patience):
    requests = questions(3)
    listeners = [Listener(), Listener(ending, patience), Listener()]
    for request, listener in zip(requests, listeners, strict=True):
        backend.join(request, listener)
    made = list(backend._waiting)
    finish(backend, *listeners)
    assert listeners[1].output <= patience + 1
    for n in (0, 2):
        assert made[n].made == generated(backend, requests[n])
    assert not list(backend._everyone()) and not backend._runner.lengths
    if isinstance(ending, TimedOut):
        assert listeners[1].error is ending


def test_a_prompt_given_up_in_the_middle_frees_its_memory(backend):
    running, late = Listener(), Listener(Cancelled(), patience=1)
    backend.join(chat("hello", max_tokens=30), running)
    backend.step()
    held = backend.memory()
    backend.join(chat("word " * 100), late)
    finish(backend, late)
    assert backend._read is None and backend.memory() == held
    finish(backend, running)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_drop_forgets_a_request_wherever_it_is(backend, steps):
    requests, listeners = questions(3), [Listener() for _ in range(3)]
    for request, listener in zip(requests, listeners, strict=True):
        backend.join(request, listener)
    made = list(backend._waiting)
    for _ in range(steps):
        backend.step()
    backend.drop(listeners[0])
    backend.drop(Listener())  # unknown: nothing happens
    finish(backend, *listeners[1:])
    assert listeners[0].finish is None
    assert [one.made for one in made[1:]] == [
        generated(backend, request) for request in requests[1:]
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("broken"), ValueError), (MemoryError(), OutOfMemory)],
    ids=["error", "memory"],
)
def test_a_prompt_that_breaks_the_model_fails_alone(backend, monkeypatch, error, kind):
    read = backend._runner.read

    def reading(reading, budget):
        if any(len(text) > 40 for text in reading.texts):
            raise error
        return read(reading, budget)

    monkeypatch.setattr(backend._runner, "read", reading)
    good, bad = Listener(), Listener()
    backend.join(chat("hi"), good)
    backend.join(chat("word " * 30), bad)  # read together first, then each by itself
    finish(backend, good, bad)
    assert isinstance(bad.error, kind) and good.finish == "length"


def test_a_step_that_ran_out_of_memory_can_be_repeated(backend, monkeypatch):
    listener = Listener()
    request = chat("hello", max_tokens=8)
    backend.join(request, listener)
    (one,) = backend._waiting
    backend.step()
    forward = backend._model.forward
    monkeypatch.setattr(
        backend._model, "forward", lambda *a, **k: (_ for _ in ()).throw(MemoryError())
    )
    with pytest.raises(MemoryError):
        backend.step()
    monkeypatch.setattr(backend._model, "forward", forward)
    finish(backend, listener)
    assert one.made == generated(backend, request)


def test_stop_strings_end_tokens_and_limits(backend):
    whole = answer(backend, chat("hello", max_tokens=30)).text
    stop = whole[5:8]
    cut = answer(backend, chat("hello", max_tokens=30, stop=(stop, "never seen")))
    assert cut.text == whole[: whole.index(stop)] and cut.finish == "stop"
    tokens = generated(backend, chat("hello"))
    backend._ends = frozenset({tokens[3]})
    ended = answer(backend, chat("hello"))
    assert ended.finish == "stop" and ended.output == tokens.index(tokens[3]) + 1
    assert (
        isinstance(ended.events[-1], Done) and sum(isinstance(e, Done) for e in ended.events) == 1
    )


def test_a_seeded_answer_is_the_same_in_any_company(backend):
    request = chat("tell me", temperature=1.1, top_p=0.9, seed=7, max_tokens=16)
    alone = answer(backend, request).text
    listeners = [Listener() for _ in range(4)]
    for n, listener in enumerate(listeners[:3]):
        backend.join(chat("other " * (n + 1), temperature=n / 2, max_tokens=20), listener)
        backend.step()
    backend.join(request, listeners[3])
    finish(backend, *listeners)
    assert listeners[3].text == alone
    assert answer(backend, request.model_copy(update={"seed": 8})).text != alone


def test_the_repetition_penalty_is_that_of_generate(backend):
    request = chat("again and again", repetition_penalty=1.8, max_tokens=20)
    listener = Listener()
    backend.join(request, listener)
    (one,) = backend._waiting
    finish(backend, listener)
    backend._model.generation_config.repetition_penalty = 1.8
    assert one.made == generated(backend, request)


def test_the_context_is_told_exactly(folder):
    backend = load(folder, context_limit=100)
    backend._ends = frozenset()
    with pytest.raises(
        BadValue, match=r"The prompt has \d+ tokens, but tiny holds 100\. Shorten it"
    ):
        backend.join(chat("word " * 200), Listener())
    with pytest.raises(BadValue, match=r"more than [\d,]+ tokens, but tiny holds 100"):
        backend.join(chat("word " * 200_000), Listener())
    cut = answer(backend, chat("word " * 10, max_tokens=500))
    assert cut.finish == "length" and cut.input + cut.output == 100


def test_without_a_limit_the_context_is_the_limit(folder):
    backend = load(folder, context_limit=64)
    backend._ends = frozenset()
    free = answer(backend, chat("word", max_tokens=None))
    assert free.input + free.output == 64


def test_raw_text_goes_past_the_template(backend):
    request = ChatRequest(prompt="The quick", max_tokens=5)
    listener = answer(backend, request)
    assert listener.input == len(backend._tokenizer("The quick")["input_ids"])


@pytest.mark.parametrize(
    "request_",
    [
        ChatRequest(messages=(Message(role="user", parts=(ImagePart(data=b"x"),)),)),
        ChatRequest(
            messages=(Message(role="user", parts=(TextPart(text="a"), AudioPart(data=b"x"))),)
        ),
        chat("hi", json_schema={"type": "int"}),
        chat("hi", tools=(Tool(name="f", parameters={"type": 1}),), tool_choice="required"),
        ChatRequest(prompt=""),
    ],
    ids=["image", "audio", "schema", "tools", "empty"],
)
def test_what_is_not_offered_is_refused(backend, request_):
    listener = Listener()
    with pytest.raises(BadValue):
        backend.join(request_, listener)
    assert not listener.events and not backend._waiting


def test_a_templates_own_refusal_is_told(tmp_path):
    template = "{{ raise_exception('Roles must alternate') }}"
    backend = load(tiny.make_checkpoint(tmp_path, tokenizer=tiny.make_tokenizer(template=template)))
    with pytest.raises(BadValue, match="Roles must alternate"):
        backend.join(chat("hi"), Listener())


def test_a_template_cannot_reach_the_machine(tmp_path):
    template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    backend = load(tiny.make_checkpoint(tmp_path, tokenizer=tiny.make_tokenizer(template=template)))
    with pytest.raises(BadValue):
        backend.join(chat("hi"), Listener())


def test_a_template_that_reads_parts_gets_parts(tmp_path):
    template = (
        "{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'text' %}"
        "[{{ part['text'] }}]{% endif %}{% endfor %}{% endfor %}"
    )
    backend = load(tiny.make_checkpoint(tmp_path, tokenizer=tiny.make_tokenizer(template=template)))
    ids, _ = backend._prompter.ids(chat("hello"), 100)
    assert backend._tokenizer.decode(ids) == "[hello]"


def test_without_a_template_roles_are_written_out(tmp_path, caplog):
    with caplog.at_level("WARNING"):
        backend = load(tiny.make_checkpoint(tmp_path, tokenizer=tiny.make_tokenizer(template=None)))
    assert "no chat template" in caplog.text
    ids, _ = backend._prompter.ids(chat("hello"), 100)
    assert backend._tokenizer.decode(ids) == "user: hello\nassistant:"


def test_memory_grows_with_what_is_held_and_goes_back(backend):
    empty = backend.memory()
    weights = sum(p.numel() * 4 for p in backend._model.parameters())
    assert empty >= weights
    one, two = Listener(), Listener()
    backend.join(chat("hello", max_tokens=40), one)
    backend.step()
    held = backend.memory()
    backend.join(chat("word " * 80, max_tokens=400), two)
    for _ in range(12):
        backend.step()
    assert empty < held < backend.memory()
    finish(backend, one, two)
    assert backend.memory() - backend.spare() == empty
    assert backend.shed() > 0 and backend.memory() == empty
    backend.close()
    assert backend.memory() == 0


def test_a_long_answer_grows_past_what_was_planned(backend, monkeypatch):
    monkeypatch.setattr("engine.families._slots.ROOM", 8)
    requests = [chat("hello", max_tokens=150), chat("word word", max_tokens=100)]
    listeners = [Listener(), Listener()]
    for request, listener in zip(requests, listeners, strict=True):
        backend.join(request, listener)
        backend.step()
    made = list(backend._running)
    finish(backend, *listeners)
    assert [one.made for one in made] == [generated(backend, request) for request in requests]
