"""Steps for undo, prompts, checkpoints, shortcuts and synonyms of categories, crowds, and counts of masks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

revision = "0.7_ledger"
down_revision = "0.3_references"


def upgrade(op: Operations) -> None:
    """Add the tables and columns, and fill them from the older ones."""
    _categories(op)
    _prompts(op)
    _steps(op)
    _counts(op)
    _checkpoints(op)


def _categories(op: Operations) -> None:
    op.add_column("categories", sa.Column("shortcut", sa.Integer, nullable=True))
    op.add_column("categories", sa.Column("synonyms", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("categories", sa.Column("deleted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("annotations", sa.Column("crowd", sa.Boolean, nullable=False, server_default=sa.false()))


def _prompts(op: Operations) -> None:
    """Move the provenance from the masks to their prompts."""
    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("image_id", sa.Integer, nullable=False),
        sa.Column("category_id", sa.Integer, nullable=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("provenance", sa.JSON, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_prompts"),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_prompts_image_id_images"),
        sa.ForeignKeyConstraint(["category_id"], ["categories.id"], name="fk_prompts_category_id_categories"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_prompts_image_id", "prompts", ["image_id"])
    op.execute(
        "INSERT INTO prompts (id, image_id, source, provenance, who, at) "
        "SELECT id, image_id, source, provenance, annotator, created_at FROM annotations"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval('prompts_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM prompts), false)")
    op.add_column("annotations", sa.Column("prompt_id", sa.Integer, nullable=True))
    op.execute("UPDATE annotations SET prompt_id = id")
    op.drop_column("annotations", "provenance")


def _steps(op: Operations) -> None:
    op.create_table(
        "steps",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("image_id", sa.Integer, nullable=True),
        sa.Column("state", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_steps"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_steps_who_state_id", "steps", ["who", "state", "id"])
    op.add_column("events", sa.Column("step_id", sa.Integer, nullable=True))
    op.create_index("ix_events_step_id", "events", ["step_id"])
    op.create_index("ix_events_annotation_id", "events", ["annotation_id"])
    without_mask = sa.text("annotation_id IS NULL")
    op.create_index(
        "ix_events_kind_id", "events", ["kind", "id"], sqlite_where=without_mask, postgresql_where=without_mask
    )


def _counts(op: Operations) -> None:
    op.create_table(
        "tallies",
        sa.Column("category_id", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("category_id", "state", name="pk_tallies"),
        sa.ForeignKeyConstraint(["category_id"], ["categories.id"], name="fk_tallies_category_id_categories"),
    )
    op.execute(
        "INSERT INTO tallies (category_id, state, number) "
        "SELECT category_id, state, count(*) FROM annotations GROUP BY category_id, state"
    )
    for state in ("accepted", "proposed"):
        op.add_column("images", sa.Column(state, sa.Integer, nullable=False, server_default="0"))
        op.execute(
            f"UPDATE images SET {state} = (SELECT count(*) FROM annotations "
            f"WHERE image_id = images.id AND state = '{state}')"
        )


def _checkpoints(op: Operations) -> None:
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("folder", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
        sa.UniqueConstraint("folder", name="uq_checkpoints_folder"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_checkpoints_run_id_runs"),
        sqlite_autoincrement=True,
    )
