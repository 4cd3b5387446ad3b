"""The page's call for programs about speaking: `/speak` of `gradio_client`. It goes straight to the engine."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from engine import AtelierError, Audio, Engine, Priority, SpeakRequest
from engine.sound_formats import SOUND_FORMATS, encode, sound_format
from ui.parts import caller_of, make, paced, uploads


def add_speaking_calls(engine: Engine) -> None:
    """Register the endpoint; for use while a page is being built."""

    async def speak(
        request: gr.Request,
        text: str,
        voice: str = "",
        language: str = "",
        speed: float = 1,
        format: str = "mp3",
        model: str = "",
        reference: Any = None,
    ) -> AsyncGenerator[Any]:
        """Speak a text; the sound as a file. `voice` is a voice's name and `language` as in "fr" or "French" (both
        are found out), `speed` 0.25 to 4, `format` mp3, opus, aac, flac or wav, `reference` a recording of the voice
        that is to speak, with models that clone."""
        try:
            kind = sound_format(str(format or "mp3"))
            held = [upload.data async for upload in uploads(reference)]
            wanted = make(
                SpeakRequest, text=str(text), voice=str(voice or ""), language=str(language or ""),
                speed=float(speed or 1), model=model or None, reference=held[0] if held else None,
            )  # fmt: skip
            caller = caller_of(request, "gradio", Priority.API)
            pieces: list[Audio] = []
            async with aclosing(paced(engine.run(wanted, caller))) as batches:
                async for batch in batches:
                    pieces += [event for event in batch if isinstance(event, Audio)]
                    yield gr.skip()  # that is how a client's hang-up is noticed
            yield await asyncio.to_thread(_file, pieces, kind)
        except AtelierError as error:
            raise gr.Error(error.message, print_exception=False) from error

    with gr.Column(visible=False):
        gr.Button().click(
            speak,
            [
                gr.Textbox(label="text"),
                gr.Textbox("", label="voice; empty: the language's own"),
                gr.Textbox("", label="language; empty: found out"),
                gr.Number(1, label="speed: 0.25 to 4"),
                gr.Textbox("mp3", label="format: mp3, opus, aac, flac, wav, pcm"),
                gr.Textbox("", label="model: a catalog id; empty: by voice and language"),
                gr.File(label="reference: a recording whose voice is cloned"),
            ],
            gr.File(label="sound"),
            api_name="speak",
            api_description=speak.__doc__,
            api_visibility="public",
            preprocess=False,
            concurrency_limit=None,
            show_progress="hidden",
        )


def _file(pieces: list[Audio], kind: str) -> str:
    """The sound as a file that Gradio may serve; it is cleared with the others that it serves."""
    sound = b"".join(piece.data for piece in pieces)
    rate = pieces[0].rate if pieces else 24_000
    folder = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        prefix="speech-", suffix=SOUND_FORMATS[kind].suffix, dir=folder, delete=False
    ) as file:
        file.write(encode(sound, rate, kind))
    return file.name
