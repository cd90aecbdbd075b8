"""Image operations: add, find by content or path, relocate; and boxes that have no mask yet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from maskwright.domain import ImageRecord
from maskwright.errors import MaskwrightError, UsageError
from maskwright.store import history, queries
from maskwright.store.orm import AliasRow, AnnotationRow, CategoryRow, EventRow, ImageRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import STATUSES, BoxPrompt, ImageFilter, ImageSummary, NewImage

__all__ = ["ImageStore", "add_image"]

_PRESENT = ImageRow.review != "deleted"


class ImageStore:
    """The images of a project."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def add(self, new: NewImage) -> ImageRecord:
        """Add an image unless one has this content already; its alias is added in either case."""
        with self._transactions.writing() as db:
            return add_image(db, new).to_domain()

    def get(self, image_id: int) -> ImageRecord:
        """One image; raises MaskwrightError when there is none with this id."""
        with self._transactions.reading() as db:
            row = queries.image_row(db, image_id)
            if row.review == "deleted":
                raise MaskwrightError(f"Image {image_id} was deleted.", "Undo the deletion, or add the image again.")
            return row.to_domain()

    def by_sha256(self, sha256: str) -> ImageRecord | None:
        """The image with this content, or None."""
        with self._transactions.reading() as db:
            row = db.scalar(select(ImageRow).where(ImageRow.sha256 == sha256, _PRESENT))
            return row.to_domain() if row else None

    def by_alias(self, path: str) -> list[ImageRecord]:
        """Images that were added from this path, in id order: more than one when the file has changed."""
        query = select(ImageRow).join(AliasRow).where(AliasRow.path == path, _PRESENT).order_by(ImageRow.id)
        with self._transactions.reading() as db:
            return [row.to_domain() for row in db.scalars(query)]

    def by_address(self, address: str) -> ImageRecord | None:
        """The image whose file is read from this address, or None."""
        with self._transactions.reading() as db:
            row = db.scalar(select(ImageRow).where(ImageRow.address == address, _PRESENT))
            return row.to_domain() if row else None

    def all(self, *, excluded: bool = True) -> list[ImageRecord]:
        """All images in id order; without `excluded`, those that take part."""
        query = select(ImageRow).where(_PRESENT).order_by(ImageRow.id)
        with self._transactions.reading() as db:
            return [row.to_domain() for row in db.scalars(query) if excluded or row.review != "excluded"]

    def page(self, after_id: int = 0, limit: int | None = 100) -> list[ImageSummary]:
        """Images with their numbers of masks, in id order; pass the last id to get the next page."""
        query = select(ImageRow).where(ImageRow.id > after_id, _PRESENT).order_by(ImageRow.id).limit(limit)
        with self._transactions.reading() as db:
            return [_summary(row) for row in db.scalars(query)]

    def find(self, filter: ImageFilter, offset: int = 0, limit: int | None = None) -> tuple[int, list[ImageSummary]]:  # noqa: A002
        """How many images a filter lets through, and a page of them, in id order."""
        query = select(ImageRow).where(*_conditions(filter))
        with self._transactions.reading() as db:
            total = db.scalar(select(func.count()).select_from(query.subquery())) or 0
            page = query.order_by(ImageRow.id).offset(offset).limit(limit)
            return total, [_summary(row) for row in db.scalars(page)]

    def keys(self, filter: ImageFilter = ImageFilter()) -> list[tuple[int, str]]:  # noqa: A002, B008  # immutable
        """Id and SHA-256 of all images that a filter lets through, in id order; fast also when they are very many."""
        query = select(ImageRow.id, ImageRow.sha256).where(*_conditions(filter)).order_by(ImageRow.id)
        with self._transactions.reading() as db:
            return [(key, sha256) for key, sha256 in db.execute(query)]

    def next_unreviewed(self, after_id: int = 0) -> int | None:
        """The next image without a decision or with open proposals, from the start again after the last; or None."""
        query = select(func.min(ImageRow.id)).where(or_(_has_status("none"), _has_status("proposed")))
        with self._transactions.reading() as db:
            following = db.scalar(query.where(ImageRow.id > after_id))
            return following if following is not None else db.scalar(query.where(ImageRow.id != after_id))

    def statuses(self) -> dict[str, int]:
        """Number of images by status, every one of STATUSES."""
        query = select(*(func.count().filter(_has_status(status)) for status in STATUSES)).select_from(ImageRow)
        with self._transactions.reading() as db:
            return dict(zip(STATUSES, db.execute(query).one(), strict=True))

    def review(self, image_id: int, review: str, user: str) -> ImageSummary:
        """Say of an image that it is complete or excluded; an empty text takes that back.

        Raises:
            MaskwrightError: no such image.
        """
        if review not in ("", "complete", "excluded"):
            raise UsageError(f"An image cannot be {review!r}.", "Use complete or excluded.")
        with self._transactions.writing() as db:
            row = queries.image_row(db, image_id)
            if row.review != review:
                _change_review(db, row, review, user, None)
            return _summary(row)

    def delete(self, image_id: int, user: str) -> int:
        """Delete an image with its masks, in one step that undo takes back; its file stays.

        Returns:
            Number of accepted masks that went with it.

        Raises:
            MaskwrightError: no such image.
        """
        with self._transactions.writing() as db:
            row = queries.image_row(db, image_id)
            if row.review == "deleted":
                raise MaskwrightError(f"Image {image_id} was deleted already.")
            # on no image: the step can be undone from any other
            step = history.begin_step(db, user, "deletion of an image")
            query = select(AnnotationRow).where(AnnotationRow.image_id == image_id)
            masks = list(db.scalars(query.where(AnnotationRow.state.in_(("accepted", "proposed")))))
            accepted = sum(mask.state == "accepted" for mask in masks)
            for mask in masks:
                history.change(db, mask, "state_changed", user, step, state="deleted")
            _change_review(db, row, "deleted", user, step)
            return accepted

    def relocate(self, image_id: int, user: str, **changes: str | int) -> ImageRecord:
        """Change the `file_name` of an image, or `sha256` and `orientation` where another file takes its place."""
        with self._transactions.writing() as db:
            row = queries.image_row(db, image_id)
            before: dict[str, Any] = {name: getattr(row, name) for name in changes}
            for name, value in changes.items():
                setattr(row, name, value)
            event = EventRow(at=now(), user=user, kind="relinked", image_id=image_id, before=before)
            event.after = dict(changes)
            db.add(event)
            return row.to_domain()

    def boxes(self, image_id: int) -> list[BoxPrompt]:
        """Boxes on an image that were imported without a mask."""
        query = (
            select(PromptRow, CategoryRow.name)
            .join(CategoryRow, CategoryRow.id == PromptRow.category_id)
            .where(PromptRow.image_id == image_id, PromptRow.source == "box")
            .order_by(PromptRow.id)
        )
        with self._transactions.reading() as db:
            return [
                BoxPrompt(image_id, name, tuple(row.provenance["box"]), row.provenance)
                for row, name in db.execute(query)
            ]


