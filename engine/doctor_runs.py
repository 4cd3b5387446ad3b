"""A real run of about a second for each family and task that has a usable model on this machine."""

from __future__ import annotations

import asyncio
import io
import math
import struct
import time
import wave
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from engine.callers import Caller, Priority
from engine.checks import Check
from engine.errors import AtelierError
from engine.events import Result
from engine.registry import ModelSpec
from engine.requests import (
    Capability,
    ChatRequest,
    DetectRequest,
    EmbedRequest,
    ImageRequest,
    LabelRequest,
    Message,
    OcrRequest,
    Request,
    SpeakRequest,
    TranscribeRequest,
    TranslateRequest,
)

if TYPE_CHECKING:
    from engine.engine import Engine

LONGEST = 180.0  # seconds of loading and running after which a run has failed
TEXT = "Atelier 2026"


def _chat() -> Request:
    asked = Message.of("user", "Say hello in one sentence.")
    return ChatRequest(messages=(asked,), max_tokens=24, temperature=0.0)


def _picture(text: str = "") -> bytes:
    """A red square, or a line of text, as PNG."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (420, 120) if text else (96, 96), "white")
    draw = ImageDraw.Draw(image)
    if text:
        draw.text((24, 30), text, fill="black", font=ImageFont.load_default(48))
    else:
        draw.rectangle((24, 24, 72, 72), fill=(220, 30, 30))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _sound() -> bytes:
    """A second of a tone, as WAV."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        tone = (int(9000 * math.sin(n * 440 * math.tau / 16000)) for n in range(16000))
        file.writeframes(b"".join(struct.pack("<h", value) for value in tone))
    return out.getvalue()


TRIES: dict[Capability, Callable[[], Request]] = {
    "chat": _chat,
    "embed": lambda: EmbedRequest(texts=("a red square", "a blue circle")),
    "ocr": lambda: OcrRequest(documents=(_picture(TEXT),), language="en"),
    "label": lambda: LabelRequest(image=_picture(), labels=("a red square", "a blue circle")),
    "detect": lambda: DetectRequest(image=_picture()),
    "image": lambda: ImageRequest(prompt="a red square", width=256, height=256, steps=2),
    "transcribe": lambda: TranscribeRequest(audio=_sound(), language="en", vad=False),
    "speak": lambda: SpeakRequest(text="Hello, this is a test."),
    "translate": lambda: TranslateRequest(text="Good morning.", source="en", target="fr"),
}


async def runs(engine: Engine) -> AsyncGenerator[Check]:
    """One run for each family and task, by its smallest model that is here; the others are said to be missing."""
    for family, does in _pairs(engine):
        specs = [s for s in engine.models(does) if s.family == family and s.lane != "remote"]
        present = await asyncio.to_thread(_present, engine, specs)
        name = f"{does} · {family}"
        if not present:
            best = min(specs, key=lambda spec: spec.size or 1 << 60)
            fix = f"Download one on the Models tab, for instance {best.id}."
            yield Check("run", name, "skip", "None of its models is on this machine.", fix)
            continue
        yield await _run(engine, min(present, key=_order(engine)), does, name)


def _present(engine: Engine, specs: list[ModelSpec]) -> list[ModelSpec]:
    return [spec for spec in specs if engine.downloads.is_present(spec)]


def _pairs(engine: Engine) -> list[tuple[str, Capability]]:
    """Families and what they do, as far as a run of it is known."""
    found = {
        (spec.family, does)
        for spec in engine.models()
        if spec.lane != "remote"
        for does in spec.does
        if does in TRIES
    }
    return sorted(found, key=lambda pair: (list(TRIES).index(pair[1]), pair[0]))


def _order(engine: Engine) -> Callable[[ModelSpec], tuple[bool, bool, int]]:
    """Models in memory first, then starters, then the smallest."""
    held = {resident.id for resident in engine.status().resident}
    return lambda spec: (spec.id not in held, not spec.starter, spec.size or 0)


async def _run(engine: Engine, spec: ModelSpec, does: Capability, name: str) -> Check:
    held = {resident.id for resident in engine.status().resident}
    began = time.perf_counter()
    try:
        request = TRIES[does]().model_copy(update={"model": spec.id})
        async with asyncio.timeout(LONGEST):
            result = await _result(engine, request)
    except AtelierError as error:
        fix = "Load it on the Models tab to see more; the log has the details."
        if error.status == 503:
            fix = "Close other programs or unload models; then try again."
        return Check(
            "run", name, "fail", f"{spec.id}: {error.message}", fix, time.perf_counter() - began
        )
    except (TimeoutError, ValueError) as error:
        why = "took too long" if isinstance(error, TimeoutError) else "could not be asked"
        fix = "Choose a smaller model, or set ATELIER_QUANTISATION=int8."
        return Check("run", name, "fail", f"{spec.id} {why}.", fix, time.perf_counter() - began)
    finally:
        if spec.id not in held:
            await _unload(engine, spec.id)
    usage = result.done.usage if result.done else None
    load, run = (usage.load_s, usage.run_s) if usage else (0.0, time.perf_counter() - began)
    device = engine.status().lanes[0].title
    text = f"{spec.id} on {device}: {run:.2f} s{_rate(result, run)}; loaded in {load:.1f} s"
    wrong = _doubt(result, does)
    fix = (
        "Its answer is not what it should be: fetch the model anew, or choose another dtype."
        if wrong
        else ""
    )
    return Check("run", name, "warn" if wrong else "ok", f"{text}{wrong}", fix, run)


async def _result(engine: Engine, request: Request) -> Result:
    caller = Caller(name="doctor", dialect="doctor", session="doctor", priority=Priority.API)
    result = Result()
    async with aclosing(engine.run(request, caller)) as events:
        async for event in events:
            result.add(event)
    return result


async def _unload(engine: Engine, model: str) -> None:
    """Leave the memory as it was; a model that somebody uses meanwhile stays."""
    try:
        async with asyncio.timeout(10):
            await engine.evict(model)
    except (AtelierError, TimeoutError):
        return


def _rate(result: Result, run: float) -> str:
    usage: Any = result.done.usage if result.done else None
    if usage and usage.output_tokens and run > 0:
        return f", {usage.output_tokens / run:.0f} tokens/s"
    return ""


def _doubt(result: Result, does: Capability) -> str:
    """What is strange about an answer; "" where nothing is."""
    if does == "chat" and not (result.text or result.reasoning):
        return "; it said nothing"
    if does == "ocr" and "2026" not in " ".join(page.text for page in result.pages):
        return "; it did not read what was written"
    if does == "embed" and not result.vectors:
        return "; it gave no vectors"
    return ""
