"""Images that are read from an address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0.9_remote_images"
down_revision = "0.9_planes"


def upgrade(op: Operations) -> None:
    """Add the column; every image of an older project has its file in the folder."""
    op.add_column("images", sa.Column("address", sa.String, nullable=False, server_default=""))
    op.create_index("ix_images_address", "images", ["address"])
