"""Speech to chat to speech as one stream: what was heard, the answer as it is written, each phrase as it is spoken.

Composes runs; understands no sound, writes no word and speaks none itself.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engine.callers import Caller, Priority
from engine.casting import recording, speech
from engine.composing import Composing
from engine.dialogues import Dialogue, Dialogues, Uttered, heard_until
from engine.errors import AtelierError, BadValue, InferenceFailed, TimedOut
from engine.events import Audio, Done, Loading, Queued, Reasoning, Segment, Source, Text
from engine.jobs import Track
from engine.phrases import Cutter, pauses, spoken
from engine.requests import ChatRequest, Message, Request
from engine.talk import (
    Heard,
    Mishap,
    Said,
    Timings,
    VoiceEvent,
    VoiceRequest,
    gathered,
    seconds_of,
)
from engine.transcripts import Entry
from engine.voices import guess_language

if TYPE_CHECKING:
    from engine.conversations import Conversations
    from engine.engine import Engine
    from engine.registry import ModelSpec
    from engine.settings import Settings

PAUSE = 0.2  # seconds between two sentences
HOLD = 0.15  # seconds for which pieces of a phrase's sound are gathered into one
AHEAD = 60.0  # seconds of sound that may wait for their reader before no more is made
MOST = 24_000  # characters of history that go into a prompt, at most
UNKNOWN = 8_000  # … of a model whose context is not known
FAILURES = 2  # phrases in a row that could not be spoken, after which no more is tried
OF_A_PHRASE = (InferenceFailed, TimedOut)  # what may be wrong with one phrase alone


class Chains(Composing):
    """The engine's spoken conversations; `Engine` brings the attributes."""

    __slots__ = ()

    settings: Settings
    dialogues: Dialogues
    conversations: Conversations

    def converse(self, request: VoiceRequest, caller: Caller) -> AsyncGenerator[VoiceEvent]:
        """Hear, answer and speak. Closing the generator stops all three; so do `stop` and the session's next turn.

        Yields states, Heard (for a recording), Text as it is written, Said as it is spoken, Timings at the first
        sound and at the end, and Done last. A voice that fails is a Mishap.

        Raises:
            AtelierError: the recording cannot be heard, or the answer not be written.
        """
        named = caller.request_id or secrets.token_hex(8)
        caller = replace(caller, priority=Priority.VOICE, request_id=named)
        dialogue = self.dialogues.get(caller.session)

        def begin(caller: Caller, halted: Track) -> AsyncGenerator[VoiceEvent]:
            return _Chain(self._engine, request, caller, halted, dialogue).run()

        return self._compose(begin, caller)

    def talkers(self, request: VoiceRequest, session: str = "") -> dict[str, ModelSpec]:
        """Who takes part, by "chat", "transcribe" and "speak"; who is missing is left out, unless named.

        Raises:
            Unknown, BadValue, Unavailable: one that the request names is not there, or cannot do it.
        """
        engine = self._engine
        question = ChatRequest(model=request.model, messages=(Message.of("user", "?"),))
        asked: dict[str, Request] = {"chat": question}
        if request.audio:
            asked["transcribe"] = recording(engine, request)
        if request.aloud:
            asked["speak"] = speech(engine, request, "?", "")
        found = {}
        for does, one in asked.items():
            try:
                found[does] = engine.resolve(one, session)
            except AtelierError:
                if does == "chat" or any(getattr(request, name) for name in _NAMES[does]):
                    raise
        return found

    async def warm_up(self, request: VoiceRequest, session: str = "") -> dict[str, float]:
        """Load all who take part in such a turn; the seconds each took, by id. Raises as `load` does."""
        models = list(dict.fromkeys(spec.id for spec in self.talkers(request, session).values()))
        seconds = await asyncio.gather(*(self._engine.load(model) for model in models))
        return dict(zip(models, seconds, strict=True))


_NAMES = {"transcribe": ("listener",), "speak": ("speaker", "voice", "language")}


