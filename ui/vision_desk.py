"""What each page has before it in the Vision tab: a picture, what was said about it and found in it.

Kept in memory, within bounds; the conversation goes with its picture. Knows no component and no model.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import gradio as gr

from engine import Entry, Segment
from engine.pictures import encode, open_picture
from ui.parts import session_of

SIDE = 1600  # pixels of the longer side of the picture that is shown
ROOM = 512_000_000  # bytes of all pictures together
COUNT = 1000  # desks
_NAME = re.compile(r"[A-Za-z0-9-]{8,64}")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it came, and as it is shown.

    Args:
        data: the file.
        width, height: in pixels, upright; places found in it refer to these.
        shown: a `data:` URL of a JPEG, made smaller where it is large.
    """

    name: str
    data: bytes = field(repr=False)
    width: int
    height: int
    shown: str = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data) + len(self.shown)


def picture_of(data: bytes, name: str) -> Picture:
    """Look at a file that is to be a picture; costs a decoding.

    Raises:
        BadValue, BadFormat, TooLarge: it is not one that is read here.
    """
    from PIL import Image

    whole = open_picture(data)
    width, height = whole.size
    whole.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    shown = b64encode(encode(whole, "jpeg")).decode()
    return Picture(name, data, width, height, f"data:image/jpeg;base64,{shown}")


@dataclass(slots=True)
class Desk:
    """One page's picture.

    Attributes:
        said: the conversation about it, oldest first.
        running: the id of the request whose answer is on its way, "" for none.
        things, labels: what was found last, and which model found it; None: nobody looked.
        sample: which of our samples it is, "" for the reader's own picture.
    """

    picture: Picture | None = None
    sample: str = ""
    said: list[Entry] = field(default_factory=list)
    running: str = ""
    things: tuple[Segment, ...] | None = None
    labels: tuple[Segment, ...] | None = None
    finder: str = ""
    labeller: str = ""

    def put(self, picture: Picture | None, sample: str = "") -> None:
        """Another picture, or none: what belonged to the last one goes."""
        self.picture, self.sample, self.said = picture, sample, []
        self.things = self.labels = None

    @property
    def size(self) -> int:
        return self.picture.size if self.picture else 0


class Desks:
    """The desks of all pages; those unused the longest go first."""

    def __init__(self, room: int = ROOM, count: int = COUNT) -> None:
        self._desks: OrderedDict[str, Desk] = OrderedDict()
        self._room, self._count = room, count

    def of(self, told: str, request: gr.Request) -> Desk:
        """This page's desk. `told` is the name the page's script gave itself, which outlives a reload."""
        name = told.partition("#")[0]
        own = name if _NAME.fullmatch(name) else str(request.session_hash or "")
        key = f"{session_of(request)}/{own}"
        desk = self._desks.setdefault(key, Desk())
        self._desks.move_to_end(key)
        return desk

    def tidy(self) -> None:
        """Let go of what is too much, but never of the newest desk nor of one whose answer is on its way."""
        held = sum(desk.size for desk in self._desks.values())
        for key in list(self._idle()):
            if held <= self._room and len(self._desks) <= self._count:
                return
            held -= self._desks.pop(key).size

    def _idle(self) -> Iterator[str]:
        keys = list(self._desks)[:-1]
        return (key for key in keys if not self._desks[key].running)
