"""Translating with whatever model can: translation models by themselves, chat models a passage at a time.

Knows which model translates how, and makes one stream of text of all of them; translates nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from engine import asking_translation
from engine.callers import Caller
from engine.composing import Composing
from engine.detection import UNKNOWN, detect
from engine.errors import BadValue, InferenceFailed, TimedOut, Unknown
from engine.events import Done, Event, Progress, Segment, Source, Text, Usage
from engine.glossaries import Glossary, tries
from engine.jobs import Track
from engine.passages import Piece, has_words, split
from engine.picture_chat import Reply, added
from engine.picture_chat import ask as ask_model
from engine.registry import ModelSpec
from engine.requests import ChatRequest, Message, TranslateRequest
from engine.tongues import english_name, is_auto, listed, parse_name

if TYPE_CHECKING:
    from engine.engine import Engine

PASSAGE = 1200  # characters that a chat model is given at once: a paragraph or two
AT_ONCE = 4  # passages that are asked at once
LEAST, MOST = 128, 4096  # tokens of an answer


def find_translator(engine: Engine, request: TranslateRequest, session: str = "") -> ModelSpec:
    """Who translates: the model asked for, else the session's, the chosen default, one that is here and knows both
    languages, and last the starter.

    Raises:
        Unknown: no such model. BadValue: it can neither translate nor chat.
    """
    if not request.model:
        chosen = engine.resolve(request, session)
        if not chosen.starter:
            return chosen
        return next((spec for spec in _here(engine) if _fits(spec, request)), chosen)
    spec = engine.registry.find(request.model)
    if can_translate(spec):
        return engine.served(spec)
    able = listed_models(engine)
    raise BadValue(f"Model '{request.model}' cannot translate. These can: {able}.", param="model")


def can_translate(spec: ModelSpec) -> bool:
    """Whether a model translates: by itself, or because it chats. Models that speak of themselves alone do not."""
    return "translate" in spec.does or ("chat" in spec.does and not spec.starter)


def listed_models(engine: Engine) -> str:
    """The ids of the models that translate."""
    return ", ".join(spec.id for spec in engine.models() if can_translate(spec)) or "none yet"


def _here(engine: Engine) -> list[ModelSpec]:
    """Translation models whose files are on this machine, other than starters."""
    rows = [spec for spec in engine.models("translate") if not spec.starter]
    return [spec for spec in rows if engine.downloads.is_present(spec)]


def _fits(spec: ModelSpec, request: TranslateRequest) -> bool:
    source = "" if is_auto(request.source) else parse_name(request.source)
    told = (str(spec.options.get("from") or ""), str(spec.options.get("to") or ""))
    if all(told):
        return told[1] == parse_name(request.target) and source == told[0]
    wanted = {parse_name(request.target), source} - {""}
    return wanted <= set(spec.languages)


def languages_of(engine: Engine, model: str = "") -> tuple[str, ...]:
    """The codes that can be translated between: a model's, or those of all translation models that are here.

    Raises:
        Unknown: no such model.
    """
    if model:
        rows = [engine.registry.find(model)]
        if "translate" not in rows[0].does:
            return _all()
    else:
        rows = [s for s in engine.models("translate") if engine.downloads.is_present(s)]
    found = dict.fromkeys(code for spec in rows for code in spec.languages)
    if not found and not rows:
        raise Unknown("No model can translate yet. Add one on the Models tab.")
    return tuple(found)


async def translate_text(
    engine: Engine, request: TranslateRequest, caller: Caller, halted: Track
) -> AsyncGenerator[Event]:
    """Events of a translation: states, Source, Text in order with Progress in characters, Done.

    Args:
        halted: says whether somebody stopped it between two runs of its own.

    Raises:
        AtelierError: it cannot start, or can go no further.
    """
    spec = find_translator(engine, request, caller.session)
    request = request.model_copy(update={"model": spec.id})
    if "translate" in spec.does:
        events: AsyncGenerator[Event] = engine.run(request, caller)
    else:
        events = _Asking(engine, request, spec, caller, halted).translate()
    async with aclosing(events) as found:
        async for event in found:
            yield event


class Translates(Composing):
    """What the engine offers of translation; `Engine` is one of these."""

    __slots__ = ()

    def translate(self, request: TranslateRequest, caller: Caller) -> AsyncGenerator[Event]:
        """Translate a text, by whichever model can: see `translate_text`. As `run`."""
        return self._compose(partial(translate_text, self._engine, request), caller)

    def translator_of(self, request: TranslateRequest, session: str = "") -> ModelSpec:
        """The model that `translate` asks. Raises Unknown, BadValue: none that can translate."""
        return find_translator(self._engine, request, session)

    def translators(self) -> list[ModelSpec]:
        """The models that can translate, those made for it first."""
        able = [spec for spec in self._engine.models() if can_translate(spec)]
        return sorted(able, key=lambda spec: "translate" not in spec.does)

    def tongues(self, model: str = "") -> tuple[str, ...]:
        """The codes of the languages that a model, or any translation model that is here, translates between."""
        return languages_of(self._engine, model)


@dataclass(frozen=True, slots=True)
class _Passage:
    """Sentences that are asked together, with the spaces between them; or what stays as it is."""

    text: str
    said: bool


@dataclass(frozen=True, slots=True)
class _Said:
    """A passage's translation; `sure` 0: it is left as it was."""

    place: int
    text: str
    usage: Usage = field(default_factory=Usage)
    left: bool = False
    stopped: bool = False


