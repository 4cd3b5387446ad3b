"""Answers that end early: stopped, failed, left, deleted, cut off by the server."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncGenerator

import pytest

from engine.callers import Caller
from engine.conversations import TEXT_LIMIT, Conversations
from engine.database import Database
from engine.errors import Conflict, InferenceFailed, Unavailable, Unknown
from engine.events import Done, Event, Loading, Progress, Queued, Reasoning, Text
from engine.requests import ChatRequest
from engine.turns import Turns, merge
from tests.turning import CALLER, REQUEST, USAGE, Clock, Model, last, listen, settle, text_of


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


async def test_stopping_a_request_that_the_engine_knows_keeps_its_usage(
    chats: Conversations, chat: str, model: Model
) -> None:
    asked = []

    def halt(request_id: str) -> bool:
        asked.append(request_id)
        model.say(Done("stop", USAGE))
        return True

    turns = Turns(chats, model.run, halt=halt)
    turn = await turns.ask(chat, REQUEST, Caller(name="test", request_id="r1"), "hi")
    model.say(Text("half "))
    await settle(lambda: turn.result.text == "half ")
    await turn.stop()
    entry = await last(chats, chat)
    assert (entry.text, entry.finish) == ("half ", "stopped")
    assert entry.usage["output_tokens"] == USAGE.output_tokens
    assert asked == ["r1"]
    await turns.close()
