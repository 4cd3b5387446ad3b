"""The tables, as the newest migration leaves them. Imports SQLAlchemy: import it late.

Knows no queries; each table is read and written by one module alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    text,
)

REVISION = "0005"  # the newest migration; a test holds it against the scripts
VERSION_TABLE = "atelier_version"


class Moment(TypeDecorator[datetime]):
    """A UTC datetime, kept without its zone so that every database sorts and compares it alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None or value.tzinfo is None:
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None else None


def _number() -> Column[int]:
    """A key that grows, so that new rows lie together; SQLite's own row number."""
    return Column("number", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True)


def _word(name: str) -> Column[str]:
    return Column(name, String(256), nullable=False, server_default="")


def _tag(name: str) -> Column[str]:
    return Column(name, String(256))


def _whole(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _seconds(name: str) -> Column[float]:
    return Column(name, Float(53), nullable=False, server_default="0")


metadata = MetaData()

# engine/usage.py
ledger = Table(
    "ledger",
    metadata,
    _number(),
    Column("id", String(256), nullable=False, unique=True),
    Column("started_at", Moment, nullable=False),
    *map(
        _word, ("request_id", "dialect", "model", "task", "caller", "session", "priority", "status")
    ),
    *map(_whole, ("input_tokens", "output_tokens", "cached_tokens")),
    *map(_seconds, ("queued_s", "load_s", "first_s", "run_s", "seconds")),
    *map(_tag, ("project", "process_id", "subprocess_id", "user_key")),
    _word("server"),
    *map(_whole, ("reasoning_tokens", "characters", "pages", "images")),
    *map(_seconds, ("audio_s", "megapixel_steps", "own_load_s")),
    Index("ix_ledger_started", "started_at"),
    Index("ix_ledger_request", "request_id"),
    *(
        Index(f"ix_ledger_{name}", name, "started_at")
        for name in (
            "project",
            "model",
            "user_key",
            "session",
            "dialect",
            "caller",
            "task",
            "status",
        )
    ),
    Index("ix_ledger_project_model", "project", "model", "started_at"),
    Index(
        "ix_ledger_open",
        "server",
        sqlite_where=text("status = 'started'"),
        postgresql_where=text("status = 'started'"),
    ),
)
# The texts apart: they are large, seldom read, and go when their time is up while the row stays.
ledger_text = Table(
    "ledger_text",
    metadata,
    Column("number", ForeignKey("ledger.number", ondelete="CASCADE"), primary_key=True),
    Column("started_at", Moment, nullable=False, index=True),
    Column("input", JSON(none_as_null=True)),
    Column("output", Text),
)

# engine/conversations.py
conversations = Table(
    "conversations",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("title", String(256), nullable=False),
    Column("model", String(512), nullable=False),
    Column("system", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False, index=True),
    _whole("count"),
    Column("search", Text, nullable=False),
)
messages = Table(
    "messages",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column(
        "conversation",
        ForeignKey("conversations.number", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("role", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("reasoning", Text, nullable=False),
    Column("created", Moment, nullable=False),
    Column("model", String(512), nullable=False),
    Column("finish", String(16), nullable=False),
    Column("error", Text, nullable=False),
    Column("usage", JSON, nullable=False),
    Column("search", Text, nullable=False),
)

# engine/download_rows.py
downloads = Table(
    "downloads",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("source", String(16), nullable=False),
    Column("model", String(512), nullable=False),
    Column("repo", String(256), nullable=False),
    Column("revision", String(256), nullable=False),
    Column("commit", String(64), nullable=False),
    Column("licence", String(256), nullable=False),
    Column("files", JSON, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("code", String(32), nullable=False),
    Column("session", String(256), nullable=False),
    Column("created", Moment, nullable=False, index=True),
)

# engine/document_rows.py
documents = Table(
    "documents",
    metadata,
    _number(),
    Column("id", String(64), nullable=False, unique=True),
    Column("session", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("total", Integer, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("models", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("password", Text, nullable=False),
    Column("phase", String(16), nullable=False, index=True),
    Column("error", Text, nullable=False),
    Column("code", String(32), nullable=False),
    Column("server", String(256), nullable=False),
    Column("created", Moment, nullable=False),
    Column("updated", Moment, nullable=False, index=True),
    Index("ix_documents_session", "session", "created"),
)
# One row for each page and each model that read it; what was corrected by hand stands beside it.
document_pages = Table(
    "document_pages",
    metadata,
    Column("document", ForeignKey("documents.number", ondelete="CASCADE"), primary_key=True),
    Column("model", String(512), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("code", String(32), nullable=False),
    Column("page", JSON, nullable=False),
    Column("corrections", JSON, nullable=False),
)

# engine/footprints.py
footprints = Table(
    "footprints",
    metadata,
    Column("model", String(512), primary_key=True),
    Column("revision", String(128), primary_key=True),
    Column("device", String(64), primary_key=True),
    Column("form", String(64), primary_key=True),
    Column("shape", String(64), primary_key=True),
    Column("memory", BigInteger, nullable=False),
    Column("load_s", Float(53), nullable=False),
    Column("peak", BigInteger, nullable=False),
)
choices = Table(
    "choices",
    metadata,
    Column("key", String(256), primary_key=True),
    Column("value", Text, nullable=False),
)
