"""The page's call for programs about recordings: `/transcribe` of `gradio_client`. It goes straight to the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from engine import AtelierError, BadValue, Engine, Priority, Result, TranscribeRequest
from engine.subtitles import cues_of, write_srt, write_vtt
from ui.parts import caller_of, make, paced, uploads

FORMATS = {
    "text": lambda result: result.text.strip(),
    "srt": lambda result: write_srt(cues_of(result.segments)),
    "vtt": lambda result: write_vtt(cues_of(result.segments)),
}


def add_hearing_calls(engine: Engine) -> None:
    """Register the endpoint; for use while a page is being built."""

    async def transcribe(
        request: gr.Request,
        audio: Any,
        language: str = "",
        task: str = "transcribe",
        format: str = "text",
        model: str = "",
        prompt: str = "",
    ) -> AsyncGenerator[str]:
        """Write down what is said in a recording or film. Streams the text as it is heard; the last update is the
        whole of it as text, srt or vtt. `language` as in "fr" or "French" (found out where it is empty); `task`
        "translate" writes English; `prompt` holds names and words that are likely."""
        try:
            write = _writer(format, task)
            held = [upload.data async for upload in uploads(audio)]
            if not held:
                raise BadValue("No recording came. Send one by upload (gradio_client.handle_file).")
            wanted = make(
                TranscribeRequest, audio=held[0], language=str(language or ""), prompt=str(prompt or ""),
                translate=task == "translate", model=model or None,
            )  # fmt: skip
            result = Result()
            events = engine.run(wanted, caller_of(request, "gradio", Priority.API))
            async with aclosing(paced(events)) as batches:
                async for batch in batches:
                    for event in batch:
                        result.add(event)
                    yield result.text.strip()  # also when nothing came: so a hang-up is noticed
            yield write(result)
        except AtelierError as error:
            raise gr.Error(error.message, print_exception=False) from error

    with gr.Column(visible=False):
        gr.Button().click(
            transcribe,
            [
                gr.File(label="audio: a recording or a film"),
                gr.Textbox("", label="language; empty: found out"),
                gr.Textbox("transcribe", label="task: transcribe or translate"),
                gr.Textbox("text", label="format: text, srt or vtt"),
                gr.Textbox("", label="model: a catalog id; empty: the default"),
                gr.Textbox("", label="prompt: names and words that are likely"),
            ],
            gr.Textbox(label="text"),
            api_name="transcribe",
            api_description=transcribe.__doc__,
            api_visibility="public",
            preprocess=False,
            concurrency_limit=None,
            show_progress="hidden",
        )


def _writer(format: str, task: str) -> Any:
    """How the answer is written. Raises BadValue for a format or task that there is not."""
    if task not in ("transcribe", "translate"):
        raise BadValue("task: transcribe or translate.", param="task")
    if format not in FORMATS:
        raise BadValue(f"format: one of {', '.join(FORMATS)}.", param="format")
    return FORMATS[format]
