"""The reading queries of the store: each runs in the transaction of the session it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, AnnotationKey, Category, ImageRecord, ReferenceMark
from maskwright.errors import MaskwrightError
from maskwright.store.orm import (
    AnnotationRow,
    CategoryRow,
    EventRow,
    ImageRow,
    PromptRow,
    ReferenceRow,
    RunRow,
    TallyRow,
)
from maskwright.store.values import Changes, Counts, check_state

__all__ = [
    "accepted_keys",
    "annotation_row",
    "categories",
    "category_row",
    "changes",
    "counts",
    "image_row",
    "images",
    "number_of",
    "parts",
    "predicted",
    "reference_marks",
    "run_row",
    "stored_annotations",
    "tallied",
    "undecided",
]

_AT_ONCE = 1000
"""Rows that are in memory together while many are read."""
_HANDFUL = 5000
_FEED = 10_000
"""Changes beyond which it is cheaper to read again what is shown."""


def parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The rows in handfuls: a statement takes some ten thousand values at most."""
    return (rows[start : start + _HANDFUL] for start in range(0, len(rows), _HANDFUL))


def image_row(db: Session, image_id: int) -> ImageRow:
    """The image's row; raises MaskwrightError when there is none."""
    row = db.get(ImageRow, image_id)
    if row is None:
        raise MaskwrightError(f"There is no image {image_id} in this project. List its images to see their numbers.")
    return row


def annotation_row(db: Session, annotation_id: int) -> AnnotationRow:
    """The annotation's row; raises MaskwrightError when there is none."""
    row = db.get(AnnotationRow, annotation_id)
    if row is None:
        raise MaskwrightError(f"There is no mask {annotation_id} in this project. List its masks to see their numbers.")
    return row


def run_row(db: Session, name: str) -> RunRow:
    """The run's row; raises MaskwrightError when there is none."""
    row = db.scalar(select(RunRow).where(RunRow.name == name))
    if row is None:
        raise MaskwrightError(f"There is no run {name} in this project. `maskwright runs` lists them.")
    return row


def number_of(db: Session, table: type[Any]) -> int:
    """How many rows a small table has."""
    return int(db.scalars(select(func.count()).select_from(table)).one())


def images(db: Session, after_id: int = 0, limit: int | None = None) -> list[ImageRecord]:
    """Images in id order."""
    chosen = select(ImageRow).where(ImageRow.id > after_id).order_by(ImageRow.id).limit(limit)
    return [row.to_domain() for row in db.scalars(chosen)]


def category_row(db: Session, name: str, *, deleted: bool = False) -> CategoryRow | None:
    """The row of a clean name, or None; with `deleted` also one that was deleted."""
    chosen = select(CategoryRow).where(CategoryRow.name == name)
    return db.scalar(chosen if deleted else chosen.where(CategoryRow.deleted.is_(False)))


def categories(db: Session, *, deleted: bool = False) -> list[Category]:
    """All categories in id order; with `deleted` also those that were deleted."""
    chosen = select(CategoryRow).order_by(CategoryRow.id)
    return [row.to_domain() for row in db.scalars(chosen if deleted else chosen.where(CategoryRow.deleted.is_(False)))]


def stored_annotations(
    db: Session, states: Sequence[str], image_id: int | None = None, ids: Sequence[int] | None = None
) -> Iterator[Annotation]:
    """Annotations in id order, of one image or by their ids when given, a thousand in memory at a time.

    Raises:
        MaskwrightError: an unknown state.
    """
    for state in states:
        check_state(state)
    chosen = (
        select(AnnotationRow, PromptRow.provenance)
        .outerjoin(PromptRow, PromptRow.id == AnnotationRow.prompt_id)
        .where(AnnotationRow.state.in_(states))
        .order_by(AnnotationRow.id)
    )
    sizes = select(ImageRow.id, ImageRow.height, ImageRow.width)
    if image_id is not None:
        chosen = chosen.where(AnnotationRow.image_id == image_id)
        sizes = sizes.where(ImageRow.id == image_id)
    if ids is not None:
        chosen = chosen.where(AnnotationRow.id.in_(ids))
        sizes = sizes.where(ImageRow.id.in_(select(AnnotationRow.image_id).where(AnnotationRow.id.in_(ids))))
    names = dict(db.execute(select(CategoryRow.id, CategoryRow.name)).all())
    size_hw = {key: (height, width) for key, height, width in db.execute(sizes)}
    for row, provenance in db.execute(chosen.execution_options(yield_per=_AT_ONCE)):
        yield row.to_domain(names[row.category_id], size_hw[row.image_id], provenance)


