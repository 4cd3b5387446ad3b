"""Answers on their way: followed, left, found again, stopped, failed, and always kept."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.callers import Caller
from engine.conversations import TEXT_LIMIT, Conversations
from engine.database import Database
from engine.errors import Conflict, InferenceFailed, Unavailable, Unknown
from engine.events import Done, Event, Loading, Progress, Queued, Reasoning, Text, Usage
from engine.requests import ChatRequest, Message
from engine.transcripts import Entry
from engine.turns import Turn, Turns, merge
from tests.stores import open_database

REQUEST = ChatRequest(messages=(Message.of("user", "hi"),), model="m")
CALLER = Caller(name="test")
USAGE = Usage(input_tokens=3, output_tokens=2)


class Model:
    """Stands for `Engine.run`: says what it is given, when it is given it, and notes how it ended."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self.started = 0
        self.closed = 0
        self.waiting = asyncio.Event()

    async def run(self, request: ChatRequest, caller: Caller) -> AsyncGenerator[Event]:
        self.started += 1
        try:
            while True:
                if self.lines.empty():
                    self.waiting.set()
                line = await self.lines.get()
                self.waiting.clear()
                if isinstance(line, BaseException):
                    raise line
                yield line
                if isinstance(line, Done):
                    return
        finally:
            self.closed += 1

    def say(self, *lines: Event | BaseException) -> None:
        for line in lines:
            self.waiting.clear()
            self.lines.put_nowait(line)

    def words(self, text: str) -> None:
        self.say(*(Text(word + " ") for word in text.split()))


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(tmp_path) as database:
        yield database


@pytest.fixture
def chats(database: Database) -> Conversations:
    return Conversations(database)


@pytest.fixture
async def chat(chats: Conversations) -> str:
    return (await chats.create()).id


@pytest.fixture
async def model() -> Model:
    return Model()


@pytest.fixture
async def turns(chats: Conversations, model: Model) -> Turns:
    return Turns(chats, model.run, reattach_seconds=60)


async def listen(turn: Turn, until: int = 1_000_000) -> list[Event]:
    """What a follower gets; it leaves after `until` events."""
    heard: list[Event] = []
    async with aclosing(turn.follow()) as events:
        async for event in events:
            heard.append(event)
            if len(heard) == until:
                break
    return heard


def text_of(events: list[Event]) -> str:
    return "".join(event.delta for event in events if isinstance(event, Text))


