"""Images, their other paths, and boxes that wait for somebody to cut out what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from maskwright.domain import ImageRecord
from maskwright.store import queries
from maskwright.store.orm import AliasRow, CategoryRow, EventRow, ImageRow, PromptRow, now
from maskwright.store.transactions import Transactions
from maskwright.store.values import BoxPrompt, ImageSummary, NewImage

__all__ = ["ImageStore"]


class ImageStore(Transactions):
    """What a store knows of pictures."""

    def add_image(self, new: NewImage) -> ImageRecord:
        """The image with this content; bytes that are known already only get the alias."""
        with self._writing() as db:
            return add_image(db, new).to_domain()

    def image(self, image_id: int) -> ImageRecord:
        """One image; raises MaskwrightError when the project has none with this id."""
        with self._reading() as db:
            return queries.image_row(db, image_id).to_domain()

    def image_by_sha256(self, sha256: str) -> ImageRecord | None:
        """The image with this content, or None."""
        with self._reading() as db:
            row = db.scalar(select(ImageRow).where(ImageRow.sha256 == sha256))
            return row.to_domain() if row else None

    def images(self, after_id: int = 0, limit: int | None = None) -> list[ImageRecord]:
        """Images in id order, at most `limit` of those with a larger id than `after_id`."""
        with self._reading() as db:
            return queries.images(db, after_id, limit)

    def page(self, after_id: int = 0, limit: int | None = 100) -> list[ImageSummary]:
        """Images with the numbers of their masks, in id order; the next page begins after the last id."""
        chosen = select(ImageRow).where(ImageRow.id > after_id).order_by(ImageRow.id).limit(limit)
        with self._reading() as db:
            return [ImageSummary(row.to_domain(), row.accepted, row.proposed) for row in db.scalars(chosen)]

    def images_added_from(self, path: str) -> list[ImageRecord]:
        """The images whose files had this alias, in id order: more than one when the file changed."""
        chosen = select(ImageRow).join(AliasRow).where(AliasRow.path == path).order_by(ImageRow.id)
        with self._reading() as db:
            return [row.to_domain() for row in db.scalars(chosen)]

    def relocate(self, image_id: int, who: str, **changed: str) -> ImageRecord:
        """The image under another `file_name`, and where its file is another one with another `sha256`."""
        with self._writing() as db:
            row = queries.image_row(db, image_id)
            before: dict[str, Any] = {name: getattr(row, name) for name in changed}
            for name, value in changed.items():
                setattr(row, name, value)
            db.add(EventRow(at=now(), who=who, kind="relinked", image_id=image_id, before=before, after=dict(changed)))
            return row.to_domain()

    def boxes(self, image_id: int) -> list[BoxPrompt]:
        """Boxes on an image that came in without a mask."""
        chosen = (
            select(PromptRow, CategoryRow.name)
            .join(CategoryRow, CategoryRow.id == PromptRow.category_id)
            .where(PromptRow.image_id == image_id, PromptRow.source == "box")
            .order_by(PromptRow.id)
        )
        with self._reading() as db:
            return [
                BoxPrompt(image_id, name, tuple(row.provenance["box"]), row.provenance)
                for row, name in db.execute(chosen)
            ]


def add_image(db: Any, new: NewImage) -> ImageRow:
    """The row of an image, made when its content is new."""
    row: ImageRow | None = db.scalar(select(ImageRow).where(ImageRow.sha256 == new.sha256))
    if row is None:
        at = now()
        row = ImageRow.from_domain(new, at)
        db.add(row)
        db.flush()
        db.add(EventRow(at=at, who=new.who, kind="image_added", image_id=row.id))
    if new.alias and db.get(AliasRow, (row.id, new.alias)) is None:
        db.add(AliasRow(image_id=row.id, path=new.alias))
    return row


def file_names(records: Sequence[ImageRecord]) -> dict[str, ImageRecord | None]:
    """Image by the last part of its file's name; None where several share it."""
    found: dict[str, ImageRecord | None] = {}
    for record in records:
        name = record.file_name.rpartition("/")[2]
        found[name] = None if name in found else record
    return found
