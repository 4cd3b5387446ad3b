"""What a model answers: a stream of small frozen events, and the fold that makes the whole of it.

There is no second, non-streaming result. This module knows no model, no dialect and no transport.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal, TypedDict

Finish = Literal["stop", "length", "tool_calls"]
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the source picture
Corners = tuple[float, float, float, float, float, float, float, float]  # x, y of each


class Units(TypedDict, total=False):
    """What a backend counts while it works, by the names of `emit.count`; see `Usage`."""

    input: int
    output: int
    cached: int
    reasoning: int
    audio_s: float
    characters: int
    pages: int
    images: int
    megapixel_steps: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request consumed, in the natural units of its task.

    The backend counts while it works (`emit.count`); the lane adds the seconds (monotonic
    clock) when the request ends, so a backend's own `Done` carries no usage.
    `first_s` runs from the start of inference to the first content event, `run_s` over all of it.
    `load_s` is the loading that was waited for; `own_load_s` the part that this request brought about, so
    that sums over requests count every loading once.

    Args:
        audio_s: seconds of sound that were heard or made.
        characters: of text that was spoken or translated.
        pages, images: read; drawn.
        megapixel_steps: denoising steps times the millions of pixels of each picture.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    audio_s: float = 0.0
    characters: int = 0
    pages: int = 0
    images: int = 0
    megapixel_steps: float = 0.0
    queued_s: float = 0.0
    load_s: float = 0.0
    own_load_s: float = 0.0
    first_s: float = 0.0
    run_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Queued:
    """Waiting; `ahead` requests go first."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded; `fraction` in 0..1 where it is known, `note` where it is not held as it is."""

    model: str
    fraction: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token of the answer, the logarithm of its probability, and the likeliest in its place, best first.

    `token` is its text, with a mark where its `bytes` are no whole characters.
    """

    token: str
    logprob: float
    bytes: builtins.bytes
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Text:
    """More of the answer's text; `logprobs` of the tokens that made it, where they were asked for."""

    delta: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More of the model's thinking, kept apart from the answer."""

    delta: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One whole call of a tool; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` steps (prompt tokens, denoising steps, pages); `preview` is an encoded picture."""

    done: int
    total: int
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What was given: the language it is in (ISO 639-1 where there is such a code), how sure that is in 0..1
    (None: it was said), and how many seconds of sound it is."""

    language: str
    probability: float | None = None
    duration: float = 0.0


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a span of speech, in seconds from the recording's start; `score` in 0..1."""

    text: str
    start: float
    end: float
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece with a place: a span of speech (seconds), a line of a page, an object or a label.

    `score` is in 0..1; `corners` are those of a line that may be tilted, clockwise from where its text begins.
    A span of speech carries its text as it is to be joined (with its leading space) and, where asked for, its words.
    """

    text: str
    start: float | None = None
    end: float | None = None
    box: Box | None = None
    score: float | None = None
    corners: Corners | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page that was read, or that could not be.

    Args:
        document, number: which page of which document; documents count from 0, pages from 1, and page 0
            stands for a document that cannot be opened.
        count: how many pages the document has.
        width, height: of the picture that boxes refer to, in pixels, upright.
        lines: in reading order.
        text: the whole page; paragraphs are parted by an empty line.
        markdown: the same with its layout, where the model writes it.
        model: who read it; "" for the document's own text.
        error, code: why it could not be read, a sentence and an error's code.
    """

    document: int
    number: int
    count: int
    width: int = 0
    height: int = 0
    lines: tuple[Segment, ...] = ()
    text: str = ""
    markdown: str = ""
    model: str = ""
    error: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """A finished picture, encoded as `mime`, and the seed that drew it.

    Args:
        width, height: in pixels; they may differ from what was asked for.
        note: what was done otherwise than asked (a size rounded, a prompt cut), a sentence or two.
    """

    data: bytes
    mime: str
    seed: int
    width: int = 0
    height: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of sound: mono 16-bit little-endian PCM at `rate` Hz."""

    data: bytes
    rate: int


@dataclass(frozen=True, slots=True)
class Vector:
    """The embedding of input number `index`."""

    index: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The end: exactly one, always last. `stopped`: somebody ended it by hand; `finish` is "stop" then."""

    finish: Finish = "stop"
    usage: Usage = field(default_factory=Usage)
    stopped: bool = False


Event = (
    Queued
    | Loading
    | Text
    | Reasoning
    | ToolCall
    | Progress
    | Source
    | Segment
    | Page
    | Image
    | Audio
    | Vector
    | Done
)
WAITING = (Queued, Loading, Progress)  # they report a state; a newer one replaces an older one


@dataclass(slots=True)
class Result:
    """A whole answer, grown one event at a time; also read while it grows."""

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    source: Source | None = None
    segments: list[Segment] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    audio: list[Audio] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    done: Done | None = None

    def add(self, event: Event) -> None:
        """Take one event in. States (Queued, Loading, Progress) leave no trace."""
        match event:
            case Text(delta, logprobs):
                self.text += delta
                self.logprobs += logprobs
            case Reasoning(delta):
                self.reasoning += delta
            case ToolCall():
                self.tool_calls.append(event)
            case Source():
                self.source = event
            case Segment():
                self.segments.append(event)
                if (
                    event.start is not None
                ):  # speech; what else has a place is no text of the answer
                    self.text += event.text
            case Page():
                self.pages.append(event)
                self.text += "\n\n" * bool(self.text and event.text) + event.text
            case Image():
                self.images.append(event)
            case Audio():
                self.audio.append(event)
            case Vector():
                self.vectors.append(event)
            case Done():
                self.done = event

    @property
    def usage(self) -> Usage:
        """The final usage; zeros while the answer is still growing."""
        return self.done.usage if self.done else Usage()

    @property
    def finish(self) -> Finish:
        return self.done.finish if self.done else "stop"


async def fold(events: AsyncIterator[Event]) -> Result:
    """The whole answer of a stream. Errors of the stream pass through unchanged."""
    result = Result()
    async for event in events:
        result.add(event)
    return result
