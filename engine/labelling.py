"""Labels for a picture from whatever model can give them: labellers by themselves, models that see by questions.

Knows who labels and how a model that chats is asked; looks at no picture itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from math import exp
from typing import TYPE_CHECKING

from engine.callers import Caller
from engine.errors import AtelierError, BadValue
from engine.events import Done, Event, Loading, Queued, Segment, Text, TokenLogprob, Usage
from engine.picture_chat import added
from engine.registry import ModelSpec
from engine.requests import ChatRequest, ImagePart, LabelRequest, Message, TextPart

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.jobs import Track

QUESTION = "Does this picture show: {label}? Answer with yes or no."
YES, NO = frozenset({"yes", "oui", "sim", "да"}), frozenset({"no", "non", "não", "нет"})
LIKELIEST = 20  # tokens whose chances are told, in which yes and no are looked for
TOKENS = 4  # of an answer: its first word is all that counts
AT_ONCE = 8  # labels asked about together, once the picture has been looked at
MOST = 100  # labels of one request, for each is a question


def find_labeller(engine: Engine, request: LabelRequest, session: str) -> ModelSpec:
    """Who labels: the model asked for, else one made for it that is here, else one that sees.

    Raises:
        Unknown: no such model, or none at all. BadValue: it can neither label nor see.
    """
    if request.model:
        spec = engine.registry.find(request.model)
        if "label" in spec.does or can_be_asked(spec):
            return engine.served(spec)
        able = [s.id for s in engine.models() if "label" in s.does or can_be_asked(s)]
        raise BadValue(
            f"Model '{request.model}' cannot label. These can: {', '.join(able) or 'none yet'}.",
            param="model",
        )
    made = _default(engine, "label", "", session)
    if made is not None and engine.downloads.is_present(made):
        return made
    sees = _default(engine, "chat", "image", session)
    return sees or engine.resolve(request, session)


def can_be_asked(spec: ModelSpec) -> bool:
    """Whether a model chats about pictures."""
    return "chat" in spec.does and "image" in spec.accepts


def _default(engine: Engine, does: str, accepting: str, session: str) -> ModelSpec | None:
    """The model that such a request would go to; None where nobody can."""
    blank = b"\0"
    request: ChatRequest | LabelRequest = LabelRequest(image=blank)
    if does == "chat":
        parts = (ImagePart(data=blank),)
        request = ChatRequest(messages=(Message(role="user", parts=parts),))
    try:
        return engine.resolve(request, session)
    except AtelierError:
        return None


async def label_picture(
    engine: Engine, request: LabelRequest, caller: Caller, halted: Track
) -> AsyncGenerator[Event]:
    """Events of a labelling: states, a Segment for each label whose scores add up to 1, Done.

    Args:
        halted: says whether somebody stopped it between two questions.

    Raises:
        AtelierError: as `find_labeller`, or what the model ran into.
    """
    spec = find_labeller(engine, request, caller.session)
    request = request.model_copy(update={"model": spec.id})
    asking = _Asking(engine, request, spec, caller, halted).label
    events = engine.run(request, caller) if "label" in spec.does else asking()
    async with aclosing(events) as found:
        async for event in found:
            yield event


@dataclass(eq=False)
class _Asking:
    """A labelling by a model that chats: one question a label, and how sure its yes or no is."""

    engine: Engine
    request: LabelRequest
    spec: ModelSpec
    caller: Caller
    halted: Track
    _usage: Usage = field(default_factory=Usage)
    _stopped: bool = False

    async def label(self) -> AsyncGenerator[Event]:
        labels = self.request.labels or tuple(self.spec.options.get("labels", ()))
        if len(labels) > MOST:
            raise BadValue(
                f"Model '{self.spec.id}' is asked about each label by itself: give at most {MOST}, "
                "or a model made for labels.",
                param="labels",
            )
        chances: list[float] = []
        if labels:  # alone, so that the others find the picture looked at
            async with aclosing(self._ask(labels[0])) as events:
                async for event in events:
                    if isinstance(event, float):
                        chances.append(event)
                    else:
                        yield event
        for first in range(1, len(labels), AT_ONCE):
            if self._over:
                break
            some = labels[first : first + AT_ONCE]
            chances += await asyncio.gather(*(self._chance(label) for label in some))
        if not self._over:
            for label, share in zip(labels, _shares(chances), strict=True):
                yield Segment(label, score=share)
        yield Done(usage=self._usage, stopped=self._over)

    @property
    def _over(self) -> bool:
        return self._stopped or self.halted.stopped

    async def _chance(self, label: str) -> float:
        async with aclosing(self._ask(label)) as events:
            return [event async for event in events if isinstance(event, float)][-1]

    async def _ask(self, label: str) -> AsyncGenerator[Event | float]:
        """States, then how likely the answer is yes."""
        said = ""
        told: tuple[TokenLogprob, ...] = ()
        async with aclosing(self.engine.run(self._question(label), self.caller)) as events:
            async for event in events:
                match event:
                    case Text(delta, logprobs):
                        said += delta
                        told = told or logprobs[:1]
                    case Queued() | Loading():
                        yield event
                    case Done(usage=usage, stopped=stopped):
                        self._usage = added(self._usage, usage)
                        self._stopped = self._stopped or stopped
        yield chance_of_yes(said, told)

    def _question(self, label: str) -> ChatRequest:
        asked = str(self.spec.options.get("label_question", QUESTION))
        text = asked.format(label=label, a_label=_with_article(label))
        parts = (ImagePart(data=self.request.image), TextPart(text=text))
        return ChatRequest(
            model=self.spec.id,
            messages=(Message(role="user", parts=parts),),
            temperature=0,
            max_tokens=TOKENS,
            logprobs=LIKELIEST,
            think=False if "reasoning" in self.spec.accepts else None,
            keep_alive=self.request.keep_alive,
            seconds=self.request.seconds,
        )


def chance_of_yes(said: str, told: Sequence[TokenLogprob]) -> float:
    """How likely an answer is yes rather than no, 0..1; where no chances were told, by its first word alone."""
    if told:
        likely = {token.token: token.logprob for token in (*told[0].top, told[0])}
        yes, no = (
            sum(exp(log) for text, log in likely.items() if _word(text) in words)
            for words in (YES, NO)
        )
        if yes or no:
            return yes / (yes + no)
    return float(_word(said) in YES)


def _word(text: str) -> str:
    """The first word, small, without what stands around it."""
    return next(iter(text.split()), "").strip(".,:;!?*\"'").lower()


def _with_article(label: str) -> str:
    """An English label as it stands in a sentence."""
    first = label.partition(" ")[0].lower()
    if first in {"a", "an", "the", "some", "any", "two", "three", "four", "five"}:
        return label
    return f"{'an' if first[:1] in set('aeiou') else 'a'} {label}"


def _shares(chances: Sequence[float]) -> list[float]:
    """Each chance over the sum of all; even shares where nothing is there at all."""
    whole = sum(chances)
    return [one / whole if whole else 1 / len(chances) for one in chances]
