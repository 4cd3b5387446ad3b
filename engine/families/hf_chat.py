"""Chat with any causal LM that transformers knows, many answers at once.

Owns the order of work between requests: who is read, who is answered, who is freed. The forward passes are in
`_slots`, the choice of tokens in `_sampling`, their text in `_decoding`, prompts in `_prompting`.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.checkpoints import find_checkpoint
from engine.errors import BadValue, Cancelled, InferenceFailed, OutOfMemory, TimedOut
from engine.events import Done, Event, Finish, Progress, Text
from engine.families._decoding import Spelling, Stops, spelling
from engine.families._defaults import context_of, default_sampling, end_tokens, sampling_of
from engine.families._prompting import Prompter
from engine.families._sampling import Draw, Sampler
from engine.faults import is_out_of_memory
from engine.registry import BatchEmit, ModelSpec
from engine.requests import ChatRequest, Request
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.families._slots import Reading, Slots, Solo

log = logging.getLogger("atelier.hf_chat")

SPECS: tuple[ModelSpec, ...] = ()
LONGEST = 4096  # new tokens when a request names no limit
ALONE = 2048  # prompt tokens read in one go while nobody is being answered
LEAST = 32  # prompt tokens below which a piece is not worth its overhead
PATIENCE = 3.5  # the longest gap that reading a prompt makes in running answers, in steps
CROWD = 4  # pieces grow with the number of waiting prompts up to so many times


@dataclass(slots=True, eq=False)
class Answer:
    """One request from its prompt to its last token."""

    emit: BatchEmit
    ids: list[int]
    limit: int
    draw: Draw
    spelling: Spelling
    stops: Stops
    made: list[int] = field(default_factory=list)  # the answer's tokens
    alone: bool = False  # read by itself, after reading it together with others failed


@dataclass(slots=True)
class Pace:
    """How long steps and prompt tokens take, as running means; sizes the pieces that prompts are read in.

    A piece costs about a step, whatever its size, and then so much for each token.
    """

    step: float = 0.0
    token: float = 0.0

    def stepped(self, seconds: float) -> None:
        self.step = seconds if not self.step else 0.8 * self.step + 0.2 * seconds

    def read(self, tokens: int, seconds: float) -> None:
        each = max(seconds - self.step, 0.1 * seconds) / tokens
        self.token = each if not self.token else 0.7 * self.token + 0.3 * each

    def piece(self, most: int, waiting: int) -> int:
        """Prompt tokens to read before the next step of running answers, `most` if nobody else waits.

        The piece and the step after it take no longer than `PATIENCE` steps. While more prompts wait, pieces
        are longer: every gap between two tokens holds one then, and whole prompts are read at less cost.
        """
        crowd = min(1 + waiting, CROWD)
        if not self.step or not self.token:
            return most
        return max(LEAST, min(most, int((PATIENCE - 2) * self.step / self.token))) * crowd


def load(spec: ModelSpec, settings: Settings) -> HfChat:
    """The model of `spec`, ready to answer. Errors: see `load_model` and `find_checkpoint`."""
    from engine.families._loading import load_model
    from engine.families._slots import choose_runner

    model, tokenizer = load_model(find_checkpoint(spec), spec, settings)
    return HfChat(spec, settings, model, tokenizer, choose_runner(model, settings.parallel))


class HfChat:
    """A loaded model, answering up to `parallel` requests at once; all on one thread.

    `context` is how many tokens prompt and answer may have together.
    """

    def __init__(
        self, spec: ModelSpec, settings: Settings, model: Any, tokenizer: Any, runner: Slots | Solo
    ) -> None:
        self.spec, self.parallel = spec, runner.parallel
        self.context = context_of(model.config, tokenizer, spec, settings)
        self._chunk = settings.prefill_chunk
        self._model, self._tokenizer, self._runner = model, tokenizer, runner
        self._prompter = Prompter(tokenizer, spec.title or spec.id)
        self._sampler = Sampler()
        self._defaults = default_sampling(model.generation_config)
        self._ends = end_tokens(model, tokenizer)
        self._waiting: deque[Answer] = deque()
        self._read: tuple[Reading, list[Answer]] | None = None  # what is being read now
        self._running: list[Answer] = []  # by row
        self._pace = Pace()

    # -- what the lane calls

    def join(self, request: Request, emit: BatchEmit) -> None:
        """Take a chat request in.

        Raises:
            BadValue: it is over the context, holds what is not text, or asks for what is not offered yet.
        """
        if not isinstance(request, ChatRequest):
            raise BadValue(f"Model '{self.spec.id}' answers chat requests only.", param="model")
        self._refuse(request)
        ids, whole = self._prompter.ids(request, self.context)
        self._check_length(len(ids), whole)
        emit.count(input=len(ids))
        left = self.context - len(ids)
        self._waiting.append(
            Answer(
                emit=emit,
                ids=ids,
                limit=min(left, request.max_tokens or LONGEST),
                draw=Draw(sampling_of(request, self._defaults), ids),
                spelling=spelling(self._tokenizer, ids if request.prompt is not None else ()),
                stops=Stops(request.stop),
            )
        )

    def step(self) -> None:
        """Read one piece of what waits, then give every running answer its next token."""
        if self._read is None and self._waiting and len(self._running) < self.parallel:
            self._begin()
        if self._read is not None:
            self._continue(*self._read)
        if self._running:
            began = time.perf_counter()
            tokens = [answer.made[-1] for answer in self._running]
            logits = self._runner.advance(tokens)
            drawn = self._sampler.pick(logits, [answer.draw for answer in self._running])
            self._take(drawn, self._running)
            self._pace.stepped(time.perf_counter() - began)

    def drop(self, emit: BatchEmit) -> None:
        """Forget the request of `emit`, wherever it is."""
        for answer in [a for a in self._everyone() if a.emit is emit]:
            self._forget(answer)

    def memory(self) -> int:
        """Bytes of weights, keys and values held now."""
        if self._model is None:
            return 0
        tensors = [*self._model.parameters(), *self._model.buffers()]
        held = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}
        block = self._read[0].block if self._read else None
        weights: int = sum(held.values())
        return weights + self._runner.memory() + (block.memory() if block else 0)

    def close(self) -> None:
        """Give all memory back."""
        import torch

        self._runner.close()
        self._waiting.clear()
        self._running.clear()
        self._read = self._model = self._tokenizer = self._runner = self._prompter = None  # type: ignore[assignment]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # -- taking in

    def _refuse(self, request: ChatRequest) -> None:
        if request.tools:
            raise BadValue(
                f"{self.spec.id} does not call tools yet. Ask without tools.", param="tools"
            )
        if request.json_schema is not None:
            raise BadValue(
                f"{self.spec.id} cannot promise JSON yet. Ask without json_schema.",
                param="json_schema",
            )

    def _check_length(self, length: int, whole: bool) -> None:
        if length == 0:
            raise BadValue("The prompt is empty. Write something.", param="messages")
        if length < self.context:
            return
        more = "" if whole else "more than "
        room = ", the answer included" if length == self.context else ""
        raise BadValue(
            f"The prompt has {more}{length:,} tokens, but {self.spec.id} holds {self.context:,}{room}. "
            "Shorten it or choose a model with a longer context.",
            param="messages",
        )

    # -- reading prompts

    def _begin(self) -> None:
        """Choose what to read next: one prompt, or several short ones together."""
        from engine.families._slots import ROOM, Reading

        budget = self._budget()
        chosen: list[Answer] = []
        longest = 0
        while self._waiting and len(self._running) + len(chosen) < self.parallel:
            answer = self._waiting[0]
            longest = max(longest, len(answer.ids))
            if chosen and (answer.alone or chosen[0].alone or (len(chosen) + 1) * longest > budget):
                break
            self._waiting.popleft()
            if self._say(answer, None):
                chosen.append(answer)
        if chosen:
            plan = max(len(answer.ids) + min(answer.limit, ROOM) for answer in chosen)
            self._read = (Reading([answer.ids for answer in chosen], plan), chosen)

    def _budget(self) -> int:
        return self._pace.piece(self._chunk, len(self._waiting)) if self._running else ALONE

    def _continue(self, reading: Reading, answers: list[Answer]) -> None:
        """Read one more piece; at the end of the prompts their answers begin."""
        began, before = time.perf_counter(), reading.done
        try:
            logits = self._runner.read(reading, self._budget() // len(answers))
            if logits is not None:
                expected = len(self._running) + len(self._waiting) + len(answers)
                self._runner.admit(reading, min(expected, self.parallel))
                self._read = None
                self._running += answers
                tokens = Sampler().pick(logits, [answer.draw for answer in answers])
        # A prompt may break the model in any way a model can break; it must not break the others' answers.
        except Exception as error:
            self._give_up(answers, error)
            return
        self._pace.read((reading.done - before) * len(answers), time.perf_counter() - began)
        if logits is not None:
            self._take(tokens, answers)
        elif not self._say(answers[0], Progress(reading.done, reading.total)):
            self._read = None

    def _give_up(self, answers: list[Answer], error: Exception) -> None:
        """One prompt fails with its error; several read together are tried again one by one."""
        self._read = None
        for answer in reversed(answers):
            self._forget(answer)
            if len(answers) > 1:
                answer.alone = True
                self._waiting.appendleft(answer)
            elif is_out_of_memory(error):
                answer.emit.fail(
                    OutOfMemory(
                        f"There was not enough memory to read {len(answer.ids):,} tokens. "
                        "Shorten the prompt or try again later."
                    )
                )
            else:
                answer.emit.fail(error)

    # -- answering

    def _take(self, tokens: Sequence[int], answers: Sequence[Answer]) -> None:
        """Publish one new token of each answer and free those that are over."""
        over: list[Answer] = []
        pairs = list(zip(answers, tokens, strict=True))
        for answer, token in pairs:  # first all, so that no answer loses its token to another's end
            answer.made.append(token)
        for answer, token in pairs:
            if not self._publish(answer, token):
                over.append(answer)
        for answer in reversed(over):  # from the last row on: fewer rows have to move
            self._forget(answer)

    def _publish(self, answer: Answer, token: int) -> bool:
        """Emit what `token` adds to the answer; False when the answer is over."""
        answer.emit.count(output=1)
        ended = token in self._ends
        try:
            text = "" if ended else answer.stops.pass_on(answer.spelling.spell(token))
        # Decoders raise bare exceptions on ids they cannot spell; that ends this answer alone.
        except Exception as error:
            failure = InferenceFailed("The model's answer cannot be spelled. Try again.")
            failure.__cause__ = error
            answer.emit.fail(failure)
            return False
        over = ended or len(answer.made) >= answer.limit
        if over and not answer.stops.met:
            text += answer.stops.pass_on(answer.spelling.rest()) + answer.stops.rest()
        finish: Finish | None = "length" if over else None
        if ended or answer.stops.met:
            finish = "stop"
        going = self._say(answer, Text(text) if text else None)
        if going and finish:
            self._say(answer, Done(finish))
        return going and not finish

    def _say(self, answer: Answer, event: Event | None) -> bool:
        """Emit; False when nobody listens any more or the time is up."""
        try:
            answer.emit(event)
        except Cancelled:
            return False
        except TimedOut as error:
            answer.emit.fail(error)
            return False
        return True

    def _forget(self, answer: Answer) -> None:
        """Take an answer out, wherever it is, and free its row."""
        if answer in self._waiting:
            self._waiting.remove(answer)
        if self._read and answer in self._read[1]:
            self._read = None  # only a prompt read by itself spans steps
        if answer in self._running:
            row = self._running.index(answer)
            last = self._runner.leave(row)
            self._running[row] = self._running[last]
            self._running.pop()

    def _everyone(self) -> list[Answer]:
        return [*self._waiting, *(self._read[1] if self._read else ()), *self._running]
