"""Models that see: each class, with its own processor, answers among text chats what `generate` answers."""

from __future__ import annotations

import inspect
import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadFormat, BadValue, Cancelled, InferenceFailed, TimedOut, TooLarge
from engine.families import hf_chat
from engine.families._slots import Slots
from engine.requests import AudioPart, ChatRequest, ImagePart, Message, TextPart, Tool
from tests import tiny_vision
from tests.test_hf_chat import answer, chat, finish, load
from tests.tiny import Listener
from tests.tiny_vision import picture

pytestmark = pytest.mark.slow

SOLO = {
    "gemma3"
}  # its pictures' tokens see each other both ways, which reading in pieces would lose
BROKEN = {
    "empty": (b"", BadValue),
    "a GIF": (b"GIF89a" + b"\0" * 40, BadFormat),
    "not a picture": (b"hello", BadFormat),
    "cut short": (picture(1, (300, 300), "JPEG")[:400], BadFormat),
    "a bomb": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0" + b"\0" * 99,
        (TooLarge, BadFormat),
    ),
    "a line": (picture(1, (2000, 1)), BadValue),
}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.families._loading.usable_cores", lambda: 1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny_vision.make_checkpoint(tmp_path_factory.mktemp(kind), kind)
        return made[kind]

    return folder


@pytest.fixture
def backend(folders) -> hf_chat.HfChat:
    return ready(folders("qwen3_vl"))


def ready(folder: Path, **settings: Any) -> hf_chat.HfChat:
    backend = load(folder, **settings)
    backend._ends = frozenset()
    return backend


def see(*parts: bytes | str, **fields: Any) -> ChatRequest:
    """One message of the user, its parts in this order."""
    message = Message(role="user", parts=tuple(map(_part, parts)))
    return ChatRequest(messages=(message,), **{"max_tokens": 10, **fields})


def _part(part: bytes | str) -> TextPart | ImagePart:
    return TextPart(text=part) if isinstance(part, str) else ImagePart(data=part)


def generated(backend: hf_chat.HfChat, folder: Path, request: ChatRequest) -> list[int]:
    """What transformers itself answers: its processor's inputs, its `generate`, nothing of ours between."""
    from transformers import AutoImageProcessor, AutoProcessor

    from engine.pictures import open_picture

    processor = AutoProcessor.from_pretrained(folder)
    processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    turns = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text}
                if isinstance(part, TextPart)
                else {"type": "image", "image": open_picture(part.data)}
                for part in message.parts
            ],
        }
        for message in request.messages
    ]
    inputs = processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    out = backend._model.generate(
        **inputs, max_new_tokens=request.max_tokens, do_sample=False, pad_token_id=0
    )
    return out[0, inputs["input_ids"].shape[1] :].tolist()


def together(
    backend: hf_chat.HfChat, requests: list[ChatRequest]
) -> list[tuple[list[int], Listener]]:
    """The tokens of requests that join while others run."""
    listeners: list[Listener] = []
    made: dict[int, list[int]] = {}
    for request in requests:
        while len(list(backend._everyone())) + len(list(backend._looks)) >= backend.parallel:
            backend.step()
        listeners.append(Listener())
        backend.join(request, listeners[-1])
        for _ in range(3):
            backend.step()
            made |= {id(a.emit): a.made for a in backend._everyone()}
    for _ in range(500):
        if all(listener.over for listener in listeners):
            break
        made |= {id(a.emit): a.made for a in backend._everyone()}
        backend.step()
    assert not any(listener.error for listener in listeners), [x.error for x in listeners]
    return [(made[id(listener)], listener) for listener in listeners]


