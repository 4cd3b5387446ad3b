"""Who hears and who speaks in a spoken turn, and what they are asked. Knows settings and catalog; runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.requests import SpeakRequest, TranscribeRequest
from engine.talk import VoiceRequest

if TYPE_CHECKING:
    from engine.engine import Engine


def named(engine: Engine, given: str | None, setting: str) -> str | None:
    """The model that was named; else that of the settings where its files are here; else None, the default."""
    if given or not setting or not engine.registry.knows(setting):
        return given
    spec = engine.registry.find(setting)
    return spec.id if engine.downloads.is_present(spec) else None


def recording(engine: Engine, request: VoiceRequest) -> TranscribeRequest:
    """What the listener is asked."""
    model = named(engine, request.listener, engine.settings.voice_listener)
    return TranscribeRequest(model=model, audio=request.audio, language=request.language)


def speech(engine: Engine, request: VoiceRequest, text: str, language: str) -> SpeakRequest:
    """What the speaker is asked; `language`: that of the text, where the request names none."""
    model = named(engine, request.speaker, engine.settings.voice_speaker)
    return SpeakRequest(
        model=model,
        text=text,
        voice=request.voice or engine.settings.voice,
        language=request.language or language,
        speed=request.speed,
    )
