"""A recording cut into pieces that fit a model's window, at its pauses; a section at a time, so that a day of sound
takes no more memory than minutes of it.

Knows samples and where speech is, no model of words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from engine.sounds import RATE

if TYPE_CHECKING:
    import numpy as np

FIRST, SECTION = 30.0, 240.0  # seconds looked at together: few at first, so that words come soon
TAIL = 1.0  # seconds at a section's end in which speech may go on


@dataclass(frozen=True, slots=True)
class Span:
    """Where a stretch of a piece comes from: seconds in the piece, in the recording, and its length."""

    at: float
    start: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Samples for one pass of the model, mono at `RATE`, and the stretches of the recording they are made of."""

    samples: np.ndarray
    spans: tuple[Span, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    @property
    def start(self) -> float:
        """Where it begins in the recording."""
        return self.spans[0].start

    @property
    def end(self) -> float:
        """Where it ends in the recording."""
        return self.spans[-1].start + self.spans[-1].seconds

    def when(self, time: float, closes: bool = False) -> float:
        """The recording's time of a time in the piece; one that closes something belongs to what is before it."""
        inside = self.spans[0]
        for span in self.spans:
            if span.at < time or (span.at == time and not closes):
                inside = span
        return round(inside.start + min(max(0.0, time - inside.at), inside.seconds), 3)


@dataclass(frozen=True, slots=True)
class Cuts:
    """How a recording is cut.

    Args:
        window: the longest piece, in seconds.
        pause: seconds of silence that part two stretches of speech.
        join: whether several stretches share a piece.
        vad: leave out what is not speech.
    """

    window: float
    pause: float = 0.16
    join: bool = True
    vad: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """The pieces of the next part of a recording, and the second up to which it was read."""

    pieces: tuple[Piece, ...]
    until: float


def cut(blocks: Iterator[np.ndarray], cuts: Cuts) -> Iterator[Section]:
    """The sections of a recording, read only as they are asked for. Errors of the blocks pass through."""
    import numpy as np

    held: np.ndarray = np.zeros(0, np.float32)
    begin = 0  # the sample at which `held` begins
    goal, last = FIRST, False
    while not last:
        parts, have = [held], len(held)
        while have < goal * RATE and not last:
            block = next(blocks, None)
            last = block is None
            if block is not None:
                parts.append(block)
                have += len(block)
        held = np.concatenate(parts)
        speech = _speech(held, cuts)
        if not cuts.vad:
            speech = _everything(speech, len(held), int(cuts.window * RATE))
        keep = len(held) if last else _keep(speech, len(held))
        speech = [(a, b) for a, b in speech if a < keep]
        yield Section(tuple(_pieces(held, begin, speech, cuts)), (begin + keep) / RATE)
        held, begin, goal = held[keep:].copy(), begin + keep, SECTION


def _speech(samples: np.ndarray, cuts: Cuts) -> list[tuple[int, int]]:
    """First and last sample of each stretch of speech, none longer than the window."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    if not len(samples):
        return []
    options = VadOptions(
        max_speech_duration_s=cuts.window, min_silence_duration_ms=int(cuts.pause * 1000)
    )
    most = int(cuts.window * RATE)
    found = get_speech_timestamps(samples, options)
    return [(each["start"], min(each["end"], each["start"] + most)) for each in found]


def _everything(speech: list[tuple[int, int]], end: int, most: int) -> list[tuple[int, int]]:
    """The whole of it, cut in the middle of pauses where that can be."""
    pauses = [(a[1] + b[0]) // 2 for a, b in pairwise(speech)]
    stretches, begin = [], 0
    while begin < end:
        near = [pause for pause in pauses if begin + most // 3 < pause <= begin + most]
        stop = end if end - begin <= most else max(near, default=begin + most)
        stretches.append((begin, stop))
        begin = stop
    return stretches


def _keep(speech: list[tuple[int, int]], end: int) -> int:
    """From which sample on a section is looked at again, with what follows it."""
    tail = end - int(TAIL * RATE)
    if speech and speech[-1][1] > tail:
        return speech[-1][0] if len(speech) > 1 or speech[-1][0] > 0 else speech[-1][1]
    return max(speech[-1][1] if speech else 0, tail)


def _pieces(
    samples: np.ndarray, begin: int, speech: list[tuple[int, int]], cuts: Cuts
) -> Iterator[Piece]:
    most = int(cuts.window * RATE)
    group: list[tuple[int, int]] = []
    for stretch in speech:
        length = sum(b - a for a, b in (*group, stretch))
        if group and (length > most or not cuts.join):
            yield _piece(samples, begin, group)
            group = []
        group.append(stretch)
    if group:
        yield _piece(samples, begin, group)


def _piece(samples: np.ndarray, begin: int, group: list[tuple[int, int]]) -> Piece:
    import numpy as np

    spans: list[Span] = []
    parts: list[Any] = []
    at = 0
    for a, b in group:
        spans.append(Span(at / RATE, (begin + a) / RATE, (b - a) / RATE))
        parts.append(samples[a:b])
        at += b - a
    return Piece(np.concatenate(parts), tuple(spans))