def reference_marks(db: Session) -> list[ReferenceMark]:
    """All marks on masks that are accepted, in the order of the masks."""
    chosen = (
        select(ReferenceRow.annotation_id, CategoryRow.name, ReferenceRow.shows)
        .join(CategoryRow, CategoryRow.id == ReferenceRow.category_id)
        .join(AnnotationRow, AnnotationRow.id == ReferenceRow.annotation_id)
        .where(AnnotationRow.state == "accepted")
        .order_by(ReferenceRow.annotation_id)
    )
    return [ReferenceMark(*values) for values in db.execute(chosen)]


def predicted(db: Session, prompt: str) -> set[int]:
    """Images that a batch has been over with this prompt."""
    chosen = select(EventRow.image_id, EventRow.after).where(
        EventRow.kind == "predicted", EventRow.annotation_id.is_(None)
    )
    return {image_id for image_id, after in db.execute(chosen) if image_id and (after or {}).get("prompt") == prompt}


def undecided(db: Session, image_id: int, category_id: int, source: str) -> list[AnnotationRow]:
    """Open proposals of a batch on one image."""
    row = AnnotationRow
    chosen = select(row).where(
        row.image_id == image_id, row.state == "proposed", row.source == source, row.category_id == category_id
    )
    return list(db.scalars(chosen))


def accepted_keys(db: Session) -> list[AnnotationKey]:
    """Accepted annotations without their masks, in id order; groups are no objects and are left out."""
    row = AnnotationRow
    chosen = (
        select(row.uid, row.revision, row.image_id, row.category_id, CategoryRow.name)
        .join(CategoryRow, CategoryRow.id == row.category_id)
        .where(row.state == "accepted", row.crowd.is_(False))
        .order_by(row.id)
    )
    return [AnnotationKey(*values) for values in db.execute(chosen)]


def counts(db: Session) -> Counts:
    """How many images and masks there are, from the tallies."""
    numbers = {(row.category_id, row.state): row.number for row in db.scalars(select(TallyRow))}
    of_state = {
        state: sum(number for (_, one), number in numbers.items() if one == state)
        for state in ("rejected", "proposed", "deleted")
    }
    annotated = select(func.count()).select_from(ImageRow).where(ImageRow.accepted > 0)
    return Counts(
        images=number_of(db, ImageRow),
        annotated_images=db.scalars(annotated).one(),
        accepted={one.name: numbers.get((one.id, "accepted"), 0) for one in categories(db)},
        **of_state,
    )


def tallied(db: Session, states: Sequence[str]) -> Counter[tuple[int, int, str]]:
    """Minus the numbers of masks in these states, by (image, category, state): what to tally when they go."""
    row = AnnotationRow
    grouped = (
        select(row.image_id, row.category_id, row.state, func.count())
        .where(row.state.in_(states))
        .group_by(row.image_id, row.category_id, row.state)
    )
    return Counter({(image, category, state): -number for image, category, state, number in db.execute(grouped)})


def changes(db: Session, after: int) -> Changes:
    """What the history has after a change number."""
    number = db.scalar(select(func.max(EventRow.id))) or 0
    if number - after > _FEED:
        return Changes(number, frozenset(), others=True, complete=False)
    rows = db.execute(select(EventRow.image_id, EventRow.kind).where(EventRow.id > after).distinct()).all()
    return Changes(
        number,
        frozenset(image_id for image_id, _ in rows if image_id is not None),
        others=any(image_id is None for image_id, _ in rows),
    )
