"""Answers on their way into conversations, detached from any page: a reload finds them again.

A turn keeps what was said so far; any number of pages follow it, each at its own pace. Knows no
model and no page: it is given the conversations and the door (`Engine.run`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import asdict

from engine.callers import Caller
from engine.conversations import TEXT_LIMIT, Conversations
from engine.errors import AtelierError, Conflict, InferenceFailed
from engine.events import WAITING, Done, Event, Reasoning, Result, Text
from engine.requests import ChatRequest
from engine.transcripts import Entry

Run = Callable[[ChatRequest, Caller], AsyncGenerator[Event]]
Halt = Callable[[str], bool]
FIRST_SECONDS = 5.0  # a turn nobody has followed yet waits at least so long for the page that asked
log = logging.getLogger("atelier.turns")


class Turn:
    """One answer on its way. Made by `Turns.ask`.

    Attributes:
        conversation_id: where it will be kept.
        result: the answer so far.
        followers: how many read it now.
        over: it has ended, and the answer is kept.
        error: why it failed; None while it runs, when it ended well and when it was stopped.
    """

    def __init__(
        self,
        conversation_id: str,
        request: ChatRequest,
        caller: Caller,
        reattach_seconds: float,
        clock: Callable[[], float],
        halt: Halt,
    ) -> None:
        self.conversation_id = conversation_id
        self.request = request
        self.caller = caller
        self.result = Result()
        self.followers = 0
        self.over = False
        self.error: AtelierError | None = None
        self._reattach = reattach_seconds
        self._clock = clock
        self._halt = halt
        self._events: list[Event | None] = []  # None: a state that a newer one replaced
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    async def follow(self) -> AsyncGenerator[Event]:
        """Everything said so far, merged, then what comes, up to and with `Done`.

        Close the generator (`aclosing`) to leave. One that fell behind gets what it missed at once.

        Raises:
            AtelierError: the turn failed; raised after everything that was said.
        """
        self.followers += 1
        self._stop_timer()
        try:
            seen = 0
            while True:
                fresh, seen = self._events[seen:], len(self._events)
                for event in merge(fresh):
                    yield event
                if seen == len(self._events):
                    if self.over:
                        break
                    await self._news.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.followers -= 1
            if not self.followers:
                self._wait(self._reattach)

    async def stop(self) -> None:
        """End it with what is there; returns when that is kept."""
        if self._task is None:
            return
        if not self._stopping and self._halt(self.caller.request_id):
            self._stopping = True  # the stream ends by itself, with its usage
        self._cancel()
        await asyncio.wait([self._task])

    def _wait(self, seconds: float) -> None:
        """Cancel the work unless somebody follows it within so long."""
        self._look(self._clock() + seconds)

    def _look(self, deadline: float) -> None:
        self._stop_timer()
        if self.over:
            return
        left = deadline - self._clock()
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._look, deadline)
        else:
            self._cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel(self) -> None:
        """Close the work at once. Only ever once: a second time would cut into the saving."""
        if self._task is not None and not self._stopping:
            self._stopping = True
            self._task.cancel()

    def _publish(self, event: Event) -> None:
        if self._events and isinstance(event, WAITING) and isinstance(self._events[-1], WAITING):
            self._events[-1] = None
        self._events.append(event)
        self.result.add(event)
        self._wake()

    def _end(self, done: Done | None) -> None:
        """Nothing comes any more; followers leave with `done` or the error."""
        self.over = True
        self._stop_timer()
        if done is not None:
            self._publish(done)
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def merge(events: Iterable[Event | None]) -> list[Event]:
    """The same events in fewer: adjacent texts joined, and only the last of adjacent states."""
    runs: list[list[Event]] = []
    for event in events:
        if event is None:
            continue
        last = runs[-1][-1] if runs else None
        if isinstance(event, Text | Reasoning) and type(event) is type(last):
            runs[-1].append(event)
        elif isinstance(event, WAITING) and isinstance(last, WAITING):
            runs[-1] = [event]
        else:
            runs.append([event])
    return [_join(run) for run in runs]


def _join(run: list[Event]) -> Event:
    first = run[0]
    if len(run) > 1 and isinstance(first, Text | Reasoning):
        return type(first)("".join(e.delta for e in run if isinstance(e, Text | Reasoning)))
    return first


class Turns:
    """The answers on their way, at most one a conversation.

    Args:
        run: `Engine.run`.
        halt: `Engine.stop_request`: ends a request by its id so that its stream still says what it used;
            False where it cannot, then the stream is cancelled.
        reattach_seconds: how long an answer goes on when nobody follows it any more; 0: not at all.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        conversations: Conversations,
        run: Run,
        reattach_seconds: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
        halt: Halt = lambda request_id: False,
    ) -> None:
        self._conversations = conversations
        self._run = run
        self._halt = halt
        self._reattach = reattach_seconds
        self._clock = clock
        self._turns: dict[str, Turn] = {}
        self._closed = False
        conversations.before_delete.append(self._stop)

    async def ask(
        self, conversation_id: str, request: ChatRequest, caller: Caller, text: str | None = None
    ) -> Turn:
        """Keep the user's message, then have it answered; returns when the work has begun.

        Args:
            request: the whole of it, the messages before included.
            text: the user's message, kept in the conversation; None when it is there already.

        Raises:
            Conflict: the conversation is being answered already, or the server is stopping.
            Unknown: there is no such conversation.
        """
        if self._closed:
            raise Conflict("The server is stopping. Ask again when it is back.")
        if conversation_id in self._turns:
            raise Conflict("This conversation is still being answered. Stop it first.")
        turn = self._turns[conversation_id] = Turn(
            conversation_id, request, caller, self._reattach, self._clock, self._halt
        )
        try:
            if text is None:
                await self._conversations.get(conversation_id)
            else:
                await self._conversations.append(conversation_id, Entry("user", text))
        except BaseException:
            del self._turns[conversation_id]
            raise
        turn._task = asyncio.create_task(self._work(turn))
        turn._task.add_done_callback(lambda task: self._settle(turn, task))
        turn._wait(max(self._reattach, FIRST_SECONDS))
        await asyncio.sleep(0)  # a task that is cancelled before its first step keeps nothing
        if self._closed:
            turn._cancel()
        return turn

    def get(self, conversation_id: str) -> Turn | None:
        """The answer on its way there; None when there is none, the last one being kept already."""
        return self._turns.get(conversation_id)

    def running(self) -> list[Turn]:
        return list(self._turns.values())

    async def close(self) -> None:
        """End every answer and keep what was written."""
        self._closed = True
        for turn in self.running():
            turn._cancel()
        if tasks := [turn._task for turn in self.running() if turn._task is not None]:
            await asyncio.wait(tasks)

    async def _stop(self, conversation_id: str) -> None:
        if turn := self.get(conversation_id):
            await turn.stop()

    async def _work(self, turn: Turn) -> None:
        """Run the request to its end, and keep the answer however it ends."""
        finish = "failed"
        done: Done | None = None
        turn.error = InferenceFailed(
            "The answer broke off because of a fault in the server. Ask again; its log says why."
        )
        try:
            async with aclosing(self._run(turn.request, turn.caller)) as events:
                async for event in events:
                    if isinstance(event, Done):
                        done = event
                    else:
                        turn._publish(event)
            finish, turn.error = done.finish if done else "stop", None
            if turn._stopping or (done is not None and done.stopped):
                finish = "stopped"
        except asyncio.CancelledError:  # ours: the turn was stopped, or nobody follows it
            finish, turn.error = "stopped", None
        except AtelierError as error:
            turn.error = error
        finally:
            await self._keep(turn, finish, done)
            self._forget(turn)
            turn._end(None if turn.error else done or Done())

    async def _keep(self, turn: Turn, finish: str, done: Done | None) -> None:
        """Append the answer as far as it came. When that fails, the followers are told."""
        entry = Entry(
            "assistant",
            _cut(turn.result.text),
            reasoning=turn.result.reasoning,
            model=turn.request.model or "",
            finish=finish,
            error=turn.error.message if turn.error else "",
            usage=asdict(done.usage) if done else {},
        )
        try:
            await self._conversations.append(turn.conversation_id, entry)
        except AtelierError as error:
            log.error("An answer could not be kept: %s", error, exc_info=error)
            turn.error = turn.error or error

    def _forget(self, turn: Turn) -> None:
        if self._turns.get(turn.conversation_id) is turn:
            del self._turns[turn.conversation_id]

    def _settle(self, turn: Turn, task: asyncio.Task[None]) -> None:
        """See that the turn is over whatever became of its task, and say what nobody expected."""
        if not task.cancelled() and (fault := task.exception()):
            log.error("A turn broke off.", exc_info=fault)
        if not turn.over:
            self._forget(turn)
            turn._end(None if turn.error else Done())


def _cut(text: str) -> str:
    return text.encode("utf-8", "replace")[:TEXT_LIMIT].decode("utf-8", "ignore")
