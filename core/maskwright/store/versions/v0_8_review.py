"""Review state of images, and the order of categories."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0.8_review"
down_revision = "0.7_ledger"


def upgrade(op: Operations) -> None:
    """Add the columns; every image is open, and categories keep the order in which they were added."""
    op.add_column("images", sa.Column("review", sa.String, nullable=False, server_default=""))
    op.add_column("categories", sa.Column("position", sa.Integer, nullable=True))
