"""Downloads, so that a restart goes on with them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "downloads",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("model", sa.String(512), nullable=False),
        sa.Column("repo", sa.String(256), nullable=False),
        sa.Column("revision", sa.String(256), nullable=False),
        sa.Column("commit", sa.String(64), nullable=False),
        sa.Column("licence", sa.String(256), nullable=False),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("session", sa.String(256), nullable=False),
        sa.Column("created", sa.DateTime, nullable=False, index=True),
    )
