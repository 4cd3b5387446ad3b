"""What the tests of turns share: a model that says what it is told to, a clock, conversations of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.callers import Caller
from engine.conversations import Conversations
from engine.database import Database
from engine.events import Done, Event, Text, Usage
from engine.requests import ChatRequest, Message
from engine.transcripts import Entry
from engine.turns import Turn, Turns
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
