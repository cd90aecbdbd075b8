"""Image operations: add, find by content or path, relocate; and boxes that have no mask yet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from maskwright.domain import ImageRecord
from maskwright.store import queries
from maskwright.store.orm import AliasRow, CategoryRow, EventRow, ImageRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import BoxPrompt, ImageSummary, NewImage

__all__ = ["ImageStore", "add_image"]


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
            return queries.image_row(db, image_id).to_domain()

    def by_sha256(self, sha256: str) -> ImageRecord | None:
        """The image with this content, or None."""
        with self._transactions.reading() as db:
            row = db.scalar(select(ImageRow).where(ImageRow.sha256 == sha256))
            return row.to_domain() if row else None

    def by_alias(self, path: str) -> list[ImageRecord]:
        """Images that were added from this path, in id order: more than one when the file has changed."""
        query = select(ImageRow).join(AliasRow).where(AliasRow.path == path).order_by(ImageRow.id)
        with self._transactions.reading() as db:
            return [row.to_domain() for row in db.scalars(query)]

    def all(self) -> list[ImageRecord]:
        """All images in id order."""
        with self._transactions.reading() as db:
            return [row.to_domain() for row in db.scalars(select(ImageRow).order_by(ImageRow.id))]

    def page(self, after_id: int = 0, limit: int | None = 100) -> list[ImageSummary]:
        """Images with their numbers of masks, in id order; pass the last id to get the next page."""
        query = select(ImageRow).where(ImageRow.id > after_id).order_by(ImageRow.id).limit(limit)
        with self._transactions.reading() as db:
            return [ImageSummary(row.to_domain(), row.accepted, row.proposed) for row in db.scalars(query)]

    def relocate(self, image_id: int, user: str, **changes: str) -> ImageRecord:
        """Change the `file_name` of an image, or its `sha256` where another file takes its place."""
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


def add_image(db: Session, new: NewImage) -> ImageRow:
    """The row of an image, added when its content is new."""
    row = db.scalar(select(ImageRow).where(ImageRow.sha256 == new.sha256))
    if row is None:
        at = now()
        row = ImageRow.from_domain(new, at)
        db.add(row)
        db.flush()
        db.add(EventRow(at=at, user=new.user, kind="image_added", image_id=row.id))
    if new.alias and db.get(AliasRow, (row.id, new.alias)) is None:
        db.add(AliasRow(image_id=row.id, path=new.alias))
    return row
