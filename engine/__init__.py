"""Atelier's engine: models, scheduling and services behind one call. Knows no HTTP and no page."""

from engine.access import Access, Rank
from engine.answers import key_of
from engine.binding import bind
from engine.callers import Caller, Priority
from engine.cards import Card
from engine.creatures import Creature
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
    Audio,
    Done,
    Event,
    Image,
    Loading,
    Page,
    Progress,
    Queued,
    Reasoning,
    Result,
    Segment,
    Source,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
    Vector,
    Word,
    fold,
)
from engine.gallery import Kept
from engine.jobs import Ticket
from engine.logs import write_logs
from engine.papers import Paper
from engine.pictures import Measure, measure
from engine.plan import Leaving, Plan
from engine.registry import ModelSpec
from engine.requests import (
    AudioPart,
    Call,
    Capability,
    ChatRequest,
    DetectRequest,
    EmbedRequest,
    ImagePart,
    ImageRequest,
    LabelRequest,
    Lora,
    Message,
    OcrRequest,
    Request,
    SpeakRequest,
    TextPart,
    Tool,
    TranscribeRequest,
    TranslateRequest,
)
from engine.servers import Server
from engine.settings import Settings
from engine.status import EngineStatus, LaneStatus, ResidentModel
from engine.transcripts import Conversation, Entry
from engine.turns import Turn

__all__ = [
    "VERSION",
    "WAITING",
    "Access",
    "AtelierError",
    "Audio",
    "AudioPart",
    "BadFormat",
    "BadValue",
    "Call",
    "Caller",
    "Capability",
    "Card",
    "ChatRequest",
    "Conflict",
    "Conversation",
    "Creature",
    "DetectRequest",
    "Done",
    "EmbedRequest",
    "Engine",
    "EngineStatus",
    "Entry",
    "Event",
    "Forbidden",
    "Image",
    "ImagePart",
    "ImageRequest",
    "Kept",
    "LabelRequest",
    "LaneStatus",
    "Leaving",
    "Limited",
    "Loading",
    "Lora",
    "Measure",
    "Message",
    "ModelSpec",
    "NoToken",
    "OcrRequest",
    "Page",
    "Paper",
    "Plan",
    "Priority",
    "Progress",
    "Queued",
    "Rank",
    "Reasoning",
    "Request",
    "ResidentModel",
    "Result",
    "Segment",
    "Server",
    "Settings",
    "Source",
    "SpeakRequest",
    "Text",
    "TextPart",
    "Ticket",
    "TokenLogprob",
    "TooLarge",
    "Tool",
    "ToolCall",
    "TranscribeRequest",
    "TranslateRequest",
    "Turn",
    "Unavailable",
    "Unknown",
    "Usage",
    "Vector",
    "Word",
    "bind",
    "fold",
    "key_of",
    "measure",
    "write_logs",
]
