"""Sound as other servers take it. Knows formats, not dialects."""

from __future__ import annotations

from engine.requests import AudioPart, Message


def sound_type(data: bytes) -> str:
    """What OpenAI's dialect calls the format of a recording."""
    return "mp3" if data.startswith((b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")) else "wav"


def sounds(message: Message) -> bool:
    """True when a message holds a recording."""
    return any(isinstance(part, AudioPart) for part in message.parts)
