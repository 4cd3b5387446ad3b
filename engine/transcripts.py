"""A chat as a value, and its written forms: JSON that is taken back, Markdown to read."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from engine.errors import BadValue
from engine.requests import Role

ENTRIES_LIMIT = 10_000  # messages of one conversation


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat without its entries; `count` is how many there are."""

    id: str
    title: str
    model: str
    system: str
    parameters: dict[str, Any]
    created: datetime
    updated: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a conversation.

    Args:
        finish: how an answer ended: "stop", "length", "tool_calls", "stopped" by hand, or "failed".
        error: why it failed, as a sentence for the user.
        usage: the fields of `engine.events.Usage`.
    """

    role: Role
    text: str
    reasoning: str = ""
    model: str = ""
    finish: str = ""
    error: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    created: datetime = field(default_factory=_now)


class _EntryFile(BaseModel):
    role: Role
    text: str
    reasoning: str = ""
    model: str = Field("", max_length=512)
    finish: str = Field("", max_length=16)
    error: str = Field("", max_length=10_000)
    usage: dict[str, Any] = Field(default_factory=dict)
    created: datetime = Field(default_factory=_now)


class _ConversationFile(BaseModel):
    """The JSON that `to_json` writes and `read_json` reads."""

    format: Literal["atelier.conversation"]
    version: Literal[1]
    title: str = ""
    model: str = Field("", max_length=512)
    system: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    created: datetime = Field(default_factory=_now)
    messages: list[_EntryFile] = Field(max_length=ENTRIES_LIMIT)


def read_json(text: str | bytes) -> tuple[Conversation, list[Entry]]:
    """The chat in an exported JSON; its id is empty.

    Raises:
        BadValue: it is not such a file; names the field at fault.
    """
    try:
        file = _ConversationFile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BadValue(
            f"This is not a conversation exported as JSON ({place}: {first['msg']}). "
            "Choose a file that was exported here."
        ) from error
    head = file.model_dump(include={"title", "model", "system", "parameters", "created"})
    whole = Conversation(id="", updated=file.created, count=len(file.messages), **head)
    return whole, [Entry(**entry.model_dump()) for entry in file.messages]


def to_json(whole: Conversation, entries: Sequence[Entry]) -> str:
    """The chat as JSON, indented."""
    head = {name: getattr(whole, name) for name in ("title", "model", "system", "parameters")}
    file = _ConversationFile(
        format="atelier.conversation",
        version=1,
        created=whole.created,
        messages=[_EntryFile(**asdict(entry)) for entry in entries],
        **head,
    )
    return file.model_dump_json(indent=2)


def to_markdown(whole: Conversation, entries: Sequence[Entry]) -> str:
    """The chat as Markdown: the title, then a section for each message."""
    names = {"user": "You", "assistant": "Answer", "system": "System", "tool": "Tool"}
    parts = [f"# {whole.title or 'Conversation'}"]
    if whole.system:
        parts.append(f"**System prompt**\n\n{whole.system}")
    for entry in entries:
        by = f" ({entry.model})" if entry.model else ""
        failed = f"\n\n> {entry.error}" if entry.error else ""
        parts.append(f"## {names[entry.role]}{by}\n\n{entry.text}{failed}")
    return "\n\n".join(parts) + "\n"