def _summary(row: ImageRow) -> ImageSummary:
    return ImageSummary(row.to_domain(), row.accepted, row.proposed, row.review)


def _conditions(filter: ImageFilter) -> list[ColumnElement[bool]]:  # noqa: A002
    conditions = [_PRESENT]
    if filter.status is not None:
        conditions.append(_has_status(filter.status))
    if filter.category is not None:
        mask = select(AnnotationRow.id).join(CategoryRow, CategoryRow.id == AnnotationRow.category_id)
        mask = mask.where(AnnotationRow.image_id == ImageRow.id, AnnotationRow.state.in_(("accepted", "proposed")))
        conditions.append(mask.where(CategoryRow.name == filter.category).exists())
    if filter.ids is not None:
        conditions.append(ImageRow.id.in_(filter.ids))
    return conditions


def _has_status(status: str) -> ColumnElement[bool]:
    """Condition for one of STATUSES; raises UsageError for another word."""
    row, open_ = ImageRow, ImageRow.review == ""
    conditions = {
        "none": and_(open_, row.proposed == 0, row.accepted == 0),
        "proposed": and_(open_, row.proposed > 0),
        "done": and_(open_, row.proposed == 0, row.accepted > 0),
        "complete": row.review == "complete",
        "excluded": row.review == "excluded",
    }
    if status not in conditions:
        raise UsageError(f"There is no status {status!r}.", f"Use one of: {', '.join(STATUSES)}.")
    return conditions[status]


def _change_review(db: Session, row: ImageRow, review: str, user: str, step: int | None) -> None:
    event = EventRow(at=now(), user=user, kind="image_reviewed", image_id=row.id, step_id=step)
    event.before, event.after = {"review": row.review}, {"review": review}
    row.review = review
    db.add(event)


def add_image(db: Session, new: NewImage) -> ImageRow:
    """The row of an image, added when its content is new."""
    row = db.scalar(select(ImageRow).where(ImageRow.sha256 == new.sha256))
    if row is None:
        at = now()
        row = ImageRow.from_domain(new, at)
        db.add(row)
        db.flush()
        db.add(EventRow(at=at, user=new.user, kind="image_added", image_id=row.id))
    elif row.review == "deleted":
        _change_review(db, row, "", new.user, None)
    if new.plane is not None and row.plane is None:
        row.plane = new.plane.to_dict()
    if new.alias and db.get(AliasRow, (row.id, new.alias)) is None:
        db.add(AliasRow(image_id=row.id, path=new.alias))
    return row
