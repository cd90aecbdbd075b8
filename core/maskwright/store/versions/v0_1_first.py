"""Images, categories, annotations and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0.1_first"
down_revision = None


def upgrade(op: Operations) -> None:
    """Make the first tables."""
    _images(op)
    op.create_table(
        "categories",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("color", sa.String, nullable=False),
        sa.Column("supercategory", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_categories"),
        sa.UniqueConstraint("name", name="uq_categories_name"),
        sqlite_autoincrement=True,
    )
    _annotations(op)
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("annotation_id", sa.Integer, nullable=True),
        sa.Column("image_id", sa.Integer, nullable=True),
        sa.Column("before", sa.JSON, nullable=True),
        sa.Column("after", sa.JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )


def _images(op: Operations) -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("file_name", sa.String, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("orientation", sa.Integer, nullable=False),
        sa.Column("captured", sa.String, nullable=False),
        sa.Column("added_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("sha256", name="uq_images_sha256"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "image_aliases",
        sa.Column("image_id", sa.Integer, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("image_id", "path", name="pk_image_aliases"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_image_aliases_image_id_images"),
    )
    op.create_index("ix_image_aliases_path", "image_aliases", ["path"])


def _annotations(op: Operations) -> None:
    op.create_table(
        "annotations",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uid", sa.String, nullable=False),
        sa.Column("image_id", sa.Integer, nullable=False),
        sa.Column("category_id", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("counts", sa.String, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("area", "x", "y", "w", "h")),
        sa.Column("score", sa.Double, nullable=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("annotator", sa.String, nullable=False),
        sa.Column("provenance", sa.JSON, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("updated_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_annotations"),
        sa.UniqueConstraint("uid", name="uq_annotations_uid"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_annotations_image_id_images"),
        sa.ForeignKeyConstraint(["category_id"], ["categories.id"], name="fk_annotations_category_id_categories"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_annotations_image_id_state", "annotations", ["image_id", "state"])
    op.create_index("ix_annotations_category_id_state", "annotations", ["category_id", "state"])
