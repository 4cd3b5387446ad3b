"""Documents that are kept and read in the background, and what was read of each of their pages."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("session", sa.String(256), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("models", sa.JSON, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False, index=True),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("server", sa.String(256), nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("updated", sa.DateTime, nullable=False, index=True),
    )
    op.create_index("ix_documents_session", "documents", ["session", "created"])
    op.create_table(
        "document_pages",
        sa.Column(
            "document",
            NUMBER,
            sa.ForeignKey("documents.number", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("model", sa.String(512), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("page", sa.JSON, nullable=False),
        sa.Column("corrections", sa.JSON, nullable=False),
    )
