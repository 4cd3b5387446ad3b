"""Atelier's engine: models, scheduling and services behind one call. Knows no HTTP and no page."""

from engine.access import Access, Rank
from engine.callers import Caller, Priority
from engine.engine import VERSION, Engine
from engine.errors import (
    AtelierError,
    BadFormat,
    BadValue,
    Forbidden,
    Limited,
    NoToken,
    TooLarge,
    Unavailable,
    Unknown,
)
from engine.events import (
    Done,
    Event,
    Loading,
    Progress,
    Queued,
    Reasoning,
    Result,
    Text,
    ToolCall,
    Usage,
    fold,
)
from engine.registry import ModelSpec
from engine.requests import (
    AudioPart,
    Call,
    ChatRequest,
    ImagePart,
    Message,
    Request,
    TextPart,
    Tool,
)
from engine.settings import Settings

__all__ = [
    "VERSION",
    "Access",
    "AtelierError",
    "AudioPart",
    "BadFormat",
    "BadValue",
    "Call",
    "Caller",
    "ChatRequest",
    "Done",
    "Engine",
    "Event",
    "Forbidden",
    "ImagePart",
    "Limited",
    "Loading",
    "Message",
    "ModelSpec",
    "NoToken",
    "Priority",
    "Progress",
    "Queued",
    "Rank",
    "Reasoning",
    "Request",
    "Result",
    "Settings",
    "Text",
    "TextPart",
    "TooLarge",
    "Tool",
    "ToolCall",
    "Unavailable",
    "Unknown",
    "Usage",
    "fold",
]