async def settle(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def last(chats: Conversations, chat: str) -> Entry:
    return (await chats.entries(chat))[-1]


async def test_question_and_answer_are_kept(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi there")
    assert [e.text for e in await chats.entries(chat)] == ["hi there"]
    assert turns.get(chat) is turn and turns.running() == [turn]
    model.say(Queued(2), Queued(1), Loading("m", 0.5), Reasoning("hm"), Text("Hello"), Text("!"))
    model.say(Done("length", USAGE))
    heard = await listen(turn)
    assert heard[-1] == Done("length", USAGE) and text_of(heard) == "Hello!"
    assert turns.get(chat) is None and turns.running() == [] and turn.over
    answer = await last(chats, chat)
    assert (answer.role, answer.text, answer.reasoning) == ("assistant", "Hello!", "hm")
    assert (answer.finish, answer.model, answer.error) == ("length", "m", "")
    assert answer.usage["output_tokens"] == 2
    assert (await chats.get(chat)).title == "hi there"


async def test_the_answer_is_kept_before_its_end_is_told_and_the_next_may_be_asked_then(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    model.say(Text("one"), Done(), Text("two"), Done())
    turn = await turns.ask(chat, REQUEST, CALLER, "first")
    async with aclosing(turn.follow()) as events:
        async for event in events:
            if isinstance(event, Done):
                assert (await last(chats, chat)).text == "one"
                turn = await turns.ask(chat, REQUEST, CALLER, "second")
    await listen(turn)
    assert [e.text for e in await chats.entries(chat)] == ["first", "one", "second", "two"]


async def test_without_text_only_the_answer_is_added(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    model.say(Text("again"), Done())
    await listen(await turns.ask(chat, REQUEST, CALLER))
    assert [(e.role, e.text) for e in await chats.entries(chat)] == [("assistant", "again")]


async def test_a_reload_hears_everything_from_the_start_in_few_pieces(
    turns: Turns, chat: str, model: Model
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.say(Queued(3), Loading("m"), Progress(1, 2))
    model.words("a b c d")
    await model.waiting.wait()
    assert await listen(turn, 2) == [Progress(1, 2), Text("a b c d ")]
    model.words("e")
    model.say(Done())
    assert text_of(await listen(turn)) == "a b c d e "
    assert await listen(turn) == [Progress(1, 2), Text("a b c d e "), Done()]


async def test_two_followers_hear_the_same(turns: Turns, chat: str, model: Model) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    first = asyncio.create_task(listen(turn))
    model.words("a b c")
    await model.waiting.wait()
    second = asyncio.create_task(listen(turn))
    await settle(lambda: turn.followers == 2)
    model.words("d e f")
    model.say(Done("stop", USAGE))
    heard = await asyncio.gather(first, second)
    assert [text_of(h) for h in heard] == ["a b c d e f "] * 2
    assert [h[-1] for h in heard] == [Done("stop", USAGE)] * 2


async def test_a_live_follower_hears_each_word_as_it_comes(
    turns: Turns, chat: str, model: Model
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    async with aclosing(turn.follow()) as events:
        for word in ("a", "b", "c"):
            model.say(Text(word))
            assert await asyncio.wait_for(anext(events), 5) == Text(word)
        model.say(Queued(1))
        assert await asyncio.wait_for(anext(events), 5) == Queued(1)
        model.say(Queued(0))
        assert await asyncio.wait_for(anext(events), 5) == Queued(0)
    await turn.stop()


async def test_a_slow_follower_holds_nobody_up_and_misses_nothing(
    turns: Turns, chat: str, model: Model
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    async with aclosing(turn.follow()) as slow:
        model.say(Text("0 "))
        first = await anext(slow)
        model.words(" ".join(str(n) for n in range(1, 500)))
        model.say(Done())
        quick = await listen(turn)  # to the end, while the slow one sleeps over its first word
        assert turn.over
        rest = [event async for event in slow]
    assert text_of([first, *rest]) == text_of(quick)
    assert len(rest) == 2  # all it missed, at once, and the end


async def test_only_one_answer_at_a_time(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    other = (await chats.create()).id
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    with pytest.raises(Conflict, match="still being answered"):
        await turns.ask(chat, REQUEST, CALLER, "too early")
    assert len(await chats.entries(chat)) == 1
    elsewhere = await turns.ask(other, REQUEST, CALLER, "hi")
    assert len(turns.running()) == 2
    await turn.stop()
    await elsewhere.stop()


async def test_two_asking_at_the_same_moment_make_one_turn(
    turns: Turns, chats: Conversations, chat: str
) -> None:
    asked = [turns.ask(chat, REQUEST, CALLER, str(n)) for n in range(3)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(o).__name__ for o in outcomes) == ["Conflict", "Conflict", "Turn"]
    assert [e.text for e in await chats.entries(chat)] == ["0"]
    await turns.close()


async def test_asking_in_no_conversation_starts_nothing(turns: Turns, model: Model) -> None:
    for text in ("hi", None):
        with pytest.raises(Unknown):
            await turns.ask("nobody", REQUEST, CALLER, text)
    assert turns.running() == [] and model.started == 0


async def test_stopping_keeps_what_is_there_and_closes_the_work(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    follower = asyncio.create_task(listen(turn))
    model.words("half an")
    await model.waiting.wait()
    await asyncio.gather(turn.stop(), turn.stop())
    assert model.closed == 1
    answer = await last(chats, chat)
    assert (answer.text, answer.finish, answer.error) == ("half an ", "stopped", "")
    heard = await follower
    assert text_of(heard) == "half an " and isinstance(heard[-1], Done)
    assert turns.get(chat) is None
    await turn.stop()
    assert len(await chats.entries(chat)) == 2


async def test_stopping_again_while_it_is_being_kept_waits_for_that(
    turns: Turns, chats: Conversations, chat: str, model: Model, database: Database
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.words("half")
    await model.waiting.wait()
    disk, gate = threading.Event(), threading.Event()
    database.write(lambda c: disk.set() or gate.wait(10))  # a slow disk
    assert disk.wait(5)
    stops = [asyncio.create_task(turn.stop())]
    await settle(lambda: model.closed == 1)
    stops.append(asyncio.create_task(turn.stop()))
    await asyncio.sleep(0.01)
    assert not any(stop.done() for stop in stops) and not turn.over
    gate.set()
    await asyncio.gather(*stops)
    assert (await last(chats, chat)).text == "half " and turn.over


async def test_stopping_at_once_keeps_an_empty_answer(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    await (await turns.ask(chat, REQUEST, CALLER, "hi")).stop()
    assert [(e.role, e.finish) for e in await chats.entries(chat)] == [
        ("user", ""),
        ("assistant", "stopped"),
    ]
    assert model.closed == model.started


async def test_a_failure_reaches_every_follower_after_the_text(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.words("so far")
    model.say(InferenceFailed("It broke. Ask again."))
    heard: list[Event] = []
    for _ in range(2):
        heard.clear()
        with pytest.raises(InferenceFailed, match="It broke"):
            async for event in turn.follow():
                heard.append(event)
        assert text_of(heard) == "so far " and not any(isinstance(e, Done) for e in heard)
    answer = await last(chats, chat)
    assert (answer.text, answer.finish, answer.error) == (
        "so far ",
        "failed",
        "It broke. Ask again.",
    )
    assert turns.get(chat) is None and model.closed == 1


async def test_an_unforeseen_fault_is_logged_and_ends_the_turn(
    turns: Turns, chats: Conversations, chat: str, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.say(Text("x"), ZeroDivisionError("/etc/secret"))
    with pytest.raises(InferenceFailed, match="Ask again"):
        await listen(turn)
    answer = await last(chats, chat)
    assert (answer.text, answer.finish) == ("x", "failed") and "secret" not in answer.error
    await settle(lambda: any(r.exc_info for r in caplog.records if r.name == "atelier.turns"))


async def test_an_answer_that_cannot_be_kept_says_so(
    turns: Turns, chat: str, model: Model, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    await asyncio.to_thread(database.close)
    model.say(Text("lost"), Done())
    with pytest.raises(Unavailable), caplog.at_level(logging.CRITICAL, "atelier.turns"):
        await listen(turn)
    assert turns.get(chat) is None


async def test_an_endless_answer_is_cut_to_what_can_be_kept(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    model.say(Text("é" * TEXT_LIMIT), Done())
    await listen(await turns.ask(chat, REQUEST, CALLER, "hi"))
    assert len((await last(chats, chat)).text.encode()) == TEXT_LIMIT


async def test_work_goes_on_for_a_while_when_the_last_follower_has_left(
    chats: Conversations, chat: str, model: Model
) -> None:
    clock = Clock()
    turns = Turns(chats, model.run, reattach_seconds=0.01, clock=clock)
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.words("a")
    assert text_of(await listen(turn, 1)) == "a "
    model.words("b")
    await model.waiting.wait()
    await asyncio.sleep(0.05)  # the clock stands: nothing is over
    assert turns.get(chat) is turn and model.closed == 0
    clock.now = 0.009
    await asyncio.sleep(0.03)
    assert model.closed == 0
    clock.now = 0.011
    await settle(lambda: turn.over)
    assert model.closed == 1
    assert ((await last(chats, chat)).text, (await last(chats, chat)).finish) == ("a b ", "stopped")


async def test_following_again_calls_the_end_off(
    chats: Conversations, chat: str, model: Model
) -> None:
    clock = Clock()
    turns = Turns(chats, model.run, reattach_seconds=0.01, clock=clock)
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.words("a")
    await listen(turn, 1)
    follower = asyncio.create_task(listen(turn))
    await settle(lambda: turn.followers == 1)
    clock.now = 100.0
    await asyncio.sleep(0.03)
    assert model.closed == 0
    model.words("b")
    model.say(Done())
    assert text_of(await follower) == "a b "
    assert (await last(chats, chat)).finish == "stop"


async def test_one_of_two_leaving_ends_nothing(
    chats: Conversations, chat: str, model: Model
) -> None:
    turns = Turns(chats, model.run, reattach_seconds=0)
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    stays = asyncio.create_task(listen(turn))
    await settle(lambda: turn.followers == 1)
    model.words("a")
    await listen(turn, 1)
    model.words("b")
    model.say(Done())
    assert text_of(await stays) == "a b "
    assert (await last(chats, chat)).finish == "stop"


@pytest.mark.parametrize("how", ["close", "cancel", "forget"])
async def test_without_reattaching_the_work_ends_with_its_last_follower(
    chats: Conversations, chat: str, model: Model, how: str
) -> None:
    turns = Turns(chats, model.run, reattach_seconds=0)
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.words("a")
    events = turn.follow()
    assert await anext(events) == Text("a ")
    if how == "close":
        await events.aclose()
    elif how == "cancel":
        task = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        del events
        gc.collect()
    await settle(lambda: turn.over)
    assert model.closed == 1
    assert (await last(chats, chat)).finish == "stopped"


async def test_a_turn_that_nobody_ever_follows_ends_too(
    chats: Conversations, chat: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.turns.FIRST_SECONDS", 0.01)
    turns = Turns(chats, model.run, reattach_seconds=0)
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    assert model.started == 1 and not turn.over
    await settle(lambda: turn.over)
    assert model.closed == 1


async def test_deleting_the_conversation_stops_its_answer(
    turns: Turns, chats: Conversations, chat: str, model: Model
) -> None:
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    model.words("a")
    await model.waiting.wait()
    await chats.delete(chat)
    assert model.closed == 1 and turn.over and turns.get(chat) is None
    with pytest.raises(Unknown):
        await chats.get(chat)


async def test_closing_keeps_every_answer_and_takes_no_more(
    turns: Turns, chats: Conversations, model: Model
) -> None:
    ids = [(await chats.create()).id for _ in range(3)]
    for id_ in ids:
        await turns.ask(id_, REQUEST, CALLER, "hi")
    model.say(Text("x"), Text("x"), Text("x"))
    await model.waiting.wait()
    await turns.close()
    assert model.closed == 3 and turns.running() == []
    assert [(await last(chats, id_)).finish for id_ in ids] == ["stopped"] * 3
    with pytest.raises(Conflict, match="stopping"):
        await turns.ask(ids[0], REQUEST, CALLER, "hi")
    await turns.close()


async def test_a_work_that_is_slow_to_close_is_waited_for(chats: Conversations, chat: str) -> None:
    ended = []

    async def run(request: ChatRequest, caller: Caller) -> AsyncGenerator[Event]:
        try:
            yield Text("a")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)
            ended.append(True)

    turns = Turns(chats, run, reattach_seconds=60)
    turn = await turns.ask(chat, REQUEST, CALLER, "hi")
    await listen(turn, 1)
    await turn.stop()
    assert ended == [True]
    assert (await last(chats, chat)).text == "a"


def test_merging_joins_texts_and_drops_outdated_states() -> None:
    events = [Queued(1), None, Queued(0), Loading("m"), Text("a"), Text("b"), Reasoning("c"), Text("d"),
              Progress(1, 2), Progress(2, 2), Text(""), Done()]  # fmt: skip
    assert merge(events) == [
        Loading("m"), Text("ab"), Reasoning("c"), Text("d"), Progress(2, 2), Text(""), Done()
    ]  # fmt: skip
    assert merge([]) == []
