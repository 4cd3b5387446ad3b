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
from typing import Any

from engine.checkpoints import find_checkpoint
from engine.errors import BadValue, Cancelled, InferenceFailed, OutOfMemory, TimedOut
from engine.events import Done, Event, Progress
from engine.families._defaults import context_of, default_sampling, end_tokens, sampling_of
from engine.families._pace import Pace
from engine.families._prefix import LEAST, Found, Known, Prefixes, limit_of
from engine.families._preparing import Looks
from engine.families._prompting import Prompter
from engine.families._quantising import bytes_held
from engine.families._reply import Replies, Reply
from engine.families._sampling import Draw, Sampler
from engine.families._seeing import Eyes, Sight
from engine.families._slots import ROOM, Reading, Slots, Solo
from engine.families._threads import Threads
from engine.faults import is_out_of_memory
from engine.registry import BatchEmit, ModelSpec
from engine.requests import ChatRequest, Request
from engine.settings import Settings

log = logging.getLogger("atelier.hf_chat")

SPECS: tuple[ModelSpec, ...] = ()
QUANTISES = True  # see `engine.fit.forms`
LONGEST = 4096  # new tokens when a request names no limit
ALONE = 2048  # prompt tokens read in one go while nobody is being answered


@dataclass(slots=True, eq=False)
class Answer:
    """One request from its prompt to its last token."""

    emit: BatchEmit
    ids: list[int]
    limit: int
    draw: Draw
    reply: Reply
    sight: Sight | None = None  # its pictures
    made: list[int] = field(default_factory=list)  # the answer's tokens
    alone: bool = False  # read by itself, after reading it together with others failed
    cached: int = 0  # tokens of the prompt that were known and may be told

    @property
    def keys(self) -> list[int]:
        """What tells the prompt from others: its tokens, and whose pictures they are of."""
        return self.sight.keys if self.sight else self.ids


def load(spec: ModelSpec, settings: Settings) -> HfChat:
    """The model of `spec`, ready to answer. Errors: see `load_model` and `find_checkpoint`."""
    from engine.families._loading import load_seeing
    from engine.families._trial import choose_runner

    model, tokenizer, processor = load_seeing(find_checkpoint(spec), spec, settings)
    eyes = Eyes(processor, model, spec.id) if processor is not None else None
    runner = choose_runner(model, settings.parallel, eyes.trial() if eyes else None)
    return HfChat(spec, settings, model, tokenizer, runner, eyes)


