"""Spoken conversations by session: what was said, and of an answer that was cut short what was heard of it.

In memory, bounded; a conversation may be kept in the database beside. Knows no model and no sound.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.errors import AtelierError
from engine.requests import Message
from engine.transcripts import Entry

if TYPE_CHECKING:
    from engine.conversations import Conversations

SESSIONS = 1000  # whose dialogues are remembered
ENTRIES = 200  # of one dialogue
CHARACTERS = 100_000  # of one dialogue
log = logging.getLogger("atelier.dialogues")


@dataclass(slots=True)
class Uttered:
    """A phrase of an answer: how many seconds of sound it has, and when it began to be heard."""

    text: str
    seconds: float = 0.0
    begins: float | None = None


def heard_until(phrases: Sequence[Uttered], time: float) -> str:
    """The text that was heard at a time; of the phrase that was being spoken, the words so far."""
    heard = ""
    for phrase in phrases:
        if not phrase.seconds:  # nothing of it is spoken: it goes with what stands before it
            heard += phrase.text
            continue
        share = (time - (phrase.begins or 0.0)) / phrase.seconds if phrase.begins is not None else 0
        if share <= 0:
            break
        if share < 1:
            return heard + _beginning(phrase.text, share)
        heard += phrase.text
    return (
        heard
        if any(p.seconds and p.begins is not None and time > p.begins for p in phrases)
        else ""
    )


def played_until(phrases: Sequence[Uttered], seconds: float) -> str:
    """The text of the first so many seconds of an answer's sound, as `heard_until`."""
    at, in_a_row = 0.0, []
    for phrase in phrases:
        in_a_row.append(replace(phrase, begins=at))
        at += phrase.seconds
    return heard_until(in_a_row, seconds)


def _beginning(text: str, share: float) -> str:
    """The first words of a phrase; characters where it has no spaces."""
    words = text.split(" ")
    if len(words) < 3:
        return text[: round(len(text) * share)]
    return " ".join(words[: round(len(words) * share)])


@dataclass(slots=True)
class Dialogue:
    """One session's spoken conversation.

    Attributes:
        entries: what was said, oldest first.
        interrupt: ends the answer that is on its way and remembers what was heard of it; None: there is none.
        phrases: those of the last answer.
        conversation: the id under which it is kept in the database; "": it is not.
    """

    entries: list[Entry] = field(default_factory=list)
    interrupt: Callable[[], None] | None = None
    phrases: Sequence[Uttered] = ()
    conversation: str = ""
    _saved: int = 0  # how many of the entries are in the database
    _stale: int = 0  # how many of those have changed since, at the end
    _saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    def hear(self, text: str) -> None:
        """The user said something; what was said in one go makes one message."""
        if self.entries and self.entries[-1].role == "user":
            last = self.entries[-1]
            self._set_last(replace(last, text=f"{last.text}\n{text}"))
        else:
            self.entries.append(Entry("user", text))
        self._shorten()

    def answer(self, entry: Entry, phrases: Sequence[Uttered]) -> None:
        """An answer ended, or was cut short: `entry` holds what is remembered of it."""
        self.phrases = tuple(phrases)
        if entry.text.strip():
            self.entries.append(entry)
        self._shorten()

    def cut(self, seconds: float) -> None:
        """Of the last answer so many seconds of sound were played: the rest counts as not said."""
        last = self.entries[-1] if self.entries else None
        whole = "".join(phrase.text for phrase in self.phrases)
        text = played_until(self.phrases, seconds).rstrip()
        if last is None or not whole:
            return
        if last.role == "user":  # nothing was remembered of it
            if text:
                self.entries.append(Entry("assistant", text, finish="stopped"))
        elif whole.startswith(last.text.rstrip()) and text != last.text.rstrip():
            if text:
                self._set_last(replace(last, text=text, finish="stopped"))
            else:
                self.entries.pop()
                self._forget_last()

    def messages(self, characters: int) -> tuple[Message, ...]:
        """The end of the conversation in at most so many characters; it begins with the user."""
        chosen: list[Entry] = []
        for entry in reversed(self.entries):
            characters -= len(entry.text)
            if characters < 0 and chosen:
                break
            chosen.append(entry)
        while len(chosen) > 1 and chosen[-1].role != "user":
            chosen.pop()
        return tuple(Message.of(entry.role, entry.text) for entry in reversed(chosen))

    async def save(self, conversations: Conversations, model: str) -> None:
        """Bring the database up to date; what cannot be kept is logged, and said all the same."""
        try:
            async with self._saving:
                await self._save(conversations, model)
        except AtelierError as error:
            log.warning("A spoken conversation is not kept: %s", error)
            self.conversation, self._saved, self._stale = "", len(self.entries), 0

    async def _save(self, conversations: Conversations, model: str) -> None:
        if not self.conversation:
            self.conversation = (await conversations.create(model=model)).id
            self._saved = self._stale = 0
        if self._stale:
            kept = (await conversations.get(self.conversation)).count
            await conversations.truncate(self.conversation, max(0, kept - self._stale))
            self._stale = 0
        while self._saved < len(self.entries):
            entry = self.entries[self._saved]
            self._saved += 1
            await conversations.append(self.conversation, entry)

    def _set_last(self, entry: Entry) -> None:
        self.entries[-1] = entry
        if self._saved == len(self.entries):
            self._saved -= 1
            self._stale += 1

    def _forget_last(self) -> None:
        if self._saved > len(self.entries):
            self._saved -= 1
            self._stale += 1

    def _shorten(self) -> None:
        while len(self.entries) > ENTRIES or (
            len(self.entries) > 2 and sum(len(e.text) for e in self.entries) > CHARACTERS
        ):
            del self.entries[0]
            self._saved = max(0, self._saved - 1)


class Dialogues:
    """The dialogues of the sessions that spoke last. Use it on one event loop."""

    def __init__(self, limit: int = SESSIONS) -> None:
        self._limit = limit
        self._held: OrderedDict[str, Dialogue] = OrderedDict()

    def get(self, session: str) -> Dialogue:
        """A session's; a new one where there is none."""
        dialogue = self._held.setdefault(session, Dialogue())
        self._held.move_to_end(session)
        while len(self._held) > self._limit:
            self._held.popitem(last=False)
        return dialogue

    def entries(self, session: str) -> Sequence[Entry]:
        """What a session said and heard, oldest first."""
        found = self._held.get(session)
        return tuple(found.entries) if found else ()

    def kept(self, session: str) -> str:
        """The conversation in the database that holds a session's dialogue; "": none does."""
        found = self._held.get(session)
        return found.conversation if found else ""

    def forget(self, session: str) -> bool:
        """End a session's dialogue, what is being said included. False: there was none."""
        found = self._held.pop(session, None)
        if found is not None and found.interrupt is not None:
            found.interrupt()
        return found is not None
