"""The queries of the store: each runs in the transaction of the session it is given."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from maskwright.domain import Annotation, AnnotationKey, Category, ImageRecord, ReferenceMark
from maskwright.errors import MaskwrightError
from maskwright.overlays import default_color
from maskwright.store.orm import AnnotationRow, CategoryRow, EventRow, ImageRow, ReferenceRow, RunRow, now
from maskwright.store.values import Counts, NewAnnotation, check_state

__all__ = [
    "accepted_keys",
    "added_event",
    "annotation_row",
    "annotations_where",
    "categories",
    "category",
    "category_row",
    "change_state",
    "correct",
    "counts",
    "image_row",
    "images",
    "predicted",
    "reference_marks",
    "run_row",
    "undecided",
]


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


def images(db: Session, after_id: int = 0, limit: int | None = None) -> list[ImageRecord]:
    """Images in id order."""
    chosen = select(ImageRow).where(ImageRow.id > after_id).order_by(ImageRow.id).limit(limit)
    return [row.to_domain() for row in db.scalars(chosen)]


def category_row(db: Session, name: str) -> CategoryRow | None:
    """The row of a clean name, or None."""
    return db.scalar(select(CategoryRow).where(CategoryRow.name == name))


def category(db: Session, name: str, who: str, at: str) -> Category:
    """The category of this clean name, made in this transaction when it is new."""
    row = category_row(db, name)
    if row is None:
        count = db.scalars(select(func.count()).select_from(CategoryRow)).one()
        row = CategoryRow(name=name, color=default_color(count), supercategory="", created_at=at)
        db.add(row)
        db.flush()
        after = {"category_id": row.id, "name": name, "color": row.color}
        db.add(EventRow(at=at, who=who, kind="category_added", after=after))
    return row.to_domain()


def categories(db: Session) -> list[Category]:
    """All categories in id order."""
    return [row.to_domain() for row in db.scalars(select(CategoryRow).order_by(CategoryRow.id))]


def added_event(row: AnnotationRow) -> EventRow:
    """The history's line for a mask just added."""
    # without the run lengths: the row holds them until an edit, whose event then keeps them as `before`
    after = {"state": row.state, "category_id": row.category_id, "revision": row.revision}
    return EventRow(
        at=row.created_at,
        who=row.annotator,
        kind="annotation_added",
        annotation_id=row.id,
        image_id=row.image_id,
        after=after,
    )


def change_state(db: Session, row: AnnotationRow, state: str, who: str) -> None:
    """Change the row and write the history's line for it."""
    before = {"state": row.state, "revision": row.revision}
    row.state, row.revision, row.updated_at = state, row.revision + 1, now()
    db.add(
        EventRow(
            at=row.updated_at,
            who=who,
            kind="state_changed",
            annotation_id=row.id,
            image_id=row.image_id,
            before=before,
            after={"state": state, "revision": row.revision},
        )
    )
    db.flush()


def correct(db: Session, row: AnnotationRow, new: NewAnnotation, category_id: int) -> None:
    """Give the row the new mask and category, and write the history's line with what it had before."""
    before = {
        "counts": row.counts, "score": row.score, "category_id": row.category_id, "revision": row.revision,
        "annotator": row.annotator,
    }  # fmt: skip
    row.counts, row.area = new.mask.rle["counts"], new.mask.area
    row.x, row.y, row.w, row.h = new.mask.bbox
    # a score is a model's word on a mask as it was proposed
    row.score, row.category_id, row.annotator = None, category_id, new.annotator
    row.revision, row.updated_at = row.revision + 1, now()
    after = {"category_id": category_id, "revision": row.revision, "provenance": dict(new.provenance)}
    db.add(
        EventRow(
            at=row.updated_at, who=new.annotator, kind="edited", annotation_id=row.id, image_id=row.image_id,
            before=before, after=after,
        )
    )  # fmt: skip
    db.flush()


def annotations_where(
    db: Session, image_id: int | None, states: Sequence[str], annotation_id: int | None = None
) -> list[Annotation]:
    """Annotations in id order, of one image or by one id when given; raises MaskwrightError for an unknown state."""
    for state in states:
        check_state(state)
    chosen = (
        select(AnnotationRow, CategoryRow.name, ImageRow.height, ImageRow.width)
        .join(CategoryRow, CategoryRow.id == AnnotationRow.category_id)
        .join(ImageRow, ImageRow.id == AnnotationRow.image_id)
        .where(AnnotationRow.state.in_(states))
        .order_by(AnnotationRow.id)
    )
    if image_id is not None:
        chosen = chosen.where(AnnotationRow.image_id == image_id)
    if annotation_id is not None:
        chosen = chosen.where(AnnotationRow.id == annotation_id)
    return [row.to_domain(name, (height, width)) for row, name, height, width in db.execute(chosen)]


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
    chosen = select(EventRow.image_id, EventRow.after).where(EventRow.kind == "predicted")
    return {image_id for image_id, after in db.execute(chosen) if image_id and (after or {}).get("prompt") == prompt}


def undecided(db: Session, image_id: int, category_id: int, source: str) -> list[AnnotationRow]:
    """Open proposals of a batch on one image."""
    row = AnnotationRow
    chosen = select(row).where(
        row.image_id == image_id, row.state == "proposed", row.source == source, row.category_id == category_id
    )
    return list(db.scalars(chosen))


def accepted_keys(db: Session) -> list[AnnotationKey]:
    """Accepted annotations without their masks, in id order."""
    row = AnnotationRow
    chosen = (
        select(row.uid, row.revision, row.image_id, row.category_id, CategoryRow.name)
        .join(CategoryRow, CategoryRow.id == row.category_id)
        .where(row.state == "accepted")
        .order_by(row.id)
    )
    return [AnnotationKey(*values) for values in db.execute(chosen)]


def counts(db: Session) -> Counts:
    """How many images and masks there are."""
    is_accepted = AnnotationRow.state == "accepted"
    per_category = (
        select(CategoryRow.name, func.count(AnnotationRow.id))
        .outerjoin(AnnotationRow, (AnnotationRow.category_id == CategoryRow.id) & is_accepted)
        .group_by(CategoryRow.id)
        .order_by(CategoryRow.id)
    )
    annotated = select(func.count(AnnotationRow.image_id.distinct())).where(is_accepted)
    per_state = dict(db.execute(select(AnnotationRow.state, func.count()).group_by(AnnotationRow.state)).all())
    return Counts(
        images=db.scalars(select(func.count()).select_from(ImageRow)).one(),
        annotated_images=db.scalars(annotated).one(),
        accepted=dict(db.execute(per_category).all()),
        rejected=per_state.get("rejected", 0),
        proposed=per_state.get("proposed", 0),
    )
