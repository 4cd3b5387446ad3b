"""Speech to text with Whisper models in CTranslate2's format, several recordings at once.

Owns the order of work between requests: which pieces of whose recording are heard next, and what is told in which
order. Cutting is in `_whisper_cutting`, the model's passes in `_whisper_passes`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadValue, Cancelled
from engine.events import Done, Loading, Progress, Source
from engine.families._whisper_cutting import Cuts, Piece, Section, cut
from engine.families._whisper_loading import Loaded, load_whisper
from engine.families._whisper_passes import Heard, Passes, Task
from engine.faults import is_out_of_memory
from engine.registry import BatchEmit, ModelSpec
from engine.requests import Request, TranscribeRequest
from engine.settings import Settings
from engine.sounds import decode, probe
from engine.speech import choose_language

SPECS: tuple[ModelSpec, ...] = ()
PARALLEL = 16  # recordings under way at once
READ_AHEAD = (
    64  # pieces of a recording that wait to be heard, at most, before more of it is decoded
)
BATCH = {"cpu": 4, "cuda": 16}  # pieces in a pass
REST = 0.02  # seconds a step waits for a pass to end, when nobody else has work
ALONE = 0.001  # seconds between two steps up to which nobody else had any


def load(spec: ModelSpec, settings: Settings) -> Whisper:
    """The model of `spec`, ready to hear. Errors: see `load_whisper`."""
    return Whisper(spec, load_whisper(spec, settings))


@dataclass(slots=True, eq=False)
class _Hearing:
    """A recording on its way: sections are read, pieces heard in any order, spans told in theirs."""

    request: TranscribeRequest
    emit: BatchEmit
    code: str | None
    seconds: float
    sections: Iterator[Section]
    probability: float | None = None
    reading: Future[Section | None] | None = None
    read: bool = False  # there is nothing more to decode
    until: float = 0.0
    waiting: deque[tuple[int, Piece]] = field(default_factory=deque)
    ends: dict[int, float] = field(default_factory=dict)
    heard: dict[int, Heard] = field(default_factory=dict)
    begun: int = 0  # pieces that were cut
    told: int = 0
    counted: float = 0.0
    greeted: bool = False
    detecting: bool = False
    gone: bool = False

    @property
    def short(self) -> bool:
        """All of it is known, and it takes one more pass at most."""
        return self.read and len(self.waiting) <= 1


class Whisper:
    """A loaded model; `step` on the lane's thread, passes and decoding on threads of its own."""

    parallel = PARALLEL

    def __init__(self, spec: ModelSpec, loaded: Loaded) -> None:
        self.spec, self._loaded = spec, loaded
        self._passes = Passes(spec, loaded)
        self._room = loaded.workers if loaded.device == "cpu" else 2
        self._batch = int(spec.options.get("batch") or BATCH[loaded.device])
        self._hears = ThreadPoolExecutor(self._room, "whisper-pass")
        self._reads = ThreadPoolExecutor(2, "whisper-read")
        self._all: dict[BatchEmit, _Hearing] = {}
        self._running: dict[Future[list[Heard]], list[tuple[_Hearing, int, Piece]]] = {}
        self._bell = threading.Event()
        self._left = 0.0  # when the last step ended
        self._turn = 0

    def join(self, request: Request, emit: BatchEmit) -> None:
        """Take a recording in.

        Raises:
            BadValue: no request for text, or a language or task that the model does not know.
        """
        if not isinstance(request, TranscribeRequest):
            raise BadValue(f"Model '{self.spec.id}' turns speech into text and nothing else.")
        if request.translate and "translate" not in self.spec.options.get("tasks", ("translate",)):
            raise BadValue(
                f"Model '{self.spec.id}' writes what is said and does not translate it. Choose a larger Whisper, "
                "or translate the text.",
                param="model",
            )
        code = choose_language(request.language, self._loaded.languages)
        if not self._passes.multilingual:
            code = self._loaded.languages[0]
        cuts = Cuts(
            self._passes.window,
            float(self.spec.options.get("pause", 0.16)),
            bool(self.spec.options.get("join", True)),
            request.vad,
        )
        sections = cut(decode(request.audio), cuts)
        self._all[emit] = _Hearing(request, emit, code, 0.0, sections)

    def step(self) -> None:
        """Take in what was read and heard, tell it, and have more read and heard.

        Raises:
            MemoryError and its kin of a pass, which is begun again with the next step.
        """
        alone = time.perf_counter() - self._left < ALONE
        self._bell.clear()
        moved = self._collect()
        for hearing in list(self._all.values()):
            moved |= self._look_at(hearing)
        moved |= self._begin_passes()
        if not moved and alone and self._all:
            self._bell.wait(REST)
        self._left = time.perf_counter()

    def drop(self, emit: BatchEmit) -> None:
        """Forget a recording; a pass that it is in ends by itself."""
        hearing = self._all.pop(emit, None)
        if hearing is not None:
            hearing.gone = True
            hearing.waiting.clear()

    def memory(self) -> int:
        """Bytes of the weights."""
        return self._loaded.size

    def close(self) -> None:
        """Give everything back."""
        self._reads.shutdown(cancel_futures=True)
        self._hears.shutdown(cancel_futures=True)
        self._loaded.model.model.unload_model()
        self._all.clear()
        self._running.clear()

    # Reading

    def _look_at(self, hearing: _Hearing) -> bool:
        """One recording's turn: its sections in, its spans out. True: something happened."""
        try:
            moved = self._read(hearing)
            return self._tell(hearing) or moved
        except Cancelled:
            self.drop(hearing.emit)
        # A recording may break a library in any way; it must not break the others.
        except Exception as error:
            self._fail(hearing, error)
        return True

    def _fail(self, hearing: _Hearing, error: Exception) -> None:
        self.drop(hearing.emit)
        hearing.emit.fail(error)

    def _read(self, hearing: _Hearing) -> bool:
        reading = hearing.reading
        if reading is not None and reading.done():
            hearing.reading = None
            section = reading.result()
            if section is None:
                hearing.read = True
                hearing.seconds = max(hearing.until, 0.0)
            else:
                hearing.until = section.until
                for piece in section.pieces:
                    hearing.waiting.append((hearing.begun, piece))
                    hearing.ends[hearing.begun] = piece.end
                    hearing.begun += 1
        elif reading is not None or hearing.read or len(hearing.waiting) >= READ_AHEAD:
            return False
        if not hearing.read:
            hearing.reading = self._reads.submit(self._next_section, hearing)
            hearing.reading.add_done_callback(self._ring)
        return True

    @staticmethod
    def _next_section(hearing: _Hearing) -> Section | None:
        if not hearing.seconds:
            hearing.seconds = probe(hearing.request.audio).seconds or 0.001
        return next(hearing.sections, None)

    def _ring(self, _: Any) -> None:
        self._bell.set()

    # Hearing

    def _begin_passes(self) -> bool:
        """Fill the free workers: short recordings first, but for every third pass."""
        begun = False
        while len(self._running) < self._room and (chosen := self._choose()):
            tasks = [self._task(hearing, piece) for hearing, _, piece in chosen]
            for hearing, _, _ in chosen:
                hearing.detecting = hearing.code is None
            future = self._hears.submit(self._passes.hear, tasks)
            self._running[future] = chosen
            future.add_done_callback(self._ring)
            begun = True
        return begun

    def _choose(self) -> list[tuple[_Hearing, int, Piece]]:
        """Pieces for one pass, one of each recording in turn."""
        able = [h for h in self._all.values() if h.waiting and not h.detecting]
        if not able:
            return []
        self._turn += 1
        if self._turn % 3 and any(h.short for h in able):
            able = [h for h in able if h.short]
        count = sum(1 if h.code is None else len(h.waiting) for h in able)
        free = self._room - len(self._running)
        size = max(1, min(self._batch, -(-count // free)))
        kind = self._task(able[0], able[0].waiting[0][1]).kind
        chosen: list[tuple[_Hearing, int, Piece]] = []
        while len(chosen) < size and able:
            for hearing in list(able):
                if self._task(hearing, hearing.waiting[0][1]).kind == kind and len(chosen) < size:
                    chosen.append((hearing, *hearing.waiting.popleft()))
                    if hearing.waiting and hearing.code is not None:
                        continue
                able.remove(hearing)
        for hearing, _, _ in chosen:  # to the end of the line
            if self._all.pop(hearing.emit, None) is not None:
                self._all[hearing.emit] = hearing
        return chosen

    def _task(self, hearing: _Hearing, piece: Piece) -> Task:
        asked = hearing.request
        return Task(
            piece, hearing.code, asked.translate, asked.prompt, asked.temperature or 0.0,
            asked.words,
        )  # fmt: skip

    def _collect(self) -> bool:
        """Take in the passes that ended. A full device is the lane's to mend: their pieces wait again."""
        ended = [future for future in self._running if future.done()]
        for future in ended:
            chosen = self._running.pop(future)
            error = future.exception()
            if error is None:
                for (hearing, number, _), heard in zip(chosen, future.result(), strict=True):
                    self._take(hearing, number, heard)
                continue
            full = is_out_of_memory(error) or "out of memory" in str(error)
            for hearing, number, piece in reversed(chosen):
                hearing.detecting = False
                if full and not hearing.gone:
                    hearing.waiting.appendleft((number, piece))
                elif not hearing.gone:
                    self._fail(hearing, error if isinstance(error, Exception) else RuntimeError())
            if full:
                raise MemoryError("CTranslate2 ran out of memory") from error
        return bool(ended)

    def _take(self, hearing: _Hearing, number: int, heard: Heard) -> None:
        hearing.detecting = False
        hearing.heard[number] = heard
        if hearing.code is None:
            hearing.code, hearing.probability = heard.code, heard.probability

    # Telling

    def _tell(self, hearing: _Hearing) -> bool:
        """What is known of a recording and was not told, in its order."""
        emit, moved = hearing.emit, False
        emit(None)
        if not hearing.greeted and (hearing.code or (hearing.read and not hearing.begun)):
            if not hearing.seconds:
                return moved
            if self._loaded.note:
                emit(Loading(self.spec.id, 1.0, self._loaded.note))
            emit(Source(hearing.code or "", hearing.probability, round(hearing.seconds, 3)))
            hearing.greeted = moved = True
        while hearing.told in hearing.heard:
            heard = hearing.heard.pop(hearing.told)
            for segment in heard.segments:
                emit(segment)
            emit.count(output=heard.tokens)
            self._progress(hearing, hearing.ends.pop(hearing.told))
            hearing.told += 1
            moved = True
        if hearing.read and hearing.told == hearing.begun and hearing.greeted:
            self._progress(hearing, hearing.until)
            self._all.pop(emit, None)
            emit(Done())
            return True
        return moved

    def _progress(self, hearing: _Hearing, until: float) -> None:
        """How far it is, in hundredths of a second; what was heard is billed."""
        if until > hearing.counted:
            hearing.emit.count(audio_s=until - hearing.counted)
            hearing.counted = until
        total = max(hearing.seconds, until)
        hearing.emit(Progress(round(until * 100), round(total * 100)))