@dataclass(eq=False)
class _Chain:
    """One turn: a task writes, another speaks, and `run` tells what both have."""

    engine: Engine
    request: VoiceRequest
    caller: Caller
    halted: Track
    dialogue: Dialogue
    born: float = field(default_factory=time.perf_counter)
    timings: Timings = field(default_factory=Timings)
    language: str = ""
    written: str = ""
    done: Done | None = None
    muted: bool = False
    phrases: list[Uttered] = field(default_factory=list)
    _ending: str = "stopped"  # how it would be remembered if it ended now
    _remembered: bool = False
    _ends: float = 0.0  # when all that was told will have been played
    _unread: float = 0.0  # seconds of sound that wait for the reader
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _todo: asyncio.Queue[Uttered | None] = field(default_factory=asyncio.Queue)
    _news: asyncio.Queue[VoiceEvent | BaseException | None] = field(default_factory=asyncio.Queue)
    _kept: list[VoiceEvent | BaseException | None] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self) -> AsyncGenerator[VoiceEvent]:
        spec = self.engine.talkers(self.request, self.caller.session)["chat"]
        dialogue = self.dialogue
        if dialogue.interrupt is not None:
            dialogue.interrupt()
        if self.request.played is not None:
            dialogue.cut(self.request.played)
        mine = dialogue.interrupt = self._interrupt
        said = self.request.text.strip()
        try:
            async with aclosing(self._hear()) as events:
                async for event in events:
                    if isinstance(event, Heard):
                        said = "\n".join(filter(None, (event.text, said)))
                    yield event
            if said and not self.halted.stopped:
                dialogue.hear(said)
                async with aclosing(self._answer(spec)) as news:
                    async for event in news:
                        yield event
        finally:
            await self._end_tasks()
            self._remember(spec.id)
            if dialogue.interrupt == mine:
                dialogue.interrupt = None
            if self.request.keep:
                await dialogue.save(self.engine.conversations, spec.id)
        self._time("total")
        yield self.timings
        done = self.done or Done()
        yield Done(done.finish, done.usage, self.halted.stopped)

    def _time(self, name: str) -> None:
        if getattr(self.timings, name) is None:
            self.timings = replace(self.timings, **{name: time.perf_counter() - self.born})

    # Hearing

    async def _hear(self) -> AsyncGenerator[VoiceEvent]:
        """States and spans of speech as they are understood, then all of it; nothing where nothing was recorded."""
        if not self.request.audio:
            return
        text, source = "", Source("")
        asked = recording(self.engine, self.request)
        async with aclosing(self.engine.run(asked, self.caller)) as events:
            async for event in events:
                match event:
                    case Source():
                        source = event
                    case Segment():
                        text += event.text
                        yield event
                    case Queued() | Loading():
                        yield event
        self.language = source.language
        self._time("heard")
        yield Heard(" ".join(text.split()), source.language, source.duration)

    # Answering

    async def _answer(self, spec: ModelSpec) -> AsyncGenerator[VoiceEvent]:
        self._start(self._write(self._questions(spec)))
        if self.request.aloud:
            self._start(self._speak())
        working, told = len(self._tasks), False
        while working:
            news = await self._next()
            if isinstance(news, BaseException):
                self._ending = "failed"
                raise news
            if news is None:
                working -= 1
                continue
            if isinstance(news, Said):
                self._take(news)
            yield news
            if isinstance(news, Said) and not told:
                told = True
                yield self.timings
        if not self.halted.stopped:
            self._ending = self.done.finish if self.done else "stop"

    async def _next(self) -> VoiceEvent | BaseException | None:
        """The next news; neighbouring texts come merged when the reader is slower than the writer."""
        news = self._kept.pop() if self._kept else await self._news.get()
        while isinstance(news, Text) and not self._kept and not self._news.empty():
            following = self._news.get_nowait()
            if isinstance(following, Text):
                news = Text(news.delta + following.delta)
            else:
                self._kept.append(following)
        return news

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._settle)
        self._tasks.append(task)

    def _settle(self, task: asyncio.Task[None]) -> None:
        """Tell how a task ended: None where it ended well."""
        self._news.put_nowait(None if task.cancelled() else task.exception())

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Writing

    def _questions(self, spec: ModelSpec) -> list[ChatRequest]:
        """What is asked, with as much of the conversation as fits; then with none of it, should that be too long."""
        system = self.request.system or ("" if spec.starter else self.engine.settings.voice_system)
        opening = (Message.of("system", system),) if system else ()
        budgets = (min(MOST, spec.context) if spec.context else UNKNOWN, 0)
        asked = [
            ChatRequest(
                model=spec.id,
                messages=(*opening, *self.dialogue.messages(budget)),
                max_tokens=self.request.max_tokens,
                temperature=self.request.temperature,
                think=False if "reasoning" in spec.accepts else None,
            )
            for budget in budgets
        ]
        return asked if asked[0] != asked[1] else asked[:1]

    async def _write(self, questions: list[ChatRequest]) -> None:
        for question in questions:
            try:
                await self._write_answer(question)
                break
            except BadValue:
                if self.written or question is questions[-1]:
                    raise
        self._todo.put_nowait(None)

    async def _write_answer(self, question: ChatRequest) -> None:
        cutter = Cutter()
        async with aclosing(self.engine.run(question, self.caller)) as events:
            async for event in events:
                match event:
                    case Text(delta):
                        self._time("first_token")
                        self.written += delta
                        self._news.put_nowait(event)
                        self._queue(cutter.feed(delta))
                    case Done():
                        self.done = event
                    case Reasoning() | Queued() | Loading():
                        self._news.put_nowait(event)
        self._queue(cutter.end())

    def _queue(self, phrases: list[str]) -> None:
        for text in phrases:
            self._time("first_phrase")
            phrase = Uttered(text)
            self.phrases.append(phrase)
            self._todo.put_nowait(phrase)

    # Speaking

    async def _speak(self) -> None:
        """Speak phrase after phrase, in order; each while the next ones are written."""
        number = failures = 0
        while (phrase := await self._todo.get()) is not None:
            text = spoken(phrase.text)
            if text and not self.muted and not self.halted.stopped:
                while self._unread > AHEAD:
                    self._room.clear()
                    await self._room.wait()
                try:
                    await self._say_somehow(number, phrase.text, text)
                    failures = 0
                except AtelierError as error:
                    failures += 1
                    self.muted = failures == FAILURES or not isinstance(error, OF_A_PHRASE)
                    self._news.put_nowait(Mishap(error))
            number += 1

    async def _say_somehow(self, number: int, phrase: str, text: str) -> None:
        """Speak one phrase; where the voice does not know the language that was found out, in its own."""
        try:
            await self._say(number, phrase, text)
        except BadValue as error:
            if error.param != "language" or self.request.language or self.language == "auto":
                raise
            self.language = "auto"
            await self._say(number, phrase, text)

    async def _say(self, number: int, phrase: str, text: str) -> None:
        """Speak one phrase, in the language that was heard, or that the answer begins in."""
        if not self.language:
            self.language = guess_language(text, guess_language(self.request.text))
        request = speech(self.engine, self.request, text, self.language)
        before = self.phrases[number - 1].text if number else ""
        pause = PAUSE / self.request.speed if pauses(before) and self.timings.first_audio else 0.0
        hold = HOLD if self.timings.first_audio else 0.0
        async with aclosing(gathered(self.engine.run(request, self.caller), hold)) as events:
            async for event in events:
                if isinstance(event, Audio):
                    self._time("first_audio")
                    silence = bytes(2 * int(pause * event.rate))
                    audio, pause = Audio(silence + event.data, event.rate), 0.0
                    self._unread += seconds_of(audio)
                    self._news.put_nowait(Said(number, phrase, audio))
                elif isinstance(event, Loading):
                    self._news.put_nowait(event)

    def _take(self, said: Said) -> None:
        """The reader takes a piece of sound now, and plays it after those before."""
        seconds, phrase = seconds_of(said.audio), self.phrases[said.number]
        self._unread -= seconds
        self._room.set()
        begins = max(time.monotonic(), self._ends)
        phrase.begins = begins if phrase.begins is None else phrase.begins
        phrase.seconds += seconds
        self._ends = begins + seconds

    # Ending

    def _interrupt(self) -> None:
        """The next turn begins: what was heard so far is all that was said."""
        self._remember("")
        self.engine._stop(lambda caller: caller is self.caller)

    def _remember(self, model: str) -> None:
        """Put the answer into the conversation; one that was cut short as far as it was heard."""
        if self._remembered:
            return
        self._remembered = True
        text = self.written
        if self._ending == "stopped" and self.request.aloud and not self.muted:
            text = heard_until(self.phrases, time.monotonic())
        usage = asdict(self.done.usage) if self.done else {}
        entry = Entry("assistant", text, model=model, finish=self._ending, usage=usage)
        self.dialogue.answer(entry, self.phrases)