@dataclass(eq=False)
class _Asking:
    """A translation by a chat model: some passages are asked at once and told in their order."""

    engine: Engine
    request: TranslateRequest
    spec: ModelSpec
    caller: Caller
    halted: Track
    _news: asyncio.Queue[Event | _Said | BaseException] = field(default_factory=asyncio.Queue)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _source: str = ""
    _target: str = ""

    async def translate(self) -> AsyncGenerator[Event]:
        self._target = _known(self.request.target, "target")
        text = self.request.text
        if is_auto(self.request.source):
            self._source, sure = await asyncio.to_thread(detect, text)
            yield Source(self._source, round(sure, 4))
        else:
            self._source = _known(self.request.source, "source")
            yield Source(self._source)
        if self._source in (self._target, UNKNOWN) or not has_words(text):
            if text:
                yield Text(text)
            yield Done()
            return
        passages = await asyncio.to_thread(lambda: list(_passages(split(text))))
        try:
            async for event in self._told(passages):
                yield event
        finally:
            tasks = [*self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _told(self, passages: list[_Passage]) -> AsyncGenerator[Event]:
        todo = [n for n, passage in enumerate(passages) if passage.said][::-1]
        ready = {n: _Said(n, p.text) for n, p in enumerate(passages) if not p.said}
        told, done, under_way, usage, stopped = 0, 0, 0, Usage(), False
        total = sum(len(p.text) for p in passages)
        while told < len(passages) and not stopped:
            while todo and under_way < AT_ONCE and not self.halted.stopped:
                under_way += 1
                self._begin(todo[-1], passages[todo.pop()].text)
            while (said := ready.pop(told, None)) is not None:
                usage, stopped = added(usage, said.usage), stopped or said.stopped
                done += len(passages[told].text)
                if said.text:
                    yield Text(said.text)
                if said.left:
                    yield Segment(passages[told].text, score=0.0)
                yield Progress(done, total)
                told += 1
            if told == len(passages) or stopped or (self.halted.stopped and not under_way):
                break
            news = await self._news.get()
            if isinstance(news, BaseException):
                raise news
            if isinstance(news, _Said):
                under_way -= 1
                ready[news.place] = news
            elif not told:
                yield news
        yield Done(usage=replace(usage, characters=done), stopped=stopped or told < len(passages))

    def _begin(self, place: int, text: str) -> None:
        task = asyncio.create_task(self._work(place, text))
        self._tasks.add(task)
        task.add_done_callback(self._settle)

    def _settle(self, task: asyncio.Task[None]) -> None:
        """What went wrong with more than a passage ends the translation."""
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._news.put_nowait(fault)

    async def _work(self, place: int, text: str) -> None:
        """Translate one passage and say so."""
        usage = Usage()
        glossary = Glossary(self.request.glossary)
        for way in tries(text, glossary, asking_translation.STYLES):
            answers: list[str] = []
            for part in way.texts:
                reply = await self._ask(part)
                usage = added(usage, reply.usage)
                if reply.stopped:
                    self._news.put_nowait(_Said(place, "", usage, stopped=True))
                    return
                answers.append(asking_translation.read(reply.text, part) if reply.whole else "")
            read = way.read(answers) if all(answers) else None
            if read is not None:
                self._news.put_nowait(_Said(place, read, usage))
                return
        self._news.put_nowait(_Said(place, glossary.apply(text), usage, left=True))

    async def _ask(self, text: str) -> Reply:
        question = asking_translation.ask(text, self._source, self._target)
        tokens = min(MOST, LEAST + 3 * len(text))
        request = ChatRequest(
            model=self.spec.id,
            messages=(Message.of("user", question),),
            temperature=0,
            max_tokens=min(tokens, self.spec.context // 2) if self.spec.context else tokens,
            think=False if "reasoning" in self.spec.accepts else None,
            keep_alive=self.request.keep_alive,
            seconds=self.request.seconds,
        )
        try:
            return await ask_model(self.engine, request, self.caller, self._news.put_nowait)
        except (InferenceFailed, TimedOut):  # of this passage alone: it stays as it is
            return Reply("", whole=False)


def _known(name: str, param: str) -> str:
    """The code of a language; a chat model is asked for any that has a name. Raises BadValue."""
    code = parse_name(name)
    if english_name(code) == code:
        raise BadValue(
            f"'{name[:60]}' is no language that is known here. These are: {listed(_all())}.",
            param=param,
        )
    return code


def _all() -> tuple[str, ...]:
    from engine.languages import LANGUAGES

    return tuple(LANGUAGES)


def _passages(pieces: list[Piece]) -> Iterator[_Passage]:
    """Neighbouring sentences of a line together; what holds a line's end stays between them."""
    text = ""
    for piece in pieces:
        inside = piece.said or not piece.source.strip(" ")
        if text and inside and len(text) + len(piece.source) <= PASSAGE:
            text += piece.source
            continue
        yield from _closed(text)
        text = piece.source if piece.said else ""
        if not piece.said:
            yield _Passage(piece.source, said=False)
    yield from _closed(text)


def _closed(text: str) -> Iterator[_Passage]:
    core = text.rstrip()
    if core:
        yield _Passage(core, said=True)
    if len(core) < len(text):
        yield _Passage(text[len(core) :], said=False)
