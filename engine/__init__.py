"""Atelier's engine: models, scheduling and services behind one call. Knows no HTTP and no page."""

from engine.access import Access, Rank
from engine.answers import key_of
from engine.binding import bind
from engine.callers import Caller, Priority
from engine.cards import Card
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
    LabelRequest,
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
from engine.talk import Heard, Mishap, Said, Timings, VoiceEvent, VoiceRequest
from engine.transcripts import Conversation, Entry
from engine.turns import Turn
from engine.voices import Voice

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
    "DetectRequest",
    "Done",
    "EmbedRequest",
    "Engine",
    "EngineStatus",
    "Entry",
    "Event",
    "Forbidden",
    "Heard",
    "ImagePart",
    "LabelRequest",
    "LaneStatus",
    "Leaving",
    "Limited",
    "Loading",
    "Measure",
    "Message",
    "Mishap",
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
    "Said",
    "Segment",
    "Server",
    "Settings",
    "Source",
    "SpeakRequest",
    "Text",
    "TextPart",
    "Ticket",
    "Timings",
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
    "Voice",
    "VoiceEvent",
    "VoiceRequest",
    "Word",
    "bind",
    "fold",
    "key_of",
    "measure",
    "write_logs",
]