class HfChat:
    """A loaded model, answering up to `parallel` requests at once; all on one thread.

    `context` is how many tokens prompt and answer may have together.
    """

    def __init__(
        self,
        spec: ModelSpec,
        settings: Settings,
        model: Any,
        tokenizer: Any,
        runner: Slots | Solo,
        eyes: Eyes | None = None,
    ) -> None:
        self.spec, self.parallel = spec, runner.parallel
        self.context = context_of(model.config, tokenizer, spec, settings)
        self._chunk = settings.prefill_chunk
        self._model, self._tokenizer, self._runner = model, tokenizer, runner
        wish = str(spec.options.get("tools") or "")
        self._prompter = Prompter(tokenizer, spec.title or spec.id, wish, eyes)
        self._sampler = Sampler()
        self._defaults = default_sampling(model.generation_config)
        self._ends = end_tokens(model, tokenizer)
        size = model.config.get_text_config(decoder=True).vocab_size
        self._replies = Replies(tokenizer, self._prompter, size, self._ends)
        self._looks = Looks(eyes)
        self._waiting: deque[Answer] = deque()
        self._read: tuple[Reading, list[Answer]] | None = None  # what is being read now
        self._running: list[Answer] = []  # by row
        self._pace = Pace()
        self._threads = Threads()
        self._weights = bytes_held(model)
        # A cache that the model makes for itself cannot be begun in the middle.
        self._rows = runner if isinstance(runner, Slots) and runner.reusable else None
        self._kept = Prefixes(limit_of(settings) if self._rows else 0)

    # -- what the lane calls

    def join(self, request: Request, emit: BatchEmit) -> None:
        """Take a chat request in. Pictures are opened in a thread; what is wrong with them fails it later.

        Raises:
            BadValue: it is over the context, holds what the model does not take, or its JSON schema cannot be
                kept to.
        """
        if not isinstance(request, ChatRequest):
            raise BadValue(f"Model '{self.spec.id}' answers chat requests only.", param="model")
        text = self._prompter.render(request)
        ids, whole = self._prompter.encode(text, request, self.context)
        self._check_length(len(ids), whole)
        if request.pictures:
            self._looks.begin(emit, request, text, self._prompter.adds(text, request))
        else:
            self._enter(request, text, ids, emit)

    def step(self) -> None:
        """Read one piece of what waits, then give every running answer its next token."""
        self._threads.use()
        if self._looks:
            self._see()
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
        self._looks.drop(emit)
        for answer in [a for a in self._everyone() if a.emit is emit]:
            self._forget(answer)

    def memory(self) -> int:
        """Bytes of weights, keys and values held now."""
        if self._model is None:
            return 0
        block = self._read[0].block if self._read else None
        used = self._runner.memory() + (block.memory() if block else 0)
        return self._weights + used + self._kept.memory()

    def spare(self) -> int:
        """Bytes of `memory` that are kept for next turns only."""
        return self._kept.memory()

    def shed(self) -> int:
        """Give `spare` back; the bytes that came free."""
        return self._kept.shed()

    def close(self) -> None:
        """Give all memory back."""
        import torch

        self._runner.close()
        self._kept.shed()
        self._looks.close()
        self._waiting.clear()
        self._running.clear()
        self._read = self._rows = None
        self._model = self._tokenizer = self._runner = None  # type: ignore[assignment]
        self._prompter = self._replies = self._looks = None  # type: ignore[assignment]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # -- taking in

    def _enter(
        self,
        request: ChatRequest,
        text: str,
        ids: list[int],
        emit: BatchEmit,
        sight: Sight | None = None,
    ) -> None:
        """Let a prompt wait to be read. Raises BadValue as `join` does."""
        limit = min(self.context - len(ids), request.max_tokens or LONGEST)
        sampling = sampling_of(request, self._defaults)
        draw, reply = self._replies.begin(request, text, ids, sampling, limit)
        emit.count(input=len(ids))
        self._waiting.append(Answer(emit, ids, limit, draw, reply, sight))

    def _see(self) -> None:
        """Take in the prompts whose pictures are ready."""
        for look, sight in self._looks.ready(not (self._waiting or self._running or self._read)):
            try:
                self._check_length(len(sight.ids), whole=True)
                self._enter(look.request, look.text, sight.ids, look.emit, sight)
            except BadValue as error:
                look.emit.fail(error)

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
        budget, running = self._budget(), self._texts()
        chosen: list[Answer] = []
        founds: list[Found] = []
        longest = start = 0
        while self._waiting and len(self._running) + len(chosen) < self.parallel:
            answer = self._waiting[0]
            found = self._kept.find(answer.emit.owner, answer.keys, running)
            longest = max(longest, len(answer.ids))
            begin = min(start, found.length) if chosen else found.length
            if chosen and (
                answer.alone
                or chosen[0].alone
                or answer.sight
                or chosen[0].sight
                or (len(chosen) + 1) * (longest - begin) > budget
                or max(start, found.length) - begin > LEAST  # so much would be read in vain
            ):
                break
            self._waiting.popleft()
            if self._say(answer, None):
                chosen.append(answer)
                founds.append(found)
                start = begin
        if chosen:
            plan = max(len(answer.ids) + min(answer.limit, ROOM) for answer in chosen)
            for answer, found in zip(chosen, founds, strict=True):
                answer.cached = min(found.told, start)
            known = [found.text if start else None for found in founds]
            texts = [answer.ids for answer in chosen]
            reading = Reading(texts, plan, start, known, sight=chosen[0].sight)
            self._read = (reading, chosen)

    def _texts(self) -> list[Known]:
        if self._rows is None or not self._kept.limit:
            return []
        row = self._rows.text
        return [row(n, a.emit.owner, a.keys + a.made) for n, a in enumerate(self._running)]

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
        if reading.done > before:  # pictures are looked at before their prompt is read
            self._pace.read((reading.done - before) * len(answers), time.perf_counter() - began)
        if logits is not None:
            for answer in answers:
                answer.emit.count(cached=answer.cached)
            self._take(tokens, answers)
        elif not self._say(answers[0], Progress(reading.done, reading.total)):
            self._read = None

    def _give_up(self, answers: list[Answer], error: Exception) -> None:
        """One prompt fails with its error; several read together are tried again one by one, and one that
        memory was short for once more without what was kept."""
        self._read = None
        again = len(answers) > 1 or (is_out_of_memory(error) and self._kept.shed() > 0)
        for answer in reversed(answers):
            self._forget(answer)
            if again:
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
            self._keep(answer)
            self._forget(answer)

    def _publish(self, answer: Answer, token: int) -> bool:
        """Emit what `token` adds to the answer; False when the answer is over."""
        reply, guide = answer.reply, answer.draw.guide
        answer.emit.count(output=1, reasoning=int(not reply.answering))
        ended = token in self._ends
        try:
            if answer.draw.error is not None:
                raise answer.draw.error
            events = [] if ended else reply.add(token, answer.draw.told)
            ended = ended or reply.over or (guide is not None and guide.over)
            if over := ended or len(answer.made) >= answer.limit:
                events += reply.end()
        except InferenceFailed as error:
            answer.emit.fail(error)
            return False
        # Decoders raise bare exceptions on ids they cannot spell; that ends this answer alone.
        except Exception as error:
            failure = InferenceFailed("The model's answer cannot be spelled. Try again.")
            failure.__cause__ = error
            answer.emit.fail(failure)
            return False
        if guide is not None:
            guide.awake = guide.awake or reply.answering
        for event in events or (None,):
            if not self._say(answer, event):
                return False
        if over:
            cut = not ended or (guide is not None and guide.hurried)
            self._say(answer, Done("length" if cut else reply.finish))
        return not over

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

    def _keep(self, answer: Answer) -> None:
        """Keep what was read and written for a next turn, if there is memory to spare."""
        if self._rows is None or answer not in self._running:
            return
        row, keys = self._running.index(answer), answer.keys + answer.made
        if not self._kept.worth(len(keys)):
            return
        try:
            self._kept.keep(self._rows.copy(row, answer.emit.owner, keys))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._kept.shed()

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