@pytest.mark.parametrize("kind", tiny_vision.MAKERS)
def test_pictures_and_texts_in_one_batch_equal_generate(folders, kind):
    """Text and pictures in turn, two pictures in one message, and a picture in an earlier turn."""
    folder = folders(kind)
    backend = ready(folder)
    assert type(backend._runner).__name__ == ("Solo" if kind in SOLO else "Slots")
    earlier = ChatRequest(
        messages=(
            Message(role="user", parts=(_part("look"), _part(picture(4, (33, 80))))),
            Message.of("assistant", "a fox"),
            Message(role="user", parts=(_part("and this?"), _part(picture(5)))),
        ),
        max_tokens=9,
    )
    requests = [
        see("what is this", picture(1)),
        chat("the quick brown fox " * 3, max_tokens=16),
        see(picture(2, (90, 40)), "between", picture(3, (40, 90)), "and after", max_tokens=12),
        chat("hello"),
        earlier,
    ]
    for request, (made, listener) in zip(requests, together(backend, requests), strict=True):
        assert made == generated(backend, folder, request)
        assert listener.finish == "length" and listener.output == request.max_tokens


@pytest.mark.parametrize("kind", tiny_vision.MAKERS)
def test_what_is_seen_decides_the_answer(folders, kind):
    backend = ready(folders(kind))
    read = [answer(backend, see("what", picture(seed))) for seed in (1, 2, 1)]
    assert read[0].text == read[2].text
    assert read[0].input == read[1].input > answer(backend, chat("what")).input
    first = []
    for seed in (1, 2):
        sight = backend._looks.eyes.look(f"what {backend._looks.eyes.token}", [picture(seed)])
        reading = hf_chat.Reading([sight.ids], len(sight.ids) + 1, sight=sight)
        while (logits := backend._runner.read(reading, 999)) is None:
            pass
        first.append(logits)
    assert (first[0] - first[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_picture_fails_alone(backend, folders, name):
    data, kind = BROKEN[name]
    good, bad, text = Listener(), Listener(), Listener()
    backend.join(see("what", picture(1)), good)
    backend.join(see("what", picture(1), data), bad)
    backend.join(chat("hi"), text)
    finish(backend, good, bad, text)
    assert isinstance(bad.error, kind) and not bad.events and bad.output == 0
    assert bad.error.param == "messages"
    assert good.finish == text.finish == "length"
    assert good.text == answer(backend, see("what", picture(1))).text
    assert not list(backend._everyone()) and not backend._runner.lengths


def test_a_processor_that_breaks_is_this_requests_failure(backend, monkeypatch):
    def broken(*args: Any, **named: Any) -> None:
        raise KeyError("/srv/secret")

    monkeypatch.setattr(backend._looks.eyes, "_processor", broken)
    failed = answer(backend, see("what", picture(1)))
    assert isinstance(failed.error, InferenceFailed) and "secret" not in str(failed.error)


class Towers:
    """Counts the passes of a model's tower."""

    def __init__(self, backend: hf_chat.HfChat, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passes = 0
        base = backend._model.base_model
        look = base.get_image_features

        def counted(*args: Any, **named: Any) -> Any:
            self.passes += 1
            return look(*args, **named)

        counted.__signature__ = inspect.signature(look)  # type: ignore[attr-defined]
        monkeypatch.setattr(base, "get_image_features", counted)


@pytest.mark.parametrize("kind", [k for k in tiny_vision.MAKERS if k not in SOLO])
def test_a_follow_up_on_the_same_picture_is_read_from_where_it_goes_on(folders, kind, monkeypatch):
    folder = folders(kind)
    backend = ready(folder)
    towers = Towers(backend, monkeypatch)
    beginning = "the quick brown fox jumps over the lazy dog " * 3
    first = see(beginning, picture(1), "what is it", max_tokens=6)
    begun = answer(backend, first)
    assert towers.passes == 1 and begun.cached == 0
    for seed, reused in ((1, True), (2, False)):
        towers.passes = 0
        turns = (
            Message(
                role="user", parts=(_part(beginning), _part(picture(seed)), _part("what is it"))
            ),
            Message.of("assistant", "a fox"),
            Message.of("user", "are you sure"),
        )
        request = ChatRequest(messages=turns, max_tokens=6)
        ((made, listener),) = together(backend, [request])
        assert towers.passes == (0 if reused else 1)
        sight = backend._looks.eyes.look(backend._prompter.render(request), request.pictures)
        assert (listener.cached > max(sight.spots)) is reused
        assert reused or listener.cached == min(sight.spots)
        assert made == generated(backend, folder, request)


def test_the_same_question_at_once_is_looked_at_once(backend, monkeypatch):
    towers, several = Towers(backend, monkeypatch), [Listener() for _ in range(3)]
    for listener in several:
        backend.join(see("the quick brown fox " * 4, picture(1)), listener)
    finish(backend, *several)
    assert towers.passes == 1 and len({listener.text for listener in several}) == 1
    assert [listener.cached for listener in several] == [0, *[several[0].input - 1] * 2]


def test_pictures_are_told_apart_by_what_is_in_them(backend):
    eyes = backend._looks.eyes
    text = f"a {eyes.token} b"
    one, same, other = (eyes.look(text, [picture(seed)]) for seed in (1, 1, 2))
    assert one.ids == other.ids and one.keys == same.keys
    differ = [
        n for n, pair in enumerate(zip(one.keys, other.keys, strict=True)) if pair[0] != pair[1]
    ]
    assert differ == one.spots and min(one.keys) < 0 <= min(one.ids)


def test_what_a_model_remembers_of_a_picture_does_not_touch_the_next_text(folders):
    """A model that counts in space keeps an offset of the last picture; nobody else may get it."""
    folder = folders("qwen2_vl")
    backend = ready(folder, parallel=1)
    backend._runner = hf_chat.Solo(backend._model)
    backend._rows = None
    for request in (see("what", picture(1)), chat("hello there"), see(picture(2), "and")):
        ((made, _),) = together(backend, [request])
        assert made == generated(backend, folder, request)


def test_a_large_picture_does_not_stall_running_answers(backend, monkeypatch):
    eyes, ready_, running, late = backend._looks.eyes, threading.Event(), Listener(), Listener()
    look = eyes.look
    monkeypatch.setattr(eyes, "look", lambda *a: ready_.wait(20) and look(*a))
    backend.join(chat("hello", max_tokens=60), running)
    backend.join(see("what", picture(1)), late)
    for _ in range(20):
        backend.step()
    assert running.output >= 20 and late.output == 0
    ready_.set()
    finish(backend, running, late)
    assert late.finish == "length" and running.output == 60


@pytest.mark.parametrize("how", ["cancelled", "late", "dropped", "closed"])
def test_who_leaves_while_pictures_are_prepared_is_forgotten(backend, monkeypatch, how):
    eyes, ready_ = backend._looks.eyes, threading.Event()
    look, opened = eyes.look, []
    monkeypatch.setattr(eyes, "look", lambda *a: ready_.wait(20) and look(*a))
    monkeypatch.setattr("engine.families._seeing.open_picture", lambda *a: opened.append(a))
    gone = Listener({"cancelled": Cancelled(), "late": TimedOut("late")}.get(how))
    backend.join(see("what", picture(1)), gone)
    (waiting,) = backend._looks
    if how == "dropped":
        backend.drop(gone)
    elif how == "closed":
        backend.close()
    else:
        backend.step()
    assert waiting.gone and (how == "closed" or not list(backend._looks))
    assert isinstance(gone.error, TimedOut) is (how == "late")
    ready_.set()
    with pytest.raises(Cancelled):
        waiting.sight.result(20)
    assert not opened and gone.output == 0


def test_the_context_counts_pictures(folders):
    backend = ready(folders("qwen3_vl"), context_limit=60)
    cut = answer(backend, see("what", picture(1), max_tokens=500))
    assert cut.input + cut.output == 60 and cut.finish == "length"
    over = answer(backend, see(*[picture(n) for n in range(16)]))
    assert isinstance(over.error, BadValue) and "holds 60" in str(over.error)
    with pytest.raises(BadValue, match="holds 60"):
        backend.join(see("word " * 200, picture(1)), Listener())


def test_words_that_stand_for_pictures_are_only_words_when_people_write_them(backend, folders):
    request = see("<|image_pad|> and <|vision_start|>", picture(1), "<|video_pad|>")
    listener = answer(backend, request)
    assert listener.finish == "length" and listener.error is None
    assert answer(backend, chat("<|image_pad|>")).finish == "length"
    sight = backend._looks.eyes.look(backend._prompter.render(request), request.pictures)
    assert len(sight.counts) == 1 and sum(sight.counts) == len(sight.spots)


def test_the_order_of_pictures_and_words_is_kept(backend):
    eyes = backend._looks.eyes
    parts = ("one", picture(1), "two", picture(2), "three")
    text = backend._prompter.render(see(*parts))
    places = [text.index(word) for word in ("one", "two", "three")]
    marks = [place for place in range(len(text)) if text.startswith(eyes.token, place)]
    assert places[0] < marks[0] < places[1] < marks[1] < places[2]
    back = eyes.look(backend._prompter.render(see(*reversed(parts))), [picture(2), picture(1)])
    there = eyes.look(text, [picture(1), picture(2)])
    numbers = [[key for key in dict.fromkeys(sight.keys) if key < 0] for sight in (there, back)]
    assert numbers[0] == numbers[1][::-1] and len(numbers[0]) == 2


def test_schemas_calls_chances_stops_and_seeds_work_with_pictures(backend):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    told = answer(backend, see("what", picture(1), json_schema=schema, max_tokens=60))
    assert isinstance(json.loads(told.text), dict)
    tool = Tool(name="f", parameters={"type": "object", "properties": {}})
    called = answer(
        backend, see("what", picture(1), tools=(tool,), tool_choice="required", max_tokens=200)
    )
    assert called.finish == "tool_calls"
    chances = answer(backend, see("what", picture(1), logprobs=2))
    assert sum(len(e.logprobs) for e in chances.events if hasattr(e, "logprobs")) > 0
    whole = answer(backend, see("what", picture(1), max_tokens=30)).text
    cut = answer(backend, see("what", picture(1), max_tokens=30, stop=(whole[4:7],)))
    assert cut.finish == "stop" and cut.text == whole[: whole.index(whole[4:7])]
    several = [Listener() for _ in range(3)]
    for seed, listener in enumerate(several):
        backend.join(see("what", picture(1), temperature=1.5, seed=seed), listener)
    finish(backend, *several)
    assert len({listener.text for listener in several}) == 3


def test_sound_and_places_the_template_does_not_know_are_refused(backend, monkeypatch):
    with pytest.raises(BadValue, match="'audio'"):
        sound = Message(role="user", parts=(AudioPart(data=b"x"),))
        backend.join(ChatRequest(messages=(sound,)), Listener())
    template = backend._tokenizer.chat_template
    monkeypatch.setattr(
        backend._tokenizer, "chat_template", template.replace("m['content'] is", "true or m is")
    )
    monkeypatch.setattr(type(backend._prompter), "_takes_pictures", True)
    with pytest.raises(BadValue, match="pictures in these places"):
        backend.join(see("what", picture(1)), Listener())


def test_a_prompt_with_a_picture_is_read_in_pieces_and_by_itself(backend, monkeypatch):
    calls: list[tuple[int, int]] = []
    read = Slots.read

    def reading(self: Slots, one: Any, budget: int) -> Any:
        logits = read(self, one, budget)
        calls.append((len(one.texts), one.done))
        return logits

    running = Listener()
    backend.join(chat("hello", max_tokens=40), running)
    backend.step()
    monkeypatch.setattr(Slots, "read", reading)
    monkeypatch.setattr(backend, "_budget", lambda: 5)
    late = [Listener(), Listener()]
    backend.join(see("the quick", picture(1), "brown fox", picture(2)), late[0])
    while backend._looks:
        backend.step()
    backend.join(chat("hi"), late[1])
    finish(backend, running, *late)
    looked = [texts for texts, done in calls if done == 0]
    assert looked == [1, 1]  # a picture each, before the first piece
    pieces = [done for texts, done in calls if texts == 1 and done]
    assert len(pieces) > 4 and all(b - a <= 5 for a, b in pairwise(pieces) if b > a)
    assert running.output == 40
