"""Answers on their way: asked for, followed, found again, always kept."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from engine.conversations import Conversations
from engine.errors import Conflict, Unknown
from engine.events import Done, Loading, Progress, Queued, Reasoning, Text
from engine.turns import Turns
from tests.turning import CALLER, REQUEST, USAGE, Model, last, listen, settle, text_of


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
