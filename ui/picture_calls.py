"""The page's calls for programs about pictures and documents: `/vision /label /detect /ocr` of `gradio_client`.

They go straight to the engine. Unlike the others they have components of their own, which nobody sees: these are what
makes Gradio take files by upload and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import gradio as gr

from engine import (
    AtelierError,
    BadValue,
    DetectRequest,
    Engine,
    Event,
    ImagePart,
    LabelRequest,
    Message,
    OcrRequest,
    Page,
    Priority,
    Result,
    Segment,
    TextPart,
)
from ui.parts import Upload, ask, caller_of, make, paced, uploads
from ui.vision_finds import listed

HIDDEN: dict[str, Any] = {
    "api_visibility": "public",
    "preprocess": False,
    "concurrency_limit": None,
    "show_progress": "hidden",
}


def add_picture_calls(engine: Engine) -> None:
    """Register the endpoints; for use while a page is being built."""
    with gr.Column(visible=False):
        for add in (_add_vision, _add_label, _add_detect, _add_ocr):
            add(engine)


def _model() -> gr.Textbox:
    return gr.Textbox("", label="model: a catalog id; empty: the default")


async def _one(given: Any, what: str) -> Upload:
    """The one file of a call. Raises BadValue where there is none."""
    async for upload in uploads(given):
        return upload
    raise BadValue(f"No {what} came. Send one by upload (gradio_client.handle_file).")


async def _grown(events: AsyncIterator[Event]) -> AsyncGenerator[Result]:
    """The answer as it grows; comes at least four times a second, so that a client's hang-up is noticed."""
    result = Result()
    async with aclosing(paced(events)) as batches:
        async for batch in batches:
            for event in batch:
                result.add(event)
            yield result


def _ranked(result: Result) -> list[Segment]:
    """What was found so far, best first."""
    return sorted(result.segments, key=lambda found: -(found.score or 0))


