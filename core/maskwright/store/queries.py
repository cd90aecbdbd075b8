"""Read queries that several rooms of the store share; each runs in the transaction of its session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, Category
from maskwright.errors import MaskwrightError
from maskwright.store.orm import AnnotationRow, CategoryRow, CountRow, EventRow, ImageRow, PromptRow, RunRow
from maskwright.store.values import STATES, Changes, Counts, check_state

__all__ = [
    "annotation_row",
    "annotations_by_id",
    "categories",
    "category_row",
    "changes",
    "counts",
    "image_row",
    "parts",
    "require_category",
    "row_count",
    "run_row",
    "stored_annotations",
]

_STREAMED_ROWS = 1000
"""Rows in memory at a time while many are read."""
_BATCH_ROWS = 5000
_MOST_CHANGES = 10_000
"""Changes beyond which reading everything again is cheaper."""


def parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The rows in batches: a statement takes some ten thousand values at most."""
    return (rows[start : start + _BATCH_ROWS] for start in range(0, len(rows), _BATCH_ROWS))


def image_row(db: Session, image_id: int) -> ImageRow:
    """The image's row; raises MaskwrightError when there is none."""
    row = db.get(ImageRow, image_id)
    if row is None:
        raise MaskwrightError(f"There is no image {image_id} in this project.", "List its images to see their numbers.")
    return row


def annotation_row(db: Session, annotation_id: int) -> AnnotationRow:
    """The mask's row; raises MaskwrightError when there is none."""
    row = db.get(AnnotationRow, annotation_id)
    if row is None:
        raise MaskwrightError(
            f"There is no mask {annotation_id} in this project.", "List its masks to see their numbers."
        )
    return row


def run_row(db: Session, name: str) -> RunRow:
    """The run's row; raises MaskwrightError when there is none."""
    row = db.scalar(select(RunRow).where(RunRow.name == name))
    if row is None:
        raise MaskwrightError(f"There is no run {name} in this project.", "`maskwright runs` lists them.")
    return row


def row_count(db: Session, table: type[Any]) -> int:
    """The number of rows of a small table."""
    return int(db.scalars(select(func.count()).select_from(table)).one())


def category_row(db: Session, name: str, *, deleted: bool = False) -> CategoryRow | None:
    """The row of a clean name, or None; with `deleted` also that of a deleted category."""
    query = select(CategoryRow).where(CategoryRow.name == name)
    return db.scalar(query if deleted else query.where(CategoryRow.deleted.is_(False)))


def require_category(db: Session, name: str) -> CategoryRow:
    """The row of a clean name; raises MaskwrightError when there is none."""
    row = category_row(db, name)
    if row is None:
        raise MaskwrightError(f"There is no category {name!r} in this project.", "Check the spelling.")
    return row


def categories(db: Session, *, deleted: bool = False) -> list[Category]:
    """All categories in the order of the user, then of their ids; with `deleted` also the deleted ones."""
    query = select(CategoryRow).order_by(CategoryRow.position.is_(None), CategoryRow.position, CategoryRow.id)
    return [row.to_domain() for row in db.scalars(query if deleted else query.where(CategoryRow.deleted.is_(False)))]


def stored_annotations(
    db: Session, states: Sequence[str], image_id: int | None = None, ids: Sequence[int] | None = None
) -> Iterator[Annotation]:
    """Masks in id order, of one image or by their ids when given, a thousand in memory at a time.

    Raises:
        UsageError: an unknown state.
    """
    for state in states:
        check_state(state)
    query = (
        select(AnnotationRow, PromptRow.provenance)
        .outerjoin(PromptRow, PromptRow.id == AnnotationRow.prompt_id)
        .where(AnnotationRow.state.in_(states))
        .order_by(AnnotationRow.id)
    )
    sizes = select(ImageRow.id, ImageRow.height, ImageRow.width)
    if image_id is not None:
        query = query.where(AnnotationRow.image_id == image_id)
        sizes = sizes.where(ImageRow.id == image_id)
    if ids is not None:
        query = query.where(AnnotationRow.id.in_(ids))
        sizes = sizes.where(ImageRow.id.in_(select(AnnotationRow.image_id).where(AnnotationRow.id.in_(ids))))
    names = dict(db.execute(select(CategoryRow.id, CategoryRow.name)).all())
    size_hw = {key: (height, width) for key, height, width in db.execute(sizes)}
    for row, provenance in db.execute(query.execution_options(yield_per=_STREAMED_ROWS)):
        yield row.to_domain(names[row.category_id], size_hw[row.image_id], provenance)


def annotations_by_id(db: Session, ids: Sequence[int]) -> list[Annotation]:
    """Masks in any state, in the order of the ids, all of which exist."""
    by_id = {
        annotation.id: annotation for part in parts(ids) for annotation in stored_annotations(db, STATES, ids=part)
    }
    return [by_id[key] for key in ids]


def counts(db: Session) -> Counts:
    """Numbers of images and masks, from the table of counts."""
    numbers = {(row.category_id, row.state): row.number for row in db.scalars(select(CountRow))}
    totals = {
        state: sum(number for (_, counted), number in numbers.items() if counted == state)
        for state in ("rejected", "proposed", "deleted")
    }
    annotated = select(func.count()).select_from(ImageRow).where(ImageRow.accepted > 0)
    return Counts(
        images=db.scalars(select(func.count()).select_from(ImageRow).where(ImageRow.review != "deleted")).one(),
        annotated_images=db.scalars(annotated).one(),
        accepted={category.name: numbers.get((category.id, "accepted"), 0) for category in categories(db)},
        **totals,
    )


def changes(db: Session, after: int) -> Changes:
    """What the history records after a change number."""
    number = db.scalar(select(func.max(EventRow.id))) or 0
    if number - after > _MOST_CHANGES:
        return Changes(number, frozenset(), others=True, complete=False)
    rows = db.execute(select(EventRow.image_id, EventRow.kind).where(EventRow.id > after).distinct()).all()
    return Changes(
        number,
        frozenset(image_id for image_id, _ in rows if image_id is not None),
        others=any(image_id is None for image_id, _ in rows),
    )
