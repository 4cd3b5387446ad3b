"""Atelier's engine: models, scheduling and services behind one call. Knows no HTTP and no page."""

from engine.access import Access, Rank
from engine.answers import key_of
from engine.binding import bind
from engine.callers import Caller, Priority
from engine.cards import Card
from engine.checks import Check, as_line, worst
from engine.containers import Container, Load
from engine.creatures import Creature
from engine.doctor import examine
from engine.engine import VERSION, Engine
from engine.errors import (
    AtelierError,
    BadFormat,
    BadValue,
    Conflict,
    Forbidden,
    Limited,
    NoRoom,
    NoToken,
    TimedOut,
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
from engine.jail import FileEntry
from engine.jobs import Ticket
from engine.logs import Entry as Record
from engine.logs import request_id, write_logs
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
from engine.system import Sample
from engine.talk import Heard, Mishap, Said, Timings, VoiceEvent, VoiceRequest
from engine.transcripts import Conversation, Entry
from engine.turns import Turn
from engine.usage import Row
from engine.usage_export import USAGE_FILES, export_usage
from engine.usage_queries import GROUPINGS, MEASURED, Filters, Total
from engine.voices import Voice

__all__ = [
    "GROUPINGS",
    "MEASURED",
    "USAGE_FILES",
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
    "Check",
    "Conflict",
    "Container",
    "Conversation",
    "Creature",
    "DetectRequest",
    "Done",
    "EmbedRequest",
    "Engine",
    "EngineStatus",
    "Entry",
    "Event",
    "FileEntry",
    "Filters",
    "Forbidden",
    "Heard",
    "Image",
    "ImagePart",
    "ImageRequest",
    "Kept",
    "LabelRequest",
    "LaneStatus",
    "Leaving",
    "Limited",
    "Load",
    "Loading",
    "Lora",
    "Measure",
    "Message",
    "Mishap",
    "ModelSpec",
    "NoRoom",
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
    "Record",
    "Request",
    "ResidentModel",
    "Result",
    "Row",
    "Said",
    "Sample",
    "Segment",
    "Server",
    "Settings",
    "Source",
    "SpeakRequest",
    "Text",
    "TextPart",
    "Ticket",
    "TimedOut",
    "Timings",
    "TokenLogprob",
    "TooLarge",
    "Tool",
    "ToolCall",
    "Total",
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
    "as_line",
    "bind",
    "examine",
    "export_usage",
    "fold",
    "key_of",
    "measure",
    "request_id",
    "worst",
    "write_logs",
]
