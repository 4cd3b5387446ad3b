"""A PDF in a process of its own (`drawing.py`): what it does to PDFium, it does not do to us.

Knows no pages' meaning; times and memory are bounded here.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.errors import BadFormat, BadValue

if TYPE_CHECKING:
    from PIL import Image

SCRIPT = Path(__file__).with_name("drawing.py")
SECONDS = 60.0  # for one answer
MEMORY = 2 << 30  # bytes of addresses, beside the document itself
WANTED = "Send a PDF, or a picture as PNG, JPEG, WebP, BMP or TIFF."


class PdfProcess:
    """One PDF, open. Any thread may ask; one question at a time is answered.

    Args:
        data: the file. password: opens it where it is protected. param: the field that errors name.

    Raises:
        BadValue: a password is needed, or this one is wrong. BadFormat: broken, or protected otherwise.
    """

    def __init__(self, data: bytes, password: str, param: str) -> None:
        self._data, self._password, self._param = data, password, param
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._pixels = _shared_file()
        with self._lock:
            try:
                self.count = int(self._start()["count"])
            except BaseException:
                self._pixels.close()
                raise

    def ask(self, what: str, number: int, **more: float) -> tuple[dict[str, Any], bytearray]:
        """An answer's header and payload, about page `number`, which counts from 1.

        Raises:
            BadFormat: the page is broken, or takes too long or too much memory.
        """
        with self._lock:
            return self._ask({"ask": what, "page": number - 1, **more})

    def draw(self, number: int, scale: float) -> Image.Image:
        """A page in RGB, `scale` pixels a point. Raises what `ask` does."""
        from PIL import Image

        with self._lock:
            drawn, _ = self._ask({"ask": "render", "page": number - 1, "scale": scale})
            size = drawn["width"], drawn["height"]
            file = self._pixels.fileno()
            try:
                with (
                    mmap.mmap(file, 3 * size[0] * size[1], access=mmap.ACCESS_READ) as shared,
                    memoryview(shared) as pixels,
                ):
                    return Image.frombytes("RGB", size, pixels)
            finally:
                os.ftruncate(file, 0)  # its room is needed only while a page is handed over

    def _ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
        if self._closed:
            raise ValueError("the document is closed")
        if not self._child:  # the last question ended it
            self._start()
        what = f"Page {question['page'] + 1}"
        header, payload = self._exchange(json.dumps(question).encode() + b"\n", what)
        if "error" in header:
            raise BadFormat(
                f"{what} of the PDF is broken. Leave it out, or send the document anew.",
                param=self._param,
            )
        return header, payload

    def close(self) -> None:
        """End the process. A second time does nothing."""
        with self._lock:
            self._closed = True
            self._data = b""
            self._end()
            self._pixels.close()

    def _start(self) -> dict[str, Any]:
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            pass_fds=(self._pixels.fileno(),),
        )
        opening = {
            "bytes": len(self._data),
            "password": self._password,
            "memory": MEMORY + 2 * len(self._data),
            "pixels": self._pixels.fileno(),
        }
        header, _ = self._exchange(json.dumps(opening).encode() + b"\n", "The PDF", self._data)
        if "error" in header or not header["count"]:
            self._end()
            raise _refusal(str(header.get("error")), self._password, self._param)
        return header

    def _exchange(
        self, question: bytes, what: str, data: bytes = b""
    ) -> tuple[dict[str, Any], bytearray]:
        assert self._child and self._child.stdin and self._child.stdout
        try:
            for piece in (question, data):
                view = memoryview(piece)
                while view:
                    view = view[self._child.stdin.write(view) or 0 :]
            return _answer(self._child.stdout, time.monotonic() + SECONDS)
        except TimeoutError:  # before OSError, which it is a kind of
            self._end()
            raise BadFormat(
                f"{what} takes more than {SECONDS:.0f} s to draw. "
                "Leave it out, or save the document anew with another program.",
                param=self._param,
            ) from None
        except (OSError, EOFError):
            self._end()
            raise BadFormat(
                f"{what} makes the reader fail or takes too much memory. "
                "Leave it out, or save the document anew with another program.",
                param=self._param,
            ) from None

    def _end(self) -> None:
        child, self._child = self._child, None
        if child:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    pipe.close()
            child.wait()


def _answer(source: Any, deadline: float) -> tuple[dict[str, Any], bytearray]:
    """One answer; what came in one piece with its first line belongs to its payload.

    Raises:
        EOFError: the child is gone. TimeoutError: it takes too long.
    """
    poll = select.poll()
    poll.register(source, select.POLLIN)
    held = bytearray()
    while b"\n" not in held:
        held += _piece(source, poll, deadline)
    line, _, begun = held.partition(b"\n")
    header = json.loads(line)
    payload = bytearray(header["bytes"])
    payload[: len(begun)] = begun
    view, at = memoryview(payload), len(begun)
    while at < len(payload):
        _wait(poll, deadline)
        got = source.readinto(view[at:])
        if not got:
            raise EOFError
        at += got
    return header, payload


def _piece(source: Any, poll: select.poll, deadline: float) -> bytes:
    _wait(poll, deadline)
    if not (piece := source.read(65536)):
        raise EOFError
    return bytes(piece)


def _wait(poll: select.poll, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError


def _shared_file() -> BinaryIO:
    """An empty file in memory, or on the disk where the system knows no other; nobody else can open it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("pixels"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _refusal(reason: str, password: str, param: str) -> BadValue | BadFormat:
    """Why a PDF does not open."""
    if reason == "password" and not password:
        return BadValue("The PDF is protected. Give its password.", param="password")
    if reason == "password":
        return BadValue("The password does not open the PDF. Try another.", param="password")
    if reason == "security":
        return BadFormat(
            "The PDF is protected in a way that is not known here. Send it unprotected.",
            param=param,
        )
    return BadFormat(f"The PDF is broken or incomplete. {WANTED}", param=param)
