"""One answer on its way out: tokens in, and out come thoughts, text, calls of tools and their chances.

Knows one tokenizer and the engine's events; nothing of models, rows or prompts' reading.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from engine.events import Event, Finish, Reasoning, Text, TokenLogprob, ToolCall
from engine.families._decoding import Bytes, Spelling, Stops, spelling
from engine.families._grammar import Grammars, Guide
from engine.families._prompting import Prompter
from engine.families._reasoning import CHANNELS, Part, Splitter, Style, Thought, Whole, split_by
from engine.families._sampling import Chances, Draw, Sampling
from engine.families._scan import Called
from engine.families._tools import CallReader, Format, schemas
from engine.requests import ChatRequest


class Reply:
    """What one answer's tokens say.

    Args:
        thoughts: tells thoughts from the answer.
        stops: ends the answer at its stop strings; thoughts are not searched for them.
        calls: takes calls out of the answer; None where no tools were offered.
        pieces: the bytes of tokens, where chances are told.
    """

    def __init__(
        self,
        spelling: Spelling,
        thoughts: Splitter,
        stops: Stops,
        calls: CallReader | None,
        pieces: Bytes,
    ) -> None:
        self._spelling, self._thoughts, self._stops = spelling, thoughts, stops
        self._calls, self._pieces = calls, pieces
        self._told: list[TokenLogprob] = []
        self._plain = calls is None and isinstance(thoughts, Whole)
        self._called = False

    @property
    def over(self) -> bool:
        """Whether nothing that comes now counts."""
        return self._stops.met or (self._calls is not None and self._calls.met)

    @property
    def answering(self) -> bool:
        """Whether what comes next is the answer and no thought."""
        return self._thoughts.answering

    @property
    def finish(self) -> Finish:
        """How an answer ended that was not cut."""
        return "tool_calls" if self._called else "stop"

    def add(self, token: int, chances: Chances | None = None) -> list[Event]:
        """What a token adds that is sure by now."""
        if chances is not None:
            self._told.append(self._one(chances))
        text = self._spelling.spell(token)
        if self._plain:
            text = self._stops.pass_on(text)
            if not self._told:
                return [Text(text)] if text else []
            return self._events([text]) if text else []
        return self._events(self._parts(self._thoughts.feed(text)))

    def end(self) -> list[Event]:
        """The rest, once no more tokens come."""
        if self.over:
            return []
        parts = self._thoughts.feed(self._spelling.rest()) + self._thoughts.end()
        rest = self._parts(parts)
        if not self.over:
            held = self._stops.rest()
            rest += ([held] if held else []) if self._calls is None else self._calls.feed(held)
        if self._calls is not None:
            rest += self._calls.end()
        return self._events(rest)

    def _parts(self, parts: Iterable[Part]) -> list[Part]:
        """Stop strings and calls are looked for in what is the answer."""
        found: list[Part] = []
        for part in parts:
            if not isinstance(part, str):
                found.append(part)
            elif text := self._stops.pass_on(part):
                found += [text] if self._calls is None else self._calls.feed(text)
        return found

    def _events(self, parts: Iterable[Part]) -> list[Event]:
        events: list[Event] = []
        for part in parts:
            match part:
                case str():
                    events.append(Text(part, tuple(self._told)))
                    self._told = []
                case Thought(text):
                    events.append(Reasoning(text))
                    self._told = []
                case Called(name, arguments, id):
                    self._called = True
                    events.append(ToolCall(id or f"call_{secrets.token_hex(12)}", name, arguments))
                    self._told = []
        return events

    def _one(self, chances: Chances) -> TokenLogprob:
        top = tuple(self._entry(token, value) for token, value in chances.top)
        piece = self._pieces.of(chances.token)
        return TokenLogprob(piece.decode("utf-8", "replace"), chances.logprob, piece, top)

    def _entry(self, token: int, value: float) -> TokenLogprob:
        piece = self._pieces.of(token)
        return TokenLogprob(piece.decode("utf-8", "replace"), value, piece)


class Replies:
    """Begins replies for one model.

    Args:
        size: how many logits the model has.
        ends: ids that end an answer.
    """

    def __init__(self, tokenizer: Any, prompter: Prompter, size: int, ends: frozenset[int]) -> None:
        self._tokenizer, self._prompter, self._ends = tokenizer, prompter, ends
        self._pieces = Bytes(tokenizer)
        self._grammars = Grammars(tokenizer, size, ends)
        self._grammars.prepare()
        self._specials = {
            number: str(token.content)
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special and number not in ends
        }

    def begin(
        self, request: ChatRequest, prompt: str, ids: Sequence[int], sampling: Sampling, limit: int
    ) -> tuple[Draw, Reply]:
        """How the answer to `request` is drawn and what becomes of it; `limit` is its most tokens.

        Raises:
            BadValue: a schema is malformed or cannot be satisfied.
        """
        raw = request.prompt is not None
        style = None if raw else self._prompter.style
        written = self._prompter.format if request.tools and not raw else None
        thoughts = split_by(style, prompt)
        single = not request.parallel_tool_calls
        calls = CallReader(written, schemas(request.tools), single) if written else None
        reply = Reply(
            spelling(self._tokenizer, ids if raw else (), self._marks(written, style)),
            thoughts,
            Stops(request.stop),
            calls if style is not CHANNELS else None,
            self._pieces,
        )
        guide = self._guide(request, written, reply, limit)
        return Draw(sampling, ids, guide, request.logprobs), reply

    def _marks(self, written: Format | None, style: Style | None) -> dict[int, str]:
        """The special tokens that are spelled: those that calls and thoughts are written with."""
        words = "\n".join((*(written.words if written else ()), *(style.words if style else ())))
        return {n: text for n, text in self._specials.items() if text in words} if words else {}

    def _guide(
        self, request: ChatRequest, written: Format | None, reply: Reply, limit: int
    ) -> Guide | None:
        style = self._prompter.style if request.prompt is None else None
        opener = self._tokenizer.convert_tokens_to_ids(style.open) if style else None
        thinks = style is not None and style is not CHANNELS and request.think is not False
        openers = frozenset({opener} if thinks and isinstance(opener, int) else ())
        if written is not None and request.tool_choice == "required":
            awake = reply.answering or style is CHANNELS
            return self._grammars.for_calls(
                request.tools, written.shape, limit,
                single=not request.parallel_tool_calls, openers=openers, awake=awake,
            )  # fmt: skip
        if request.json_schema is None:
            return None
        return self._grammars.for_schema(
            request.json_schema, limit, openers=openers, awake=reply.answering
        )
