"""Texts from one language to another by translation models: NLLB, M2M-100, Marian and MADLAD, all through CTranslate2.

Owns the order of work: sentences of all requests are translated together, each text is told in its own order. Files and
devices are `_ctranslate`'s, tokens `_pieces`'.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from typing import Any

from engine import sentences
from engine.detection import UNKNOWN, detect
from engine.errors import BadValue, Cancelled, OutOfMemory, TimedOut
from engine.events import Done, Event, Progress, Segment, Source, Text
from engine.families._ctranslate import Opened, open_translator, worked
from engine.families._pieces import Pieces, read_pieces
from engine.families._sentence_work import Sentence, Work
from engine.faults import is_out_of_memory
from engine.glossaries import Glossary
from engine.passages import has_words
from engine.registry import BatchEmit, ModelSpec
from engine.requests import Request, TranslateRequest
from engine.settings import Settings
from engine.tongues import english_name, is_auto, listed, parse_tongue

SPECS: tuple[ModelSpec, ...] = ()
MOMENT = (
    0.5  # seconds that a pass should take at most, so that others on the device have their turn
)
FIRST, MOST = 256, 16_384  # tokens of a pass: the first one, and any
TOGETHER = 2048  # tokens that CTranslate2 puts side by side
LONGEST = 200  # tokens of a sentence; longer ones are cut at a comma or a space, for models lose the thread
BEAM = 4
TIGHT = frozenset({"zh", "zh-hant", "ja", "yue", "th", "lo", "km", "my"})  # written without spaces


def load(spec: ModelSpec, settings: Settings) -> Translation:
    """The model of `spec`, ready. Errors: see `open_translator` and `read_pieces`."""
    opened = open_translator(spec, settings)
    return Translation(spec, settings, opened, read_pieces(opened.folder, opened.tokens, spec))


class Translation:
    """A loaded model; up to `parallel` requests are taken in at once.

    A request is answered by Source, then Text as its sentences are ready, with Progress in characters. A sentence that
    the model does not know is told as it is, followed by a Segment with that sentence and how sure the model was.
    """

    def __init__(self, spec: ModelSpec, settings: Settings, opened: Opened, pieces: Pieces) -> None:
        self.spec, self.parallel = spec, settings.parallel
        self._translator: Any = opened.translator
        self._size, self._pieces = opened.size, pieces
        self._longest = int(spec.options.get("longest") or LONGEST)
        self._beam = int(spec.options.get("beam") or BEAM)
        self._sure = float(spec.options.get("sure") or 0.0)
        self._works: list[Work] = []
        self._new: list[tuple[TranslateRequest, str, BatchEmit]] = []
        self._room = FIRST

    @property
    def languages(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The codes that it translates from, and to."""
        return tuple(sorted(self._pieces.sources)), tuple(sorted(self._pieces.targets))

    # -- what the lane calls

    def join(self, request: Request, emit: BatchEmit) -> None:
        """Take a translate request in.

        Raises:
            BadValue: the model does not know one of the languages; lists those that it knows.
        """
        if not isinstance(request, TranslateRequest):
            raise BadValue(f"Model '{self.spec.id}' translates texts only.", param="model")
        target = parse_tongue(request.target, self._pieces.targets, self.spec.id, "target")
        if not is_auto(request.source):
            parse_tongue(request.source, self._pieces.sources, self.spec.id, "source")
        self._new.append((request, target, emit))

    def step(self) -> None:
        """One pass over the next sentences, the oldest request's first."""
        self._begin()
        self._settle()
        chosen = self._choose()
        if not chosen:
            return
        began = time.perf_counter()
        try:
            self._translate(chosen)
        # A text may break the model in any way a model can break; it must not break the others' requests.
        except Exception as error:
            self._give_up(chosen, error)
            return
        self._adapt(sum(s.size for _, s in chosen), time.perf_counter() - began)
        self._settle()

    def drop(self, emit: BatchEmit) -> None:
        """Forget the request of `emit`."""
        self._works = [work for work in self._works if work.emit is not emit]
        self._new = [new for new in self._new if new[2] is not emit]

    def memory(self) -> int:
        """Bytes of the weights."""
        return self._size if self._translator is not None else 0

    def close(self) -> None:
        """Give all memory back."""
        self._works.clear()
        self._new.clear()
        if self._translator is not None:
            self._translator.unload_model()
        self._translator = None
        gc.collect()

    # -- taking in

    def _begin(self) -> None:
        """Look at what came: its language is found out, its text cut into sentences."""
        new, self._new = self._new, []
        for request, target, emit in new:
            try:
                source, sure = self._source(request)
                emit(Source(source, sure))
                plain = source in (target, UNKNOWN) or not has_words(request.text)
                work = Work.of(
                    emit,
                    "" if plain else request.text,
                    source,
                    target,
                    Glossary(request.glossary),
                )
                if plain and request.text:
                    emit(Text(request.text))
                self._works.append(work)
            except Cancelled:
                continue
            except (BadValue, TimedOut) as error:
                emit.fail(error)

    def _source(self, request: TranslateRequest) -> tuple[str, float | None]:
        """The language of a text, and how sure that is. Raises BadValue: it is plainly one the model does not know."""
        known = self._pieces.sources
        if not is_auto(request.source):
            return parse_tongue(request.source, known, self.spec.id, "source"), None
        found, sure = detect(request.text, known)
        if found in known or found == UNKNOWN:
            return found, round(sure, 4)
        raise BadValue(
            f"The text seems to be in {english_name(found)} ({found}), which {self.spec.id} does not know. It knows: "
            f"{listed(known)}. Say which language it is, or choose another model.",
            param="source",
        )

    # -- working

    def _choose(self) -> list[tuple[Work, Sentence]]:
        """Sentences of the oldest request and, while there is room, of the others."""
        chosen: list[tuple[Work, Sentence]] = []
        room = min(self._room, MOST)
        works = self._works[:1] if self._works and self._works[0].alone else self._works
        for work in works:
            while (sentence := work.take()) is not None:
                self._cut(work, sentence)
                if chosen and sentence.size > room:
                    work.give_back(sentence)
                    return chosen
                room -= sentence.size
                chosen.append((work, sentence))
                if work.alone and len(works) == 1:
                    break
        return chosen

    def _cut(self, work: Work, sentence: Sentence) -> None:
        """The tokens of what a sentence asks, in runs that are not too long."""
        if not sentence.parts:
            sentence.parts = [self._runs(text) for text in sentence.now.texts]

    def _runs(self, text: str) -> list[list[str]]:
        tokens = self._pieces.cutter.cut(text)
        if len(tokens) <= self._longest:
            return [tokens]
        short = max(20, len(text) * self._longest // len(tokens) * 3 // 4)
        found = []
        for part in sentences.split(text, short):
            tokens = self._pieces.cutter.cut(part.text)
            found += [tokens[n : n + self._longest] for n in range(0, len(tokens), self._longest)]
        return found

    def _translate(self, chosen: Sequence[tuple[Work, Sentence]]) -> None:
        """One pass: every run of every sentence, and what came of it goes to its request."""
        sources: list[list[str]] = []
        prefixes: list[list[str] | None] = []
        for work, sentence in chosen:
            for part in sentence.parts:
                for run in part:
                    sources.append(self._pieces.source(run, work.source, work.target))
                    prefixes.append(self._pieces.prefix(work.target))
        found = self._pass(sources, prefixes) if sources else []
        answers = iter(zip(sources, found, strict=True))
        for work, sentence in chosen:
            self._read(work, sentence, [[next(answers) for _ in part] for part in sentence.parts])

    def _pass(self, sources: list[list[str]], prefixes: list[list[str] | None]) -> list[Any]:
        longest = max(map(len, sources))
        found: list[Any] = self._translator.translate_batch(
            sources,
            target_prefix=prefixes,
            max_batch_size=TOGETHER,
            batch_type="tokens",
            beam_size=self._beam,
            max_input_length=0,
            max_decoding_length=2 * longest + 24,
            return_scores=True,
        )
        return found

    def _read(
        self, work: Work, sentence: Sentence, answers: list[list[tuple[list[str], Any]]]
    ) -> None:
        texts, least = [], 1.0
        joint = "" if work.target in TIGHT else " "
        for part in answers:
            runs = []
            for source, result in part:
                tokens = result.hypotheses[0]
                work.emit.count(input=len(source), output=len(tokens))
                runs.append(self._pieces.read(tokens, work.target))
                least = min(least, worked(result.scores) if runs[-1] else 0.0)
            texts.append(joint.join(run for run in runs if run))
        if least <= 0 or least < self._sure:
            work.leave(sentence, least)
        else:
            work.answer(sentence, texts)

    def _adapt(self, tokens: int, seconds: float) -> None:
        """Larger passes while they are quick, smaller ones once they are not."""
        if seconds > MOMENT:
            self._room = max(64, int(self._room * MOMENT / seconds))
        elif tokens > self._room // 2:
            self._room = min(MOST, 2 * self._room)

    def _settle(self) -> None:
        """Tell everybody what is ready for them."""
        for work in list(self._works):
            before = work.characters
            text, left = work.fresh()
            work.emit.count(characters=work.characters - before)
            events: list[Event] = [Text(text)] if text else []
            events += [Segment(sentence, score=sure) for sentence, sure in left]
            if work.over:
                events.append(Done())
            elif text:
                events.append(Progress(work.characters, work.total))
            if work.over or not self._say(work, events):
                self.drop(work.emit)
            if work.over:
                self._say(work, events)

    def _say(self, work: Work, events: Sequence[Event]) -> bool:
        """Emit; False when nobody listens any more or the time is up."""
        try:
            for event in events or (None,):
                work.emit(event)
        except Cancelled:
            return False
        except TimedOut as error:
            work.emit.fail(error)
            return False
        return True

    def _give_up(self, chosen: Sequence[tuple[Work, Sentence]], error: Exception) -> None:
        """A pass failed: fewer sentences at once, requests one by one, and in the end that request alone fails."""
        works = {id(work): work for work, _ in chosen}
        for work, sentence in reversed(chosen):
            work.give_back(sentence)
        first = chosen[0][0]
        if len(chosen) > 1:
            self._room = max(1, sum(s.size for _, s in chosen) // 4)
            for work in works.values():
                work.alone = True
        else:
            self.drop(first.emit)
            lacking = is_out_of_memory(error) or "out of memory" in str(error)
            first.emit.fail(
                OutOfMemory("There was not enough memory to translate this text. Try again later.")
                if lacking
                else error
            )
