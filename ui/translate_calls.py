"""The page's call for programs that translates: `/translate` of `gradio_client`. It goes straight to the engine.

No `from __future__ import annotations` here: Gradio reads the annotations as they stand to describe the endpoint.
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import gradio as gr

from engine import AtelierError, Engine, Priority, Result, TranslateRequest
from ui.parts import caller_of, make, paced


def add_translate_calls(engine: Engine) -> None:
    """Register the endpoint; for use while a page is being built."""
    gr.api(_translate(engine), api_name="translate", concurrency_limit=None)


def _translate(engine: Engine) -> Callable[..., Any]:
    async def translate(
        request: gr.Request,
        text: str,
        to_lang: str,
        from_lang: str = "auto",
        model: str | None = None,
        glossary: dict[str, str] | None = None,
    ) -> Any:
        """Translate a text. Streams it as it grows; the last update is the whole translation.

        Languages are codes or names ("fr", "French"); `from_lang` "auto" finds it out. `glossary` says how words
        are to be translated.
        """
        if not text:
            yield ""
            return
        try:
            wanted = make(
                TranslateRequest,
                model=model,
                source=from_lang,
                target=to_lang,
                glossary=glossary or {},
                text=text,
            )
            caller = caller_of(request, "gradio", Priority.API)
            result = Result()
            async with aclosing(paced(engine.translate(wanted, caller))) as batches:
                async for batch in batches:
                    for event in batch:
                        result.add(event)
                    yield result.text
        except AtelierError as error:
            raise gr.Error(error.message, print_exception=False) from error

    translate.__annotations__["return"] = str  # what each update holds
    return translate