def refusing(call: Callable[..., AsyncGenerator[Any]]) -> Callable[..., Any]:
    """The call with refusals as Gradio's clients expect them; keeps its name, parameters and description."""
    from functools import wraps

    @wraps(call)
    async def refusing(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        try:
            async with aclosing(call(*args, **kwargs)) as values:
                async for value in values:
                    yield value
        except AtelierError as error:
            raise gr.Error(error.message, print_exception=False) from error

    return refusing


def _add_vision(engine: Engine) -> None:
    @refusing
    async def vision(
        request: gr.Request, image: Any, prompt: str, model: str = "", max_tokens: float = 0
    ) -> AsyncGenerator[str]:
        """Answer a question about a picture. Streams the text as it grows; the last update is the whole answer."""
        part = ImagePart(data=(await _one(image, "picture")).data)
        text = TextPart(text=str(prompt or "Describe this picture."))
        wanted = ask(
            model=model or None,
            messages=(Message(role="user", parts=(part, text)),),
            max_tokens=int(max_tokens or 0) or None,
        )
        caller = caller_of(request, "gradio", Priority.API)
        async with aclosing(_grown(engine.run(wanted, caller))) as results:
            async for result in results:
                yield result.text

    gr.Button().click(
        vision,
        [
            gr.File(label="image: PNG, JPEG, WebP, BMP or TIFF"),
            gr.Textbox("Describe this picture.", label="prompt"),
            _model(),
            gr.Number(0, label="max_tokens; 0: as many as there is room for", precision=0),
        ],
        gr.Textbox(label="answer"),
        api_name="vision",
        api_description=vision.__doc__,
        **HIDDEN,
    )


def _add_label(engine: Engine) -> None:
    @refusing
    async def label(
        request: gr.Request, image: Any, labels: str = "", model: str = ""
    ) -> AsyncGenerator[list[dict[str, Any]]]:
        """How well each label fits a picture, best first; the scores add up to 1. Labels are parted by commas."""
        data = (await _one(image, "picture")).data
        wanted = make(LabelRequest, image=data, labels=listed(str(labels)), model=model or None)
        caller = caller_of(request, "gradio", Priority.API)
        async with aclosing(_grown(engine.label(wanted, caller))) as results:
            async for result in results:
                yield [{"label": s.text, "score": s.score} for s in _ranked(result)]

    gr.Button().click(
        label,
        [gr.File(label="image"), gr.Textbox("", label="labels, parted by commas"), _model()],
        gr.JSON(label="labels"),
        api_name="label",
        api_description=label.__doc__,
        **HIDDEN,
    )


def _add_detect(engine: Engine) -> None:
    @refusing
    async def detect(
        request: gr.Request, image: Any, words: str = "", threshold: float = 0.3, model: str = ""
    ) -> AsyncGenerator[list[dict[str, Any]]]:
        """Find things in a picture: label, score and box (x0, y0, x1, y1 in pixels, upright). `words`, parted by
        commas, say what to look for, with models that read them."""
        data = (await _one(image, "picture")).data
        wanted = make(
            DetectRequest, image=data, words=listed(str(words)), threshold=threshold,
            model=model or None,
        )  # fmt: skip
        caller = caller_of(request, "gradio", Priority.API)
        async with aclosing(_grown(engine.run(wanted, caller))) as results:
            async for result in results:
                yield [{"label": s.text, "score": s.score, "box": s.box} for s in _ranked(result)]

    gr.Button().click(
        detect,
        [
            gr.File(label="image"),
            gr.Textbox("", label="words, parted by commas"),
            gr.Number(0.3, label="threshold: the least score", minimum=0, maximum=1),
            _model(),
        ],
        gr.JSON(label="things"),
        api_name="detect",
        api_description=detect.__doc__,
        **HIDDEN,
    )


def _add_ocr(engine: Engine) -> None:
    @refusing
    async def ocr(
        request: gr.Request,
        file: Any,
        language: str = "",
        model: str = "",
        pages: str = "",
        dpi: float = 200,
        text_layer: bool = True,
        formatted: bool = False,
        password: str = "",
    ) -> AsyncGenerator[tuple[str, list[dict[str, Any]]]]:
        """Read a picture, a TIFF or a PDF: the text, and its pages with lines, boxes and scores. Streams page by
        page; the last update is the whole. `language` as in "ru", "Russian" or "fra+eng", `pages` as in "1-3,7"."""
        wanted = make(
            OcrRequest, documents=((await _one(file, "file")).data,), language=str(language or ""),
            pages=str(pages or ""), dpi=int(dpi or 200), text_layer=bool(text_layer),
            formatted=bool(formatted), password=str(password or ""), model=model or None,
        )  # fmt: skip
        caller = caller_of(request, "gradio", Priority.API)
        async with aclosing(_grown(engine.read(wanted, caller))) as results:
            async for result in results:
                yield result.text, [_page(page) for page in result.pages]

    gr.Button().click(
        ocr,
        [
            gr.File(label="file: a picture, a TIFF or a PDF"),
            gr.Textbox("", label="language; empty: found out"),
            _model(),
            gr.Textbox("", label="pages; empty: all"),
            gr.Number(200, label="dpi", precision=0),
            gr.Checkbox(True, label="text_layer: take a PDF's own text where it has some"),
            gr.Checkbox(False, label="formatted: Markdown where the model writes it"),
            gr.Textbox("", label="password of a PDF"),
        ],
        [gr.Textbox(label="text"), gr.JSON(label="pages")],
        api_name="ocr",
        api_description=ocr.__doc__,
        **HIDDEN,
    )


def _page(page: Page) -> dict[str, Any]:
    """A page as JSON: what is known of it, empty fields of its lines left out."""
    lines = [{k: v for k, v in asdict(line).items() if v is not None} for line in page.lines]
    return {**asdict(page), "lines": lines}
