"""Masks chosen as references of a category."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0.3_references"
down_revision = "0.2_runs"


def upgrade(op: Operations) -> None:
    """Add the table of references."""
    key = "reference_marks"
    op.create_table(
        key,
        sa.Column("annotation_id", sa.Integer, nullable=False),
        sa.Column("category_id", sa.Integer, nullable=False),
        sa.Column("shows", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("annotation_id", "category_id", name=f"pk_{key}"),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=f"fk_{key}_annotation_id_annotations"),
        sa.ForeignKeyConstraint(["category_id"], ["categories.id"], name=f"fk_{key}_category_id_categories"),
    )
