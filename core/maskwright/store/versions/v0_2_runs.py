"""Fine-tuning runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0.2_runs"
down_revision = "0.1_first"


def upgrade(op: Operations) -> None:
    """Add the table of runs."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("name", "state", "recipe", "base")),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ("plan", "progress")),
        *(sa.Column(name, sa.JSON, nullable=True) for name in ("before", "after")),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("stop", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("name", name="uq_runs_name"),
        sqlite_autoincrement=True,
    )
