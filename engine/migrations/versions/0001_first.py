"""The first tables: ledger, conversations, footprints, choices."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _word(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(256), nullable=False, server_default="")


def _tag(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(256))


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _seconds(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(53), nullable=False, server_default="0")


def upgrade() -> None:
    _ledger()
    _conversations()
    if op.get_bind().dialect.name == "sqlite":
        _prefer_narrow_indexes()
    op.create_table(
        "footprints",
        sa.Column("model", sa.String(512), primary_key=True),
        sa.Column("device", sa.String(64), primary_key=True),
        sa.Column("dtype", sa.String(64), primary_key=True),
        sa.Column("memory", sa.BigInteger, nullable=False),
        sa.Column("load_s", sa.Float(53), nullable=False),
    )
    op.create_table(
        "choices",
        sa.Column("key", sa.String(256), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.String(256), nullable=False, unique=True),
        sa.Column("started_at", sa.DateTime, nullable=False),
        *map(
            _word,
            ("request_id", "dialect", "model", "task", "caller", "session", "priority", "status"),
        ),
        *map(_whole, ("input_tokens", "output_tokens", "cached_tokens")),
        *map(_seconds, ("queued_s", "load_s", "first_s", "run_s", "seconds")),
        *map(_tag, ("project", "process_id", "subprocess_id", "user_key")),
        _word("server"),
    )
    op.create_index("ix_ledger_started", "ledger", ["started_at"])
    for name in ("project", "model", "user_key", "session", "dialect"):
        op.create_index(f"ix_ledger_{name}", "ledger", [name, "started_at"])
    op.create_index("ix_ledger_project_model", "ledger", ["project", "model", "started_at"])
    begun = sa.text("status = 'started'")
    op.create_index(
        "ix_ledger_open", "ledger", ["server"], sqlite_where=begun, postgresql_where=begun
    )
    op.create_table(
        "ledger_text",
        sa.Column(
            "number", NUMBER, sa.ForeignKey("ledger.number", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("started_at", sa.DateTime, nullable=False, index=True),
        sa.Column("input", sa.JSON),
        sa.Column("output", sa.Text),
    )


def _prefer_narrow_indexes() -> None:
    """Tell SQLite how many rows to expect behind an index, in place of what it would measure.

    Its own statistics are averages: with most rows untagged and one model used most, they mislead it
    into walking a million rows for a page. Servers keep statistics good enough by themselves.
    """
    rows = {
        "ix_ledger_session": "10 1",
        "ix_ledger_user_key": "20 1",
        "ix_ledger_project_model": "1000 500 1",
        "ix_ledger_project": "1000 1",
        "ix_ledger_model": "50000 1",
        "ix_ledger_dialect": "200000 1",
        "ix_ledger_started": "1",
    }
    op.execute("ANALYZE sqlite_schema")  # makes the table that holds them
    for name, stat in rows.items():
        op.execute(f"INSERT INTO sqlite_stat1 VALUES ('ledger', '{name}', '1000000 {stat}')")


def _conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("title", sa.String(256), nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.Column("system", sa.Text, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("updated", sa.DateTime, nullable=False, index=True),
        _whole("count"),
        sa.Column("search", sa.Text, nullable=False),
    )
    op.create_table(
        "messages",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column(
            "conversation",
            NUMBER,
            sa.ForeignKey("conversations.number", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("reasoning", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.Column("finish", sa.String(16), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("usage", sa.JSON, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
    )
