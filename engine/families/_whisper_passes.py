"""Passes of a Whisper model: pieces of sound in, spans of text out, several pieces at once.

Knows the model, its prompts and its tokens; no request and no order of work. Safe to call from several threads.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from engine.events import Segment, Word
from engine.families._whisper_cutting import Piece
from engine.families._whisper_loading import WHOLE, Loaded
from engine.registry import ModelSpec

if TYPE_CHECKING:
    import numpy as np

STEP = 0.02  # seconds between two time tokens
BEAMS = 5
# What tells a pass that went wrong, as Whisper's authors have it: text that repeats itself is tried again warmer;
# silence is where the model says so and is unsure of its words.
REPEATS = 2.4
SILENT, UNSURE = 0.6, -1.0
WARMER = (0.2, 0.4, 0.6, 0.8, 1.0)
OPENING, CLOSING = (
    "\"'“¿([{-",
    "\"'.。,，!！?？:：”)]}、",
)  # what sticks to the word after and before it


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A piece and how it is heard; `code` is None where its language is to be found."""

    piece: Piece
    code: str | None
    translate: bool = False
    prompt: str = ""
    temperature: float = 0.0
    words: bool = False

    @property
    def kind(self) -> tuple[object, ...]:
        """Tasks alike in this share a pass."""
        alike = (self.code, self.translate) if self.words and self.code else ()
        return (self.temperature, self.words, self.code is None, alike)


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard in a piece: its language and how sure that is, spans, and how many tokens they took."""

    code: str
    probability: float
    segments: tuple[Segment, ...]
    tokens: int


@dataclass(slots=True)
class _Line:
    """A span of a piece while it is worked on: seconds in the piece, its tokens, and its words."""

    start: float
    end: float
    tokens: list[int]
    score: float
    words: list[dict[str, Any]] | None = None


class Passes:
    """A model's passes, with what they share."""

    def __init__(self, spec: ModelSpec, loaded: Loaded) -> None:
        self._model, self._timed = loaded.model, loaded.timed
        self._languages = loaded.languages
        self._ids = loaded.model.hf_tokenizer.get_vocab(with_added_tokens=True)
        self._beams = int(spec.options.get("beams") or BEAMS)
        self._longest = int(spec.options.get("max_new_tokens") or 0)
        self._warmer = WARMER[: int(spec.options.get("retries", len(WARMER)))]
        self._tokenizer = cache(self._build_tokenizer)
        self._suppressed = cache(self._find_suppressed)
        self.multilingual = len(loaded.languages) > 1
        self.window: float = float(loaded.model.feature_extractor.chunk_length)

    def hear(self, tasks: Sequence[Task]) -> list[Heard]:
        """What is in the pieces of these tasks, which are alike in `kind`."""
        features = self._features(tasks)
        encoded = self._model.encode(features)
        told = [(task.code, 1.0) if task.code else ("", 0.0) for task in tasks]
        if not tasks[0].code:
            told = self._detect(encoded, len(tasks))
        tokenizers = [
            self._tokenizer(code, task.translate)
            for (code, _), task in zip(told, tasks, strict=True)
        ]
        prompts = [self._prompt(t, task.prompt) for t, task in zip(tokenizers, tasks, strict=True)]
        results = self._generate(encoded, prompts, tokenizers[0], tasks[0].temperature)
        lines = []
        for place, (task, tokenizer) in enumerate(zip(tasks, tokenizers, strict=True)):
            tokens = results[place].sequences_ids[0]
            if task.temperature == 0 and self._warmer and _repeats(tokenizer, tokens):
                tokens = self._again(features[place], prompts[place], tokenizer)
            lines.append(self._lines(tokens, tokenizer, task, results[place]))
        if tasks[0].words:
            self._time(lines, encoded, tokenizers, tasks)
        return [
            Heard(code, probability, _segments(each, tokenizer, task), _count(each))
            for (code, probability), each, tokenizer, task in zip(
                told, lines, tokenizers, tasks, strict=True
            )
        ]

    def _features(self, tasks: Sequence[Task]) -> np.ndarray:
        """Log-mel features as [pieces, mels, frames of the whole window]."""
        import numpy as np

        extract = self._model.feature_extractor
        frames = extract.nb_max_frames
        made = [extract(task.piece.samples)[..., :-1][..., :frames] for task in tasks]
        whole: np.ndarray = np.stack(
            [np.pad(one, ((0, 0), (0, frames - one.shape[-1]))) for one in made]
        )
        return whole

    def _detect(self, encoded: Any, count: int) -> list[tuple[str, float]]:
        """The language of each piece, and how sure that is."""
        if not self.multilingual:
            return [(self._languages[0], 1.0)] * count
        found = self._model.model.detect_language(encoded)
        return [(each[0][0][2:-2], float(each[0][1])) for each in found]

    def _build_tokenizer(self, code: str, translate: bool) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        task = "translate" if translate else "transcribe"
        return Tokenizer(self._model.hf_tokenizer, self.multilingual, task=task, language=code)

    def _prompt(self, tokenizer: Any, before: str) -> list[int]:
        known = tokenizer.encode(" " + before.strip()) if before.strip() else []
        prompt: list[int] = self._model.get_prompt(
            tokenizer, known, without_timestamps=not self._timed
        )
        return prompt

    def _generate(
        self, encoded: Any, prompts: list[list[int]], tokenizer: Any, temperature: float
    ) -> list[Any]:
        most = self._model.max_length
        if self._longest:
            most = min(most, max(map(len, prompts)) + self._longest)
        warm = {"beam_size": 1, "sampling_topk": 0, "sampling_temperature": temperature}
        found: list[Any] = self._model.model.generate(
            encoded,
            prompts,
            max_length=most,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed(tokenizer.language_code),
            **(warm if temperature else {"beam_size": self._beams}),
        )
        return found

    def _find_suppressed(self, code: str) -> list[int]:
        """Tokens that are never said: signs of no speech, and the marks of tasks."""
        tokenizer = self._tokenizer(code, False)
        names = ("transcribe", "translate", "startoftranscript", "startofprev", "startoflm")
        marks = {self._ids[f"<|{name}|>"] for name in names if f"<|{name}|>" in self._ids}
        if len(self._ids) > WHOLE:  # in a small vocabulary the signs' tokens are parts of words too
            marks.update(tokenizer.non_speech_tokens)
        return sorted(marks)

    def _again(self, features: np.ndarray, prompt: list[int], tokenizer: Any) -> list[int]:
        """A piece whose text repeated itself, tried warmer until it does not."""
        encoded = self._model.encode(features[None])
        tokens: list[int] = []
        for temperature in self._warmer:
            tokens = self._generate(encoded, [prompt], tokenizer, temperature)[0].sequences_ids[0]
            if not _repeats(tokenizer, tokens):
                break
        return tokens

    def _lines(self, tokens: list[int], tokenizer: Any, task: Task, result: Any) -> list[_Line]:
        """The spans that time tokens make of an answer; none where the model heard no speech."""
        sure = result.scores[0] * len(tokens) / (len(tokens) + 1)
        if result.no_speech_prob > SILENT and sure < UNSURE:
            return []
        score = round(math.exp(min(0.0, sure)), 4)
        begin, length = tokenizer.timestamp_begin, task.piece.seconds
        lines: list[_Line] = []
        start, text = 0.0, []
        for token in tokens:
            if token < tokenizer.eot:
                text.append(token)
            elif token >= begin:
                time = min((token - begin) * STEP, length)
                if text:
                    lines.append(_Line(start, max(start, time), text, score))
                    text = []
                start = time
        if text:
            lines.append(_Line(start, length, text, score))
        return [line for line in lines if tokenizer.decode(line.tokens).strip()]

    def _time(
        self,
        lines: Sequence[list[_Line]],
        encoded: Any,
        tokenizers: Sequence[Any],
        tasks: Sequence[Task],
    ) -> None:
        """The words of every span, timed by where the model looked when it wrote them."""
        from faster_whisper.transcribe import merge_punctuations

        rate = self._model.frames_per_second
        most = self._model.feature_extractor.nb_max_frames
        frames = [min(most, max(1, int(task.piece.seconds * rate))) for task in tasks]
        texts = [[token for line in each for token in line.tokens] for each in lines]
        found = self._model.find_alignment(tokenizers[0], texts, encoded, frames)
        for each, words in zip(lines, found, strict=True):
            merge_punctuations(words, OPENING, CLOSING)
            place = 0
            for line in each:
                line.words, taken = [], 0
                while place < len(words) and taken < len(line.tokens):
                    word = words[place]
                    taken += len(word["tokens"])
                    place += 1
                    if word["word"]:
                        line.words.append(word)


def _segments(lines: Iterable[_Line], tokenizer: Any, task: Task) -> tuple[Segment, ...]:
    """Spans in the recording's own time."""
    made = []
    for line in lines:
        words = tuple(
            Word(
                word["word"].strip(),
                task.piece.when(float(word["start"])),
                task.piece.when(float(word["end"]), closes=True),
                round(float(word["probability"]), 4),
            )
            for word in line.words or ()
        )
        start = words[0].start if words else task.piece.when(line.start)
        end = words[-1].end if words else task.piece.when(line.end, closes=True)
        text = " " + tokenizer.decode(line.tokens).strip()
        made.append(Segment(text, start, max(start, end), score=line.score, words=words))
    return tuple(made)


def _repeats(tokenizer: Any, tokens: list[int]) -> bool:
    """Whether a text says the same over and over: then it packs far too well."""
    text = tokenizer.decode([token for token in tokens if token < tokenizer.eot]).strip().encode()
    return len(text) > 40 and len(text) / len(zlib.compress(text)) > REPEATS


def _count(lines: Iterable[_Line]) -> int:
    return sum(len(line.tokens) for line in lines)
