"""The ledger in each task's own units, and indexes for the questions that usage is asked."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# How many rows SQLite should expect behind an index, as in 0001.
EXPECTED = {
    "ix_ledger_request": "1",
    "ix_ledger_caller": "150000 1",
    "ix_ledger_task": "300000 1",
    "ix_ledger_status": "500000 1",
}


def upgrade() -> None:
    for name in ("reasoning_tokens", "characters", "pages", "images"):
        op.add_column("ledger", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
    for name in ("audio_s", "megapixel_steps", "own_load_s"):
        op.add_column("ledger", sa.Column(name, sa.Float(53), nullable=False, server_default="0"))
    op.create_index("ix_ledger_request", "ledger", ["request_id"])
    for name in ("caller", "task", "status"):
        op.create_index(f"ix_ledger_{name}", "ledger", [name, "started_at"])
    if op.get_bind().dialect.name == "sqlite":
        for index, stat in EXPECTED.items():
            op.execute(f"INSERT INTO sqlite_stat1 VALUES ('ledger', '{index}', '1000000 {stat}')")
