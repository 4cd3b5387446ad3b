"""The page's call for programs that talk: `/converse` of `gradio_client`.

It goes straight to the engine. Like the calls about pictures it has components of its own, for files come by upload.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from engine import (
    AtelierError,
    BadValue,
    Engine,
    Heard,
    Mishap,
    Priority,
    Said,
    Text,
    VoiceEvent,
    VoiceRequest,
)
from engine.sound_formats import wav
from ui.parts import caller_of, make, paced, uploads, warn
from ui.picture_calls import HIDDEN


def add_voice_calls(engine: Engine) -> None:
    """Register the endpoint; for use while a page is being built."""
    with gr.Column(visible=False):
        _add_converse(engine)


def _add_converse(engine: Engine) -> None:
    async def converse(
        request: gr.Request,
        text: str = "",
        audio: Any = None,
        voice: str = "",
        language: str = "",
        model: str = "",
    ) -> AsyncGenerator[tuple[str, str, Any]]:
        """Talk: text or a recording in; what was heard, the answer as it grows, and at the end its sound as a WAV.
        A client's conversation is kept while it is connected."""
        try:
            recordings = [upload.data async for upload in uploads(audio)] if audio else []
            if not str(text or "").strip() and not recordings:
                raise BadValue("Send text, or a recording by upload (gradio_client.handle_file).")
            wanted = make(
                VoiceRequest, text=str(text or ""), audio=recordings[0] if recordings else b"",
                voice=str(voice or ""), language=str(language or ""), model=model or None,
            )  # fmt: skip
            events = engine.converse(wanted, caller_of(request, "gradio", Priority.VOICE))
            grown = _Grown()
            async with aclosing(paced(events)) as batches:
                async for batch in batches:
                    for event in batch:
                        grown.add(event)
                    yield grown.heard, grown.answer, None
            yield grown.heard, grown.answer, await asyncio.to_thread(grown.file)
        except AtelierError as error:
            raise gr.Error(error.message, print_exception=False) from error

    gr.Button().click(
        converse,
        [
            gr.Textbox("", label="text; empty: what is recorded"),
            gr.File(label="audio: a recording; none: what is typed"),
            gr.Textbox("", label="voice; empty: the language's own"),
            gr.Textbox("", label="language; empty: found out"),
            gr.Textbox("", label="model: a catalog id; empty: the default"),
        ],
        [gr.Textbox(label="heard"), gr.Textbox(label="answer"), gr.File(label="sound")],
        api_name="converse",
        api_description=converse.__doc__,
        **HIDDEN,
    )


@dataclass(slots=True)
class _Grown:
    """A turn as far as it is."""

    heard: str = ""
    answer: str = ""
    sound: bytearray = field(default_factory=bytearray)
    rate: int = 0

    def add(self, event: VoiceEvent) -> None:
        match event:
            case Heard():
                self.heard = event.text
            case Text(delta):
                self.answer += delta
            case Said(_, _, piece):
                self.sound += piece.data
                self.rate = piece.rate
            case Mishap(error):
                warn(error.message)

    def file(self) -> str | None:
        """The sound as a WAV among the page's files, which are swept after a day; None where nothing was said."""
        if not self.rate:
            return None
        folder = Path(os.environ["GRADIO_TEMP_DIR"]) / secrets.token_hex(16)
        folder.mkdir(parents=True)
        file = folder / "answer.wav"
        file.write_bytes(wav(bytes(self.sound), self.rate))
        return str(file)
