"""Atelier's engine: models, scheduling and services behind one call. Knows no HTTP and no page."""

from engine.access import Access, Rank
from engine.callers import Caller, Priority
from engine.engine import VERSION, Engine
from engine.errors import (
    AtelierError,
    BadFormat,
    BadValue,
    Conflict,
    Forbidden,
    Limited,
    NoToken,
    TooLarge,
    Unavailable,
    Unknown,
)
from engine.events import (
    WAITING,
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
from engine.logs import write_logs
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
from engine.status import EngineStatus, LaneStatus, ResidentModel
from engine.transcripts import Conversation, Entry
from engine.turns import Turn

__all__ = [
    "VERSION",
    "WAITING",
    "Access",
    "AtelierError",
    "AudioPart",
    "BadFormat",
    "BadValue",
    "Call",
    "Caller",
    "ChatRequest",
    "Conflict",
    "Conversation",
    "Done",
    "Engine",
    "EngineStatus",
    "Entry",
    "Event",
    "Forbidden",
    "ImagePart",
    "LaneStatus",
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
    "ResidentModel",
    "Result",
    "Settings",
    "Text",
    "TextPart",
    "TooLarge",
    "Tool",
    "ToolCall",
    "Turn",
    "Unavailable",
    "Unknown",
    "Usage",
    "fold",
    "write_logs",
]
