"""The place of an image in a stack."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0.9_planes"
down_revision = "0.8_review"


def upgrade(op: Operations) -> None:
    """Add the column; no image of an older project is a plane of a stack."""
    op.add_column("images", sa.Column("plane", sa.JSON, nullable=True))
